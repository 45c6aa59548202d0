"""What an operator has stopped, as every process knows it without asking anybody.

    t_freezes, FREEZE file --operations/freeze.py--> Frozen --> refused: calls, token exchanges, programs; cut: streams

While nothing is frozen a call pays for one attribute that is read. Source: contract/http.md section 3.1 (frozen),
operations.md section 11, agents.md section 6 (row 15).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

import msgspec

from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.words import PrincipalType

_UNSAFE: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class FreezeScope(StrEnum):
    """How much a freeze stops, the most first."""

    INSTANCE = "instance"
    WORKSPACE = "workspace"
    AGENT = "agent"


class Freeze(msgspec.Struct, frozen=True):
    """One thing that is stopped.

    Shapes:
        target_id: of the workspace or agent; None for the instance. by: who did it, as audit rows name them; of a
        FREEZE file its path. at: RFC 3339; None for a file. is_file: whether the file of this machine says so.
    """

    scope: FreezeScope
    target_id: str | None = None
    reason: str | None = None
    by: str = ""
    at: str | None = None
    is_file: bool = False


class Frozen:
    """Everything that is stopped now. `is_any` is False while nothing is."""

    __slots__ = ("_agents", "_file", "_instance", "_recorded", "_workspaces", "is_any")

    def __init__(self) -> None:
        self.is_any = False
        self._recorded: tuple[Freeze, ...] = ()
        self._file: Freeze | None = None
        self._instance = False
        self._workspaces: frozenset[str] = frozenset()
        self._agents: frozenset[str] = frozenset()

    @property
    def freezes(self) -> tuple[Freeze, ...]:
        """Everything that is stopped, the file of this machine first."""
        return (*(() if self._file is None else (self._file,)), *self._recorded)

    def note_recorded(self, freezes: Iterable[Freeze]) -> None:
        """What the database says, all of it."""
        self._recorded = tuple(freezes)
        self._settle()

    def note_file(self, freeze: Freeze | None) -> None:
        """What the file of this machine says; None when there is none."""
        self._file = freeze
        self._settle()

    def scope_of(self, workspace_id: str, agent_id: str | None) -> FreezeScope | None:
        """What stops this agent, or this workspace when no agent is named; None when nothing does."""
        if not self.is_any:
            return None
        if self._instance:
            return FreezeScope.INSTANCE
        if workspace_id in self._workspaces:
            return FreezeScope.WORKSPACE
        return FreezeScope.AGENT if agent_id in self._agents else None

    def check(self, workspace_id: str, agent_id: str | None) -> None:
        """Refuse what is stopped. Raises: AppError (403 frozen)."""
        scope = self.scope_of(workspace_id, agent_id)
        if scope is not None:
            raise refusal(scope)

    def check_caller(self, caller: Caller, method: str) -> None:
        """Refuse a stopped agent everything, and a program of a stopped workspace every change.

        People keep the management routes: they are the ones who put things right. Raises: AppError (403 frozen).
        """
        if self.is_any and (
            caller.kind is PrincipalType.AGENT or (caller.kind is PrincipalType.PAT and method in _UNSAFE)
        ):
            self.check(caller.workspace_id, caller.agent_id)

    def count(self) -> Mapping[FreezeScope, int]:
        """How many freezes there are of each scope, for metrics."""
        return {scope: sum(one.scope is scope for one in self.freezes) for scope in FreezeScope}

    def _settle(self) -> None:
        freezes = self.freezes
        self._instance = any(one.scope is FreezeScope.INSTANCE for one in freezes)
        self._workspaces = _targets(freezes, FreezeScope.WORKSPACE)
        self._agents = _targets(freezes, FreezeScope.AGENT)
        self.is_any = bool(freezes)


def refusal(scope: FreezeScope) -> AppError:
    """The refusal of something that is stopped. It does not repeat the operator's reason: that is for people."""
    what = {"instance": "this instance", "workspace": "this workspace", "agent": "this agent"}[scope]
    return AppError(
        "frozen",
        f"An operator has stopped {what}; nothing was carried out. A superadmin lifts it with POST "
        "/v1/admin/unfreeze or: agenthifive unfreeze. Ask a person before you try again.",
        hint="POST /v1/admin/unfreeze",
    )


def _targets(freezes: Iterable[Freeze], scope: FreezeScope) -> frozenset[str]:
    return frozenset(str(one.target_id) for one in freezes if one.scope is scope)

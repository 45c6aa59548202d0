"""What a draft would have decided about the calls that were recorded. Reads the database, changes nothing.

    pair -> its newest calls (audit log) -> forecast under the draft, each at its own instant -> what differs

Source: contract/policy.md section 15.4.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Connection, Database
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, wire_time
from agenthifive.policies import store
from agenthifive.policies.drafts import compile_draft
from agenthifive.policies.forecast import Ground, forecast
from agenthifive.policies.model import Place, StoredPolicy, read_place
from agenthifive.policies.recorded import Outcome, RecordedCall

LAST_MAX: Final = 500
LAST_DEFAULT: Final = 100
_SAME: Final = "same"
_UNDETERMINED: Final = "undetermined"
_CHANGES: Final = {"deny": "newlyDenied", "require_approval": "newlyHeld", "allow": "newlyAllowed"}
_SUMMARY: Final = (_SAME, *_CHANGES.values(), _UNDETERMINED)


@dataclass(frozen=True, slots=True)
class Trial:
    """A draft to be tried.

    Shapes:
        policy_id, or agent_id and connection_id: whose calls. draft: facets in the place of the saved ones.
        last: 1 to LAST_MAX. since, until: aware, both included.
    """

    workspace_id: str
    draft: Mapping[str, Any]
    policy_id: str | None = None
    agent_id: str | None = None
    connection_id: str | None = None
    last: int = LAST_DEFAULT
    since: datetime | None = None
    until: datetime | None = None


class Simulator:
    """Tries drafts on the past."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    async def simulate(self, trial: Trial) -> dict[str, Any]:
        """The answer of the simulate route.

        Raises: AppError (404 for unknown ids, 400 invalid_request for a pair that is not named, 400 invalid_policy and
            its kin for a draft that could not be saved).
        """
        workspace_id = trial.workspace_id
        async with self._database.transaction(read_only=True) as connection:
            agent_id, connection_id = await _pair(connection, trial)
            agent = await store.find_agent(connection, workspace_id, agent_id) if is_id(agent_id) else None
            if agent is None:
                raise not_found("agent", "/v1/agents")
            place = await self._place(connection, workspace_id, connection_id)
            saved = await store.find_policy_of_pair(connection, workspace_id, agent_id, connection_id)
            calls = await store.list_recorded(
                connection, workspace_id, agent_id, connection_id, trial.last, trial.since, trial.until
            )
        ground = Ground(place.binding, place.facts, place.tenant, agent[1])
        return await asyncio.to_thread(_answer, trial.draft, saved, calls, ground)

    async def _place(self, connection: Connection, workspace_id: str, connection_id: str) -> Place:
        record = None
        if is_id(connection_id):
            record = await store.find_connection(connection, workspace_id, connection_id)
        if record is None:
            raise not_found("connection", "/v1/connections")
        return read_place(record, self._catalog)


async def _pair(connection: Connection, trial: Trial) -> tuple[str, str]:
    """Agent and connection, named by themselves or by their policy."""
    if trial.policy_id is None:
        if trial.agent_id is None or trial.connection_id is None:
            raise _unclear()
        return trial.agent_id, trial.connection_id
    if (trial.agent_id, trial.connection_id) != (None, None):
        raise _unclear()
    policy = None
    if is_id(trial.policy_id):
        policy = await store.find_policy(connection, trial.workspace_id, trial.policy_id)
    if policy is None:
        raise not_found("policy", "/v1/policies")
    return policy.agent_id, policy.connection_id


def _answer(
    draft: Mapping[str, Any], saved: StoredPolicy | None, calls: Sequence[RecordedCall], ground: Ground
) -> dict[str, Any]:
    policy = compile_draft(draft, saved, ground.binding, ground.facts)
    compared = [(call, forecast(call, policy, ground)) for call in calls]
    counts = Counter(_change(call.before, after) for call, after in compared)
    return {
        "summary": {"calls": len(calls), **{name: counts[name] for name in _SUMMARY}},
        "results": [_result(call, after) for call, after in compared if _change(call.before, after) != _SAME],
    }


def _change(before: Outcome, after: Outcome) -> str:
    if after.decision == _UNDETERMINED:
        return _UNDETERMINED
    return _SAME if after.decision == before.decision else _CHANGES[after.decision]


def _result(call: RecordedCall, after: Outcome) -> dict[str, Any]:
    return {
        "auditId": call.audit_id,
        "at": wire_time(call.at),
        "method": call.method,
        "path": call.path,
        "before": call.before.wire(),
        "after": after.wire(),
    }


def _unclear() -> AppError:
    message = "Name the policy (policyId), or its agent and connection (agentId, connectionId)."
    return AppError("invalid_request", message, fields=[{"path": "policyId", "message": message}])

"""The kill switch: recorded in the database for all replicas, or a file for this machine that needs no database.

    activate, lift -> t_freezes -> change counter -> read() on every replica -> Frozen -> streams cut
    $AGENTHIFIVE_HOME/FREEZE     -> looked for twice a second by every process -> the same

A process reads the freezes on the connection that reads the change counter, before it calls its permissions fresh: it
either knows of a freeze or refuses every call. Source: contract/operations.md sections 11 and 15, goals.md R9.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.frozen import Freeze, FreezeScope, Frozen
from agenthifive.errors import AppError
from agenthifive.ids import is_id, wire_time
from agenthifive.words import AuditAction

FILE_NAME: Final = "FREEZE"
REASON_MAX: Final = 500
NOBODY: Final = "00000000-0000-0000-0000-000000000000"
_PERIOD_S: Final = 0.5
LIST: Final = "SELECT scope, target_id::text, reason, frozen_by, frozen_at FROM t_freezes ORDER BY frozen_at, target_id"
FREEZE: Final = """
    INSERT INTO t_freezes (scope, target_id, reason, frozen_by)
    VALUES (%(scope)s, %(target_id)s, %(reason)s, %(frozen_by)s)
    ON CONFLICT (scope, target_id) DO UPDATE SET reason = excluded.reason, frozen_by = excluded.frozen_by
"""
LIFT: Final = "DELETE FROM t_freezes WHERE scope = %(scope)s AND target_id = %(target_id)s"
# the workspace a freeze belongs to, for its audit row
WORKSPACE: Final = "SELECT id::text FROM t_workspaces WHERE id = %(target_id)s"
AGENT: Final = "SELECT workspace_id::text FROM t_agents WHERE id = %(target_id)s"

log = structlog.get_logger(__name__)


async def list_freezes(connection: Connection) -> list[Freeze]:
    """What the database says is stopped, oldest first."""
    cursor = await connection.execute(LIST)
    return [
        Freeze(FreezeScope(scope), None if target_id == NOBODY else target_id, reason, by, wire_time(at))
        for scope, target_id, reason, by, at in await cursor.fetchall()
    ]


async def activate(unit: Unit, scope: FreezeScope, target_id: str | None, reason: str | None) -> None:
    """Stop something on every replica; stopping it again replaces the reason. Raises: AppError (404)."""
    connection = await unit.begin()
    workspace_id = await _find_workspace(connection, scope, target_id)
    if scope is not FreezeScope.INSTANCE and workspace_id is None:
        raise AppError("not_found", f"No {scope} with this id exists on this instance.")
    values = {**_row(scope, target_id), "reason": reason, "frozen_by": unit.signature.actor}
    await connection.execute(FREEZE, values)
    _record(unit, AuditAction.FREEZE_ACTIVATED, scope, target_id, reason, workspace_id)


async def lift(unit: Unit, scope: FreezeScope, target_id: str | None) -> None:
    """Let something go on. Raises: AppError (404 for what is no id, 409 when it is not stopped)."""
    if scope is not FreezeScope.INSTANCE and not is_id(target_id):
        raise AppError("not_found", f"No {scope} with this id exists on this instance.")
    connection = await unit.begin()
    cursor = await connection.execute(LIFT, _row(scope, target_id))
    if cursor.rowcount == 0:
        raise AppError("conflict", f"This {scope} is not frozen. GET /v1/admin/freeze lists what is.")
    workspace_id = await _find_workspace(connection, scope, target_id)
    _record(unit, AuditAction.FREEZE_LIFTED, scope, target_id, None, workspace_id)


class FreezeWatch:
    """Keeps `Frozen` right in this process.

    Shapes: home: AGENTHIFIVE_HOME. on_change: acts at once on what is stopped now, and never raises.
    """

    def __init__(
        self, frozen: Frozen, home: Path, on_change: Callable[[], None], make_unit: Callable[[], Unit]
    ) -> None:
        self._frozen = frozen
        self._path = home / FILE_NAME
        self._on_change = on_change
        self._make_unit = make_unit
        self._tasks: set[asyncio.Task[None]] = set()

    async def read(self, connection: Connection) -> None:
        """Take over what the database says. Raises: psycopg.Error."""
        self._frozen.note_recorded(await list_freezes(connection))
        self._on_change()

    def start(self) -> None:
        """Look at the file now, and then twice a second."""
        self._look()
        self._spawn(self._follow())

    async def close(self) -> None:
        """Stop looking."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            self._look()

    def _look(self) -> None:
        freeze = read_file(self._path)
        was = next((one for one in self._frozen.freezes if one.is_file), None)
        if freeze == was:
            return
        self._frozen.note_file(freeze)
        self._on_change()
        log.warning("freeze_file", path=str(self._path), isFrozen=freeze is not None)
        self._spawn(self._note(freeze))

    async def _note(self, freeze: Freeze | None) -> None:
        """Record what the file did, once the process obeys it; without a database the log line has to do."""
        action = AuditAction.FREEZE_LIFTED if freeze is None else AuditAction.FREEZE_ACTIVATED
        reason = None if freeze is None else freeze.reason
        try:
            async with self._make_unit() as unit:
                _record(unit, action, FreezeScope.INSTANCE, None, reason or "file", None)
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.warning("freeze_file_unrecorded", error=type(error).__name__)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def read_file(path: Path) -> Freeze | None:
    """What the file says; None only when it is certain that there is none: what cannot be looked at stops us too."""
    try:
        with path.open("rb") as file:
            text = file.read(4 * REASON_MAX).decode("utf-8", "replace").strip()[:REASON_MAX]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        text = f"the file cannot be read: {type(error).__name__}"
    return Freeze(FreezeScope.INSTANCE, None, text or None, str(path), None, is_file=True)


def write_file(home: Path, reason: str | None) -> Path:
    """Stop every process of this machine within half a second, database or not. Raises: OSError."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / FILE_NAME
    path.write_text(f"{reason or ''}\n", "utf-8")
    return path


def remove_file(home: Path) -> bool:
    """Take the file away; False when there was none. Raises: OSError."""
    try:
        (home / FILE_NAME).unlink()
    except FileNotFoundError:
        return False
    return True


async def _find_workspace(connection: Connection, scope: FreezeScope, target_id: str | None) -> str | None:
    if scope is FreezeScope.INSTANCE or not is_id(target_id):
        return None
    statement = WORKSPACE if scope is FreezeScope.WORKSPACE else AGENT
    row = await (await connection.execute(statement, {"target_id": target_id})).fetchone()
    return None if row is None else str(row[0])


def _row(scope: FreezeScope, target_id: str | None) -> dict[str, str]:
    return {"scope": scope.value, "target_id": NOBODY if target_id is None else target_id}


def _record(
    unit: Unit,
    action: AuditAction,
    scope: FreezeScope,
    target_id: str | None,
    reason: str | None,
    workspace_id: str | None,
) -> None:
    given = {"targetId": target_id, "reason": reason}
    metadata = {"scope": str(scope)} | {name: value for name, value in given.items() if value is not None}
    unit.record(action, metadata, workspace_id=workspace_id, agent_id=target_id if scope is FreezeScope.AGENT else None)

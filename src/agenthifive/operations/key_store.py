"""The SQL of keys: canaries, the kids of sealed records, the processes that hold keys, re-encryption.

The statements about sealed records are the same for every column of `vault/sealed_columns.py`.
Source: contract/operations.md sections 1.3 and 1.6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, LiteralString

from psycopg.rows import class_row
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

from agenthifive.db.database import Connection
from agenthifive.vault.sealed_columns import SEALED_COLUMNS, SealedColumn

NO_KID: Final = "v1"
"""How records without a kid are counted: envelopes of version 1 name no key."""

KEYS_WORKSPACE: Final = "00000000-0000-0000-0000-000000000001"
"""The workspace of nobody, under which the change feed tells every process to load its keys again."""

_LOCK: Final = 0x61683503
ACTIVATION_LOCK: Final = (_LOCK, 1)
REENCRYPTION_LOCK: Final = (_LOCK, 2)

CANARIES: Final = "SELECT kid, envelope, state, seal_count FROM t_key_canaries ORDER BY created_at, kid"
ACTIVATE: Final = """
    INSERT INTO t_key_canaries (kid, envelope, state) VALUES (%(kid)s, %(envelope)s, 'active')
    ON CONFLICT (kid) DO UPDATE SET state = 'active', retired_at = NULL
"""
DEMOTE: Final = "UPDATE t_key_canaries SET state = 'previous' WHERE kid <> %(kid)s AND state = 'active'"
RETIRE: Final = "UPDATE t_key_canaries SET state = 'retired', retired_at = now() WHERE kid = %(kid)s"
COUNT_SEALS: Final = """
    UPDATE t_key_canaries SET seal_count = seal_count + %(seals)s WHERE kid = %(kid)s RETURNING seal_count
"""
HOLD: Final = "SELECT pg_advisory_xact_lock(%s, %s)"
TRY_HOLD: Final = "SELECT pg_try_advisory_xact_lock(%s, %s)"
IS_HELD: Final = """
    SELECT EXISTS (SELECT FROM pg_locks
                    WHERE locktype = 'advisory' AND classid = %s::bigint::oid AND objid = %s::bigint::oid
                      AND objsubid = 2 AND granted
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
# ---- the processes
APPEAR: Final = """
    INSERT INTO t_key_replicas (id, active_kid, kids, request, problem)
    VALUES (%(id)s, %(active_kid)s, %(kids)s, %(request)s, %(problem)s)
    ON CONFLICT (id) DO UPDATE SET active_kid = EXCLUDED.active_kid, kids = EXCLUDED.kids, request = EXCLUDED.request,
        problem = EXCLUDED.problem, seen_at = now()
"""
VANISH: Final = "DELETE FROM t_key_replicas WHERE id = %(id)s OR seen_at < now() - interval '1 hour'"
REPLICAS: Final = """
    SELECT id::text, active_kid, kids, request, problem FROM t_key_replicas
     WHERE seen_at > now() - make_interval(secs => %(silent_s)s) ORDER BY id
"""
REQUEST: Final = "SELECT coalesce((SELECT n FROM t_changes WHERE workspace_id = %(keys)s), 0)"
ANNOUNCE: Final = "SELECT announce_change(%(keys)s)"
# ---- re-encryption
REENCRYPTION: Final = "SELECT started_at, finished_at, total, done, failed, unreadable FROM t_key_reencryption"
BEGIN_REENCRYPTION: Final = """
    INSERT INTO t_key_reencryption (started_at, total) VALUES (now(), %(total)s)
    ON CONFLICT (single) DO UPDATE SET started_at = now(), finished_at = NULL, total = EXCLUDED.total, done = 0,
        failed = 0, unreadable = '[]'
"""
ADVANCE: Final = """
    UPDATE t_key_reencryption SET done = done + %(done)s, failed = failed + %(failed)s,
        unreadable = unreadable || CASE WHEN jsonb_array_length(unreadable) < 100 THEN %(unreadable)s ELSE '[]' END
"""
FINISH_REENCRYPTION: Final = "UPDATE t_key_reencryption SET finished_at = now()"
# the trigger on connections stays silent for this transaction; see the schema
ENTER_BATCH: Final = """
    SELECT set_config('agenthifive.reencrypts', 'on', true), state = 'active' FROM t_key_canaries WHERE kid = %(kid)s
"""

# one row per kid, found by steps through the index instead of reading it
_KIDS: Final = """
    WITH RECURSIVE kids AS (
        (SELECT {kid} AS kid FROM {table} WHERE {column} IS NOT NULL AND {kid} IS NOT NULL ORDER BY {kid} LIMIT 1)
        UNION ALL
        SELECT (SELECT {kid} FROM {table} WHERE {column} IS NOT NULL AND {kid} > kids.kid ORDER BY {kid} LIMIT 1)
          FROM kids WHERE kids.kid IS NOT NULL)
    SELECT kid FROM kids WHERE kid IS NOT NULL
"""
_COUNT: Final = "SELECT coalesce({kid}, 'v1'), count(*) FROM {table} WHERE {column} IS NOT NULL GROUP BY 1"
_RECORD: Final = "SELECT {id}::text, {workspace}::text, {column}, coalesce({kid}, 'v1') FROM {table}"
_OLD: Final = "{column} IS NOT NULL AND {kid} IS DISTINCT FROM %(active)s"
_FIRST_OLD: Final = f"{_RECORD} WHERE {_OLD} ORDER BY {{id}} LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
_NEXT_OLD: Final = (
    f"{_RECORD} WHERE {_OLD} AND {{id}} > %(after)s ORDER BY {{id}} LIMIT %(limit)s FOR UPDATE SKIP LOCKED"
)
_FIRST: Final = f"{_RECORD} WHERE {{column}} IS NOT NULL ORDER BY {{id}} LIMIT %(limit)s"
_NEXT: Final = f"{_RECORD} WHERE {{column}} IS NOT NULL AND {{id}} > %(after)s ORDER BY {{id}} LIMIT %(limit)s"
_UNNAMED: Final = f"{_RECORD} WHERE {{column}} IS NOT NULL AND ({{kid}} = 'v1' OR {{kid}} IS NULL) LIMIT %(limit)s"
_RESEAL: Final = "UPDATE {table} SET {column} = %(text)s, {kid} = %(kid)s WHERE {id} = %(id)s"


@dataclass(frozen=True, slots=True)
class Canary:
    """What is kept of a key."""

    kid: str
    envelope: str
    state: str
    seal_count: int


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed record. Shapes: kid: `v1` when it names none."""

    id: str
    workspace_id: str | None
    text: str
    kid: str


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that holds keys. Shapes: request: the last call to load keys that it followed."""

    id: str
    active_kid: str
    kids: Sequence[str]
    request: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class Reencryption:
    """How the last run stands, or stood. Shapes: unreadable: the first of them, {table, column, id, kid} each."""

    started_at: datetime
    finished_at: datetime | None
    total: int
    done: int
    failed: int
    unreadable: Sequence[Mapping[str, str]]


async def canaries(link: Connection) -> Mapping[str, Canary]:
    """Every key this database has known, by kid."""
    async with link.cursor(row_factory=class_row(Canary)) as cursor:
        await cursor.execute(CANARIES)
        return {canary.kid: canary for canary in await cursor.fetchall()}


async def activate(link: Connection, kid: str, envelope: str) -> None:
    """Make a key the active one; the others become previous."""
    await link.execute(ACTIVATE, {"kid": kid, "envelope": envelope})
    await link.execute(DEMOTE, {"kid": kid})


async def retire(link: Connection, kid: str) -> None:
    """Note that a key is done."""
    await link.execute(RETIRE, {"kid": kid})


async def count_seals(link: Connection, kid: str, seals: int) -> int | None:
    """Add the seals of this process; the seals of all. None for a key without a canary."""
    row = await (await link.execute(COUNT_SEALS, {"kid": kid, "seals": seals})).fetchone()
    return None if row is None else int(row[0])


async def hold(link: Connection, lock: tuple[int, int]) -> None:
    """Be alone with this until the end of the transaction."""
    await link.execute(HOLD, lock)


async def try_hold(link: Connection, lock: tuple[int, int]) -> bool:
    """The same if nobody else is."""
    return await (await link.execute(TRY_HOLD, lock)).fetchone() == (True,)


async def is_held(link: Connection, lock: tuple[int, int]) -> bool:
    """Whether anybody is."""
    return await (await link.execute(IS_HELD, lock)).fetchone() == (True,)


async def kids_in_use(link: Connection) -> frozenset[str]:
    """The kids of sealed records; cheap."""
    found: set[str] = set()
    for column in SEALED_COLUMNS:
        found.update(kid for (kid,) in await (await link.execute(_about(_KIDS, column))).fetchall())
    return frozenset(found)


async def count_records(link: Connection) -> Mapping[SealedColumn, Mapping[str, int]]:
    """Sealed records by column and kid; reads every table."""
    return {column: dict(await (await link.execute(_about(_COUNT, column))).fetchall()) for column in SEALED_COLUMNS}


async def totals(link: Connection) -> Mapping[str, int]:
    """Sealed records by kid, all columns together; reads every table."""
    found: dict[str, int] = {}
    for by_kid in (await count_records(link)).values():
        for kid, records in by_kid.items():
            found[kid] = found.get(kid, 0) + records
    return found


async def unnamed(link: Connection, column: SealedColumn, limit: int) -> Sequence[Record]:
    """Some records that name no key."""
    return await _records(link, _UNNAMED, column, {"limit": limit})


async def page(link: Connection, column: SealedColumn, after: str | None, limit: int) -> Sequence[Record]:
    """The next sealed records of a column in the order of their ids."""
    return await _records(link, _FIRST if after is None else _NEXT, column, {"after": after, "limit": limit})


async def lock_old(
    link: Connection, column: SealedColumn, active: str, after: str | None, limit: int
) -> Sequence[Record]:
    """The next records under another kid that nobody else holds, locked for this transaction."""
    values = {"active": active, "after": after, "limit": limit}
    return await _records(link, _FIRST_OLD if after is None else _NEXT_OLD, column, values)


async def reseal(link: Connection, column: SealedColumn, sealed: Sequence[Mapping[str, str]]) -> None:
    """Write other envelopes of the same secrets. Shapes: sealed: id, text, kid each."""
    async with link.cursor() as cursor:
        await cursor.executemany(_about(_RESEAL, column), sealed)


async def enter_batch(link: Connection, active: str) -> bool:
    """Begin a transaction that only re-encrypts; False when another key has become the active one."""
    row = await (await link.execute(ENTER_BATCH, {"kid": active})).fetchone()
    return row is not None and row[1] is True


async def reencryption(link: Connection) -> Reencryption | None:
    """How the last run stands."""
    async with link.cursor(row_factory=class_row(Reencryption)) as cursor:
        await cursor.execute(REENCRYPTION)
        return await cursor.fetchone()


async def begin_reencryption(link: Connection, total: int) -> None:
    """A run begins."""
    await link.execute(BEGIN_REENCRYPTION, {"total": total})


async def advance(link: Connection, done: int, unreadable: Sequence[Mapping[str, str]]) -> None:
    """So much more was done."""
    values = {"done": done, "failed": len(unreadable), "unreadable": Jsonb([dict(each) for each in unreadable])}
    await link.execute(ADVANCE, values)


async def finish_reencryption(link: Connection) -> None:
    """The run has seen everything."""
    await link.execute(FINISH_REENCRYPTION)


async def appear(link: Connection, replica: Replica) -> None:
    """Say which keys a process holds."""
    values = {"id": replica.id, "active_kid": replica.active_kid, "kids": list(replica.kids)}
    await link.execute(APPEAR, {**values, "request": replica.request, "problem": replica.problem})


async def vanish(link: Connection, replica_id: str) -> None:
    """A process holds no keys any more; so do those nobody has heard of."""
    await link.execute(VANISH, {"id": replica_id})


async def replicas(link: Connection, silent_s: float) -> Sequence[Replica]:
    """The processes that were heard of lately."""
    async with link.cursor(row_factory=class_row(Replica)) as cursor:
        await cursor.execute(REPLICAS, {"silent_s": silent_s})
        return await cursor.fetchall()


async def request(link: Connection) -> int:
    """How often processes were told to load their keys."""
    row = await (await link.execute(REQUEST, {"keys": KEYS_WORKSPACE})).fetchone()
    return 0 if row is None else int(row[0])


async def announce(link: Connection) -> int:
    """Tell every process to load its keys; the number of this request."""
    await link.execute(ANNOUNCE, {"keys": KEYS_WORKSPACE})
    return await request(link)


async def _records(
    link: Connection, statement: LiteralString, column: SealedColumn, values: Mapping[str, Any]
) -> Sequence[Record]:
    cursor = await link.execute(_about(statement, column), values)
    return [Record(*row) for row in await cursor.fetchall()]


def _about(statement: LiteralString, column: SealedColumn) -> Composed:
    """A statement about one sealed column."""
    return SQL(statement).format(
        table=Identifier(column.table),
        column=Identifier(column.column),
        kid=Identifier(column.kid),
        id=Identifier(column.id),
        workspace=SQL("NULL") if column.workspace is None else Identifier(column.workspace),
    )

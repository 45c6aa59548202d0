"""The identity of an installation: one row, written at the first start, and the epoch that each restore raises.

    row -> system identifier and database oid are those of this database? -> go on
                                        they are others': a copy or a restore -> epoch + 1, everything one-time spent

The epoch is raised by one conditional statement, so of two replicas that start at once on a restored database one
raises it and the other finds it raised. Source: contract/operations.md section 3.4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Signature, Unit
from agenthifive.operations.one_time import spend_all
from agenthifive.settings import Settings
from agenthifive.words import AuditAction

_HERE: Final = "pg_control_system() s, pg_database d WHERE d.datname = current_database()"
_MOVED: Final = "(i.system_identifier <> s.system_identifier::text OR i.database_oid <> d.oid::bigint)"
FIND: Final = f"""
    SELECT i.id::text, i.epoch, extract(epoch FROM i.restored_at)::float8, {_MOVED} FROM t_instance i, {_HERE}
"""
CREATE: Final = f"""
    INSERT INTO t_instance (system_identifier, database_oid, first_web_url, environment)
    SELECT s.system_identifier::text, d.oid::bigint, %(web_url)s, %(environment)s FROM {_HERE}
    ON CONFLICT DO NOTHING
"""
RAISE: Final = f"""
    UPDATE t_instance i
       SET epoch = i.epoch + 1, system_identifier = s.system_identifier::text, database_oid = d.oid::bigint,
           restored_at = clock_timestamp()
      FROM {_HERE} AND i.epoch = %(epoch)s AND (%(in_place)s OR {_MOVED})
"""
# as long as there is something to spend; a start that waits is better than one that gives up half-way
PATIENCE: Final = "SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was found to be a copy, and what was spent. Shapes: voided: kind -> how many."""

    previous_epoch: int
    voided: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose database this is.

    Shapes: restored: set when this look at it raised the epoch. Units: restored_at_s: seconds since 1970; None when it
        was never restored.
    """

    instance: Instance
    restored_at_s: float | None
    restored: Restored | None = None


async def identify(
    database: Database, settings: Settings, signature: Signature, *, is_set_back: bool = False
) -> Identity:
    """The installation this database belongs to. On a copy of its database everything one-time is spent first.

    Shapes:
        is_set_back: the operator says that the database was restored in place, which its identity cannot tell.
    Raises: psycopg.Error, PoolTimeout.
    """
    async with database.transaction() as connection:
        found = await _find(connection, settings)
    if not (found[3] or is_set_back):
        return Identity(Instance(found[0], found[1]), found[2])
    restored = await _raise_epoch(database, Instance(found[0], found[1]), signature, is_set_back=is_set_back)
    async with database.transaction() as connection:
        instance_id, epoch, restored_at_s, _ = await _find(connection, settings)
    return Identity(Instance(instance_id, epoch), restored_at_s, restored)


async def _find(connection: Connection, settings: Settings) -> tuple[Any, ...]:
    row = await (await connection.execute(FIND)).fetchone()
    if row is None:
        await connection.execute(CREATE, {"web_url": settings.web_url, "environment": settings.ah5_env})
        row = await (await connection.execute(FIND)).fetchone()
    assert row is not None
    return row


async def _raise_epoch(
    database: Database, known: Instance, signature: Signature, *, is_set_back: bool
) -> Restored | None:
    """Raise the epoch, spend, record, all or nothing; None when somebody else was faster."""
    raised = Instance(known.id, known.epoch + 1)
    async with Unit(database, AdminChain(database, raised), signature) as unit:
        connection = await unit.begin()
        await connection.execute(PATIENCE)
        cursor = await connection.execute(RAISE, {"epoch": known.epoch, "in_place": is_set_back})
        if cursor.rowcount != 1:
            return None
        voided = await spend_all(connection)
        unit.record(
            AuditAction.DATABASE_RESTORED, {"epoch": raised.epoch, "previousEpoch": known.epoch, "voided": voided}
        )
    return Restored(known.epoch, voided)

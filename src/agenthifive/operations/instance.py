"""The identity of an installation: one row, written at the first start. Source: contract/operations.md section 3.4."""

from typing import Final

from agenthifive.audit.chains import Instance
from agenthifive.db.database import Connection
from agenthifive.settings import Settings

FIND: Final = "SELECT id::text, epoch, extract(epoch FROM restored_at)::float8 FROM t_instance"
CREATE: Final = """
    INSERT INTO t_instance (system_identifier, database_oid, first_web_url, environment)
    SELECT (SELECT system_identifier::text FROM pg_control_system()), d.oid::bigint, %(web_url)s, %(environment)s
      FROM pg_database d WHERE d.datname = current_database()
    ON CONFLICT DO NOTHING
"""


async def identify(connection: Connection, settings: Settings) -> tuple[Instance, float | None]:
    """The installation this database belongs to, and when it was last restored (seconds since 1970)."""
    row = await (await connection.execute(FIND)).fetchone()
    if row is None:
        await connection.execute(CREATE, {"web_url": settings.web_url, "environment": settings.ah5_env})
        row = await (await connection.execute(FIND)).fetchone()
    assert row is not None
    return Instance(row[0], row[1]), row[2]

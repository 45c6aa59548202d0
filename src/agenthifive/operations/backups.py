"""Which backups were made: for the question how old the newest one is, and which keys it covers.

A dump made by pg_dump itself leaves no trace here. Source: contract/operations.md sections 1.7 and 3.4.
"""

from collections.abc import Sequence
from typing import Final, Literal

from agenthifive.db.database import Connection
from agenthifive.ids import new_id

NOTE: Final = "INSERT INTO t_backups (id, kind, kids) VALUES (%s, %s, %s)"


async def note_backup(connection: Connection, kind: Literal["database", "keys"], kids: Sequence[str]) -> None:
    """Remember a backup. Raises: psycopg.Error."""
    await connection.execute(NOTE, [new_id(), kind, list(kids)])

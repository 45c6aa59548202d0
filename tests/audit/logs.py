"""A log that tests fill, damage and check as those would who can."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from agenthifive.audit.model import NO_CHECKPOINT, Chain, Event, open_chain
from agenthifive.audit.verify import Report, verify
from agenthifive.ids import new_id, wire_time_of

ADD_CHAIN = "INSERT INTO l_audit_chains VALUES (%s, 'broker', %s, 1, %s, %s, 'test:1:filler')"


@dataclass(frozen=True)
class Log:
    """A migrated database that one module writes to."""

    app_dsn: str
    admin_dsn: str

    @contextlib.contextmanager
    def superuser(self, *, autocommit: bool = True) -> Iterator[psycopg.Connection[Any]]:
        """Somebody who may do what the application may not."""
        with psycopg.connect(self.admin_dsn, autocommit=autocommit) as connection:
            yield connection

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of a query."""
        with self.superuser() as connection:
            return connection.execute(statement, values).fetchall()

    def do(self, statement: str, *values: Any) -> None:
        """Run a statement as the superuser."""
        with self.superuser() as connection:
            connection.execute(statement, values)

    def verify(self) -> Report:
        """What `agenthifive audit verify` finds, with the rights of the application."""
        with psycopg.connect(self.app_dsn) as connection:
            return verify(connection)

    def fill(self, chains: Sequence[Sequence[Event]], instance: str | None = None) -> list[Chain]:
        """Write a chain for each list of events, as a writer would."""
        heads = []
        with psycopg.connect(self.app_dsn, autocommit=True) as connection:
            for events in chains:
                record = (new_id(), instance or new_id(), wire_time_of(time.time()))
                connection.execute(ADD_CHAIN, [*record, NO_CHECKPOINT])
                rows, head = open_chain(record[0], "broker", record[1], 1, record[2]).link(events)
                connection.execute("SELECT audit_append(%s::json)", [rows.decode()])
                heads.append(head)
        return heads

"""The audit table of the instance, read and filled as the database's superuser."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from bench.instance import Instance

COUNT: Final = "SELECT count(*) FROM l_audit_events"
WORKSPACE: Final = "SELECT workspace_id FROM t_agents WHERE id = %s"
# rows as calls leave them, two a call, over the past month; neither chained nor guarded: a throw-away database
GROW: Final = """
    INSERT INTO l_audit_events (audit_id, "timestamp", actor, agent_id, connection_id, action, decision, metadata,
        workspace_id, principal_type, principal_id, request_id, intent_id, chain_id, chain_seq, prev_hash, hash)
    SELECT overlay(gen_random_uuid()::text PLACING lpad(to_hex(n), 8, '0') FROM 1 FOR 8)::uuid,
        now() - interval '1 hour' - (%(rows)s - n) * interval '2.5 seconds',
        'agent:' || %(agent)s, %(agent)s::uuid, %(connection)s::uuid,
        CASE WHEN n %% 2 = 0 THEN 'execution_completed' ELSE 'execution_requested' END, 'allowed',
        jsonb_build_object('model', 'B', 'provider', 'http', 'service', 'generic-http', 'method', 'GET',
            'scheme', 'http', 'host', 'localhost', 'path', '/v1/document.json', 'queryNames', '[]'::jsonb,
            'bodyBytes', 0, 'via', 'execute'),
        %(workspace)s::uuid, 'agent', %(agent)s, 'req-' || n,
        CASE WHEN n %% 2 = 0 THEN gen_random_uuid() END,
        '00000000-0000-4000-8000-000000000001', n, sha256('before'), sha256('after')
      FROM generate_series(1, %(rows)s) AS n
"""
_SETTLED_S: Final = 0.3
_SETTLE_TIMEOUT_S: Final = 10.0


@contextlib.contextmanager
def reading(instance: Instance) -> Iterator[psycopg.Connection[Any]]:
    """A connection that commits each statement, for the length of a block."""
    with psycopg.connect(instance.admin_dsn(), autocommit=True) as connection:
        yield connection


def count_rows(instance: Instance) -> int:
    """How many rows there are once no more come."""
    deadline = time.monotonic() + _SETTLE_TIMEOUT_S
    with reading(instance) as connection:
        before, now = -1, int(_one(connection, COUNT))
        while now != before and time.monotonic() < deadline:
            time.sleep(_SETTLED_S)
            before, now = now, int(_one(connection, COUNT))
    return now


def grow(instance: Instance, rows: int, agent_id: str, connection_id: str) -> None:
    """Add that many rows and let PostgreSQL look at them, as its autovacuum would in time."""
    with reading(instance) as connection:
        connection.execute("SET session_replication_role = replica")
        workspace = _one(connection, WORKSPACE, [agent_id])
        values = {"rows": rows, "agent": agent_id, "connection": connection_id, "workspace": workspace}
        connection.execute(GROW, values)
        connection.execute("VACUUM (ANALYZE) l_audit_events")
        connection.execute("CHECKPOINT")


def _one(connection: psycopg.Connection[Any], statement: str, values: Sequence[object] = ()) -> Any:
    row = connection.execute(statement, values or None).fetchone()
    assert row is not None
    return row[0]

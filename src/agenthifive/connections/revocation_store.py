"""The SQL of revocation: the local cut, and the credentials that wait for their revocation at the provider.

Source: contract/connections.md section 10.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from agenthifive.connections.model import Held, Ticket
from agenthifive.db.database import Connection as Link

RETRY_WAITS_S: Final = (60, 300, 1800, 7200, 43_200)
"""How long after each attempt the next one follows; then only the end after 24 hours is left."""

LIST_LIVE: Final = """
    SELECT id::text FROM t_connections WHERE workspace_id = %(workspace_id)s AND status <> 'revoked' ORDER BY id
"""
REVOKE: Final = """
    UPDATE t_connections
       SET status = 'revoked', status_reason = %(reason)s, encrypted_tokens = NULL, encrypted_tokens_kid = NULL,
           verified = false, version = version + 1, updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s
"""
REVOKE_POLICIES: Final = """
    UPDATE t_policies SET status = 'revoked', version = version + 1, updated_at = now()
     WHERE connection_id = %(connection_id)s AND workspace_id = %(workspace_id)s AND status = 'active'
"""
HIDE: Final = """
    UPDATE t_connections SET deleted_at = now(), updated_at = now()
     WHERE id = %(connection_id)s AND workspace_id = %(workspace_id)s
"""
AGENT_STANDING: Final = """
    SELECT bool_or(status = 'active') FROM t_policies
     WHERE connection_id = %(connection_id)s AND workspace_id = %(workspace_id)s AND agent_id = %(agent_id)s
"""
# the request makes the first attempt itself; the job comes when that one was lost or failed
OPEN_TICKET: Final = """
    INSERT INTO t_provider_revocations
        (id, workspace_id, connection_id, sealed_token, sealed_token_kid, attempts, next_at)
    VALUES (%(ticket_id)s, %(workspace_id)s, %(connection_id)s, %(sealed)s, %(kid)s, 1,
        now() + make_interval(secs => %(wait_s)s))
"""
CLAIM_TICKET: Final = """
    UPDATE t_provider_revocations AS r
       SET attempts = attempts + 1,
           next_at = least(now() + make_interval(secs => (%(waits_s)s::int[])[attempts + 1]),
                           greatest(created_at + interval '24 hours', now() + interval '1 minute'))
     WHERE id = (
        SELECT id FROM t_provider_revocations WHERE state = 'pending' AND next_at <= now()
         ORDER BY next_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING id::text, workspace_id::text, connection_id::text,
        coalesce((SELECT provider FROM t_connections c WHERE c.id = r.connection_id), '') AS provider,
        sealed_token AS sealed,
        created_at <= now() - interval '24 hours' AS is_over
"""
CLOSE_TICKET: Final = """
    UPDATE t_provider_revocations SET state = %(state)s, sealed_token = NULL, sealed_token_kid = NULL
     WHERE id = %(ticket_id)s AND state = 'pending'
    RETURNING true
"""
LAST_TICKET: Final = """
    SELECT state FROM t_provider_revocations
     WHERE connection_id = %(connection_id)s AND workspace_id = %(workspace_id)s
     ORDER BY created_at DESC, id DESC LIMIT 1
"""
# materialised, so that the search stays within the few rows of this action
LAST_VENDED: Final = """
    WITH vended AS MATERIALIZED (
        SELECT connection_id, "timestamp" AS at FROM l_audit_events
         WHERE workspace_id = %(workspace_id)s AND action = 'token_vended' AND decision = 'allowed'
         ORDER BY "timestamp" DESC LIMIT 10000)
    SELECT max(at) FROM vended WHERE connection_id = %(connection_id)s
"""


async def list_live(link: Link, workspace_id: str) -> list[str]:
    """The connections of a workspace that still have a credential."""
    cursor = await link.execute(LIST_LIVE, {"workspace_id": workspace_id})
    return [row[0] for row in await cursor.fetchall()]


async def revoke(link: Link, held: Held, reason: str) -> int:
    """Cut a connection off: no credential, no policies; how many policies that were."""
    await link.execute(REVOKE, {**_of(held), "reason": reason})
    return (await link.execute(REVOKE_POLICIES, _of(held))).rowcount


async def hide(link: Link, held: Held) -> None:
    """Make a connection invisible; its row stays for the log."""
    await link.execute(HIDE, _of(held))


async def agent_standing(link: Link, held: Held, agent_id: str) -> bool | None:
    """Whether an agent holds a live policy on a connection; None when it never held one."""
    row = await (await link.execute(AGENT_STANDING, {**_of(held), "agent_id": agent_id})).fetchone()
    return None if row is None or row[0] is None else bool(row[0])


async def open_ticket(link: Link, ticket_id: str, held: Held, sealed: str, kid: str) -> None:
    """Keep a credential for its revocation."""
    values = {**_of(held), "ticket_id": ticket_id, "sealed": sealed, "kid": kid, "wait_s": RETRY_WAITS_S[0]}
    await link.execute(OPEN_TICKET, values)


async def claim_ticket(link: Link) -> Ticket | None:
    """The next credential whose revocation is due, for this one caller; the attempt is counted."""
    waits_s: Sequence[int] = RETRY_WAITS_S
    async with link.cursor(row_factory=class_row(Ticket)) as cursor:
        await cursor.execute(CLAIM_TICKET, {"waits_s": list(waits_s)})
        return await cursor.fetchone()


async def close_ticket(link: Link, ticket_id: str, state: str) -> bool:
    """End the waiting and erase the credential; False when somebody else did."""
    return await (await link.execute(CLOSE_TICKET, {"ticket_id": ticket_id, "state": state})).fetchone() is not None


async def last_state(link: Link, held: Held) -> str | None:
    """How the revocation at the provider stands; None when the catalog knows no call for it."""
    row = await (await link.execute(LAST_TICKET, _of(held))).fetchone()
    return None if row is None else str(row[0])


async def last_vended_at(link: Link, held: Held) -> datetime | None:
    """When the credential was last handed to an agent."""
    row = await (await link.execute(LAST_VENDED, _of(held))).fetchone()
    return None if row is None else row[0]


def _of(held: Held) -> dict[str, str]:
    return {"connection_id": held.id, "workspace_id": held.workspace_id}

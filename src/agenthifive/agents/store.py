"""The SQL of agents, their bootstrap secrets and access tokens.

A transaction that changes an agent locks its row first, then its secrets, then its tokens; nothing else waits for
these locks while it holds one of them. Source: contract/agents.md sections 1 to 4, 6 to 8, 11 and 15.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from psycopg.rows import class_row, kwargs_row

from agenthifive import strict_json
from agenthifive.agents.model import Agent, AgentTexts, Candidate, Holding, Registered, TokenHolder
from agenthifive.agents.public_key import PublicKey
from agenthifive.db.database import Connection
from agenthifive.db.direct import Direct
from agenthifive.words import AgentStatus, Scope

_AGENT: Final = """
    a.id::text, a.name, a.description, a.icon_url, a.status, a.enrolled_at, a.created_at, a.updated_at, a.last_seen_at,
    a.public_key_thumbprint, a.key_alg, a.created_by::text, a.disabled_at, a.disabled_reason,
    (SELECT count(*)::int FROM t_agent_access_tokens t WHERE t.agent_id = a.id AND t.expires_at > now())
        AS active_tokens
"""
# the person an agent stands for: its creator while a member, else the owner of the workspace
_CREATOR: Final = """
      JOIN t_workspaces w ON w.id = a.workspace_id
      LEFT JOIN t_members m ON m.workspace_id = a.workspace_id AND m.user_id = a.created_by
      JOIN t_users u ON u.id = coalesce(m.user_id, w.owner_id)
"""
LIST: Final = f"SELECT {_AGENT} FROM t_agents a WHERE a.workspace_id = %(workspace_id)s ORDER BY a.created_at, a.id"
FIND: Final = f"SELECT {_AGENT} FROM t_agents a WHERE a.id = %(agent_id)s AND a.workspace_id = %(workspace_id)s"
HOLD_WORKSPACE: Final = "SELECT FROM t_workspaces WHERE id = %(workspace_id)s FOR NO KEY UPDATE"
COUNT: Final = "SELECT count(*)::int FROM t_agents WHERE workspace_id = %(workspace_id)s"
INSERT: Final = f"""
    INSERT INTO t_agents AS a (id, workspace_id, name, description, icon_url, status, created_by)
    VALUES (%(agent_id)s, %(workspace_id)s, %(name)s, %(description)s, %(icon_url)s, 'created', %(created_by)s)
    RETURNING {_AGENT}
"""
UPDATE: Final = f"""
    UPDATE t_agents a SET name = coalesce(%(name)s, name), description = coalesce(%(description)s, description),
           icon_url = CASE WHEN %(clears_icon)s THEN NULL ELSE coalesce(%(icon_url)s, icon_url) END, updated_at = now()
     WHERE a.id = %(agent_id)s AND a.workspace_id = %(workspace_id)s RETURNING {_AGENT}
"""
HOLD: Final = """
    SELECT status FROM t_agents WHERE id = %(agent_id)s AND workspace_id = %(workspace_id)s FOR NO KEY UPDATE
"""
DISABLE: Final = """
    UPDATE t_agents SET status = 'disabled', disabled_at = now(), disabled_by = %(disabled_by)s,
           disabled_reason = %(reason)s, updated_at = now() WHERE id = %(agent_id)s
"""
FORGET_KEY: Final = """
    UPDATE t_agents SET public_key_jwk = NULL, public_key_thumbprint = NULL, key_alg = NULL, key_kid = NULL,
           key_changed_at = now(), enrolled_at = NULL WHERE id = %(agent_id)s
"""
ENABLE: Final = """
    UPDATE t_agents SET status = CASE WHEN public_key_jwk IS NULL THEN 'created' ELSE 'active' END,
           disabled_at = NULL, disabled_by = NULL, disabled_reason = NULL, updated_at = now()
     WHERE id = %(agent_id)s RETURNING status
"""
COUNT_POLICIES: Final = "SELECT count(*)::int FROM t_policies WHERE agent_id = %(agent_id)s"
DELETE: Final = "DELETE FROM t_agents WHERE id = %(agent_id)s RETURNING name"

INSERT_SECRET: Final = """
    INSERT INTO t_agent_bootstrap_secrets (id, agent_id, secret_hash, expires_at, issued_by)
    VALUES (%(secret_id)s, %(agent_id)s, %(secret_hash)s, now() + make_interval(secs => %(ttl_s)s), %(issued_by)s)
    RETURNING expires_at
"""
REVOKE_SECRETS: Final = """
    UPDATE t_agent_bootstrap_secrets SET revoked_at = now() WHERE agent_id = %(agent_id)s AND revoked_at IS NULL
"""
REVOKE_LIVE_SECRETS: Final = f"{REVOKE_SECRETS} AND consumed_at IS NULL"
HOLD_AGENT_OF_SECRET: Final = """
    SELECT FROM t_agent_bootstrap_secrets s JOIN t_agents a ON a.id = s.agent_id
     WHERE s.secret_hash = %(secret_hash)s AND s.type = 'bootstrap' FOR NO KEY UPDATE OF a
"""
FIND_CANDIDATE: Final = f"""
    SELECT s.id::text AS secret_id, a.id::text AS agent_id, a.workspace_id::text, a.name, a.status,
           a.public_key_thumbprint AS thumbprint, s.revoked_at IS NOT NULL AS is_revoked,
           s.expires_at <= now() AS is_expired, s.consumed_at IS NOT NULL AS is_consumed,
           coalesce(s.consumed_at > now() - make_interval(mins => %(retry_minutes)s), false) AS is_retry_open,
           s.consumed_thumbprint, u.disabled_at IS NOT NULL AS creator_is_disabled
      FROM t_agent_bootstrap_secrets s JOIN t_agents a ON a.id = s.agent_id {_CREATOR}
     WHERE s.secret_hash = %(secret_hash)s AND s.type = 'bootstrap'
"""
CONSUME_SECRET: Final = """
    UPDATE t_agent_bootstrap_secrets SET consumed_at = now(), consumed_thumbprint = %(thumbprint)s
     WHERE id = %(secret_id)s AND consumed_at IS NULL AND revoked_at IS NULL AND expires_at > now()
"""
REGISTER_KEY: Final = """
    UPDATE t_agents SET status = 'active', public_key_jwk = %(jwk)s::jsonb, key_alg = %(alg)s, key_kid = %(kid)s,
           key_changed_at = CASE WHEN public_key_thumbprint = %(thumbprint)s THEN key_changed_at ELSE now() END,
           public_key_thumbprint = %(thumbprint)s, enrolled_at = coalesce(enrolled_at, now()), updated_at = now()
     WHERE id = %(agent_id)s
"""
DELETE_TOKENS: Final = """
    WITH gone AS (DELETE FROM t_agent_access_tokens WHERE agent_id = %(agent_id)s RETURNING expires_at)
    SELECT count(*)::int FROM gone WHERE expires_at > now()
"""

AWAIT_CHANGE: Final = "SELECT FROM t_agents WHERE id = %s FOR SHARE"
# [agent id] -> [{...} or null], in the order asked
FIND_ALL_REGISTERED: Final = f"""
    SELECT json_agg((SELECT json_build_object('workspaceId', a.workspace_id, 'status', a.status,
                            'jwk', a.public_key_jwk, 'kid', a.key_kid, 'thumbprint', a.public_key_thumbprint,
                            'alg', a.key_alg,
                            'creatorIsDisabled', u.disabled_at IS NOT NULL,
                            'nowS', extract(epoch FROM clock_timestamp())::float8)
                       FROM t_agents a {_CREATOR}
                      WHERE a.id = asked.id::uuid AND a.public_key_jwk IS NOT NULL) ORDER BY asked.n)
      FROM json_array_elements_text($1::text::json) WITH ORDINALITY AS asked (id, n)
""".encode()
FIND_TOKEN_HOLDER: Final = f"""
    SELECT t.agent_id::text, t.workspace_id::text, t.scopes,
           t.last_used_at IS NULL OR t.last_used_at < now() - interval '1 minute'
      FROM t_agent_access_tokens t JOIN t_agents a ON a.id = t.agent_id AND a.status = 'active' {_CREATOR}
     WHERE t.token_hash = %(token_hash)s AND t.expires_at > now()
       AND (u.disabled_at IS NULL OR NOT %(creator_stops)s)
"""
MARK_SEEN: Final = """
    UPDATE t_agents SET last_seen_at = now()
     WHERE id = %(agent_id)s AND (last_seen_at IS NULL OR last_seen_at < now() - interval '1 minute')
"""
MARK_TOKEN_USED: Final = """
    UPDATE t_agent_access_tokens SET last_used_at = now() WHERE token_hash = %(token_hash)s RETURNING true
"""

FIND_HOLDINGS: Final = """
    SELECT c.id::text AS connection_id, c.service, c.variant, c.provider, c.status, c.label, p.id::text AS policy_id,
           p.action_template_id, p.document->'allowedModels' AS allowed_models
      FROM t_policies p JOIN t_connections c ON c.id = p.connection_id
     WHERE p.agent_id = %(agent_id)s AND p.workspace_id = %(workspace_id)s AND p.status = 'active'
       AND c.status <> 'revoked' AND c.deleted_at IS NULL
     ORDER BY p.created_at, p.id
"""

TAKE_TURN: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 7))"
SWEEP_REPLAYS: Final = """
    DELETE FROM l_jti_replay_cache WHERE ctid IN (
        SELECT ctid FROM l_jti_replay_cache WHERE expires_at < now() - interval '5 minutes' LIMIT %(batch)s)
"""
SWEEP_TOKENS: Final = """
    DELETE FROM t_agent_access_tokens WHERE id IN (
        SELECT id FROM t_agent_access_tokens WHERE expires_at <= now() LIMIT %(batch)s)
"""
SWEEP_SECRETS: Final = """
    DELETE FROM t_agent_bootstrap_secrets WHERE id IN (
        SELECT id FROM t_agent_bootstrap_secrets
         WHERE least(consumed_at, revoked_at, expires_at) < now() - interval '24 hours' LIMIT %(batch)s)
"""


def _agent(*, status: str, **members: Any) -> Agent:
    return Agent(status=AgentStatus(status), **members)


def _candidate(*, status: str, **members: Any) -> Candidate:
    return Candidate(status=AgentStatus(status), **members)


_agent_row: Final = kwargs_row(_agent)
_candidate_row: Final = kwargs_row(_candidate)


class _RegisteredRow(msgspec.Struct, rename="camel"):
    workspace_id: str
    status: str
    jwk: dict[str, str]
    kid: str | None
    thumbprint: str
    alg: str
    creator_is_disabled: bool
    now_s: float


_encode: Final = msgspec.json.Encoder().encode
_decode_registered: Final = msgspec.json.Decoder(list[_RegisteredRow | None]).decode


async def list_agents(connection: Connection, workspace_id: str) -> list[Agent]:
    """The agents of a workspace, oldest first."""
    async with connection.cursor(row_factory=_agent_row) as cursor:
        await cursor.execute(LIST, {"workspace_id": workspace_id})
        return await cursor.fetchall()


async def find_agent(connection: Connection, workspace_id: str, agent_id: str) -> Agent | None:
    """An agent of this workspace."""
    return await _one_agent(connection, FIND, {"workspace_id": workspace_id, "agent_id": agent_id})


async def count_agents(connection: Connection, workspace_id: str) -> int:
    """How many agents the workspace has; nobody else adds one until this transaction ends."""
    await connection.execute(HOLD_WORKSPACE, {"workspace_id": workspace_id})
    return await _number(connection, COUNT, {"workspace_id": workspace_id})


async def insert_agent(
    connection: Connection, workspace_id: str, agent_id: str, texts: AgentTexts, created_by: str | None
) -> Agent:
    """Add an agent in the status created."""
    values = {
        "agent_id": agent_id,
        "workspace_id": workspace_id,
        "name": texts.name,
        "description": texts.description or "",
        "icon_url": texts.icon_url,
        "created_by": created_by,
    }
    agent = await _one_agent(connection, INSERT, values)
    assert agent is not None
    return agent


async def update_agent(connection: Connection, workspace_id: str, agent_id: str, texts: AgentTexts) -> Agent | None:
    """Change the texts of an agent; None when the workspace has no such agent."""
    values = {
        "agent_id": agent_id,
        "workspace_id": workspace_id,
        "name": texts.name,
        "description": texts.description,
        "icon_url": texts.icon_url,
        "clears_icon": texts.clears_icon,
    }
    return await _one_agent(connection, UPDATE, values)


async def hold_agent(connection: Connection, workspace_id: str, agent_id: str) -> AgentStatus | None:
    """Lock an agent of this workspace until the transaction ends; its status."""
    cursor = await connection.execute(HOLD, {"workspace_id": workspace_id, "agent_id": agent_id})
    row = await cursor.fetchone()
    return None if row is None else AgentStatus(row[0])


async def disable_agent(
    connection: Connection, agent_id: str, disabled_by: str, reason: str | None, *, forget_key: bool
) -> int:
    """Disable a held agent and end its tokens and live bootstrap secrets; the number of tokens that were live."""
    values = {"agent_id": agent_id, "disabled_by": disabled_by, "reason": reason}
    await connection.execute(DISABLE, values)
    if forget_key:
        await connection.execute(FORGET_KEY, values)
    await connection.execute(REVOKE_LIVE_SECRETS, values)
    return await delete_tokens(connection, agent_id)


async def enable_agent(connection: Connection, agent_id: str) -> AgentStatus:
    """Enable a held agent; its new status."""
    cursor = await connection.execute(ENABLE, {"agent_id": agent_id})
    row = await cursor.fetchone()
    assert row is not None
    return AgentStatus(row[0])


async def delete_agent(connection: Connection, agent_id: str) -> tuple[str, int]:
    """Delete a held agent with everything it holds; its name and the number of its policies."""
    policies = await _number(connection, COUNT_POLICIES, {"agent_id": agent_id})
    cursor = await connection.execute(DELETE, {"agent_id": agent_id})
    row = await cursor.fetchone()
    assert row is not None
    return row[0], policies


async def delete_tokens(connection: Connection, agent_id: str) -> int:
    """Delete the access tokens of a held agent; how many had not expired."""
    return await _number(connection, DELETE_TOKENS, {"agent_id": agent_id})


async def revoke_secrets(connection: Connection, agent_id: str) -> int:
    """Revoke every bootstrap secret of a held agent, used or not."""
    cursor = await connection.execute(REVOKE_SECRETS, {"agent_id": agent_id})
    return cursor.rowcount


async def insert_secret(
    connection: Connection, agent_id: str, secret_id: str, secret_hash: str, ttl_s: float, issued_by: str
) -> datetime:
    """Store the hash of a bootstrap secret; the instant it expires."""
    values = {
        "agent_id": agent_id,
        "secret_id": secret_id,
        "secret_hash": secret_hash,
        "ttl_s": ttl_s,
        "issued_by": issued_by,
    }
    cursor = await connection.execute(INSERT_SECRET, values)
    row = await cursor.fetchone()
    assert row is not None
    expires_at: datetime = row[0]
    return expires_at


async def hold_candidate(connection: Connection, secret_hash: str, retry_minutes: int) -> Candidate | None:
    """Lock the agent a bootstrap secret belongs to, then read both; None when the secret is unknown."""
    values = {"secret_hash": secret_hash, "retry_minutes": retry_minutes}
    held = await connection.execute(HOLD_AGENT_OF_SECRET, values)
    if held.rowcount == 0:
        return None
    async with connection.cursor(row_factory=_candidate_row) as cursor:
        await cursor.execute(FIND_CANDIDATE, values)
        return await cursor.fetchone()


async def consume_secret(connection: Connection, secret_id: str, thumbprint: str) -> bool:
    """Spend a bootstrap secret: true for the one who did."""
    cursor = await connection.execute(CONSUME_SECRET, {"secret_id": secret_id, "thumbprint": thumbprint})
    return cursor.rowcount == 1


async def register_key(connection: Connection, agent_id: str, key: PublicKey) -> None:
    """Make this the key of a held agent, and the agent active."""
    values = {
        "agent_id": agent_id,
        "jwk": strict_json.dumps(key.jwk).decode("utf-8"),
        "alg": key.alg,
        "kid": key.kid,
        "thumbprint": key.thumbprint,
    }
    await connection.execute(REGISTER_KEY, values)


async def await_change(connection: Connection, agent_id: str) -> None:
    """Wait for whoever is changing the agent; it then stays as it is until the transaction ends."""
    await connection.execute(AWAIT_CHANGE, [agent_id])


async def find_all_registered(wire: Direct, agent_ids: Sequence[str]) -> Sequence[Registered | None]:
    """Agents with their keys, of any workspace; None for one without a key."""
    answer = await wire.call(b"registered", FIND_ALL_REGISTERED, [_encode(agent_ids)])
    rows = _decode_registered(answer or b"[]")
    return [None if row is None else _registered(agent_id, row) for agent_id, row in zip(agent_ids, rows, strict=True)]


def _registered(agent_id: str, row: _RegisteredRow) -> Registered:
    key = PublicKey(row.jwk, row.kid, row.thumbprint, row.alg)
    return Registered(agent_id, row.workspace_id, AgentStatus(row.status), key, row.creator_is_disabled, row.now_s)


async def find_token_holder(connection: Connection, token_hash: str, *, creator_stops: bool) -> TokenHolder | None:
    """The agent behind an access token that is in force; notes its use at most once a minute.

    A token is marked as used before anybody may remember it: the deletion of one that never was is not announced.
    """
    cursor = await connection.execute(FIND_TOKEN_HOLDER, {"token_hash": token_hash, "creator_stops": creator_stops})
    row = await cursor.fetchone()
    if row is None:
        return None
    agent_id, workspace_id, scopes, wants_mark = row
    if wants_mark:
        await connection.execute(MARK_SEEN, {"agent_id": agent_id})
        marked = await connection.execute(MARK_TOKEN_USED, {"token_hash": token_hash})
        if marked.rowcount == 0:
            return None
    return TokenHolder(agent_id, workspace_id, frozenset(Scope(scope) for scope in scopes))


async def find_holdings(connection: Connection, workspace_id: str, agent_id: str) -> list[Holding]:
    """The active policies of an agent on connections that are not revoked."""
    async with connection.cursor(row_factory=class_row(Holding)) as cursor:
        await cursor.execute(FIND_HOLDINGS, {"workspace_id": workspace_id, "agent_id": agent_id})
        return await cursor.fetchall()


async def take_turn(connection: Connection, job: str) -> bool:
    """Whether this transaction is the one that runs the job now."""
    cursor = await connection.execute(TAKE_TURN, [job])
    row = await cursor.fetchone()
    return row is not None and bool(row[0])


async def sweep(connection: Connection, statement: str, batch: int) -> int:
    """Run a deleting statement until it finds less than a batch; how many rows went."""
    total = 0
    while True:
        cursor = await connection.execute(statement, {"batch": batch})
        total += cursor.rowcount
        if cursor.rowcount < batch:
            return total


async def _one_agent(connection: Connection, statement: str, values: dict[str, Any]) -> Agent | None:
    async with connection.cursor(row_factory=_agent_row) as cursor:
        await cursor.execute(statement, values)
        return await cursor.fetchone()


async def _number(connection: Connection, statement: str, values: dict[str, Any]) -> int:
    cursor = await connection.execute(statement, values)
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])

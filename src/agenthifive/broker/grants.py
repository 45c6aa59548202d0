"""Who holds what, in memory: the hot path reads no table.

    token hash -> Principal                    (agent, connection | service) -> Grant

Row triggers announce the workspace of every change; `changes.py` listens and drops what it names. A look-up that
began before a change was announced is used once and not kept. Source: contract/policy.md section 15.5, design
"Memory and truth".
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from hashlib import sha256
from typing import Any, Final, TypeVar

import structlog

from agenthifive.broker.model import Grant, Missing, Principal
from agenthifive.catalog.binding import bind
from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.facts import service_facts
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.edge.frozen import Frozen
from agenthifive.policy.compile import compile_policy
from agenthifive.policy.model import PolicyInvalid
from agenthifive.vault.envelope import Placed
from agenthifive.words import ConnectionStatus, PrincipalType, Scope

FIND_AGENT_TOKEN: Final = """
    SELECT t.agent_id::text, t.workspace_id::text, t.scopes, extract(epoch FROM t.expires_at)::float8, a.name,
           w.org_domains, t.last_used_at IS NOT NULL
      FROM t_agent_access_tokens t
      JOIN t_agents a ON a.id = t.agent_id AND a.status = 'active'
      JOIN t_workspaces w ON w.id = t.workspace_id
      LEFT JOIN t_members m ON m.workspace_id = a.workspace_id AND m.user_id = a.created_by
      JOIN t_users u ON u.id = coalesce(m.user_id, w.owner_id)
     WHERE t.token_hash = %(token_hash)s AND t.expires_at > now()
       AND (u.disabled_at IS NULL OR NOT %(creator_stops)s)
"""
# A token is marked before it is remembered: the trigger on its deletion announces only tokens that were used.
MARK_TOKEN_USED: Final = """
    UPDATE t_agent_access_tokens SET last_used_at = now() WHERE token_hash = %(token_hash)s RETURNING true
"""
_GRANT: Final = """
    SELECT c.id::text, c.label, c.status, c.service, c.variant, c.encrypted_tokens, c.metadata, c.account_tenant,
           c.generation, p.id::text, p.version, p.document
      FROM t_connections c
      LEFT JOIN t_policies p ON p.connection_id = c.id AND p.agent_id = %(agent_id)s AND p.status = 'active'
     WHERE c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
"""
FIND_BY_CONNECTION: Final = f"{_GRANT} AND c.id = %(connection_id)s"
FIND_BY_SERVICE: Final = f"{_GRANT} AND c.singleton_key = %(service)s AND c.status <> 'revoked'"
NEWEST_AGENT: Final = """
    SELECT p.agent_id::text, p.document->'allowedModels' FROM t_policies p
      JOIN t_agents a ON a.id = p.agent_id AND a.status <> 'disabled'
      JOIN t_connections c ON c.id = p.connection_id AND c.workspace_id = %(workspace_id)s AND c.deleted_at IS NULL
     WHERE p.status = 'active' AND (c.id = %(connection_id)s OR c.singleton_key = %(service)s)
     ORDER BY p.created_at DESC, p.id DESC
"""
AGENT_OF_WORKSPACE: Final = "SELECT status FROM t_agents WHERE id = %(agent_id)s AND workspace_id = %(workspace_id)s"
PERSON_MAY_CALL: Final = """
    SELECT true FROM t_members m JOIN t_users u ON u.id = m.user_id AND u.disabled_at IS NULL
     WHERE m.workspace_id = %(workspace_id)s AND m.user_id = %(user_id)s AND m.role IN ('owner', 'admin')
       AND (%(token_id)s::uuid IS NULL OR EXISTS (
            SELECT FROM t_personal_tokens t WHERE t.id = %(token_id)s AND t.revoked_at IS NULL))
       AND (%(session_id)s::uuid IS NULL OR EXISTS (SELECT FROM t_sessions s WHERE s.id = %(session_id)s))
"""
NOTE_TOKENS: Final = """
    UPDATE t_agent_access_tokens SET last_used_at = now()
     WHERE token_hash = ANY(%s) AND last_used_at < now() - interval '1 minute'
"""
NOTE_AGENTS: Final = """
    UPDATE t_agents SET last_seen_at = now()
     WHERE id = ANY(%s::uuid[]) AND (last_seen_at IS NULL OR last_seen_at < now() - interval '1 minute')
"""
NOTE_CONNECTIONS: Final = """
    UPDATE t_connections SET last_used_at = now()
     WHERE id = ANY(%s::uuid[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""
_ENTRIES_MAX: Final = 50_000
Loaded = TypeVar("Loaded")

log = structlog.get_logger(__name__)


class _Workspace:
    """What is remembered of one workspace; dropped as a whole."""

    __slots__ = ("grants", "tokens")

    def __init__(self) -> None:
        self.tokens: set[bytes] = set()
        self.grants: dict[tuple[str, str], Grant] = {}


class Grants:
    """The cache and its loader."""

    def __init__(
        self, database: Database, catalog: Catalog, *, creator_stops: bool, frozen: Frozen | None = None
    ) -> None:
        self._database = database
        self.catalog = catalog
        self.frozen = Frozen() if frozen is None else frozen
        self._creator_stops = creator_stops
        self._tokens: dict[bytes, Principal] = {}
        self._workspaces: dict[str, _Workspace] = {}
        self._broken: dict[str, set[str]] = {}
        self._drops = 0
        self._loading: dict[tuple[Any, ...], asyncio.Task[Any]] = {}
        self.used_tokens: dict[str, str] = {}
        self.used_connections: set[str] = set()

    @property
    def are_policies_whole(self) -> bool:
        """Whether every policy that calls asked for since it was changed last could be compiled."""
        return not self._broken

    async def principal(self, token: str, now_s: float) -> Principal | None:
        """The agent behind an access token; None when it is unknown, expired, revoked or its agent is not active.

        Raises: psycopg.Error, PoolTimeout.
        """
        digest = sha256(token.encode("latin-1", "replace"))
        principal = self._tokens.get(digest.digest())
        if principal is None:
            hexdigest = digest.hexdigest()
            principal = await self._shared(hexdigest, lambda: self._load_principal(hexdigest, digest.digest()))
        if principal is None or principal.expires_at_s is None or principal.expires_at_s <= now_s:
            return None
        self.used_tokens[digest.hexdigest()] = principal.id
        return principal

    async def is_revoked(self, principal: Principal, now_s: float) -> bool:
        """Whether a credential ended before its time: revoked, or those it stands for were stopped."""
        if principal.kind is not PrincipalType.AGENT:
            return await self._is_person_stopped(principal)
        if principal.token_hash is None or principal.expires_at_s is None or principal.expires_at_s <= now_s:
            return False  # what began before the end of a token may finish after it
        digest = bytes.fromhex(principal.token_hash)
        return digest not in self._tokens and await self._load_principal(principal.token_hash, digest) is None

    async def _is_person_stopped(self, principal: Principal) -> bool:
        token_id = principal.id if principal.kind is PrincipalType.PAT else None
        values = {
            "workspace_id": principal.workspace_id,
            "user_id": principal.actor,
            "token_id": token_id,
            "session_id": principal.session_id,
        }
        async with self._database.transaction() as connection:
            return await (await connection.execute(PERSON_MAY_CALL, values)).fetchone() is None

    async def resolve(
        self, workspace_id: str, agent_id: str, connection_id: str | None, service: str | None
    ) -> Grant | None:
        """The grant of an agent on a connection, or on the live connection of a singleton service.

        None when there is no such connection in the workspace. Raises: psycopg.Error, PoolTimeout.
        """
        known = self._workspaces.get(workspace_id)
        if known is not None:
            grant = known.grants.get((agent_id, connection_id or str(service)))
            if grant is not None:
                return grant
        key = (workspace_id, agent_id, connection_id, service)
        return await self._shared(key, lambda: self._load_grant(*key))

    async def newest_agent(
        self, workspace_id: str, connection_id: str | None, service: str | None, model: str
    ) -> str | None:
        """The agent with the newest active policy on a connection that allows the model (calls of persons)."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                NEWEST_AGENT, {"workspace_id": workspace_id, "connection_id": connection_id, "service": service}
            )
            for agent_id, models in await cursor.fetchall():
                if model in (models or ["B"]):
                    return str(agent_id)
        return None

    async def has_agent(self, workspace_id: str, agent_id: str) -> bool:
        """Whether the workspace has this agent and nobody disabled it."""
        async with self._database.transaction() as connection:
            cursor = await connection.execute(AGENT_OF_WORKSPACE, {"agent_id": agent_id, "workspace_id": workspace_id})
            row = await cursor.fetchone()
        return row is not None and row[0] != "disabled"

    async def note_used(self, unit: Unit) -> None:
        """Write down which tokens, agents and connections were used lately; at most once a minute each."""
        used, self.used_tokens = self.used_tokens, {}
        connections, self.used_connections = self.used_connections, set()
        if connections:
            await (await unit.begin()).execute(NOTE_CONNECTIONS, [sorted(connections)])
        if used:
            connection = await unit.begin()
            await connection.execute(NOTE_TOKENS, [sorted(used)])
            await connection.execute(NOTE_AGENTS, [sorted(set(used.values()))])

    def drop(self, workspace_id: str | None) -> None:
        """Forget a workspace, or everything."""
        self._drops += 1
        if workspace_id is None:
            self._broken.clear()
            self._tokens.clear()
            self._workspaces.clear()
            return
        self._broken.pop(workspace_id, None)
        known = self._workspaces.pop(workspace_id, None)
        if known is not None:
            for digest in known.tokens:
                self._tokens.pop(digest, None)

    async def _shared(self, key: object, load: Callable[[], Coroutine[Any, Any, Loaded]]) -> Loaded:
        """A look-up that everybody waits for who asks the same before it ends and before anything changes."""
        place = (self._drops, key)
        task = self._loading.get(place)
        if task is None:
            task = self._loading[place] = asyncio.get_running_loop().create_task(load())
            task.add_done_callback(lambda done: self._loaded(place, done))
        loaded: Loaded = await asyncio.shield(task)
        return loaded

    def _loaded(self, place: tuple[Any, ...], task: "asyncio.Task[Any]") -> None:
        del self._loading[place]
        if not task.cancelled():
            task.exception()  # whoever still waits raises it

    async def _load_principal(self, token_hash: str, digest: bytes) -> Principal | None:
        drops = self._drops
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                FIND_AGENT_TOKEN, {"token_hash": token_hash, "creator_stops": self._creator_stops}
            )
            row = await cursor.fetchone()
            if row is None:
                return None
            agent_id, workspace_id, scopes, expires_at_s, name, org_domains, was_used = row
            if not was_used and not await _mark_used(connection, token_hash):
                return None
        principal = Principal(
            kind=PrincipalType.AGENT,
            id=agent_id,
            actor=f"agent:{agent_id}",
            workspace_id=workspace_id,
            scopes=frozenset(Scope(scope) for scope in scopes),
            agent_id=agent_id,
            agent_name=name,
            org_domains=tuple(org_domains),
            expires_at_s=expires_at_s,
            token_hash=token_hash,
        )
        if drops == self._drops:
            self._tokens[digest] = principal
            self._known(workspace_id).tokens.add(digest)
        return principal

    async def _load_grant(
        self, workspace_id: str, agent_id: str, connection_id: str | None, service: str | None
    ) -> Grant | None:
        drops = self._drops
        async with self._database.transaction() as connection:
            cursor = await connection.execute(
                FIND_BY_CONNECTION if connection_id is not None else FIND_BY_SERVICE,
                {
                    "workspace_id": workspace_id,
                    "agent_id": agent_id,
                    "connection_id": connection_id,
                    "service": service,
                },
            )
            row = await cursor.fetchone()
        grant = None if row is None else self._build(workspace_id, agent_id, row)
        if grant is not None and drops == self._drops:
            known = self._known(workspace_id)
            known.grants[agent_id, grant.connection_id] = grant
            if grant.service.file.singleton and grant.status is not ConnectionStatus.REVOKED:
                known.grants[agent_id, grant.service.id] = grant
        return grant

    def _build(self, workspace_id: str, agent_id: str, row: tuple[Any, ...]) -> Grant | None:
        (connection_id, label, status, service_id, variant_id, sealed, metadata, tenant, generation) = row[:9]
        policy_id, version, document = row[9:]
        service = self.catalog.get(service_id)
        if service is None or variant_id not in service.variants:
            log.error(
                "connection_of_unknown_service", connectionId=connection_id, service=service_id, variant=variant_id
            )
            return None
        variant = service.variant(variant_id)
        params: Mapping[str, Any] = metadata.get("params", {})
        binding = bind(service, variant, params)
        facts = service_facts(service, variant, binding)
        policy, is_broken = None, False
        if document is not None:
            try:
                policy = compile_policy(document, facts)
            except PolicyInvalid as error:
                is_broken = True
                self._broken.setdefault(workspace_id, set()).add(policy_id)
                log.error("policy_does_not_compile", policyId=policy_id, problem=str(error))
        return Grant(
            workspace_id,
            agent_id,
            connection_id,
            label,
            ConnectionStatus(status),
            service,
            variant,
            binding,
            facts,
            params,
            tenant,
            generation,
            None
            if sealed is None
            else Placed(sealed, "t_connections", "encrypted_tokens", connection_id, workspace_id),
            policy_id,
            version or 0,
            policy,
            is_broken,
        )

    def _known(self, workspace_id: str) -> _Workspace:
        if len(self._tokens) > _ENTRIES_MAX:
            self.drop(None)
        return self._workspaces.setdefault(workspace_id, _Workspace())


async def _mark_used(connection: Connection, token_hash: str) -> bool:
    cursor = await connection.execute(MARK_TOKEN_USED, {"token_hash": token_hash})
    return await cursor.fetchone() is not None


def missing(service: str | None, has_unhealthy: bool) -> Missing:
    """The refusal when there is no connection to use."""
    if service is None:
        return Missing(
            "not_found", "No connection with this id exists in the workspace. List them with GET /v1/connections."
        )
    advice = "A person must reconnect it." if has_unhealthy else "A person must connect it first."
    return Missing("no_healthy_connection", f"There is no healthy {service} connection in the workspace. {advice}")

"""What people do with agents: create, change, contain, remove; and who is behind an access token.

    lock the agent's row -> look at its status -> change -> note the audit row -> the edge commits both

Every change begins with the row lock, so two people, an enrolment and a token exchange never see each other half way.
Source: contract/agents.md sections 2, 3, 8 and 14.
"""

from collections.abc import Sequence
from typing import Final

from agenthifive.agents import store
from agenthifive.agents.model import Agent, AgentOptions, AgentTexts, BootstrapSecret
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.edge.credentials import BOOTSTRAP_PREFIX
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, new_id, wire_time
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import AgentStatus, AuditAction, PrincipalType

_LIST_ROUTE: Final = "/v1/agents"


class Agents:
    """The agents of all workspaces; every verb acts in the caller's workspace only.

    Ids that are unknown, malformed or of another workspace raise the same AppError (404).
    """

    def __init__(self, database: Database, options: AgentOptions) -> None:
        self._database = database
        self._options = options

    async def create(self, unit: Unit, caller: Caller, texts: AgentTexts) -> tuple[Agent, BootstrapSecret]:
        """A new agent and the secret it enrols with. Raises: AppError (409 agent_limit)."""
        connection = await unit.begin()
        limit = self._options.max_agents_per_workspace
        if await store.count_agents(connection, caller.workspace_id) >= limit:
            raise AppError("agent_limit", f"The workspace already has {limit} agents. Delete one first.")
        agent = await store.insert_agent(connection, caller.workspace_id, new_id(), texts, caller.user_id)
        unit.record(AuditAction.AGENT_CREATED, {"name": agent.name}, agent_id=agent.id)
        return agent, await self._issue_secret(unit, connection, caller, agent.id)

    async def list_all(self, unit: Unit, caller: Caller) -> Sequence[Agent]:
        """The agents of the workspace, oldest first."""
        return await store.list_agents(await unit.begin(), caller.workspace_id)

    async def find(self, unit: Unit, caller: Caller, agent_id: str) -> Agent:
        """One agent."""
        connection = await unit.begin()
        agent = await store.find_agent(connection, caller.workspace_id, _known_form(agent_id))
        if agent is None:
            raise _no_agent()
        return agent

    async def change(self, unit: Unit, caller: Caller, agent_id: str, texts: AgentTexts) -> Agent:
        """Change what people read about an agent."""
        connection = await unit.begin()
        agent = await store.update_agent(connection, caller.workspace_id, _known_form(agent_id), texts)
        if agent is None:
            raise _no_agent()
        unit.record(AuditAction.AGENT_UPDATED, {"fields": texts.fields}, agent_id=agent_id)
        return agent

    async def issue_secret(self, unit: Unit, caller: Caller, agent_id: str) -> BootstrapSecret:
        """A fresh bootstrap secret; every earlier one is dead. Raises: AppError (409 agent_disabled)."""
        connection = await unit.begin()
        status = await self._hold(connection, caller, agent_id)
        if status is AgentStatus.DISABLED:
            raise _is_disabled("Enable it first, then issue a secret.")
        return await self._issue_secret(unit, connection, caller, agent_id)

    async def revoke_tokens(self, unit: Unit, caller: Caller, agent_id: str) -> int:
        """End the agent's access tokens; how many were live. It may exchange a new assertion at once."""
        connection = await unit.begin()
        await self._hold(connection, caller, agent_id)
        revoked = await store.delete_tokens(connection, agent_id)
        unit.record(AuditAction.AGENT_TOKENS_REVOKED, {"tokensRevoked": revoked}, agent_id=agent_id)
        return revoked

    async def disable(self, unit: Unit, caller: Caller, agent_id: str, reason: str | None, *, forget_key: bool) -> int:
        """Stop an agent; how many live tokens ended. Raises: AppError (403 to forget a key, 409 agent_disabled)."""
        if forget_key and not caller.is_admin:
            raise AppError(
                "insufficient_role",
                "Erasing an agent's key needs the role owner or admin in the workspace. Disable it without forgetKey.",
                hint="owner or admin",
            )
        connection = await unit.begin()
        status = await self._hold(connection, caller, agent_id)
        if status is AgentStatus.DISABLED:
            raise _is_disabled("There is nothing to do.")
        revoked = await store.disable_agent(connection, agent_id, str(caller.user_id), reason, forget_key=forget_key)
        given = {} if reason is None else {"reason": reason}
        unit.record(AuditAction.AGENT_DISABLED, {**given, "tokensRevoked": revoked}, agent_id=agent_id)
        return revoked

    async def enable(self, unit: Unit, caller: Caller, agent_id: str) -> AgentStatus:
        """Let an agent work again; its status. Raises: AppError (409 agent_not_disabled)."""
        connection = await unit.begin()
        status = await self._hold(connection, caller, agent_id)
        if status is not AgentStatus.DISABLED:
            raise AppError("agent_not_disabled", f"The agent is not disabled; its status is {status}.")
        status = await store.enable_agent(connection, agent_id)
        unit.record(AuditAction.AGENT_ENABLED, {"newStatus": status}, agent_id=agent_id)
        return status

    async def delete(self, unit: Unit, caller: Caller, agent_id: str) -> None:
        """Remove an agent with its key, secrets, tokens and policies; its audit rows stay."""
        connection = await unit.begin()
        await self._hold(connection, caller, agent_id)
        revoked = await store.delete_tokens(connection, agent_id)
        name, policies = await store.delete_agent(connection, agent_id)
        counts = {"policies": policies, "tokensRevoked": revoked}
        unit.record(AuditAction.AGENT_DELETED, {"name": name, **counts}, agent_id=agent_id)

    async def caller_by_token(self, token: str) -> Caller | None:
        """The agent behind an access token; None when it is unknown, expired or revoked or its agent may not act.

        Raises: psycopg.Error.
        """
        async with self._database.transaction() as connection:
            holder = await store.find_token_holder(
                connection, sha256_hex(token), creator_stops=self._options.disabled_user_stops_agents
            )
        if holder is None:
            return None
        return Caller(
            kind=PrincipalType.AGENT,
            id=holder.agent_id,
            workspace_id=holder.workspace_id,
            agent_id=holder.agent_id,
            scopes=holder.scopes,
        )

    async def _hold(self, connection: Connection, caller: Caller, agent_id: str) -> AgentStatus:
        status = await store.hold_agent(connection, caller.workspace_id, _known_form(agent_id))
        if status is None:
            raise _no_agent()
        return status

    async def _issue_secret(self, unit: Unit, connection: Connection, caller: Caller, agent_id: str) -> BootstrapSecret:
        revoked = await store.revoke_secrets(connection, agent_id)
        text = new_token(BOOTSTRAP_PREFIX)
        ttl_s = self._options.bootstrap_secret_ttl_hours * 3600
        expires_at = await store.insert_secret(
            connection, agent_id, new_id(), sha256_hex(text), ttl_s, str(caller.user_id)
        )
        unit.record(
            AuditAction.AGENT_BOOTSTRAP_SECRET_ISSUED,
            {"expiresAt": wire_time(expires_at), "revokedEarlier": revoked},
            agent_id=agent_id,
        )
        return BootstrapSecret(text, expires_at)


def _known_form(agent_id: str) -> str:
    if not is_id(agent_id):
        raise _no_agent()
    return agent_id


def _no_agent() -> AppError:
    return not_found("agent", _LIST_ROUTE)


def _is_disabled(advice: str) -> AppError:
    return AppError("agent_disabled", f"The agent is disabled. {advice}")

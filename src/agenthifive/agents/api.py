"""The JSON routes of agents: token exchange (tried first), management, enrolment, capabilities, discovery.

Source: contract/agents.md sections 3, 4, 6 and 11; http.md sections 13, 15.4 and 15.5.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, Request

from agenthifive.agents.assertion import ALGORITHMS
from agenthifive.agents.bodies import AgentChange, Bootstrap, Disabling, NewAgent, read_parameters
from agenthifive.agents.capabilities import Capabilities
from agenthifive.agents.enrolment import Enrolment
from agenthifive.agents.model import (
    JWT_TOKEN_TYPE,
    OPAQUE_TOKEN_TYPE,
    Agent,
    AgentOptions,
    AgentTexts,
    BootstrapSecret,
)
from agenthifive.agents.service import Agents
from agenthifive.agents.tokens import TokenExchange, read_token_request
from agenthifive.audit.flood import FloodGate
from agenthifive.audit.writer import Writer
from agenthifive.catalog.catalog import Catalog
from agenthifive.db.database import Database
from agenthifive.edge.answers import JsonAnswer
from agenthifive.edge.callers import PUBLIC, Caller, RoleRule
from agenthifive.edge.frozen import Frozen
from agenthifive.edge.routing import Edge, Routes, UnitOfRequest, context_of, may
from agenthifive.errors import AppError
from agenthifive.ids import wire_time
from agenthifive.jwt.service import SignedTokens
from agenthifive.words import AGENT_SCOPES, AuditAction, RateLimit, Scope

_ASSERTION_CODES: Final = (
    "malformed_assertion",
    "assertion_header_refused",
    "invalid_agent",
    "assertion_key_mismatch",
    "assertion_signature_invalid",
    "assertion_audience",
    "assertion_lifetime",
    "clock_skew",
    "jti_invalid",
    "agent_disabled",
    "replay_detected",
)
_REQUEST_CODES: Final = (
    "invalid_request",
    "unsupported_grant_type",
    "unsupported_assertion_type",
    "invalid_scope",
    "unsupported_token_type",
)

routes = Routes("agents")


@dataclass(frozen=True, slots=True)
class AgentsRoom:
    """What these routes find at `app.state.agents`."""

    agents: Agents
    enrolment: Enrolment
    tokens: TokenExchange
    capabilities: Capabilities
    web_url: str


def make_room(
    database: Database,
    writer: Writer,
    flood: FloodGate,
    catalog: Catalog,
    options: AgentOptions,
    signed_tokens: SignedTokens,
    frozen: Frozen | None = None,
) -> AgentsRoom:
    """The room, furnished."""
    return AgentsRoom(
        Agents(database, options),
        Enrolment(options),
        TokenExchange(database, writer, flood, options, signed_tokens, frozen),
        Capabilities(catalog),
        options.web_url,
    )


def _room_of(request: Request) -> AgentsRoom:
    room: AgentsRoom = request.app.state.agents
    return room


def _agents_of(request: Request) -> Agents:
    return _room_of(request).agents


RoomOf = Annotated[AgentsRoom, Depends(_room_of)]
AgentsOf = Annotated[Agents, Depends(_agents_of)]


@routes.post(
    "/v1/agents/token",
    access=PUBLIC,
    limit=RateLimit.TOKEN,
    accepts_form=True,
    audit=[AuditAction.AGENT_TOKEN_ISSUED, AuditAction.AGENT_TOKEN_DENIED],
    errors=[*_REQUEST_CODES, *_ASSERTION_CODES, "frozen", "rate_limited", "unavailable"],
)
async def exchange_token(request: Request) -> JsonAnswer:
    """Trade a signed assertion for an access token."""
    wanted = read_token_request(await read_parameters(request))
    token = await _room_of(request).tokens.exchange(request.state.unit, wanted)
    answer = {
        "access_token": token.text,
        "token_type": "Bearer",
        "expires_in": token.ttl_s,
        "scope": " ".join(token.scopes),
        "issued_token_type": OPAQUE_TOKEN_TYPE if token.form == "opaque" else JWT_TOKEN_TYPE,
    }
    return JsonAnswer(answer, headers={"pragma": "no-cache"})


@routes.post(
    "/v1/agents",
    audit=[AuditAction.AGENT_CREATED, AuditAction.AGENT_BOOTSTRAP_SECRET_ISSUED],
    errors=["invalid_request", "unknown_field", "agent_limit"],
)
async def create_agent(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)],
    body: NewAgent,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """Create an agent and issue the secret it enrols with."""
    texts = AgentTexts(body.name, body.description, body.icon_url)
    agent, secret = await agents.create(unit, caller, texts)
    return JsonAnswer({"agent": _wire(agent), **_wire_secret(secret)})


@routes.get("/v1/agents")
async def list_agents(
    caller: Annotated[Caller, may(Scope.AGENTS_READ)], unit: UnitOfRequest, agents: AgentsOf
) -> JsonAnswer:
    """The agents of the workspace, oldest first."""
    return JsonAnswer({"agents": [_wire(agent) for agent in await agents.list_all(unit, caller)]})


@routes.get("/v1/agents/{agent_id}", errors=["not_found"])
async def show_agent(
    caller: Annotated[Caller, may(Scope.AGENTS_READ)], agent_id: str, unit: UnitOfRequest, agents: AgentsOf
) -> JsonAnswer:
    """One agent."""
    return JsonAnswer({"agent": _wire(await agents.find(unit, caller, agent_id))})


@routes.put(
    "/v1/agents/{agent_id}",
    audit=[AuditAction.AGENT_UPDATED],
    errors=["invalid_request", "unknown_field", "not_found"],
)
async def change_agent(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)],
    agent_id: str,
    body: AgentChange,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """Change name, description or icon."""
    texts = AgentTexts(body.name, body.description, body.icon_url, body.clears_icon)
    if not texts.fields:
        raise AppError(
            "invalid_request",
            "There is nothing to change. Send one or more of name, description and iconUrl.",
            fields=[{"path": name, "message": "is missing"} for name in ("name", "description", "iconUrl")],
        )
    return JsonAnswer({"agent": _wire(await agents.change(unit, caller, agent_id, texts))})


@routes.post(
    "/v1/agents/{agent_id}/bootstrap-secret",
    audit=[AuditAction.AGENT_BOOTSTRAP_SECRET_ISSUED],
    errors=["not_found", "agent_disabled"],
)
async def issue_bootstrap_secret(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)],
    agent_id: str,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """A fresh secret to enrol with; earlier ones are dead."""
    return JsonAnswer(_wire_secret(await agents.issue_secret(unit, caller, agent_id)))


@routes.post("/v1/agents/{agent_id}/revoke-tokens", audit=[AuditAction.AGENT_TOKENS_REVOKED], errors=["not_found"])
async def revoke_agent_tokens(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.APPROVER)],
    agent_id: str,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """End the agent's access tokens; key and bootstrap secret stay."""
    return JsonAnswer({"tokensRevoked": await agents.revoke_tokens(unit, caller, agent_id)})


@routes.post(
    "/v1/agents/{agent_id}/disable",
    audit=[AuditAction.AGENT_DISABLED],
    errors=["invalid_request", "unknown_field", "insufficient_role", "not_found", "agent_disabled"],
)
async def disable_agent(
    request: Request,
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.APPROVER)],
    agent_id: str,
    body: Disabling,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """Stop an agent; with forgetKey (owner or admin) its key is erased."""
    try:
        revoked = await agents.disable(unit, caller, agent_id, body.reason, forget_key=bool(body.forget_key))
    except AppError as error:
        if error.code == "insufficient_role":
            edge: Edge = request.app.state.edge
            route = "/v1/agents/{agent_id}/disable"
            await edge.gatekeeper.note_denied(caller, context_of(request), "POST", route, error.code)
        raise
    return JsonAnswer({"success": True, "tokensRevoked": revoked})


@routes.post(
    "/v1/agents/{agent_id}/enable",
    audit=[AuditAction.AGENT_ENABLED],
    errors=["not_found", "agent_not_disabled"],
)
async def enable_agent(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)],
    agent_id: str,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """Let an agent work again."""
    return JsonAnswer({"success": True, "status": await agents.enable(unit, caller, agent_id)})


@routes.delete("/v1/agents/{agent_id}", audit=[AuditAction.AGENT_DELETED], errors=["not_found"])
async def delete_agent(
    caller: Annotated[Caller, may(Scope.AGENTS_WRITE, role=RoleRule.ADMIN)],
    agent_id: str,
    unit: UnitOfRequest,
    agents: AgentsOf,
) -> JsonAnswer:
    """Remove an agent and everything it holds."""
    await agents.delete(unit, caller, agent_id)
    return JsonAnswer({"success": True})


@routes.post(
    "/v1/agents/bootstrap",
    access=PUBLIC,
    limit=RateLimit.BOOTSTRAP,
    audit=[AuditAction.AGENT_BOOTSTRAPPED, AuditAction.AGENT_BOOTSTRAP_FAILED],
    errors=["invalid_request", "invalid_bootstrap_secret", "agent_disabled", "invalid_public_key", "rate_limited"],
)
async def bootstrap_agent(body: Bootstrap, unit: UnitOfRequest, room: RoomOf) -> JsonAnswer:
    """Enrol: register a public key with a bootstrap secret."""
    enrolled = await room.enrolment.enrol(unit, body.bootstrap_secret, body.public_key)
    return JsonAnswer(
        {
            "agentId": enrolled.agent_id,
            "name": enrolled.name,
            "status": "active",
            "workspaceId": enrolled.workspace_id,
            "publicKeyThumbprint": enrolled.thumbprint,
        }
    )


@routes.get("/v1/capabilities/services")
async def list_capabilities(
    caller: Annotated[Caller, may(Scope.CAPABILITIES_READ, agents=True)], room: RoomOf
) -> JsonAnswer:
    """Every service of the catalog and what can be done with it."""
    return JsonAnswer(room.capabilities.services())


@routes.get("/v1/capabilities/me", errors=["agent_only"])
async def show_own_capabilities(
    caller: Annotated[Caller, may(Scope.CAPABILITIES_READ, agents=True, persons=False, pats=False)],
    unit: UnitOfRequest,
    room: RoomOf,
) -> JsonAnswer:
    """What the calling agent holds and what it might ask for."""
    return JsonAnswer(await room.capabilities.of_agent(unit, caller))


@routes.get("/.well-known/oauth-authorization-server", access=PUBLIC)
async def show_authorization_server(room: RoomOf) -> JsonAnswer:
    """Where and how agents obtain tokens. Source: RFC 8414; contract/http.md section 13."""
    return JsonAnswer(
        {
            "issuer": room.web_url,
            "token_endpoint": f"{room.web_url}/v1/agents/token",
            "jwks_uri": f"{room.web_url}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": list(AGENT_SCOPES),
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        }
    )


def _wire(agent: Agent) -> dict[str, Any]:
    return {
        "id": agent.id,
        "name": agent.name,
        "description": agent.description,
        "iconUrl": agent.icon_url,
        "status": agent.status,
        "enrolledAt": wire_time(agent.enrolled_at),
        "createdAt": wire_time(agent.created_at),
        "updatedAt": wire_time(agent.updated_at),
        "lastSeenAt": wire_time(agent.last_seen_at),
        "publicKeyThumbprint": agent.public_key_thumbprint,
        "keyAlg": agent.key_alg,
        "activeTokens": agent.active_tokens,
        "createdBy": agent.created_by,
        "disabledAt": wire_time(agent.disabled_at),
        "disabledReason": agent.disabled_reason,
    }


def _wire_secret(secret: BootstrapSecret) -> dict[str, Any]:
    return {"bootstrapSecret": secret.text, "bootstrapSecretExpiresAt": wire_time(secret.expires_at)}

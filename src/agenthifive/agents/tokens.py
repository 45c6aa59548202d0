"""The token exchange: a signed assertion becomes an access token, once.

    form of the request -> form of the assertion -> the agent's key -> signature and claims -> standing -> restore
        -> one statement: assertion spent, token stored, audit row

A refusal is recorded before it is answered. Trouble on our side is never a 401: the agent would think that its key
had been replaced. Source: contract/agents.md sections 6 to 8, audit.md section 3.3.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg

from agenthifive import strict_json
from agenthifive.agents import store
from agenthifive.agents.assertion import (
    MAX_DEPTH,
    MAX_SIZE_BYTES,
    Assertion,
    AssertionRefused,
    Claims,
    parse_assertion,
    verify_assertion,
)
from agenthifive.agents.model import (
    JWT_TOKEN_TYPE,
    OPAQUE_TOKEN_TYPE,
    AccessToken,
    AgentOptions,
    Registered,
    TokenForm,
    TokenRequest,
)
from agenthifive.audit.flood import FloodGate
from agenthifive.audit.lane import Kind, NewToken, TokenRefused
from agenthifive.audit.model import Event
from agenthifive.audit.writer import AuditUnavailable, Writer
from agenthifive.db.database import Database
from agenthifive.db.unit import Unit
from agenthifive.edge.context import limit_key
from agenthifive.edge.credentials import AGENT_PREFIX
from agenthifive.edge.frozen import Frozen
from agenthifive.edge.frozen import refusal as frozen_refusal
from agenthifive.errors import AppError
from agenthifive.ids import is_id, new_id, wire_time_of
from agenthifive.jwt.model import AgentClaims
from agenthifive.jwt.service import SignedTokens
from agenthifive.vault import base64url
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import AGENT_SCOPES, AgentStatus, AuditAction, AuditDecision, PrincipalType, Scope

GRANT_TYPES: Final = ("client_assertion", "client_credentials")
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_FORMS: Final[Mapping[object, TokenForm]] = {None: "opaque", OPAQUE_TOKEN_TYPE: "opaque", JWT_TOKEN_TYPE: "jwt"}
# longer than any replica could still accept the assertion: its leeway, and the clocks' difference
REPLAY_RETENTION_S: Final = 120
_SCOPES: Final = {str(scope): scope for scope in AGENT_SCOPES}


@dataclass(frozen=True, slots=True)
class _Denial:
    """A refusal and whom it concerns: a proven agent, or somebody who named one."""

    error: AppError
    agent: Registered | None = None
    claimed_agent_id: str | None = None


class TokenExchange:
    """Issues access tokens to agents that prove themselves."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        flood: FloodGate,
        options: AgentOptions,
        signed_tokens: SignedTokens,
        frozen: Frozen | None = None,
    ) -> None:
        """`writer` has lanes of its own: trouble with tokens must not hold up brokered calls."""
        self._registered = database.batch(store.find_all_registered)
        self._writer = writer
        self._flood = flood
        self._options = options
        self._signed_tokens = signed_tokens
        self._frozen = Frozen() if frozen is None else frozen

    async def exchange(self, unit: Unit, request: TokenRequest) -> AccessToken:
        """Judge the assertion and issue a token; it is committed when this returns.

        Raises: AppError: 401 (recorded), 503 when the database could not do its part; then nothing is spent and the
            same assertion may be sent again.
        """
        try:
            outcome = await self._decide(unit, request)
            if isinstance(outcome, AccessToken):
                return outcome
            error = outcome.error
            audit_id = self._record(unit, outcome)
            if audit_id is not None:
                await unit.finish()
                error.extra = {**(error.extra or {}), "auditId": audit_id}
        except (psycopg.Error, AuditUnavailable) as trouble:
            raise AppError(
                "unavailable",
                "The token could not be issued right now. Send the same request again shortly.",
                retry_after_s=2,
            ) from trouble
        raise error

    async def _decide(self, unit: Unit, request: TokenRequest) -> AccessToken | _Denial:
        try:
            assertion = parse_assertion(request.assertion, request.client_id)
        except AssertionRefused as refused:
            return _Denial(refused, claimed_agent_id=read_claimed_id(request.assertion))
        outcome = await self._try(unit, assertion, request)
        if outcome is None:  # somebody is changing the agent: wait for that, then judge what it has become
            await store.await_change(await unit.begin(), assertion.agent_id)
            outcome = await self._try(unit, assertion, request)
        if outcome is None:
            raise psycopg.OperationalError("an agent was changed while it was held")
        return outcome

    async def _try(self, unit: Unit, assertion: Assertion, request: TokenRequest) -> AccessToken | _Denial | None:
        """Judge and issue; None when the agent is being changed, or was, since it was judged."""
        agent = await self._registered.ask(assertion.agent_id)
        verdict = self._judge(agent, assertion)
        if isinstance(verdict, _Denial):
            return verdict
        assert agent is not None
        token = await self._make_token(agent, request)
        try:
            await self._issue(unit, agent, verdict, token)
        except TokenRefused as refused:
            return _Denial(_replayed(), agent) if refused.reason == "replay" else None
        return token

    def _judge(self, agent: Registered | None, assertion: Assertion) -> Claims | _Denial:
        """Rows 8 to 16, but for the replay."""
        options = self._options
        try:
            claims = verify_assertion(
                assertion,
                agent.key if agent is not None else None,
                audiences=options.audiences,
                max_lifetime_s=options.assertion_max_lifetime_s,
                now_s=agent.now_s if agent is not None else 0.0,
            )
        except AssertionRefused as refused:
            if refused.agent_is_proven:
                return _Denial(refused, agent)
            return _Denial(refused, claimed_agent_id=assertion.agent_id)
        assert agent is not None
        is_stopped = agent.creator_is_disabled and options.disabled_user_stops_agents
        if agent.status is not AgentStatus.ACTIVE or is_stopped:
            return _Denial(_disabled(), agent)
        scope = self._frozen.scope_of(agent.workspace_id, agent.agent_id)
        if scope is not None:
            return _Denial(frozen_refusal(scope), agent)
        if options.restored_at_s is not None and claims.iat < options.restored_at_s:
            return _Denial(_replayed(), agent)
        return claims

    async def _make_token(self, agent: Registered, request: TokenRequest) -> AccessToken:
        """A token that nobody knows of yet. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        ttl_s = self._options.token_ttl_s
        if request.form == "opaque":
            return AccessToken(new_token(AGENT_PREFIX), ttl_s, request.scopes)
        claims = AgentClaims(agent.agent_id, agent.workspace_id, request.scopes)
        text = await self._signed_tokens.issue_agent(claims, agent.now_s, ttl_s)
        return AccessToken(text, ttl_s, request.scopes, request.form)

    async def _issue(self, unit: Unit, agent: Registered, claims: Claims, token: AccessToken) -> None:
        """Spend the assertion and store the token. Raises: TokenRefused, AuditUnavailable."""
        signature = unit.signature
        event = Event(
            audit_id=new_id(),
            timestamp=wire_time_of(time.time()),
            action=AuditAction.AGENT_TOKEN_ISSUED,
            decision=AuditDecision.ALLOWED,
            metadata={
                "tokenTtlSeconds": token.ttl_s,
                "form": token.form,
                "scopes": token.scopes,
                "publicKeyThumbprint": agent.key.thumbprint,
            },
            ip=signature.ip,
            user_agent=signature.user_agent,
            request_id=signature.request_id,
            **_identity(agent),
        )
        row = NewToken(
            event.audit_id,
            new_id(),
            agent.agent_id,
            agent.workspace_id,
            agent.key.thumbprint,
            sha256_hex(token.text),
            token.form,
            token.scopes,
            token.ttl_s,
            claims.jti,
            claims.exp + REPLAY_RETENTION_S,
            self._options.max_active_tokens,
        )
        await self._writer.append(self._writer.entry(Kind.REFUSAL, event, row))

    def _record(self, unit: Unit, denial: _Denial) -> str | None:
        """Note the row: in the workspace of a proven agent, else at the instance unless there were too many already."""
        metadata: dict[str, Any] = {"reason": denial.error.code, "verified": denial.agent is not None}
        whose = {}
        if denial.agent is not None:
            whose = _identity(denial.agent)
        else:
            count = self._flood.admit(limit_key(unit.signature.ip or ""), AuditAction.AGENT_TOKEN_DENIED, time.time())
            if not count:
                return None
            if denial.claimed_agent_id is not None:
                metadata["claimedAgentId"] = denial.claimed_agent_id
            if count > 1:
                metadata["count"] = count
        return unit.record(AuditAction.AGENT_TOKEN_DENIED, metadata, decision=AuditDecision.DENIED, **whose)


def read_token_request(parameters: Mapping[str, Any]) -> TokenRequest:
    """The request, by rows 3 and 4. Unknown parameters are ignored, null counts as absent.

    Raises: AppError (400).
    """
    if parameters.get("grant_type") not in GRANT_TYPES:
        accepted = " or ".join(GRANT_TYPES)
        raise AppError("unsupported_grant_type", f"Set grant_type to {accepted}.", hint=accepted)
    if parameters.get("client_assertion_type") != ASSERTION_TYPE:
        raise AppError(
            "unsupported_assertion_type", f"Set client_assertion_type to {ASSERTION_TYPE}.", hint=ASSERTION_TYPE
        )
    assertion = parameters.get("client_assertion")
    if not isinstance(assertion, str):
        raise AppError(
            "invalid_request",
            "client_assertion must be a string: the assertion the agent signed with its key.",
            fields=[{"path": "client_assertion", "message": "must be a string"}],
        )
    scopes = _read_scopes(parameters.get("scope"))
    form = _read_form(parameters.get("requested_token_type"))
    return TokenRequest(assertion, parameters.get("client_id"), scopes, form)


def read_claimed_id(assertion: str) -> str | None:
    """The agent an unacceptable assertion names, for the log only; None when there is no telling."""
    segments = assertion[: MAX_SIZE_BYTES + 1].split(".", 2)
    if len(assertion) > MAX_SIZE_BYTES or len(segments) < 2:
        return None
    try:
        claims = strict_json.loads(base64url.decode(segments[1]), MAX_DEPTH)
    except (base64url.NotBase64url, strict_json.InvalidJson):
        return None
    claimed = claims.get("sub") if isinstance(claims, dict) else None
    return claimed if is_id(claimed) else None


def _read_scopes(scope: object) -> tuple[Scope, ...]:
    if scope is None:
        return AGENT_SCOPES
    names = scope.split(" ") if isinstance(scope, str) else [""]
    if not all(name in _SCOPES for name in names):
        accepted = " ".join(_SCOPES)
        raise AppError("invalid_scope", f"scope may name these, separated by blanks: {accepted}.", hint=accepted)
    return tuple(wanted for name, wanted in _SCOPES.items() if name in names)


def _read_form(wanted: object) -> TokenForm:
    form = _FORMS.get(wanted) if wanted is None or isinstance(wanted, str) else None
    if form is None:
        accepted = f"{OPAQUE_TOKEN_TYPE} or {JWT_TOKEN_TYPE}"
        raise AppError(
            "unsupported_token_type",
            f"This type is not known: leave requested_token_type out, or set it to {accepted}.",
            hint=accepted,
        )
    return form


def _identity(agent: Registered) -> dict[str, Any]:
    """How a proven agent stands in an audit row."""
    return {
        "actor": f"agent:{agent.agent_id}",
        "principal_type": PrincipalType.AGENT,
        "principal_id": agent.agent_id,
        "workspace_id": agent.workspace_id,
        "agent_id": agent.agent_id,
    }


def _disabled() -> AppError:
    return AppError(
        "agent_disabled",
        "The agent is not active: it, or the person it works for, is disabled. Ask a person to enable it.",
        status=401,
    )


def _replayed() -> AppError:
    return AppError(
        "replay_detected",
        "Replay detected: this assertion was used before. Make a new assertion, with a new jti, for each exchange.",
    )

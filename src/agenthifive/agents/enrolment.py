"""Enrolment: an agent trades a bootstrap secret for the registration of its public key, once.

    form -> known -> not revoked, not expired -> not consumed, or a retry -> agent enabled -> key acceptable
        -> one transaction: secret consumed, key stored, tokens of another key deleted, audit row

Who guesses secrets learns nothing: the first four refusals read alike, only the audit row tells them apart.
Source: contract/agents.md sections 4 and 5.
"""

import re
from typing import Any, Final

from agenthifive.agents import store
from agenthifive.agents.model import AgentOptions, Candidate, Enrolled
from agenthifive.agents.public_key import InvalidPublicKey, PublicKey, read_public_key
from agenthifive.db.unit import Unit
from agenthifive.edge.credentials import BOOTSTRAP_PREFIX
from agenthifive.errors import AppError
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import AgentStatus, AuditAction, AuditDecision, PrincipalType

_SECRET: Final = re.compile(BOOTSTRAP_PREFIX + "[A-Za-z0-9_-]{43}")


class Enrolment:
    """Registers keys of agents that hold a bootstrap secret."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options

    async def enrol(self, unit: Unit, secret: object, jwk: Any) -> Enrolled:
        """Spend the secret and register the key.

        A secret that was spent a moment ago with the same key answers like the first time and changes nothing.

        Raises: AppError (401 invalid_bootstrap_secret, 409 agent_disabled, 400 invalid_public_key); the refusal is
            already recorded then.
        """
        if not isinstance(secret, str) or not _SECRET.fullmatch(secret):
            raise await _refuse(unit, None, "format", _invalid_secret())
        connection = await unit.begin()
        candidate = await store.hold_candidate(connection, sha256_hex(secret), self._options.bootstrap_retry_minutes)
        if candidate is None:
            raise await _refuse(unit, None, "unknown", _invalid_secret())
        fault = _fault_of(candidate, jwk)
        if fault is not None:
            raise await _refuse(unit, candidate, fault, _invalid_secret())
        if candidate.status is AgentStatus.DISABLED or self._is_stopped(candidate):
            raise await _refuse(unit, candidate, "disabled", _disabled())
        try:
            key = read_public_key(jwk)
        except InvalidPublicKey as error:
            raise await _refuse(unit, candidate, "private_key_sent" if error.is_private else "bad_key", error) from None
        tokens_revoked = 0
        if not candidate.is_consumed:
            if not await store.consume_secret(connection, candidate.secret_id, key.thumbprint):
                raise await _refuse(unit, candidate, "consumed", _invalid_secret())
            await store.register_key(connection, candidate.agent_id, key)
            if candidate.thumbprint != key.thumbprint:
                tokens_revoked = await store.delete_tokens(connection, candidate.agent_id)
        _record(unit, candidate, key, tokens_revoked)
        return Enrolled(candidate.agent_id, candidate.name, candidate.workspace_id, key.thumbprint)

    def _is_stopped(self, candidate: Candidate) -> bool:
        return candidate.creator_is_disabled and self._options.disabled_user_stops_agents


def _fault_of(candidate: Candidate, jwk: Any) -> str | None:
    """Why the secret is of no use, None when it is."""
    if candidate.is_revoked:
        return "revoked"
    if candidate.is_expired:
        return "expired"
    if candidate.is_consumed and not _is_retry(candidate, jwk):
        return "consumed"
    return None


def _is_retry(candidate: Candidate, jwk: Any) -> bool:
    """Whether the agent asks again for an answer that got lost: same key, soon, and nothing has changed since."""
    if not candidate.is_retry_open or candidate.thumbprint != candidate.consumed_thumbprint:
        return False
    try:
        return read_public_key(jwk).thumbprint == candidate.consumed_thumbprint
    except InvalidPublicKey:
        return False


def _record(unit: Unit, candidate: Candidate, key: PublicKey, tokens_revoked: int) -> None:
    unit.record(
        AuditAction.AGENT_BOOTSTRAPPED,
        {
            "publicKeyThumbprint": key.thumbprint,
            "previousThumbprint": candidate.thumbprint,
            "previousStatus": candidate.status,
            "keyAlg": key.alg,
            "tokensRevoked": tokens_revoked,
            "retry": candidate.is_consumed,
        },
        actor=f"agent:{candidate.agent_id}",
        principal_type=PrincipalType.AGENT,
        principal_id=candidate.agent_id,
        workspace_id=candidate.workspace_id,
        agent_id=candidate.agent_id,
    )


async def _refuse(unit: Unit, candidate: Candidate | None, reason: str, error: AppError) -> AppError:
    """Record the refusal durably; nothing else of the unit is in force. Answers the error to raise.

    Refusals of the secret name no audit row, so that all of them are the same bytes.
    """
    whose = {}
    if candidate is not None:
        whose = {"workspace_id": candidate.workspace_id, "agent_id": candidate.agent_id}
    audit_id = unit.record(
        AuditAction.AGENT_BOOTSTRAP_FAILED, {"reason": reason}, decision=AuditDecision.DENIED, **whose
    )
    await unit.finish()
    if error.code != "invalid_bootstrap_secret":
        error.extra = {"auditId": audit_id}
    return error


def _invalid_secret() -> AppError:
    return AppError(
        "invalid_bootstrap_secret",
        "The bootstrap secret is not valid: unknown, expired, revoked or already used. Ask a person for a new one.",
    )


def _disabled() -> AppError:
    return AppError("agent_disabled", "The agent is disabled. Ask a person to enable it, then enrol with a new secret.")

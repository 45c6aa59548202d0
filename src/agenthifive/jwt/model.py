"""What our tokens say, and whether a set of claims says it: present, of the right type, meant for us, in time.

    user token  (typ JWT):    sub, wid, sid, roles, scp, platformRole, auth_time   role and standing are read live
    agent token (typ at+jwt): sub "agent:<id>", agentId, client_id, wid, roles, scp

Source: contract/http.md section 13, agents.md section 8; RFC 9068.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeGuard

from agenthifive.ids import is_id

USER_TYPE: Final = "JWT"
AGENT_TYPE: Final = "at+jwt"
AUDIENCE: Final = "api"
USER_TTL_S: Final = 300
LEEWAY_S: Final = 5
_EVERYTHING: Final = "*"
_AGENT_ROLE: Final = "agent"
_MAX_INSTANT_S: Final = 2**53


@dataclass(frozen=True, slots=True)
class UserClaims:
    """Whom a user token is for. Units: auth_time_s: seconds since 1970."""

    user_id: str
    workspace_id: str
    session_id: str
    role: str
    platform_role: str
    auth_time_s: int

    def members(self) -> dict[str, Any]:
        """The claims of their own that such a token has."""
        return {
            "sub": self.user_id,
            "wid": self.workspace_id,
            "roles": [self.role],
            "scp": [_EVERYTHING],
            "sid": self.session_id,
            "platformRole": self.platform_role,
            "auth_time": self.auth_time_s,
        }


@dataclass(frozen=True, slots=True)
class AgentClaims:
    """Whom an agent token is for, and what it may do."""

    agent_id: str
    workspace_id: str
    scopes: Sequence[str]

    def members(self) -> dict[str, Any]:
        """The claims of their own that such a token has."""
        return {
            "sub": f"agent:{self.agent_id}",
            "agentId": self.agent_id,
            "client_id": self.agent_id,
            "wid": self.workspace_id,
            "roles": [_AGENT_ROLE],
            "scp": list(self.scopes),
        }


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A signing key as people see it. `removed_at`: since when nobody accepts it any more."""

    kid: str
    alg: str
    first_seen_at: datetime
    last_signed_at: datetime | None
    retired_at: datetime | None
    is_active: bool
    removed_at: datetime | None


def common_members(issuer: str, jti: str, iat_s: int, ttl_s: int) -> dict[str, Any]:
    """The claims every token of ours has. Units: seconds."""
    return {"iss": issuer, "aud": AUDIENCE, "jti": jti, "iat": iat_s, "nbf": iat_s, "exp": iat_s + ttl_s}


def are_common_members_good(claims: Mapping[str, Any], issuer: str, now_s: float) -> bool:
    """Whether a token is ours, meant for us, and in its time. Units: now_s: seconds since 1970."""
    iat, nbf, exp = claims.get("iat"), claims.get("nbf"), claims.get("exp")
    return (
        claims.get("iss") == issuer
        and claims.get("aud") == AUDIENCE
        and _is_text(claims.get("jti"))
        and _is_instant(iat)
        and _is_instant(nbf)
        and _is_instant(exp)
        and iat < exp
        and iat <= now_s + LEEWAY_S
        and nbf <= now_s + LEEWAY_S
        and exp > now_s - LEEWAY_S
    )


def read_user_claims(claims: Mapping[str, Any]) -> UserClaims | None:
    """Whom a user token is for; None when a claim is missing or of another type."""
    user_id, workspace_id, session_id = claims.get("sub"), claims.get("wid"), claims.get("sid")
    roles, platform_role, auth_time = claims.get("roles"), claims.get("platformRole"), claims.get("auth_time")
    if not (_is_id(user_id) and _is_id(workspace_id) and _is_id(session_id)):
        return None
    if not (_are_words(roles) and claims.get("scp") == [_EVERYTHING]):
        return None
    if not (_is_text(platform_role) and _is_instant(auth_time)):
        return None
    return UserClaims(user_id, workspace_id, session_id, roles[0], platform_role, auth_time)


def read_agent_claims(claims: Mapping[str, Any]) -> AgentClaims | None:
    """Whom an agent token is for; None when a claim is missing or of another type."""
    agent_id, workspace_id, scopes = claims.get("agentId"), claims.get("wid"), claims.get("scp")
    if not (_is_id(agent_id) and _is_id(workspace_id) and _are_words(scopes)):
        return None
    if claims.get("sub") != f"agent:{agent_id}" or claims.get("client_id") != agent_id:
        return None
    if claims.get("roles") != [_AGENT_ROLE]:
        return None
    return AgentClaims(agent_id, workspace_id, tuple(scopes))


def _is_id(value: Any) -> TypeGuard[str]:
    return is_id(value)


def _is_text(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and value != ""


def _is_instant(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 < value < _MAX_INSTANT_S


def _are_words(value: Any) -> TypeGuard[list[str]]:
    return isinstance(value, list) and value != [] and all(_is_text(word) for word in value)

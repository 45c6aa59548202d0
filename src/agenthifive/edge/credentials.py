"""Which credential a request carries: one header, in a fixed precedence, or the session cookie.

Bearer > X-API-Key > X-Goog-Api-Key > cookie; lower ones are ignored. Keys in the query are refused, never read.
Source: contract/http.md sections 4 and 10.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qsl

from agenthifive.edge.context import Headers
from agenthifive.errors import AppError
from agenthifive.vault.compact import type_of

AGENT_PREFIX: Final = "ah5t_"
PAT_PREFIX: Final = "ah5p_"
BOOTSTRAP_PREFIX: Final = "ah5b_"
TOKEN_LENGTH: Final = 48
_QUERY_NAMES: Final = frozenset({"key", "access_token", "token", "api_key"})


class CredentialKind(StrEnum):
    """What the text claims to be."""

    AGENT_TOKEN = "agent_token"
    AGENT_JWT = "agent_jwt"
    PAT = "pat"
    USER_JWT = "user_jwt"
    SESSION = "session"


_JWT_KINDS: Final = {"at+jwt": CredentialKind.AGENT_JWT, "JWT": CredentialKind.USER_JWT}


@dataclass(frozen=True, slots=True)
class Credential:
    """A presented credential; the text is never shown."""

    kind: CredentialKind
    text: str

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


def presented(headers: Headers) -> Credential | None:
    """The header credential of highest precedence, None without one. Raises: AppError (401)."""
    api_key = google_key = None
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                text = value[7:].strip()
                return classify(text.decode("latin-1")) if text else None
        elif name == b"x-api-key":
            api_key = value.strip()
        elif name == b"x-goog-api-key":
            google_key = value.strip()
    key = api_key or google_key
    if not key:
        return None
    credential = classify(key.decode("latin-1"))
    if credential.kind is CredentialKind.USER_JWT:
        raise AppError(
            "wrong_credential_type",
            "A person's JWT is no API key. Send it in the Authorization: Bearer header.",
            hint="Authorization: Bearer",
        )
    return credential


def read_credential(headers: Headers, query: bytes, cookie_name: str) -> Credential:
    """The credential of a request. Raises: AppError."""
    credential = presented(headers)
    if credential is not None:
        return credential
    session = read_cookie(headers, cookie_name)
    if session is not None:
        return Credential(CredentialKind.SESSION, session)
    if query and any(name in _QUERY_NAMES for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True)):
        raise AppError(
            "wrong_credential_type",
            "Credentials in the query are not accepted. Send the token in the Authorization: Bearer header.",
        )
    raise AppError(
        "authentication_required",
        "No credential was sent. Use the header Authorization: Bearer, X-API-Key or X-Goog-Api-Key.",
        hint="Authorization: Bearer | X-API-Key | X-Goog-Api-Key",
    )


def classify(text: str) -> Credential:
    """What a header credential is, by its prefix or, for a JWT, by its type. Raises: AppError."""
    if text.startswith(AGENT_PREFIX) and len(text) == TOKEN_LENGTH:
        return Credential(CredentialKind.AGENT_TOKEN, text)
    if text.startswith(PAT_PREFIX) and len(text) == TOKEN_LENGTH:
        return Credential(CredentialKind.PAT, text)
    if text.startswith(BOOTSTRAP_PREFIX):
        raise AppError(
            "wrong_credential_type",
            "A bootstrap secret is no access token. Enrol with it at POST /v1/agents/bootstrap.",
        )
    jwt_kind = _JWT_KINDS.get(type_of(text) or "")
    if jwt_kind is not None:
        return Credential(jwt_kind, text)
    raise invalid_token()


def invalid_token(kind: CredentialKind | None = None) -> AppError:
    """The one answer for tokens that are unknown, expired or revoked."""
    advice = {
        CredentialKind.AGENT_TOKEN: "Exchange a new assertion at POST /v1/agents/token.",
        CredentialKind.AGENT_JWT: "Exchange a new assertion at POST /v1/agents/token.",
        CredentialKind.USER_JWT: "Obtain another one at POST /api/auth/token, or sign in again.",
        CredentialKind.PAT: "Create another token under Settings, or with POST /v1/tokens.",
        CredentialKind.SESSION: "Sign in again.",
    }.get(kind, "Send an agent token (ah5t_...) or a personal access token (ah5p_...).")  # type: ignore[arg-type]
    return AppError("invalid_token", f"The credential is unknown, expired or revoked. {advice}")


def read_cookie(headers: Headers, cookie_name: str) -> str | None:
    """The value of a cookie; the first one wins."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.strip().partition("=")
                if key == cookie_name and text:
                    return text
    return None

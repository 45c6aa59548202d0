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

AGENT_PREFIX: Final = "ah5t_"
PAT_PREFIX: Final = "ah5p_"
BOOTSTRAP_PREFIX: Final = "ah5b_"
TOKEN_LENGTH: Final = 48
_QUERY_NAMES: Final = frozenset({"key", "access_token", "token", "api_key"})


class CredentialKind(StrEnum):
    """What the text claims to be."""

    AGENT_TOKEN = "agent_token"
    PAT = "pat"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class Credential:
    """A presented credential; the text is never shown."""

    kind: CredentialKind
    text: str

    def __repr__(self) -> str:
        return f"Credential({self.kind})"


def bearer(headers: Headers) -> str | None:
    """The header credential of highest precedence, None without one."""
    api_key = google_key = None
    for name, value in headers:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                return value[7:].strip().decode("latin-1")
        elif name == b"x-api-key":
            api_key = value.strip().decode("latin-1")
        elif name == b"x-goog-api-key":
            google_key = value.strip().decode("latin-1")
    return api_key or google_key


def read_credential(headers: Headers, query: bytes, cookie_name: str) -> Credential:
    """The credential of a request. Raises: AppError."""
    text = bearer(headers)
    if text:
        return classify(text)
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
    """What a header credential is, by its prefix. Raises: AppError."""
    if text.startswith(AGENT_PREFIX) and len(text) == TOKEN_LENGTH:
        return Credential(CredentialKind.AGENT_TOKEN, text)
    if text.startswith(PAT_PREFIX) and len(text) == TOKEN_LENGTH:
        return Credential(CredentialKind.PAT, text)
    if text.startswith(BOOTSTRAP_PREFIX):
        raise AppError(
            "wrong_credential_type",
            "A bootstrap secret is no access token. Enrol with it at POST /v1/agents/bootstrap.",
        )
    raise invalid_token()


def invalid_token(kind: CredentialKind | None = None) -> AppError:
    """The one answer for tokens that are unknown, expired or revoked."""
    advice = {
        CredentialKind.AGENT_TOKEN: "Exchange a new assertion at POST /v1/agents/token.",
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

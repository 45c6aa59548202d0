"""Signing in with GitHub, which speaks OAuth 2.0 and no OpenID Connect: who somebody is, its API says.

    code + verifier -> access token -> GET /user (the numeric id) -> GET /user/emails (the verified primary address)

Login names can be changed and taken by others, so nobody is known by one. Source: contract/http.md section 14.2,
RFC 6749, RFC 7636.
"""

from typing import Final
from urllib.parse import urlencode

from agenthifive.people.flows import Flow
from agenthifive.people.model import Email
from agenthifive.people.oidc import read_token_reply, seal_ready
from agenthifive.people.provider_http import ProviderHttp
from agenthifive.people.providers import (
    GITHUB,
    Client,
    Identity,
    Proven,
    ProviderFailed,
    read_address,
    read_display_name,
)

ISSUER: Final = "https://github.com/login/oauth"
_AUTHORIZE: Final = f"{ISSUER}/authorize"
_TOKEN: Final = f"{ISSUER}/access_token"
_USER: Final = "https://api.github.com/user"
_EMAILS: Final = "https://api.github.com/user/emails"
_SCOPES: Final = "read:user user:email"


class GithubProvider:
    """GitHub, under the name this instance has there."""

    id = GITHUB
    name = "GitHub"

    def __init__(self, client: Client, http: ProviderHttp, redirect_uri: str) -> None:
        self._client = client
        self._http = http
        self._redirect_uri = redirect_uri

    async def authorization_url(self, flow: Flow) -> str:
        """Where the browser goes."""
        asked = {
            "response_type": "code",
            "client_id": self._client.id,
            "redirect_uri": self._redirect_uri,
            "scope": _SCOPES,
            "state": flow.state,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        return f"{_AUTHORIZE}?{urlencode(asked)}"

    async def check_issuer(self, iss: str | None) -> None:
        """Refuse a reply that another provider sent. Raises: ProviderFailed."""
        if iss not in (None, ISSUER):
            raise ProviderFailed("issuer_mismatch")

    async def prove(self, flow: Flow, code: str) -> Proven:
        """Exchange the code and ask whose it was. Raises: ProviderFailed."""
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": flow.verifier,
            "client_id": self._client.id,
            "client_secret": self._client.secret,
        }
        reply = read_token_reply(await self._http.post(_TOKEN, fields))
        user = await self._http.get(_USER, reply.access_token)
        number = user.get("id") if isinstance(user, dict) else None
        if not isinstance(number, int) or isinstance(number, bool) or number < 1:
            raise ProviderFailed("user")
        email, is_verified = _read_primary(await self._http.get(_EMAILS, reply.access_token))
        identity = Identity(ISSUER, str(number), email, is_verified, read_display_name(user))
        return Proven(identity, seal_ready(reply))


def _read_primary(listed: object) -> tuple[Email | None, bool]:
    """The primary address, and whether GitHub has verified it. Raises: ProviderFailed."""
    if not isinstance(listed, list):
        raise ProviderFailed("emails")
    for entry in listed:
        if isinstance(entry, dict) and entry.get("primary") is True:
            email = read_address(entry.get("email"))
            return email, email is not None and entry.get("verified") is True
    return None, False

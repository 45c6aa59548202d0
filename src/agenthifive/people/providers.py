"""The providers people sign in with: where each is, what is asked of it, and what its claims are worth here.

    claims of a verified id_token --identify--> Identity(issuer, subject, e-mail, whether the provider vouches for it)

Somebody is known by issuer and subject alone; `preferred_username` is never read. Source: contract/http.md section
14.2; OpenID Connect Core 1.0 sections 2 and 5.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from agenthifive.people.model import Email, read_email, read_name
from agenthifive.vault.secret import Secret

CALLBACK_PATH: Final = "/api/auth/callback"
GOOGLE, MICROSOFT, APPLE, GITHUB, OIDC = "google", "microsoft", "apple", "github", "oidc"
PROVIDERS: Final = (GOOGLE, MICROSOFT, APPLE, GITHUB, OIDC)
SUBJECT_MAX: Final = 255

_AUTHORITY: Final = "https://login.microsoftonline.com"
_ANY_TENANT: Final = "{tenantid}"  # as Microsoft's own document writes it
_PERSONAL_TENANT: Final = "9188040d-6c67-4c5b-b112-36a304b66dad"
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SCOPES: Final = "openid email profile"


class ProviderFailed(Exception):
    """A provider did not prove who somebody is. `reason` is a word of ours for the log, never the provider's text."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Client:
    """Under which name this instance is registered at a provider."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a provider says somebody is.

    Shapes: is_email_verified: whether the provider vouches that the address is theirs.
    """

    issuer: str
    subject: str
    email: Email | None
    is_email_verified: bool
    name: str | None


@dataclass(frozen=True, slots=True)
class Proven:
    """An identity that was proven, and the provider's tokens as JSON, to be sealed."""

    identity: Identity
    tokens: Secret[bytes]


@dataclass(frozen=True, slots=True)
class OpenIdRule:
    """One provider that speaks OpenID Connect.

    Shapes:
        base: where discovery begins. issuer: what its document and tokens must say; `{tenantid}` stands for a GUID.
        trusted_tenant: of Microsoft, the one tenant whose addresses count without `xms_edov`.
        posts_reply: whether the browser brings the reply in a form. asks_userinfo: whether an e-mail that the
            id_token lacks is asked for.
    """

    id: str
    name: str
    base: str
    issuer: str
    scopes: str = _SCOPES
    trusted_tenant: str | None = None
    posts_reply: bool = False
    asks_userinfo: bool = False

    def is_issuer(self, text: object) -> bool:
        """Whether this is how the provider calls itself."""
        if not isinstance(text, str):
            return False
        head, mark, tail = self.issuer.partition(_ANY_TENANT)
        if not mark:
            return text == self.issuer
        tenant = text.removeprefix(head).removesuffix(tail)
        return text == f"{head}{tenant}{tail}" and _GUID.fullmatch(tenant) is not None

    def identify(self, claims: Mapping[str, Any]) -> Identity:
        """Who verified claims speak of. Raises: ProviderFailed."""
        issuer, subject = str(claims["iss"]), claims.get("sub")
        is_verified = claims.get("email_verified") is True
        if self.id == APPLE:
            is_verified = claims.get("email_verified") in (True, "true")
        if self.id == MICROSOFT:
            subject, is_verified = self._read_microsoft(claims)
        if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_MAX or not subject.isprintable():
            raise ProviderFailed("id_token_subject")
        email = read_address(claims.get("email"))
        return Identity(issuer, subject, email, is_verified and email is not None, read_display_name(claims))

    def _read_microsoft(self, claims: Mapping[str, Any]) -> tuple[object, bool]:
        """People are known by tenant and object id; anybody who runs a tenant can write any address into it."""
        tenant, person = claims.get("tid"), claims.get("oid")
        if not _is_guid(tenant) or not _is_guid(person) or claims["iss"] != f"{_AUTHORITY}/{tenant}/v2.0":
            raise ProviderFailed("id_token_tenant")
        is_owner_known = claims.get("xms_edov") in (True, 1, "1", "true")
        return person, is_owner_known or tenant == self.trusted_tenant


def google() -> OpenIdRule:
    """Google accounts."""
    return OpenIdRule(GOOGLE, "Google", "https://accounts.google.com", "https://accounts.google.com")


def microsoft(tenant: str) -> OpenIdRule:
    """Microsoft accounts. Shapes: tenant: common, organizations, consumers, or the id of one tenant."""
    named = {"common": _ANY_TENANT, "organizations": _ANY_TENANT, "consumers": _PERSONAL_TENANT}.get(tenant, tenant)
    is_one = named == tenant and tenant != _PERSONAL_TENANT
    return OpenIdRule(
        MICROSOFT,
        "Microsoft",
        f"{_AUTHORITY}/{tenant}/v2.0",
        f"{_AUTHORITY}/{named}/v2.0",
        trusted_tenant=tenant if is_one else None,
    )


def apple() -> OpenIdRule:
    """Apple accounts. Apple tells the address only in a reply that is posted."""
    issuer = "https://appleid.apple.com"
    return OpenIdRule(APPLE, "Apple", issuer, issuer, scopes="openid email", posts_reply=True)


def generic(name: str, issuer: str, scopes: str) -> OpenIdRule:
    """Any provider that can be discovered."""
    return OpenIdRule(OIDC, name, issuer, issuer, scopes=scopes, asks_userinfo=True)


def redirect_uri(web_url: str, provider_id: str) -> str:
    """What is registered at a provider, and sent to it, byte for byte."""
    return f"{web_url}{CALLBACK_PATH}/{provider_id}"


def read_address(text: object) -> Email | None:
    """The e-mail address a provider tells, when it is one."""
    return read_email(text) if isinstance(text, str) else None


def read_display_name(members: Mapping[str, Any]) -> str | None:
    """The name a provider tells, when it can be one here."""
    name = members.get("name")
    return read_name(name) if isinstance(name, str) else None


def _is_guid(value: object) -> bool:
    return isinstance(value, str) and _GUID.fullmatch(value) is not None

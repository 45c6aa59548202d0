"""The knobs of people: who may come in and how, what tokens are signed with, how mail leaves.

Source: contract/operations.md sections 2, 6 and 13, contract/http.md section 17.
"""

import re
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from agenthifive.settings_values import Flag, JwksUrl, SecretText, Text, Whole, knob

_PAIR: Final = "set together with its other half"
_KID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TENANT: Final = re.compile(r"common|organizations|consumers|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ISSUER: Final = re.compile(r"https://[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?")
_REGISTRATION: Final = re.compile(r"closed|invite|open|domain:[a-z0-9.-]+\.[a-z0-9-]+(?:,[a-z0-9.-]+\.[a-z0-9-]+)*")
_PAIRS: Final = (
    ("turnstile_site_key", "turnstile_secret_key"),
    ("auth_google_client_id", "auth_google_client_secret"),
    ("auth_microsoft_client_id", "auth_microsoft_client_secret"),
    ("auth_github_client_id", "auth_github_client_secret"),
    ("auth_apple_client_id", "auth_apple_client_secret"),
    ("oidc_issuer", "oidc_client_id"),
    ("oidc_client_id", "oidc_client_secret"),
)


def _client_id(provider: str) -> Any:
    return knob(None, f"sign-in with {provider}", bounds=_PAIR, example="the client id of an app registered apart")


def _client_secret(provider: str) -> Any:
    return knob(None, f"sign-in with {provider}", bounds=_PAIR, example="the client secret of that app", secret=True)


class PeopleSettings(BaseModel):
    """Sign-in, tokens, mail. Part of `Settings`; not used alone."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, validate_default=True
    )

    # who may come in
    registration: Text = knob(
        "closed",
        "who may get an account of their own accord, after set-up",
        bounds="closed, invite, open or domain:a.example,b.example",
        example="REGISTRATION=invite",
        production="`open` warns",
    )
    workspace_creation: Literal["superadmin", "anyone"] = knob(
        "superadmin", "who may open further workspaces", bounds="superadmin or anyone"
    )
    require_two_factor: Literal["off", "admins", "all"] = knob(
        "off",
        "who must have a second factor; at least `admins` with `SECURITY_LEVEL=high`",
        bounds="off, admins or all",
        production="`off` warns",
    )
    admin_email: Text | None = knob(
        None,
        "while nobody has an account: creates the superadmin with this address and prints a link to set the password",
        bounds="an e-mail address",
        example="ADMIN_EMAIL=olga@example.com",
    )
    turnstile_site_key: Text | None = knob(
        None, "bot check at sign-up", bounds=_PAIR, example="TURNSTILE_SITE_KEY=0x4AAA…"
    )
    turnstile_secret_key: SecretText | None = knob(
        None,
        "bot check at sign-up; unreachable = refused",
        bounds=_PAIR,
        example="from the Turnstile page",
        secret=True,
    )
    auth_google_client_id: Text | None = _client_id("Google")
    auth_google_client_secret: SecretText | None = _client_secret("Google")
    auth_microsoft_client_id: Text | None = _client_id("Microsoft")
    auth_microsoft_client_secret: SecretText | None = _client_secret("Microsoft")
    auth_microsoft_tenant_id: Text = knob(
        "common", "whose Microsoft accounts", bounds="common, organizations, consumers or a tenant id"
    )
    auth_github_client_id: Text | None = _client_id("GitHub")
    auth_github_client_secret: SecretText | None = _client_secret("GitHub")
    auth_apple_client_id: Text | None = _client_id("Apple")
    auth_apple_client_secret: SecretText | None = _client_secret("Apple")
    oidc_issuer: Text | None = knob(
        None, "sign-in with any OpenID provider", bounds="an https issuer", example="OIDC_ISSUER=https://id.example.com"
    )
    oidc_client_id: Text | None = _client_id("that provider")
    oidc_client_secret: SecretText | None = _client_secret("that provider")
    oidc_name: Text = knob("Single sign-on", "what its button says", bounds="text")
    oidc_scopes: Text = knob("openid email profile", "what is asked of it", bounds="words, `openid` among them")

    # tokens
    jwt_private_key: SecretText | None = knob(
        None,
        "signs JWTs of people and agents",
        bounds="PEM PKCS#8, RSA of at least 2048 bits, EC P-256 or Ed25519; a literal \\n counts as a line break",
        example="openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -outform PEM",
        check="JWT-KEY",
        shown="– (development: made at each start)",
        secret=True,
    )
    jwt_kid: Text | None = knob(
        None,
        "name of that key in the JWKS",
        bounds="1–128 of `A-Z a-z 0-9 . _ -`",
        example="JWT_KID=2026-11",
        shown="its RFC 7638 thumbprint",
        check="JWT-KEY",
    )
    web_jwks_url: JwksUrl | None = knob(
        None,
        "where keys that verify JWTs are fetched",
        bounds="an internal URL",
        example="WEB_JWKS_URL=http://localhost:4000/.well-known/jwks.json",
        shown="– (in process)",
        check="JWKS-INTERNAL",
    )
    web_jwks_allow_public: Flag = knob(
        False, "let `WEB_JWKS_URL` be public", bounds="true or false", production="JWKS-INTERNAL"
    )

    # mail
    email_provider: Literal["noop", "smtp"] = knob(
        "noop",
        "`noop` prints links to the log instead of sending them",
        bounds="noop or smtp",
        production="`noop` warns",
    )
    smtp_host: Text | None = knob(None, "mail server", bounds="a host name", example="SMTP_HOST=smtp.example.com")
    smtp_port: Whole = knob(587, "its port", low=1, high=65535)
    smtp_tls: Literal["starttls", "implicit", "none"] = knob(
        "starttls",
        "certificates are always verified",
        bounds="starttls, implicit or none",
        production="`none` refuses unless loopback",
    )
    smtp_username: Text | None = knob(None, "login at the mail server", bounds="text", example="SMTP_USERNAME=relay")
    smtp_password: SecretText | None = knob(
        None, "login at the mail server", bounds="text", example="the relay's password", secret=True
    )
    email_from: Text | None = knob(
        None,
        "sender of our mails",
        bounds="an e-mail address, with or without a name",
        example="EMAIL_FROM=AgentHiFive <no-reply@example.com>",
    )

    # limits
    rate_limit_sign_up_per_hour: Whole = knob(10, "registrations per IP", low=1, high=100_000)
    rate_limit_password_reset_per_hour: Whole = knob(3, "reset mails per account", low=1, high=100_000)
    rate_limit_session_jwt_per_minute: Whole = knob(30, "JWTs from sessions per IP", low=1, high=100_000)

    @field_validator("smtp_host", "email_from")
    @classmethod
    def _know_the_mail_server(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None and info.data.get("email_provider") == "smtp":
            raise ValueError("unset beside EMAIL_PROVIDER=smtp")
        return text

    @field_validator("registration")
    @classmethod
    def _know_the_rule(cls, rule: str) -> str:
        if not _REGISTRATION.fullmatch(rule):
            raise ValueError("none of the rules")
        return rule

    @field_validator("jwt_kid")
    @classmethod
    def _spell_the_kid(cls, kid: str | None) -> str | None:
        if kid is not None and not _KID.fullmatch(kid):
            raise ValueError("has a character that a kid cannot have, or is too long")
        return kid

    @field_validator("auth_microsoft_tenant_id")
    @classmethod
    def _know_the_tenant(cls, tenant: str) -> str:
        if not _TENANT.fullmatch(tenant):
            raise ValueError("neither one of the words nor the id of a tenant in lower case")
        return tenant

    @field_validator("oidc_issuer")
    @classmethod
    def _spell_the_issuer(cls, issuer: str | None) -> str | None:
        if issuer is not None and not _ISSUER.fullmatch(issuer):
            raise ValueError("not a plain https address")
        return issuer

    @field_validator("oidc_scopes")
    @classmethod
    def _ask_for_an_identity(cls, scopes: str) -> str:
        if "openid" not in scopes.split():
            raise ValueError("lacks openid")
        return scopes

    @field_validator(*(second for _, second in _PAIRS))
    @classmethod
    def _come_in_pairs(cls, second: Any, info: ValidationInfo) -> Any:
        first = next(name for name, other in _PAIRS if other == info.field_name)
        if (second is None) != (info.data.get(first) is None):
            raise ValueError(f"set without {first.upper()}" if second is not None else f"unset beside {first.upper()}")
        return second

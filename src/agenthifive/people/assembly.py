"""How the people room is put together from the settings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from agenthifive import __version__
from agenthifive.audit.flood import FloodGate
from agenthifive.broker.egress import Egress
from agenthifive.db.migrate import HEAD
from agenthifive.jwt.service import SignedTokens
from agenthifive.notify.assembly import make_mailer
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people import providers
from agenthifive.people.device import DeviceLogins
from agenthifive.people.exchange import SessionTokens
from agenthifive.people.github import GithubProvider
from agenthifive.people.model import Email, read_email, read_name
from agenthifive.people.oidc import OpenIdProvider, Provider
from agenthifive.people.provider_http import ProviderHttp
from agenthifive.people.providers import Client, OpenIdRule
from agenthifive.people.registration import Registration
from agenthifive.people.service import Doors, People, PeopleOptions
from agenthifive.people.social import Social
from agenthifive.people.state import Programs
from agenthifive.people.turnstile import Turnstile
from agenthifive.settings import Settings
from agenthifive.vault.keyring import Keyring

if TYPE_CHECKING:
    from agenthifive.app import Application

_SECRET_MIN: Final = 32


def make_people(app: "Application", limiter: RateLimiter) -> People:
    """The people room of an application. Raises: ValueError naming the variable."""
    options = replace(read_options(app.settings), epoch=app.instance.epoch)
    return People(app.database, limiter, FloodGate(), options, app.keyring, _make_doors(app))


def _make_doors(app: "Application") -> Doors:
    secret = app.settings.turnstile_secret_key
    turnstile = None
    if secret is not None:
        turnstile = Turnstile(secret.get_secret_value(), lambda: app.broker.egress)
    return Doors(make_mailer(app.settings), turnstile)


def make_programs(settings: Settings, people: People, signed_tokens: SignedTokens) -> Programs:
    """How programs come to act for people of this room. Raises: ValueError naming the variable."""
    return Programs(
        SessionTokens(people.sessions, signed_tokens, people.accounts),
        DeviceLogins(read_options(settings).secret, people.tokens),
    )


def read_options(settings: Settings) -> PeopleOptions:
    """What the settings say about people. Raises: ValueError naming the variable."""
    secret = "" if settings.better_auth_secret is None else settings.better_auth_secret.get_secret_value()
    if len(secret) < _SECRET_MIN:
        raise ValueError("BETTER_AUTH_SECRET: not set; expected at least 32 characters; run: agenthifive init")
    return PeopleOptions(
        secret=secret.encode(),
        web_url=settings.web_url,
        release={"version": __version__, "gitSha": settings.git_sha, "revision": HEAD},
        session_idle_hours=settings.session_idle_hours,
        session_max_days=settings.session_max_days,
        password_min_length=settings.password_min_length,
        sign_in_lock_after=settings.sign_in_lock_after,
        registration=Registration.of(settings.registration),
        reset_mails_per_hour=settings.rate_limit_password_reset_per_hour,
        turnstile_site_key=settings.turnstile_site_key,
        admin_email=_read_admin_email(settings.admin_email),
        workspace_creation=settings.workspace_creation,
        require_two_factor=settings.two_factor_rule,
    )


def _read_admin_email(text: str | None) -> Email | None:
    email = None if text is None else read_email(text)
    if text is not None and (email is None or read_name(email.text.partition("@")[0]) is None):
        raise ValueError("ADMIN_EMAIL: no e-mail address; expected one; ADMIN_EMAIL=olga@example.com")
    return email


def make_social(settings: Settings, people: People, keyring: Keyring, egress: Egress) -> Social:
    """Sign-in with accounts elsewhere, at the providers whose clients are set. Raises: ValueError."""
    return Social(
        read_providers(settings, ProviderHttp(egress)),
        people.sessions,
        people.entrance,
        Registration.of(settings.registration),
        people.accounts,
        keyring,
        people.seal,
        FloodGate(),
    )


def read_providers(settings: Settings, http: ProviderHttp) -> Mapping[str, Provider]:
    """The providers whose clients are set, in the order they are offered. A connection's client is never one."""
    found: dict[str, Provider] = {}

    def add(rule: OpenIdRule, client: Client | None) -> None:
        if client is not None:
            uri = providers.redirect_uri(settings.web_url, rule.id)
            found[rule.id] = OpenIdProvider(rule, client, http, uri)

    add(providers.google(), _client(settings.auth_google_client_id, settings.auth_google_client_secret))
    add(
        providers.microsoft(settings.auth_microsoft_tenant_id),
        _client(settings.auth_microsoft_client_id, settings.auth_microsoft_client_secret),
    )
    add(providers.apple(), _client(settings.auth_apple_client_id, settings.auth_apple_client_secret))
    github = _client(settings.auth_github_client_id, settings.auth_github_client_secret)
    if github is not None:
        uri = providers.redirect_uri(settings.web_url, providers.GITHUB)
        found[providers.GITHUB] = GithubProvider(github, http, uri)
    if settings.oidc_issuer is not None:
        rule = providers.generic(settings.oidc_name, settings.oidc_issuer, settings.oidc_scopes)
        add(rule, _client(settings.oidc_client_id, settings.oidc_client_secret))
    return found


def _client(client_id: str | None, secret: SecretStr | None) -> Client | None:
    return None if client_id is None or secret is None else Client(client_id, secret.get_secret_value())

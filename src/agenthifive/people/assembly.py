"""How the people room is put together from the settings."""

from typing import TYPE_CHECKING, Final

from agenthifive import __version__
from agenthifive.audit.flood import FloodGate
from agenthifive.db.migrate import HEAD
from agenthifive.notify.assembly import make_mailer
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people.model import Email, read_email, read_name
from agenthifive.people.registration import Registration
from agenthifive.people.service import Doors, People, PeopleOptions
from agenthifive.people.turnstile import Turnstile
from agenthifive.settings import Settings

if TYPE_CHECKING:
    from agenthifive.app import Application

_SECRET_MIN: Final = 32


def make_people(app: "Application", limiter: RateLimiter) -> People:
    """The people room of an application. Raises: ValueError naming the variable."""
    return People(app.database, limiter, FloodGate(), read_options(app.settings), app.keyring, _make_doors(app))


def _make_doors(app: "Application") -> Doors:
    secret = app.settings.turnstile_secret_key
    turnstile = None
    if secret is not None:
        turnstile = Turnstile(secret.get_secret_value(), lambda: app.broker.egress)
    return Doors(make_mailer(app.settings), turnstile)


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
        require_two_factor=settings.two_factor_rule,
    )


def _read_admin_email(text: str | None) -> Email | None:
    email = None if text is None else read_email(text)
    if text is not None and (email is None or read_name(email.text.partition("@")[0]) is None):
        raise ValueError("ADMIN_EMAIL: no e-mail address; expected one; ADMIN_EMAIL=olga@example.com")
    return email

"""How the people room is put together from the settings."""

from typing import TYPE_CHECKING, Final

from agenthifive import __version__
from agenthifive.audit.flood import FloodGate
from agenthifive.db.migrate import HEAD
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people.service import People, PeopleOptions
from agenthifive.settings import Settings

if TYPE_CHECKING:
    from agenthifive.app import Application

_SECRET_MIN: Final = 32


def make_people(app: "Application", limiter: RateLimiter) -> People:
    """The people room of an application. Raises: ValueError naming the variable."""
    return People(app.database, limiter, FloodGate(), read_options(app.settings), app.keyring)


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
        registration=settings.registration,
        workspace_creation=settings.workspace_creation,
        require_two_factor=settings.two_factor_rule,
    )

"""The people room as the composition root builds it and everybody else finds it (`app.state.people`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agenthifive.audit.flood import FloodGate
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.notify.console import ConsoleMailer
from agenthifive.notify.mail import Mailer
from agenthifive.operations.jobs import Job
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people import store
from agenthifive.people.accounts import Accounts
from agenthifive.people.admin import Admin
from agenthifive.people.entrance import Entrance
from agenthifive.people.errands import Errands
from agenthifive.people.failures import Failures
from agenthifive.people.first_admin import FirstAdmin
from agenthifive.people.invitations import Invitations
from agenthifive.people.jobs import SWEEP_PERIOD_S, sweep_ended
from agenthifive.people.model import Email, Membership, User
from agenthifive.people.own_account import OwnAccount
from agenthifive.people.passkeys import Passkeys
from agenthifive.people.passwords import Passwords
from agenthifive.people.pending import PendingSignIns
from agenthifive.people.recovery import Recovery
from agenthifive.people.registration import NOBODY, Registration
from agenthifive.people.second_factors import SecondFactors
from agenthifive.people.second_step import SecondStep
from agenthifive.people.sessions import SessionKeys, Sessions
from agenthifive.people.setup import SetUp
from agenthifive.people.sign_in import SignIn
from agenthifive.people.sign_up import SignUp
from agenthifive.people.tokens import Tokens
from agenthifive.people.totp import Totp
from agenthifive.people.turnstile import Turnstile
from agenthifive.people.webauthn import RelyingParty
from agenthifive.people.workspaces import Workspaces
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.keyring import Keyring


@dataclass(frozen=True, slots=True)
class PeopleOptions:
    """What the settings say about people.

    Shapes:
        secret: of BETTER_AUTH_SECRET. web_url: the public origin. release: version, gitSha, revision.
        epoch: of the installation, one higher after each restore.
        admin_email: who becomes superadmin without a set-up link, while nobody has an account.
        require_two_factor: off, admins or all.
    """

    secret: bytes
    web_url: str
    release: Mapping[str, str]
    session_idle_hours: float = 12.0
    session_max_days: int = 7
    password_min_length: int = 12
    sign_in_lock_after: int = 5
    registration: Registration = NOBODY
    workspace_creation: str = "superadmin"
    reset_mails_per_hour: int = 3
    turnstile_site_key: str | None = None
    admin_email: Email | None = None
    require_two_factor: str = "off"
    epoch: int = 1

    def __repr__(self) -> str:
        return f"PeopleOptions({self.web_url!r})"


@dataclass(frozen=True, slots=True)
class Doors:
    """What people need of other rooms: a way to write to them, and answers from elsewhere."""

    mailer: Mailer = field(default_factory=ConsoleMailer)
    turnstile: Turnstile | None = None


class People:
    """Everything about people; its parts are named after what they do. `finish`, then close it last."""

    def __init__(
        self,
        database: Database,
        limiter: RateLimiter,
        flood: FloodGate,
        options: PeopleOptions,
        keyring: Keyring,
        doors: Doors | None = None,
    ) -> None:
        doors = doors or Doors()
        self.database = database
        self.limiter = limiter
        self.web_url = options.web_url
        self.passwords = Passwords(options.password_min_length)
        self.sessions = _make_sessions(database, options)
        failures, seal = Failures(flood), BrowserSeal(options.secret, options.epoch)
        self.seal = seal
        self.pendings = PendingSignIns(seal)
        self.tokens = Tokens(database, options.require_two_factor)
        self.mailer = doors.mailer
        self.errands = Errands()
        self.registration = options.registration
        self._options = options
        self.entrance = Entrance(self.sessions, self.pendings)
        self.invitations = Invitations(
            options.web_url, options.registration, self.passwords, self.entrance, doors.mailer
        )
        self.accounts = Accounts(self.passwords, options.registration, self.invitations)
        self.sign_in = SignIn(self.passwords, self.sessions, self.entrance, failures, options.sign_in_lock_after)
        self.second_factors = SecondFactors()
        self.totp = Totp(keyring)
        self.passkeys = Passkeys(RelyingParty(options.web_url), seal)
        self.second_step = SecondStep(
            self.entrance, self.pendings, self.totp, self.passkeys, limiter, failures, self.sessions
        )
        self.setup = SetUp(options.web_url, self.passwords, self.sessions, self.tokens, options.release)
        web_url = options.web_url
        self.sign_up = SignUp(
            web_url, self.passwords, options.registration, self.invitations, doors.turnstile, doors.mailer, limiter
        )
        self.recovery = Recovery(
            web_url,
            self.accounts,
            self.passwords,
            self.sign_in,
            doors.mailer,
            self.errands,
            limiter,
            options.reset_mails_per_hour,
        )
        self.own_account = OwnAccount(web_url, self.passwords, self.sessions, self.sign_in, doors.mailer)
        self.first_admin = self._make_first_admin()
        self.workspaces = Workspaces(options.workspace_creation)
        self.admin = Admin(web_url, self.accounts, self.workspaces, self.second_factors)
        self.cookie_name = self.sessions.cookie_name
        self.caller_by_session = self.sessions.caller_by_session
        self.caller_by_pat = self.tokens.caller_by_pat

    def _make_first_admin(self) -> FirstAdmin | None:
        options = self._options
        if options.admin_email is None:
            return None
        return FirstAdmin(options.admin_email, options.web_url, options.release, self.accounts, self.mailer)

    @property
    def jobs(self) -> Sequence[Job]:
        """The timers of this room."""

        async def sweep(unit: Unit) -> None:
            await sweep_ended(await unit.begin(), self.sessions.idle_s)

        return [Job("people_sweep_ended", SWEEP_PERIOD_S, sweep)]

    def describe_ways_in(self) -> dict[str, Any]:
        """How one can sign in and register here, besides providers elsewhere, as the sign-in page asks for it."""
        options = self._options
        site_key = options.turnstile_site_key
        return {
            "passkeys": self.passkeys.is_usable,
            "registration": options.registration.rule,
            **({} if site_key is None else {"turnstileSiteKey": site_key}),
        }

    async def finish(self) -> None:
        """Finish what goes on after the answers, for a few seconds; after the last request."""
        await self.errands.close()
        await self.mailer.close()

    def close(self) -> None:
        """End the threads that work on passwords."""
        self.passwords.close()

    async def find_user(self, connection: Connection, user_id: str) -> User:
        """The account of a caller. Raises: AppError (401) when it is gone."""
        user = await store.find_user(connection, user_id)
        if user is None:
            raise AppError("invalid_token", "This account no longer exists. Sign in with another one.")
        return user

    async def list_workspaces(self, connection: Connection, user_id: str) -> list[Membership]:
        """The workspaces somebody belongs to, the one joined first at the head."""
        return await store.list_memberships(connection, user_id)


def _make_sessions(database: Database, options: PeopleOptions) -> Sessions:
    return Sessions(
        database,
        SessionKeys(options.secret),
        idle_s=options.session_idle_hours * 3600,
        max_s=options.session_max_days * 86_400,
        is_https=options.web_url.startswith("https://"),
        factor_rule=options.require_two_factor,
    )

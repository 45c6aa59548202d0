"""The people room as the composition root builds it and everybody else finds it (`app.state.people`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agenthifive.audit.flood import FloodGate
from agenthifive.db.database import Connection, Database
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.notify.mail import Mail, Mailer
from agenthifive.operations.jobs import Job
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people import store
from agenthifive.people.accounts import Accounts
from agenthifive.people.admin import Admin
from agenthifive.people.entrance import Entrance
from agenthifive.people.failures import Failures
from agenthifive.people.invitations import Invitations
from agenthifive.people.jobs import SWEEP_PERIOD_S, sweep_ended
from agenthifive.people.model import Membership, User
from agenthifive.people.passkeys import Passkeys
from agenthifive.people.passwords import Passwords
from agenthifive.people.pending import PendingSignIns
from agenthifive.people.registration import Registration
from agenthifive.people.second_factors import SecondFactors
from agenthifive.people.second_step import SecondStep
from agenthifive.people.sessions import SessionKeys, Sessions
from agenthifive.people.setup import SetUp
from agenthifive.people.sign_in import SignIn
from agenthifive.people.tokens import Tokens
from agenthifive.people.totp import Totp
from agenthifive.people.webauthn import RelyingParty
from agenthifive.people.workspaces import Workspaces
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.keyring import Keyring


@dataclass(frozen=True, slots=True)
class PeopleOptions:
    """What the settings say about people.

    Shapes:
        secret: of BETTER_AUTH_SECRET. web_url: the public origin. release: version, gitSha, revision.
        require_two_factor: off, admins or all.
    """

    secret: bytes
    web_url: str
    release: Mapping[str, str]
    session_idle_hours: float = 12.0
    session_max_days: int = 7
    password_min_length: int = 12
    sign_in_lock_after: int = 5
    registration: str = "closed"
    workspace_creation: str = "superadmin"
    require_two_factor: str = "off"

    def __repr__(self) -> str:
        return f"PeopleOptions({self.web_url!r})"


class NoMailer:
    """The mailer of a process that sends nothing, such as a command."""

    delivers = False

    def post(self, mail: Mail) -> None:
        """Let the mail be: whoever caused it holds the link."""

    async def close(self) -> None:
        """There is nothing to send."""


class People:
    """Everything about people; its parts are named after what they do. Close it last."""

    def __init__(
        self,
        database: Database,
        limiter: RateLimiter,
        flood: FloodGate,
        options: PeopleOptions,
        keyring: Keyring,
        mailer: Mailer | None = None,
    ) -> None:
        self.database = database
        self.limiter = limiter
        self.web_url = options.web_url
        self.passwords = Passwords(options.password_min_length)
        self.sessions = Sessions(
            database,
            SessionKeys(options.secret),
            idle_s=options.session_idle_hours * 3600,
            max_s=options.session_max_days * 86_400,
            is_https=options.web_url.startswith("https://"),
            factor_rule=options.require_two_factor,
        )
        seal, failures = BrowserSeal(options.secret), Failures(flood)
        self.pendings = PendingSignIns(seal)
        self.tokens = Tokens(database, options.require_two_factor)
        self.accounts = Accounts(self.passwords)
        self.entrance = Entrance(self.sessions, self.pendings)
        self.sign_in = SignIn(self.passwords, self.sessions, self.entrance, failures, options.sign_in_lock_after)
        self.second_factors = SecondFactors()
        self.totp = Totp(keyring)
        self.passkeys = Passkeys(RelyingParty(options.web_url), seal)
        self.second_step = SecondStep(
            self.entrance, self.pendings, self.totp, self.passkeys, limiter, failures, self.sessions
        )
        self.setup = SetUp(options.web_url, self.passwords, self.sessions, self.tokens, options.release)
        self.workspaces = Workspaces(options.workspace_creation)
        self.admin = Admin(options.web_url, self.accounts, self.workspaces, self.second_factors)
        self.invitations = Invitations(
            options.web_url,
            Registration.of(options.registration),
            self.passwords,
            self.entrance,
            NoMailer() if mailer is None else mailer,
        )
        self.cookie_name = self.sessions.cookie_name
        self.caller_by_session = self.sessions.caller_by_session
        self.caller_by_pat = self.tokens.caller_by_pat

    @property
    def jobs(self) -> Sequence[Job]:
        """The timers of this room."""

        async def sweep(unit: Unit) -> None:
            await sweep_ended(await unit.begin(), self.sessions.idle_s)

        return [Job("people_sweep_ended", SWEEP_PERIOD_S, sweep)]

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

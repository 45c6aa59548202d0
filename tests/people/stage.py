"""The stage of these tests: an instance of its own, empty at the start of each test, behind the real edge.

Olga sets it up and owns the workspace, Adam approves, Vera only views, Mallory owns another one, Bot is an agent.
"""

import re
from collections.abc import Mapping
from typing import Any

import httpx
import psycopg

from agenthifive.audit.chains import AdminChain
from agenthifive.audit.flood import FloodGate
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Signature, Unit
from agenthifive.edge.answers import StandardHeaders
from agenthifive.edge.callers import Caller
from agenthifive.edge.context import TrustedProxies
from agenthifive.edge.gate import Gate
from agenthifive.edge.gatekeeper import Gatekeeper, LookUps
from agenthifive.edge.management import make_management
from agenthifive.edge.routing import Edge
from agenthifive.ids import new_id
from agenthifive.notify.mail import Mail
from agenthifive.operations.journal import Journal
from agenthifive.operations.ratelimit import RateLimiter, Window
from agenthifive.people import api, pages
from agenthifive.people.accounts import Accounts
from agenthifive.people.model import Account
from agenthifive.people.oidc import Provider
from agenthifive.people.registration import Registration
from agenthifive.people.service import Doors, People, PeopleOptions
from agenthifive.people.social import Social
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AGENT_SCOPES, PrincipalType, RateLimit, Role

WEB_URL = "http://localhost:4000"
SECRET = b"a secret of the tests that is long enough"
PASSWORD = "orchid-lantern-gravel-77"
OLGA, ADAM, VERA, MALLORY = "olga@example.com", "adam@example.com", "vera@example.com", "mallory@evil.test"
AGENT_TOKEN = "ah5t_" + "b" * 43
RELEASE = {"version": "0.2.0", "gitSha": "abc", "revision": "0002"}
EMPTY = """
    WITH links AS (DELETE FROM t_one_time_links), tries AS (DELETE FROM t_sign_in_failures),
         hits AS (DELETE FROM t_rate_limits), workspaces AS (DELETE FROM t_workspaces), users AS (DELETE FROM t_users)
    SELECT coalesce(max(id), 0) FROM l_audit_events
"""
WIDE = Window(100_000, 60)
LIMITS = (
    RateLimit.SIGN_IN,
    RateLimit.SIGN_UP,
    RateLimit.PASSWORD_RESET,
    RateLimit.SECOND_FACTOR,
    RateLimit.PASSKEY,
    RateLimit.OAUTH_CALLBACK,
    RateLimit.ONE_TIME_LINK,
    RateLimit.AUTH_FAILURES,
    RateLimit.PAT_CREATE,
)
KEYRING = Keyring.of([bytes(range(40, 72))])


class _NoMeter:
    def observe_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts nothing."""


class Postbox:
    """A mailer that keeps what it was given."""

    delivers = True

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    def post(self, mail: Mail) -> None:
        """Keep it."""
        self.mails.append(mail)

    async def close(self) -> None:
        """Nothing waits."""

    def token(self, address: str) -> str:
        """The token of the link in the last mail to an address."""
        link = [mail.link for mail in self.mails if mail.to == address][-1]
        assert link is not None
        return link.partition("?token=")[2]


class Browser(httpx.AsyncClient):
    """A person at a browser: keeps cookies, and sends the CSRF token once it asked for it."""

    async def take_csrf(self) -> str:
        answer = await self.get("/api/auth/csrf")
        assert answer.status_code == 200, answer.text
        self.headers["x-ah5-csrf"] = answer.json()["token"]
        return str(answer.json()["token"])


class Stage:
    """Everything a test asks for: the room, its application, and the database beneath it."""

    def __init__(self, database: Database, chain: AdminChain, admin: psycopg.AsyncConnection[Any]) -> None:
        self.database = database
        self.chain = chain
        self.admin = admin
        self.postbox = Postbox()
        self.people = self.room()

    def room(
        self,
        web_url: str = WEB_URL,
        secret: bytes = SECRET,
        *,
        rule: str = "off",
        options: Mapping[str, Any] | None = None,
        doors: Mapping[str, Any] | None = None,
        **limits: Window,
    ) -> People:
        """Another process's room over the same database; its mail goes to the postbox."""
        limiter = RateLimiter(self.database, {limit: limits.get(limit.value, WIDE) for limit in LIMITS})
        read = PeopleOptions(secret, web_url, RELEASE, require_two_factor=rule, **(options or {}))
        opened = Doors(**{"mailer": self.postbox, **(doors or {})})
        return People(self.database, limiter, FloodGate(), read, KEYRING, opened)

    def unit(self, signature: Signature = SYSTEM) -> Unit:
        return Unit(self.database, self.chain, signature)

    def social(self, providers: Mapping[str, Provider] | None = None, rule: str = "closed") -> Social:
        """Sign-in with accounts elsewhere, at no provider unless some are given."""
        room = self.people
        registration = Registration.of(rule)
        return Social(
            providers or {},
            room.sessions,
            room.entrance,
            registration,
            Accounts(room.passwords, registration, room.invitations),
            KEYRING,
            BrowserSeal(SECRET),
            FloodGate(),
        )

    def browser(
        self, people: People | None = None, ip: str = "203.0.113.7", social: Social | None = None, **options: Any
    ) -> Browser:
        """A client of the complete application."""
        people = people or self.people
        agent = Caller(PrincipalType.AGENT, new_id(), new_id(), agent_id=new_id(), scopes=frozenset(AGENT_SCOPES))

        async def find_agent(token: str) -> Caller | None:
            return agent if token == AGENT_TOKEN else None

        gatekeeper = Gatekeeper(
            self.database,
            self.chain,
            people.limiter,
            LookUps(find_agent, people.caller_by_pat, people.caller_by_session),
            FloodGate(),
            cookie_name=people.cookie_name,
            web_origin=people.web_url,
        )
        app = make_management([api.routes.router, pages.routes.router])
        app.state.edge = Edge(self.database, self.chain, gatekeeper)
        app.state.people = people
        app.state.social = social or self.social()
        gate = Gate(
            broker=app,
            management=app,
            lifespan=app,
            proxies=TrustedProxies([]),
            headers=StandardHeaders(people.web_url),
            web_origin=people.web_url,
            cors_origins=frozenset(),
            meter=_NoMeter(),
            journal=Journal(is_on=False, is_readable=False),
        )
        transport = httpx.ASGITransport(app=gate, client=(ip, 40000), raise_app_exceptions=False)
        return Browser(transport=transport, base_url=people.web_url, **options)

    async def link_token(self) -> str:
        """The token of a fresh set-up link."""
        async with self.unit() as unit:
            return (await self.people.setup.issue_link(unit)).partition("?token=")[2]

    async def add(self, email: str, workspace_id: str | None = None, role: Role = Role.VIEWER) -> Account:
        """Somebody with an account and the password of these tests."""
        async with self.unit() as unit:
            name = email.partition("@")[0].title()
            return await self.people.accounts.create_user(unit, email, name, PASSWORD, workspace_id, role)

    async def sign_in(self, email: str, people: People | None = None, social: Social | None = None) -> Browser:
        """The browser of somebody who just signed in."""
        browser = self.browser(people, social=social)
        answer = await browser.post("/api/auth/sign-in/email", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        await browser.take_csrf()
        return browser

    async def fetch(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows as the superuser sees them."""
        cursor = await self.admin.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []

    async def events(self, action: str) -> list[dict[str, Any]]:
        """The audit rows of an action since the test began, oldest first."""
        rows = await self.fetch(
            "SELECT to_jsonb(e) FROM l_audit_events e WHERE action = %s AND id > %s ORDER BY id", action, self.first_row
        )
        return [row[0] for row in rows]

    async def start(self) -> None:
        """Empty the instance; the log stays, as it must, and what was there before is left out of `events`."""
        [(self.first_row,)] = await self.fetch(EMPTY)


def cookies_of(answer: httpx.Response) -> Mapping[str, str]:
    """The Set-Cookie lines of an answer by cookie name."""
    return {re.split("=", line, maxsplit=1)[0]: line for line in answer.headers.get_list("set-cookie")}

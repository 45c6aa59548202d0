"""A company: Olga owns a workspace, Ann is its admin, Adam approves, Vera views; Mallory owns another one."""

from dataclasses import dataclass, field
from typing import Any

import httpx

from agenthifive.audit.flood import FloodGate
from agenthifive.notify.mail import Mail
from agenthifive.operations.ratelimit import RateLimiter
from agenthifive.people.model import Account
from agenthifive.people.registration import Registration
from agenthifive.people.service import Doors, People, PeopleOptions
from agenthifive.words import Role
from people.stage import ADAM, KEYRING, LIMITS, MALLORY, OLGA, RELEASE, SECRET, VERA, WEB_URL, WIDE, Browser, Stage

ANN = "ann@example.com"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
MEMBERS = "/v1/workspaces/current/members"
INVITATIONS = "/v1/workspaces/current/invitations"


@dataclass
class Letters:
    """A mailer that keeps what was posted."""

    delivers: bool = True
    posted: list[Mail] = field(default_factory=list)

    def post(self, mail: Mail) -> None:
        self.posted.append(mail)

    async def close(self) -> None:
        """Nothing waits."""


@dataclass
class Company:
    """The people, signed in, and where they belong."""

    stage: Stage
    people: People
    workspace_id: str
    accounts: dict[str, Account]
    browsers: dict[str, Browser]

    def __getitem__(self, email: str) -> Browser:
        return self.browsers[email]

    def id(self, email: str) -> str:
        """The account of somebody."""
        return self.accounts[email].user.id

    async def role(self, email: str) -> str | None:
        """What somebody is in the company's workspace."""
        rows = await self.stage.fetch(
            "SELECT role FROM t_members WHERE workspace_id = %s AND user_id = %s", self.workspace_id, self.id(email)
        )
        return rows[0][0] if rows else None


def make_room(stage: Stage, mailer: Letters | None = None, **options: Any) -> People:
    """The people room of one process, with these settings."""
    limiter = RateLimiter(stage.database, dict.fromkeys(LIMITS, WIDE))
    if "registration" in options:
        options["registration"] = Registration.of(options["registration"])
    settings = PeopleOptions(SECRET, WEB_URL, RELEASE, **options)
    return People(stage.database, limiter, FloodGate(), settings, KEYRING, Doors() if mailer is None else Doors(mailer))


async def found_company(stage: Stage, people: People) -> Company:
    """Everybody in their place."""
    olga = await stage.add(OLGA)
    accounts = {OLGA: olga}
    for email, role in ((ANN, Role.ADMIN), (ADAM, Role.APPROVER), (VERA, Role.VIEWER)):
        accounts[email] = await stage.add(email, olga.workspace_id, role)
    accounts[MALLORY] = await stage.add(MALLORY)
    browsers = {email: await stage.sign_in(email, people) for email in accounts}
    return Company(stage, people, olga.workspace_id, accounts, browsers)


def code_of(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal."""
    return answer.status_code, answer.json()["code"]

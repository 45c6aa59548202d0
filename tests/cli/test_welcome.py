"""What a server says when it is ready: the address, and the one link that makes the first account."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from agenthifive import __version__
from agenthifive.cli.console import Terminal
from agenthifive.cli.welcome import FirstLink, Welcome, greeting, issue_link, log_line
from agenthifive.errors import AppError
from cli.stage import Cli

LINK = "http://localhost:4000/setup?token=abc"
FRESH = """\
AgentHiFive VERSION is ready at http://localhost:4000
API documentation: http://localhost:4000/docs

── Set-up link ──────────────────────────────────────────────────────────────────────────────────
http://localhost:4000/setup?token=abc
Open it to create the first account. It works once, for 24 hours. Another: agenthifive setup-link
─────────────────────────────────────────────────────────────────────────────────────────────────

Stop it with Ctrl-C.
"""


class People:
    """A people room with or without people."""

    def __init__(self, *, has_users: bool, error: Exception | None = None) -> None:
        self._has_users = has_users
        self._error = error
        self.setup = self
        self.first_admin: Any = None

    async def has_users(self, _: Any) -> bool:
        return self._has_users

    async def issue_link(self, _: Any) -> str:
        if self._error is not None:
            raise self._error
        return LINK


def application(people: People, **settings: Any) -> Any:
    """As much of an application as a welcome looks at."""

    @asynccontextmanager
    async def unit() -> AsyncIterator[Any]:
        async def begin() -> None:
            return None

        yield SimpleNamespace(begin=begin)

    defaults = {"web_url": "http://localhost:4000", "api_docs": "public", "log_format": None}
    return SimpleNamespace(
        keeper=SimpleNamespace(people=people), unit=unit, settings=SimpleNamespace(**{**defaults, **settings})
    )


async def greet(terminal: Terminal, people: People, **settings: Any) -> None:
    """Let a server become ready."""
    welcome = Welcome(terminal)
    welcome.begin(application(people, **settings))
    task = welcome._task
    assert task is not None
    await task


@pytest.fixture
def terminal(cli: Cli) -> Terminal:
    return Terminal({}, cli.home, command="up")


async def test_up_frames_the_link(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    await greet(terminal, People(has_users=False))
    assert capsys.readouterr() == (FRESH.replace("VERSION", __version__), "")


async def test_once_somebody_has_an_account_there_is_no_link(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    await greet(terminal, People(has_users=True), api_docs="off")
    expected = f"AgentHiFive {__version__} is ready at http://localhost:4000\n\nStop it with Ctrl-C.\n"
    assert capsys.readouterr() == (expected, "")


async def test_a_program_gets_one_object(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.is_json = True
    await greet(terminal, People(has_users=False))
    assert json.loads(capsys.readouterr().out)["data"] == {"url": "http://localhost:4000", "setupLink": LINK}
    await greet(terminal, People(has_users=True))
    assert json.loads(capsys.readouterr().out)["data"] == {"url": "http://localhost:4000", "setupLink": None}


async def test_under_a_service_manager_the_link_is_a_log_line_at_warning(
    terminal: Terminal, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.command = "serve"
    await greet(terminal, People(has_users=False), log_format="json")
    out, err = capsys.readouterr()
    record = json.loads(err.splitlines()[-1])
    assert (record["level"], record["setupLink"]) == ("warning", LINK)
    assert "link" not in out


async def test_serve_on_a_terminal_frames_the_link(
    terminal: Terminal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.command = "serve"
    monkeypatch.setattr(Terminal, "is_watched", True)
    await greet(terminal, People(has_users=False))
    assert capsys.readouterr().out == FRESH.replace("VERSION", __version__)


@pytest.mark.parametrize("error", [AppError("ALREADY_SET_UP", "Set up."), psycopg.OperationalError("gone")])
async def test_that_no_link_can_be_made_stops_nothing(error: Exception) -> None:
    assert await issue_link(application(People(has_users=False, error=error))) is None


def test_the_log_line_in_its_plain_form() -> None:
    text = "WARNING nobody has an account yet: open the set-up link; it works once, for 24 hours"
    assert log_line(FirstLink(LINK), is_json=False) == f"{text}: {LINK}"


def test_a_greeting_without_documentation() -> None:
    assert "/docs" not in greeting("http://localhost:4000", None, has_docs=False)


class FirstAdmin:
    """Makes the account of ADMIN_EMAIL, unless somebody was faster."""

    def __init__(self, link: str | None) -> None:
        self._link = link

    async def create(self, _: Any) -> str | None:
        return self._link


@pytest.fixture
def seeded() -> People:
    """An instance that has just made the account of ADMIN_EMAIL."""
    people = People(has_users=False)
    people.first_admin = FirstAdmin(LINK)
    return people


async def test_the_account_of_admin_email_gets_a_link_of_its_own(
    terminal: Terminal, seeded: People, capsys: pytest.CaptureFixture[str]
) -> None:
    await greet(terminal, seeded)
    out = capsys.readouterr().out
    assert "Password link" in out
    assert LINK in out
    assert "Set-up link" not in out
    terminal.is_json = True
    await greet(terminal, seeded)
    data = {"url": "http://localhost:4000", "setPasswordLink": LINK}
    assert json.loads(capsys.readouterr().out)["data"] == data


async def test_under_a_service_manager_the_link_of_admin_email_is_a_log_line(
    terminal: Terminal, seeded: People, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.command = "serve"
    await greet(terminal, seeded, log_format="json")
    record = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert (record["level"], record["setPasswordLink"]) == ("warning", LINK)


async def test_another_replica_was_faster() -> None:
    people = People(has_users=False)
    people.first_admin = FirstAdmin(None)
    assert await issue_link(application(people)) is None

"""`mail test`: exit 0 when the server took the mail, 1 when it did not."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli.stage import Cli
from mail_server import MailServer, mail_server

ADDRESS = "adam@example.com"


@contextmanager
def serving() -> Iterator[MailServer]:
    """A mail server in a thread of its own, because a command runs an event loop of its own."""
    loop, ready, over, made = asyncio.new_event_loop(), threading.Event(), asyncio.Event(), []

    async def serve() -> None:
        async with mail_server() as server:
            made.append(server)
            ready.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait()
    try:
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def settings(port: int) -> dict[str, str]:
    return {
        "EMAIL_PROVIDER": "smtp",
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(port),
        "SMTP_TLS": "none",
        "EMAIL_FROM": "no-reply@example.com",
    }


def test_a_mail_that_was_taken(cli: Cli) -> None:
    with serving() as server:
        result = cli("mail", "test", ADDRESS, **settings(server.port))
        assert (result.code, result.out) == (0, f"localhost:{server.port} took the mail for {ADDRESS}.\n")
        assert [message["subject"] for message in server.messages] == ["[AgentHiFive] Mail works"]
        result = cli("--json", "mail", "test", ADDRESS, **settings(server.port))
        assert result.data == {"delivered": True, "server": f"localhost:{server.port}"}


def test_a_mail_that_was_refused(cli: Cli) -> None:
    with serving() as server:
        server.refusals = ["550 no such person"]
        result = cli("--json", "mail", "test", ADDRESS, **settings(server.port))
    assert (result.code, result.json["code"]) == (1, "not_delivered")
    assert "550" in result.json["error"]
    assert "no such person" not in result.out


def test_a_server_that_is_down(cli: Cli) -> None:
    with serving() as server:
        port = server.port
    result = cli("mail", "test", ADDRESS, **settings(port))
    assert result.code == 1
    assert "upstream_unreachable (connect)" in result.err


def test_without_a_server(cli: Cli) -> None:
    result = cli("--json", "mail", "test", ADDRESS)
    assert (result.code, result.json["code"]) == (1, "no_mailer")


@pytest.mark.parametrize(
    "address", ["adam", "", "adam@example.com, vera@example.com", "a@example.com\nBcc: b@c.example"]
)
def test_texts_that_are_no_address(cli: Cli, address: str) -> None:
    assert cli("mail", "test", address).code == 2


def test_settings_that_cannot_work(cli: Cli) -> None:
    result = cli("--json", "mail", "test", ADDRESS, **{**settings(25), "EMAIL_FROM": "nobody"})
    assert (result.code, result.json["code"]) == (3, "settings_refused")
    assert result.json["error"].startswith("EMAIL_FROM: ")

"""Mail through a relay: only over verified TLS, retried for a while, never in the way."""

import asyncio
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agenthifive.broker.address import AllowedHost, Guard
from agenthifive.broker.egress import Egress, tls_context
from agenthifive.notify import smtp, texts
from agenthifive.notify.mail import Mail
from agenthifive.notify.message import read_sender
from agenthifive.notify.smtp import NotDelivered, Relay, RelayOptions, SmtpMailer
from certificates import issue
from mail_server import LOGIN, MailServer, mail_server

HOST = "smtp.example.com"
LINK = "https://agents.example.com/reset-password?token=" + "t" * 43
MAIL = texts.reset_password("adam@example.com", LINK)


async def to_loopback(host: str, port: int) -> Sequence[str]:
    """Every name leads here."""
    return ["127.0.0.1"]


def relay(port: int, bundle: Path | None = None, guard: Guard | None = None, **options: Any) -> Relay:
    """A relay as the settings make it: its own address is allowed, nothing else."""
    tls = tls_context(bundle, ())
    read = RelayOptions(
        **{
            "host": HOST,
            "port": port,
            "tls": "starttls",
            "tls_context": tls,
            "sender": read_sender("AgentHiFive <no-reply@example.com>"),
            **options,
        }
    )
    return Relay(read, Egress(guard or Guard(allowlist=(AllowedHost(HOST, port, ()),)), tls, to_loopback))


async def refusal(relay: Relay, mail: Mail = MAIL) -> tuple[str, bool]:
    with pytest.raises(NotDelivered) as refused:
        await relay.deliver(mail)
    return refused.value.reason, refused.value.is_final


def is_encrypted(server: MailServer) -> bool:
    return [session.ssl is not None for session in server.sessions] == [True]


async def test_starttls_with_login(tmp_path: Path) -> None:
    bundle, chain, key = issue(tmp_path, HOST)
    async with mail_server(chain, key, needs_login=True) as server:
        await relay(server.port, bundle, username=LOGIN[0], password=LOGIN[1]).deliver(MAIL)
        assert is_encrypted(server)
        [message], [envelope] = server.messages, server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@example.com", ["adam@example.com"])
    assert (message["to"], message["from"]) == ("adam@example.com", "AgentHiFive <no-reply@example.com>")
    assert message["subject"] == "[AgentHiFive] Choose a new password"
    assert message["auto-submitted"] == "auto-generated"
    assert message["message-id"] is not None
    assert message["date"] is not None
    assert message.get_content_type() == "multipart/alternative"
    for kind in ("plain", "html"):
        part = message.get_body((kind,))
        assert part is not None
        assert LINK in part.get_content()


async def test_implicit_tls(tmp_path: Path) -> None:
    bundle, chain, key = issue(tmp_path, HOST)
    async with mail_server(chain, key, is_implicit=True) as server:
        await relay(server.port, bundle, tls="implicit").deliver(MAIL)
        assert len(server.messages) == 1


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.parametrize("wrong", ["name", "root"])
async def test_a_wrong_certificate_gets_no_mail(tmp_path: Path, mode: str, wrong: str) -> None:
    (tmp_path / "other").mkdir()
    bundle, chain, key = issue(tmp_path, "other.example.com" if wrong == "name" else HOST)
    if wrong == "root":
        bundle, _, _ = issue(tmp_path / "other", HOST)
    async with mail_server(chain, key, is_implicit=mode == "implicit") as server:
        reason, _ = await refusal(relay(server.port, bundle, tls=mode))
        assert reason
        assert (server.connections, server.envelopes) == (1, [])


async def test_a_server_without_starttls_gets_no_mail() -> None:
    async with mail_server() as server:
        assert await refusal(relay(server.port)) == ("SMTPException", True)
        assert server.envelopes == []


async def test_a_wrong_login_gets_no_mail_and_no_other_try(tmp_path: Path) -> None:
    bundle, chain, key = issue(tmp_path, HOST)
    async with mail_server(chain, key, needs_login=True) as server:
        reason, is_final = await refusal(relay(server.port, bundle, username="relay", password="wrong"))
        assert (reason, is_final) == ("SMTPAuthenticationError 535", True)
        assert server.envelopes == []


async def test_plain_text_to_this_machine() -> None:
    async with mail_server() as server:
        await relay(server.port, tls="none").deliver(MAIL)
        assert len(server.messages) == 1


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0", "224.0.0.1"])
async def test_a_relay_is_never_at_an_address_that_nothing_may_call(address: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return [address]

    options = RelayOptions(HOST, 25, "none", None, read_sender("no-reply@example.com"))
    guard = Guard(allowlist=(AllowedHost(HOST, 25, ()),))
    reason, is_final = await refusal(Relay(options, Egress(guard, tls_context(None), resolve)))
    assert (reason.startswith("egress_blocked"), is_final) == (True, True)


async def test_the_relays_allowance_is_for_its_own_name_and_port() -> None:
    async with mail_server() as server:
        for entry in (AllowedHost("other.example.com", server.port, ()), AllowedHost(HOST, 25, ())):
            reason, _ = await refusal(relay(server.port, tls="none", guard=Guard(allowlist=(entry,))))
            assert reason == "egress_blocked (loopback)"
        assert server.connections == 0


async def test_a_server_that_is_down_may_come_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reason, is_final = await refusal(relay(port, tls="none"))
    assert (reason, is_final) == ("upstream_unreachable (connect)", False)


async def test_what_may_pass_is_tried_again() -> None:
    async with mail_server() as server:
        server.refusals = ["451 later", "421 busy"]
        mailer = SmtpMailer(relay(server.port, tls="none"), (0.0, 0.0, 0.0))
        with capture_logs() as logs:
            mailer.post(MAIL)
            await asyncio.gather(*mailer._tasks)
        assert [line["event"] for line in logs] == ["mail_delayed"] * 2
        assert len(server.messages) == 1
        await mailer.close()


@pytest.mark.parametrize(
    ("refusals", "tries"), [(["550 no such person"], 1), (["451 later"] * 3, 3)], ids=["for good", "every time"]
)
async def test_what_cannot_be_sent_is_given_up_and_logged_without_its_link(refusals: list[str], tries: int) -> None:
    async with mail_server() as server:
        server.refusals = list(refusals)
        mailer = SmtpMailer(relay(server.port, tls="none"), (0.0, 0.0))
        with capture_logs() as logs:
            mailer.post(MAIL)
            await asyncio.gather(*mailer._tasks)
        assert (server.connections, server.envelopes) == (tries, [])
        assert logs[-1]["event"] == "mail_not_sent"
        assert LINK[-43:] not in str(logs)
        assert "adam@example.com" not in str(logs)
        await mailer.close()


async def test_closing_sends_what_is_under_way_and_gives_up_what_waits() -> None:
    async with mail_server() as server:
        server.refusals = ["451 later"]
        mailer = SmtpMailer(relay(server.port, tls="none"), (3600.0,))
        mailer.post(MAIL)
        while not mailer._tasks or server.refusals:
            await asyncio.sleep(0)
        mailer.post(texts.trial("olga@example.com", "https://agents.example.com"))
        with capture_logs() as logs:
            await mailer.close()
            mailer.post(MAIL)
        assert [message["to"] for message in server.messages] == ["olga@example.com"]
        assert [line["event"] for line in logs] == ["mail_not_sent", "mail_lost"]


async def test_a_server_that_says_nothing_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "CLOSE_S", 0.05)
    accepted = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    mailer = SmtpMailer(relay(server.sockets[0].getsockname()[1], tls="none"))
    mailer.post(MAIL)
    await accepted.wait()
    with capture_logs() as logs:
        await mailer.close()
    assert [line["event"] for line in logs] == ["mail_lost"]
    server.close()


async def test_too_many_mails_are_dropped_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtp, "WAITING_MAX", 2)
    async with mail_server() as server:
        mailer = SmtpMailer(relay(server.port, tls="none"))
        with capture_logs() as logs:
            for _ in range(5):
                mailer.post(MAIL)
        assert [line["event"] for line in logs] == ["mail_lost"] * 3
        await mailer.close()
        assert len(server.messages) == 2


def test_nothing_shows_the_password_of_the_relay() -> None:
    options = RelayOptions(HOST, 587, "starttls", None, read_sender("no-reply@example.com"), "relay", "hush-hush")
    assert "hush-hush" not in repr(options)
    assert LINK not in repr(MAIL)

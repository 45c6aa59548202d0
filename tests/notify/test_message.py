"""Mails on the wire: a header is one line, whatever the texts say."""

import email
from datetime import UTC, datetime
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.notify.mail import Mail
from agenthifive.notify.message import compose, read_sender

SENDER = read_sender("AgentHiFive <no-reply@example.com>")
NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
HEADERS = ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]


@pytest.mark.parametrize(
    ("text", "shown", "address"),
    [
        ("no-reply@example.com", "", "no-reply@example.com"),
        ("AgentHiFive <no-reply@example.com>", "AgentHiFive", "no-reply@example.com"),
        ('"Agents, Inc." <no-reply@example.com>', "Agents, Inc.", "no-reply@example.com"),
        ("Ágents <no-reply@exämple.com>", "Ágents", "no-reply@xn--exmple-cua.com"),
    ],
)
def test_senders(text: str, shown: str, address: str) -> None:
    assert (read_sender(text).display_name, read_sender(text).addr_spec) == (shown, address)


@pytest.mark.parametrize(
    "text", ["", "AgentHiFive", "@example.com", "no-reply@", "a@b@example.com", "a@example.com\r\nBcc: b@example.com"]
)
def test_texts_that_are_no_sender(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_sender(text)


@pytest.mark.parametrize("breaking", ["\r\nBcc: vera@example.com", "\nBcc: vera@example.com", "\r\n\r\nHello", "\r"])
def test_a_line_break_in_a_header_is_refused(breaking: str) -> None:
    for mail in (
        Mail("adam@example.com", f"Invitation to {breaking}", "text", "<p>html</p>"),
        Mail(f"adam@example.com{breaking}", "Invitation", "text", "<p>html</p>"),
        Mail(f"adam{breaking}@example.com", "Invitation", "text", "<p>html</p>"),
    ):
        with pytest.raises(ValueError, match=r"."):
            compose(mail, SENDER, NOW)


@given(st.text(max_size=300), st.text(max_size=60))
def test_whatever_the_texts_are_a_mail_has_these_headers_and_one_recipient(subject: str, text: str) -> None:
    try:
        octets = compose(Mail("adam@example.com", subject, text, text), SENDER, NOW).as_bytes()
    except ValueError:
        return
    read = email.message_from_bytes(octets, policy=default)
    assert list(read.keys()) == HEADERS
    assert read["to"] == "adam@example.com"


def test_a_foreign_domain_is_written_as_dns_writes_it() -> None:
    mail = compose(Mail("ádám@exämple.com", "Hello", "text", "html"), SENDER, NOW)
    assert mail["to"].addresses[0].domain == "xn--exmple-cua.com"

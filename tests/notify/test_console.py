"""Where no mail is set up, the log shows the link as it is, and nothing else is spared the scrubber."""

import io
import json
from collections.abc import Iterator

import pytest
import structlog

from agenthifive.notify import console, texts
from agenthifive.notify.console import ConsoleMailer
from agenthifive.operations.logs import configure_logs

LINK = "https://agents.example.com/reset-password?token=" + "t" * 43


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error with our logs on it, in JSON."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    before = structlog.get_config()
    configure_logs("warning", "json")
    monkeypatch.setattr(console, "log", structlog.get_logger("test"))
    yield stream
    structlog.configure(**before)


async def test_the_link_is_one_line_at_warning_and_complete(written: io.StringIO) -> None:
    mailer = ConsoleMailer()
    mailer.post(texts.reset_password("adam@example.com", LINK))
    await mailer.close()
    [line] = written.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["msg"], entry["link"]) == ("warning", "mail_not_set_up", LINK)
    assert (entry["to"], entry["subject"]) == ("adam@example.com", "Choose a new password")
    assert not mailer.delivers


async def test_other_texts_of_the_line_are_scrubbed(written: io.StringIO) -> None:
    ConsoleMailer().post(texts.invitation("adam@example.com", "?token=secret", "Olga", "viewer", LINK))
    assert "secret" not in written.getvalue()


async def test_a_mail_without_a_link_for_the_log_shows_none(written: io.StringIO) -> None:
    ConsoleMailer().post(texts.password_changed("adam@example.com", LINK))
    assert "token" not in written.getvalue()

"""From settings to mail that arrives: the whole application with a mail server, and without one."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from agenthifive.notify.assembly import make_mailer, make_relay
from agenthifive.notify.console import ConsoleMailer
from agenthifive.notify.smtp import SmtpMailer
from agenthifive.settings import Settings, SettingsRefused, load_settings
from application import Place, run_application
from certificates import issue
from databases import TestDatabase
from mail_server import LOGIN, mail_server

SMTP = {"EMAIL_PROVIDER": "smtp", "SMTP_HOST": "localhost", "EMAIL_FROM": "AgentHiFive <no-reply@example.com>"}
ADAM = {"name": "Adam", "email": "adam@example.com", "password": "orchid-lantern-gravel-77"}


def read(home: Path, **environ: str) -> Settings:
    return load_settings({"HOME": str(home), **environ}, cwd=home).settings


def test_without_settings_mail_is_shown_in_the_log(tmp_path: Path) -> None:
    assert isinstance(make_mailer(read(tmp_path)), ConsoleMailer)


async def test_with_a_server_mail_is_sent(tmp_path: Path) -> None:
    mailer = make_mailer(read(tmp_path, **SMTP))
    assert isinstance(mailer, SmtpMailer)
    assert mailer.delivers
    await mailer.close()


@pytest.mark.parametrize("lacking", ["SMTP_HOST", "EMAIL_FROM"])
def test_a_server_that_is_half_named_stops_the_start(tmp_path: Path, lacking: str) -> None:
    with pytest.raises(SettingsRefused) as refused:
        read(tmp_path, **{name: text for name, text in SMTP.items() if name != lacking})
    assert lacking in str(refused.value.problems)


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"EMAIL_FROM": "nobody"}, "EMAIL_FROM"),
        ({"SMTP_TLS": "none", "SMTP_HOST": "10.1.2.3", "SMTP_USERNAME": "relay", "SMTP_PASSWORD": "x"}, "SMTP_TLS"),
    ],
)
def test_values_that_cannot_work_stop_the_start(tmp_path: Path, environ: dict[str, str], variable: str) -> None:
    with pytest.raises(ValueError, match=f"^{variable}: "):
        make_relay(read(tmp_path, **{**SMTP, **environ}))


async def register(place: Place) -> tuple[int, Any]:
    """Adam registers: status and body, what differs each time left out."""
    answer = await place.ask("POST", "/api/auth/sign-up/email", body=ADAM)
    body = answer.json()
    for name in ("id", "createdAt", "updatedAt"):
        body["user"].pop(name)
    await place.execute("DELETE FROM t_users WHERE email = %s", [ADAM["email"]])
    return answer.status_code, body


async def test_the_answer_is_the_same_whether_mail_leaves_or_not(worker_database: TestDatabase, tmp_path: Path) -> None:
    """The server takes the mail, has another certificate, or is down: whoever registers notices nothing."""
    bundle, chain, key = issue(tmp_path, "localhost")
    (tmp_path / "other").mkdir()
    other, _, _ = issue(tmp_path / "other", "localhost")
    login = {"SMTP_USERNAME": LOGIN[0], "SMTP_PASSWORD": LOGIN[1]}
    answers = []
    async with mail_server(chain, key, needs_login=True) as server:
        for trusted in (bundle, other):
            environ = {**SMTP, **login, "SMTP_PORT": str(server.port), "EGRESS_CA_BUNDLE": str(trusted)}
            async with run_application(worker_database.app_dsn, tmp_path, REGISTRATION="open", **environ) as place:
                answers.append(await register(place))
        assert [message["to"] for message in server.messages] == ["adam@example.com"]
        assert server.connections > 1, "the other certificate was seen and not believed"
        port = server.port
    environ = {**SMTP, "SMTP_PORT": str(port), "EGRESS_CA_BUNDLE": str(bundle)}
    with capture_logs() as logs:
        async with run_application(worker_database.app_dsn, tmp_path, REGISTRATION="open", **environ) as place:
            answers.append(await register(place))
    assert answers[0][0] == 200
    assert answers == [answers[0]] * 3
    assert "mail_not_sent" in {line["event"] for line in logs}


async def test_a_link_that_was_mailed_confirms_the_address(worker_database: TestDatabase, tmp_path: Path) -> None:
    async with mail_server() as server:
        environ = {**SMTP, "SMTP_TLS": "none", "SMTP_PORT": str(server.port)}
        async with run_application(worker_database.app_dsn, tmp_path, REGISTRATION="open", **environ) as place:
            await place.ask("POST", "/api/auth/sign-up/email", body=ADAM)
            await place.app.keeper.people.finish()
            [message] = server.messages
            text = message.get_body(("plain",))
            assert text is not None
            [link] = [line for line in text.get_content().splitlines() if line.startswith("http")]
            token = link.partition("/verify-email?token=")[2]
            assert (await place.ask("GET", f"/api/auth/verify-email?token={token}")).status_code == 200
            credentials = {"email": ADAM["email"], "password": ADAM["password"]}
            assert (await place.ask("POST", "/api/auth/sign-in/email", body=credentials)).status_code == 200

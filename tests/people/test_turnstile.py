"""The bot check at sign-up, asked over real TLS: solved, not solved, and no clear answer."""

import ssl
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import pytest
import pytest_asyncio

from agenthifive.broker.address import Guard
from agenthifive.broker.egress import Egress, tls_context
from agenthifive.people.model import Account
from agenthifive.people.registration import Registration
from agenthifive.people.service import People
from agenthifive.people.turnstile import HOST, PATH, TOKEN_MAX, Turnstile
from certificates import issue
from fakes import Provider, respond
from people.stage import ADAM, OLGA, PASSWORD, Stage

SECRET = "the secret of the site"
PUZZLE = "0.solved-by-a-browser"


async def to_loopback(host: str, port: int) -> Sequence[str]:
    """Every name leads here."""
    return ["127.0.0.1"]


@dataclass
class Check:
    """A service that checks puzzles, and an instance that asks it."""

    service: Provider
    people: People
    stage: Stage

    async def sign_up(self, puzzle: str | None = PUZZLE) -> httpx.Response:
        headers = {} if puzzle is None else {"x-turnstile-token": puzzle}
        body = {"name": "Adam", "email": ADAM, "password": PASSWORD}
        return await self.stage.browser(self.people).post("/api/auth/sign-up/email", json=body, headers=headers)

    async def is_registered(self) -> bool:
        return bool(await self.stage.fetch("SELECT 1 FROM t_users WHERE email = %s", ADAM))


@pytest_asyncio.fixture
async def check(stage: Stage, olga: Account, tmp_path: Path) -> AsyncIterator[Check]:
    bundle, chain, key = issue(tmp_path, HOST)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_tls.load_cert_chain(chain, key)
    service = await Provider(respond(200, b'{"success":true,"hostname":"localhost"}')).start(server_tls)
    egress = Egress(Guard(allow_private=True), tls_context(bundle), to_loopback)
    turnstile = Turnstile(SECRET, lambda: egress, port=service.port)
    options = {"registration": Registration("open"), "turnstile_site_key": "0x4AAA"}
    people = stage.room(options=options, doors={"turnstile": turnstile})
    yield Check(service, people, stage)
    people.close()
    await egress.close()
    await service.stop()


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_solved_puzzle_registers(check: Check) -> None:
    assert (await check.sign_up()).status_code == 200
    assert await check.is_registered()
    [asked] = check.service.received
    assert (asked.method, asked.target) == ("POST", PATH)
    assert parse_qs(asked.body.decode()) == {"secret": [SECRET], "response": [PUZZLE], "remoteip": ["203.0.113.7"]}


async def test_the_sign_in_page_is_told_the_site_key(check: Check) -> None:
    answer = await check.stage.browser(check.people).get("/api/auth/providers")
    assert answer.json()["turnstileSiteKey"] == "0x4AAA"
    assert SECRET not in answer.text + repr(check.people.sign_up._turnstile)


@pytest.mark.parametrize("puzzle", [None, "", "x" * (TOKEN_MAX + 1)])
async def test_without_a_token_nothing_is_asked(check: Check, puzzle: str | None) -> None:
    assert refused(await check.sign_up(puzzle)) == (403, "TURNSTILE_FAILED")
    assert (check.service.received, await check.is_registered()) == ([], False)


@pytest.mark.parametrize("code", ["invalid-input-response", "timeout-or-duplicate"])
async def test_a_puzzle_that_is_not_solved_registers_nobody(check: Check, code: str) -> None:
    check.service.script = respond(200, f'{{"success":false,"error-codes":["{code}"]}}'.encode())
    assert refused(await check.sign_up()) == (403, "TURNSTILE_FAILED")
    assert not await check.is_registered()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"success":false,"error-codes":["invalid-input-secret"]}'),
        (200, b'{"success":false,"error-codes":["internal-error"]}'),
        (200, b'{"success":"true"}'),
        (200, b'{"success":1}'),
        (200, b"[true]"),
        (200, b"true"),
        (200, b"{}"),
        (200, b"<html>"),
        (200, b'{"success":true' + b" " * 70_000 + b"}"),
        (500, b'{"success":true}'),
        (302, b'{"success":true}'),
    ],
)
async def test_without_a_clear_answer_nobody_registers(check: Check, status: int, body: bytes) -> None:
    check.service.script = respond(status, body)
    answer = await check.sign_up()
    assert refused(answer) == (503, "TURNSTILE_UNAVAILABLE")
    assert answer.headers["retry-after"] == "5"
    assert not await check.is_registered()
    assert check.stage.postbox.mails == []


async def test_a_service_that_is_down_registers_nobody(check: Check) -> None:
    await check.service.stop()
    assert refused(await check.sign_up()) == (503, "TURNSTILE_UNAVAILABLE")
    assert not await check.is_registered()
    await check.service.start()


async def test_a_service_with_another_certificate_is_not_believed(check: Check, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bundle, _, _ = issue(tmp_path / "other", HOST)
    egress = Egress(Guard(allow_private=True), tls_context(bundle), to_loopback)
    check.people.sign_up._turnstile = Turnstile(SECRET, lambda: egress, port=check.service.port)
    assert refused(await check.sign_up()) == (503, "TURNSTILE_UNAVAILABLE")
    assert (check.service.received, await check.is_registered()) == ([], False)
    await egress.close()


async def test_what_cannot_register_anyway_is_not_asked_about(check: Check) -> None:
    body = {"name": "Adam", "email": ADAM, "password": "password1234"}
    client = check.stage.browser(check.people)
    answer = await client.post("/api/auth/sign-up/email", json=body, headers={"x-turnstile-token": PUZZLE})
    assert refused(answer) == (400, "PASSWORD_TOO_COMMON")
    assert check.service.received == []


async def test_a_known_address_is_asked_about_like_a_new_one(check: Check) -> None:
    check.service.script = respond(200, b'{"success":false,"error-codes":[]}')
    body = {"name": "Olga", "email": OLGA, "password": PASSWORD}
    client = check.stage.browser(check.people)
    answer = await client.post("/api/auth/sign-up/email", json=body, headers={"x-turnstile-token": PUZZLE})
    assert refused(answer) == (403, "TURNSTILE_FAILED")

"""Authenticator apps and recovery codes. Contract http.md sections 14.3 and 16, acceptance 30."""

import asyncio

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.operations.key_check import check_ring
from agenthifive.operations.ratelimit import Window
from agenthifive.people import recovery_codes
from agenthifive.people.model import Account
from agenthifive.people.totp import find_step
from agenthifive.vault.canary import KeyRefused
from agenthifive.vault.hashing import sha256_hex
from agenthifive.vault.keyring import Keyring
from agenthifive.words import Role
from people.factors import SIGN_IN, VERIFY, add_passkey, enable_totp, forget_step, half_way, prove, refusal
from people.stage import ADAM, KEYRING, MALLORY, OLGA, PASSWORD, Browser, Stage, cookies_of

SESSIONS = "SELECT count(*) FROM t_sessions"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
RFC_SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
GONE, WRONG = (410, "GONE"), (401, "INVALID_CODE")


def other_than(app: pyotp.TOTP) -> str:
    """A code the app shows neither now nor in the steps beside it."""
    near = {app.generate_otp(app.timecode(pyotp.totp.time.time()) + step) for step in range(-3, 4)}
    return next(
        code
        for code in ("000000", "111111", "222222", "333333", "444444", "555555", "666666", "777777")
        if code not in near
    )


async def verify(browser: Browser, **body: str) -> tuple[int, str | None]:
    answer = await browser.post(VERIFY, json=body)
    return answer.status_code, answer.json().get("code")


# RFC 6238 appendix B, its last six digits
@pytest.mark.parametrize(("at_s", "code"), [(59, "287082"), (1111111109, "081804"), (20000000000, "353130")])
def test_the_codes_of_the_standard(at_s: int, code: str) -> None:
    assert find_step(RFC_SECRET, code, at_s) == at_s // 30


@given(st.integers(600, 2**40), st.integers(-4, 4))
def test_one_step_to_either_side_is_accepted(now_s: int, beside: int) -> None:
    step = now_s // 30 + beside
    found = find_step(SECRET, pyotp.TOTP(SECRET).generate_otp(step), now_s)
    assert (found is not None) == (abs(beside) <= 1) or found != step, "but for codes that happen to be equal"


@pytest.mark.parametrize(
    "text", ["", "12345", "1234567", "abcdef", "١٢٣٤٥٦", "12345\x00", "-12345", "+12345", "1" * 5000]
)
def test_what_is_no_code(text: str) -> None:
    assert find_step(SECRET, text, 1_000_000) is None


def test_spaces_in_a_code_do_not_matter() -> None:
    assert find_step(RFC_SECRET, " 287 082 ", 59) == 1


def test_recovery_codes_are_readable_and_hold_eighty_bits() -> None:
    codes = recovery_codes.new_codes()
    assert len(set(codes)) == 10
    for code in codes:
        groups = code.split("-")
        assert [len(group) for group in groups] == [4, 4, 4, 4]
        assert set("".join(groups)) <= set("abcdefghijklmnopqrstuvwxyz234567")
    [code, *_] = codes
    assert recovery_codes.code_hash(f" {code.upper().replace('-', ' ')} ") == recovery_codes.code_hash(code)


async def test_setting_an_app_up(stage: Stage, olga: Account) -> None:
    browser, other = await stage.sign_in(OLGA), await stage.sign_in(OLGA)
    answer = await browser.post("/api/auth/totp/setup", json={})
    assert answer.headers["cache-control"] == "no-store"
    secret, uri = answer.json()["secret"], answer.json()["otpauthUri"]
    assert len(secret) == 32
    assert uri == f"otpauth://totp/AgentHiFive:olga%40example.com?secret={secret}&issuer=AgentHiFive"
    assert (await browser.get("/v1/me")).json()["user"]["twoFactor"] is False, "it counts once it is confirmed"
    confirmed = await browser.post("/api/auth/totp/confirm", json={"code": pyotp.TOTP(secret).now()})
    assert confirmed.status_code == 200
    assert confirmed.headers["cache-control"] == "no-store"
    codes = confirmed.json()["recoveryCodes"]
    assert len(codes) == 10
    assert (await other.get("/v1/me")).status_code == 401, "other sessions end"
    assert (await browser.get("/v1/me")).json()["user"]["twoFactor"] is True
    [event] = await stage.events("totp_enabled")
    assert event["metadata"] == {"remaining": 10}
    [told] = stage.postbox.mails
    assert (told.to, secret in told.text) == (OLGA, False)
    again = await browser.post("/api/auth/totp/setup", json={})
    assert refusal(again) == (409, "ALREADY_ENABLED")
    [(sealed, kid)] = await stage.fetch("SELECT secret, secret_kid FROM t_totp")
    assert secret not in sealed
    assert kid == KEYRING.active_kid
    stored = {row[0] for row in await stage.fetch("SELECT code_hash FROM t_recovery_codes")}
    assert stored == {sha256_hex(code.replace("-", "")) for code in codes}


async def test_a_code_is_asked_for_and_no_session_comes_before_it(stage: Stage, olga: Account) -> None:
    """Acceptance 30."""
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    before = await stage.fetch(SESSIONS)
    browser = stage.browser()
    answer = await browser.post(SIGN_IN, json={"email": OLGA, "password": PASSWORD})
    assert (answer.status_code, answer.json()) == (200, {"twoFactorRequired": True, "methods": ["totp"]})
    assert set(cookies_of(answer)) == {"ah5_pending", "ah5sid"}
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=300"} <= set(cookies_of(answer)["ah5_pending"].split("; "))
    assert await stage.fetch(SESSIONS) == before
    assert (await browser.get("/v1/me")).status_code == 401
    verified = await browser.post(VERIFY, json={"code": app.now()})
    assert (verified.status_code, verified.json()["user"]["id"]) == (200, olga.user.id)
    assert (await browser.get("/v1/me")).status_code == 200
    assert "ah5_pending" not in browser.cookies
    event = (await stage.events("user_signed_in"))[-1]
    assert event["metadata"] == {"method": "password", "factors": ["password", "totp"]}
    assert event["actor"] == olga.user.id
    [(methods,)] = await stage.fetch("SELECT methods FROM t_sessions ORDER BY created_at DESC LIMIT 1")
    assert methods == ["password", "totp"]


async def test_a_code_is_accepted_once_within_its_step(stage: Stage, olga: Account) -> None:
    """Acceptance 30; a code of an earlier step is none either."""
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    code = app.now()
    assert await verify(await half_way(stage), code=code) == (200, None)
    assert await verify(await half_way(stage), code=code) == WRONG
    [(step,)] = await stage.fetch("SELECT last_step FROM t_totp")
    assert await verify(await half_way(stage), code=app.generate_otp(step - 1)) == WRONG


async def test_the_code_that_confirmed_signs_nobody_in(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    app = pyotp.TOTP((await browser.post("/api/auth/totp/setup", json={})).json()["secret"])
    code = app.now()
    assert (await browser.post("/api/auth/totp/confirm", json={"code": code})).status_code == 200
    assert await verify(await half_way(stage), code=code) == WRONG


async def test_five_wrong_codes_end_the_sign_in(stage: Stage, olga: Account) -> None:
    """Acceptance 30; the right code is then too late."""
    app, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    browser, before = await half_way(stage), await stage.fetch(SESSIONS)
    for _ in range(5):
        assert await verify(browser, code=other_than(app)) == WRONG
    assert await verify(browser, code=app.now()) == GONE
    assert await verify(browser, recoveryCode=codes[0]) == GONE
    assert await stage.fetch(SESSIONS) == before
    failed = await stage.events("user_sign_in_failed")
    assert failed[0]["metadata"] == {
        "reason": "wrong_code",
        "emailSha256": sha256_hex(OLGA),
        "userId": olga.user.id,
    }
    assert await verify(await half_way(stage), code=app.now()) == (200, None), "another sign-in has tries of its own"


async def test_the_fifth_try_may_be_the_right_one(stage: Stage, olga: Account) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage)
    for _ in range(4):
        assert await verify(browser, code=other_than(app)) == WRONG
    assert await verify(browser, code=app.now()) == (200, None)


async def test_an_account_has_ten_tries_in_a_quarter_of_an_hour(stage: Stage, olga: Account) -> None:
    """Over all sign-ins and replicas; passkeys are not held up."""
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    app, _ = await enable_totp(stage, browser)
    people = stage.room(second_factor=Window(10, 900))
    for _ in range(2):
        half = await half_way(stage, people=people)
        for _ in range(5):
            assert await verify(half, code=other_than(app)) == WRONG
    late = await (await half_way(stage, people=people)).post(VERIFY, json={"code": app.now()})
    assert refusal(late) == (429, "RATE_LIMITED")
    assert late.json()["limit"]["name"] == "second_factor"
    assert int(late.headers["retry-after"]) > 800
    assert (await prove(stage.browser(people), device)).status_code == 200
    people.close()


async def test_a_half_finished_sign_in_is_over_after_five_minutes(stage: Stage, olga: Account) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage)
    [(seconds,)] = await stage.fetch("SELECT extract(epoch FROM expires_at - now())::int FROM t_pending_sign_ins")
    assert 290 <= seconds <= 300
    await stage.fetch("UPDATE t_pending_sign_ins SET expires_at = now()")
    assert await verify(browser, code=app.now()) == GONE


@pytest.mark.parametrize("cookie", [None, "x", "A" * 200])
async def test_without_a_half_finished_sign_in_no_code_helps(stage: Stage, olga: Account, cookie: str | None) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = stage.browser(cookies={} if cookie is None else {"ah5_pending": cookie})
    assert await verify(browser, code=app.now()) == GONE


async def test_a_finished_sign_in_is_not_finished_twice(stage: Stage, olga: Account) -> None:
    app, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage)
    stolen = browser.cookies["ah5_pending"]
    assert await verify(browser, code=app.now()) == (200, None)
    thief = stage.browser(cookies={"ah5_pending": stolen})
    assert await verify(thief, recoveryCode=codes[0]) == GONE
    assert await stage.fetch("SELECT count(*) FROM t_recovery_codes WHERE used_at IS NOT NULL") == [(0,)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE t_users SET password_hash = 'another'", GONE),
        ("UPDATE t_users SET password_hash = NULL", GONE),
        ("UPDATE t_users SET disabled_at = now()", (403, "ACCOUNT_DISABLED")),
        ("DELETE FROM t_totp", WRONG),
    ],
)
async def test_what_changes_meanwhile_counts(
    stage: Stage, olga: Account, change: str, expected: tuple[int, str]
) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser, before = await half_way(stage), await stage.fetch(SESSIONS)
    await stage.fetch(change)
    assert await verify(browser, code=app.now()) == expected
    assert await stage.fetch(SESSIONS) == before


async def test_a_recovery_code_works_once(stage: Stage, olga: Account) -> None:
    """Acceptance 30."""
    _, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    assert await verify(await half_way(stage), recoveryCode=codes[3].upper()) == (200, None)
    [event] = await stage.events("recovery_code_used")
    assert (event["actor"], event["metadata"]) == (olga.user.id, {"remaining": 9})
    assert (await stage.events("user_signed_in"))[-1]["metadata"]["factors"] == ["password", "recovery_code"]
    assert await verify(await half_way(stage), recoveryCode=codes[3]) == WRONG
    assert (await stage.events("user_sign_in_failed"))[-1]["metadata"]["reason"] == "wrong_recovery_code"


async def test_a_recovery_code_of_somebody_else_is_wrong(stage: Stage, olga: Account) -> None:
    await enable_totp(stage, await stage.sign_in(OLGA))
    await stage.add(MALLORY)
    _, codes = await enable_totp(stage, await stage.sign_in(MALLORY))
    assert await verify(await half_way(stage), recoveryCode=codes[0]) == WRONG
    assert await stage.fetch("SELECT 1 FROM t_recovery_codes WHERE used_at IS NOT NULL") == []


async def test_fifty_uses_of_one_recovery_code_are_one(stage: Stage, olga: Account) -> None:
    """Each from a sign-in of its own, over two processes."""
    _, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    other = stage.room()
    browsers = [await half_way(stage, people=(stage.people, other)[n % 2]) for n in range(50)]
    [(before,)] = await stage.fetch(SESSIONS)
    answers = await asyncio.gather(*(verify(browser, recoveryCode=codes[0]) for browser in browsers))
    assert sorted(status for status, _ in answers) == [200] + [401] * 49
    assert await stage.fetch(SESSIONS) == [(before + 1,)]
    assert len(await stage.events("recovery_code_used")) == 1
    other.close()


async def test_fifty_uses_of_one_code_of_the_app_are_one(stage: Stage, olga: Account) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    other = stage.room()
    browsers = [await half_way(stage, people=(stage.people, other)[n % 2]) for n in range(50)]
    [(before,)] = await stage.fetch(SESSIONS)
    code = app.now()
    answers = await asyncio.gather(*(verify(browser, code=code) for browser in browsers))
    assert sorted(status for status, _ in answers) == [200] + [401] * 49
    assert await stage.fetch(SESSIONS) == [(before + 1,)]
    other.close()


async def test_fifty_uses_of_one_half_finished_sign_in_are_one(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten right recovery codes, many times over, on one sign-in: one session, one code spent."""
    _, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    monkeypatch.setattr("agenthifive.people.second_step.TRIES_MAX", 1000)
    browser = await half_way(stage)
    [(before,)] = await stage.fetch(SESSIONS)
    answers = await asyncio.gather(*(verify(browser, recoveryCode=codes[n % 10]) for n in range(50)))
    assert sorted(status for status, _ in answers) == [200] + [410] * 49
    assert await stage.fetch(SESSIONS) == [(before + 1,)]
    assert await stage.fetch("SELECT count(*) FROM t_recovery_codes WHERE used_at IS NOT NULL") == [(1,)]


async def test_fifty_guesses_at_once_are_five(stage: Stage, olga: Account) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage)
    code = other_than(app)
    answers = await asyncio.gather(*(verify(browser, code=code) for _ in range(50)))
    assert sorted(status for status, _ in answers) == [401] * 5 + [410] * 45


@pytest.mark.parametrize("body", [{}, {"code": "1", "recoveryCode": "x"}, {"code": 123456}, {"code": None}])
async def test_one_of_two_codes_is_asked_for(stage: Stage, olga: Account, body: dict[str, object]) -> None:
    await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage)
    assert refusal(await browser.post(VERIFY, json=body)) == (400, "INVALID_REQUEST")
    assert await stage.fetch("SELECT tries FROM t_pending_sign_ins") == [(0,)]


async def test_a_set_up_takes_ten_minutes_and_another_one_replaces_it(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    first = pyotp.TOTP((await browser.post("/api/auth/totp/setup", json={})).json()["secret"])
    second = pyotp.TOTP((await browser.post("/api/auth/totp/setup", json={})).json()["secret"])
    answer = await browser.post("/api/auth/totp/confirm", json={"code": first.now()})
    assert refusal(answer) == (400, "INVALID_CODE")
    await stage.fetch("UPDATE t_totp SET created_at = now() - interval '10 minutes 1 second'")
    answer = await browser.post("/api/auth/totp/confirm", json={"code": second.now()})
    assert refusal(answer) == (400, "INVALID_CODE")
    assert await stage.fetch("SELECT 1 FROM t_totp WHERE confirmed_at IS NOT NULL") == []
    assert await stage.fetch("SELECT 1 FROM t_recovery_codes") == []


async def test_fifty_confirmations_at_once_give_one_set_of_codes(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    app = pyotp.TOTP((await browser.post("/api/auth/totp/setup", json={})).json()["secret"])
    code = app.now()
    answers = await asyncio.gather(*(browser.post("/api/auth/totp/confirm", json={"code": code}) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert await stage.fetch("SELECT count(*) FROM t_recovery_codes") == [(10,)]


async def test_disabling_removes_everything(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    await enable_totp(stage, browser)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'")
    assert refusal(await browser.post("/api/auth/totp/disable", json={})) == (403, "REAUTH_REQUIRED")
    await stage.fetch("UPDATE t_sessions SET auth_time = now()")
    for _ in range(2):
        assert (await browser.post("/api/auth/totp/disable", json={})).json() == {"status": True}
    assert len(await stage.events("totp_disabled")) == 1
    assert await stage.fetch("SELECT 1 FROM t_recovery_codes") == await stage.fetch("SELECT 1 FROM t_totp") == []
    answer = await stage.browser().post(SIGN_IN, json={"email": OLGA, "password": PASSWORD})
    assert "twoFactorRequired" not in answer.json()


async def test_new_recovery_codes_void_the_earlier_ones(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    assert refusal(await browser.post("/api/auth/totp/recovery-codes", json={})) == (404, "NOT_FOUND")
    _, old = await enable_totp(stage, browser)
    answer = await browser.post("/api/auth/totp/recovery-codes", json={})
    new = answer.json()["recoveryCodes"]
    assert (len(new), set(old) & set(new), answer.headers["cache-control"]) == (10, set(), "no-store")
    [event] = await stage.events("recovery_codes_replaced")
    assert event["metadata"] == {"remaining": 10}
    assert await verify(await half_way(stage), recoveryCode=old[0]) == WRONG
    assert await verify(await half_way(stage), recoveryCode=new[0]) == (200, None)


async def test_a_code_shows_that_its_owner_is_there(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    app, codes = await enable_totp(stage, browser)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '1 hour'")
    for wrong in (other_than(app), codes[0]):
        answer = await browser.post("/api/auth/reauthenticate", json={"code": wrong})
        assert refusal(answer) == WRONG
    assert await stage.fetch("SELECT 1 FROM t_sessions WHERE auth_time > now() - interval '1 minute'") == []
    code = app.now()
    assert (await browser.post("/api/auth/reauthenticate", json={"code": code})).status_code == 200
    assert refusal(await browser.post("/api/auth/reauthenticate", json={"code": code})) == WRONG
    assert [event["decision"] for event in await stage.events("user_reauthenticated")] == [
        "denied", "denied", "allowed", "denied",
    ]  # fmt: skip


@pytest.mark.parametrize("body", [{}, {"password": PASSWORD, "code": "123456"}, {"credential": "x"}])
async def test_presence_is_shown_in_one_way(stage: Stage, olga: Account, body: dict[str, str]) -> None:
    browser = await stage.sign_in(OLGA)
    assert refusal(await browser.post("/api/auth/reauthenticate", json=body)) == (400, "INVALID_REQUEST")


async def test_guesses_of_presence_are_limited_too(stage: Stage, olga: Account) -> None:
    people = stage.room(second_factor=Window(2, 900))
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = await half_way(stage, people=people)
    assert await verify(browser, code=app.now()) == (200, None)
    await forget_step(stage)
    statuses = [
        (await browser.post("/api/auth/reauthenticate", json={"code": code})).status_code
        for code in (other_than(app), app.now(), app.now())
    ]
    assert statuses == [401, 429, 429]
    people.close()


async def test_not_to_be_remembered_holds_over_the_second_step(stage: Stage, olga: Account) -> None:
    app, _ = await enable_totp(stage, await stage.sign_in(OLGA))
    browser = stage.browser()
    await browser.post(SIGN_IN, json={"email": OLGA, "password": PASSWORD, "rememberMe": False})
    answer = await browser.post(VERIFY, json={"code": app.now()})
    assert "max-age" not in cookies_of(answer)["ah5_session"].lower()


async def test_a_secret_that_cannot_be_opened_lets_nobody_in(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, codes = await enable_totp(stage, await stage.sign_in(OLGA))
    monkeypatch.setattr(stage.people.totp, "_keyring", Keyring.of([b"k" * 32]))
    browser = await half_way(stage)
    assert await verify(browser, code=app.now()) == (503, "KEY_UNAVAILABLE")
    assert await verify(browser, recoveryCode=codes[0]) == (200, None), "a recovery code needs no key"


async def test_a_key_that_only_an_app_needs_is_missed_at_the_start(stage: Stage, olga: Account) -> None:
    await enable_totp(stage, await stage.sign_in(OLGA))
    async with stage.database.transaction() as connection:
        with pytest.raises(KeyRefused, match=f"1 records sealed under kid {KEYRING.active_kid}"):
            await check_ring(connection, Keyring.of([b"k" * 32]))


async def test_only_the_cookie_itself_manages_the_app(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    token = (await browser.post("/v1/tokens", json={"name": "CI"})).json()["plainToken"]
    program = stage.browser(headers={"authorization": f"Bearer {token}"})
    for path in ("setup", "confirm", "disable", "recovery-codes"):
        answer = await program.post(f"/api/auth/totp/{path}", json={"code": "123456"})
        assert refusal(answer) == (403, "PAT_NOT_ALLOWED")
    assert await stage.fetch("SELECT 1 FROM t_totp") == []


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}])
async def test_another_site_changes_nothing(stage: Stage, olga: Account, headers: dict[str, str]) -> None:
    browser = await stage.sign_in(OLGA)
    for path in ("setup", "confirm", "verify", "disable", "recovery-codes"):
        answer = await browser.post(f"/api/auth/totp/{path}", json={"code": "123456"}, headers=headers)
        assert refusal(answer) == (403, "ORIGIN_NOT_ALLOWED")
    assert await stage.fetch("SELECT 1 FROM t_totp") == []


async def test_somebody_without_a_workspace_can_set_an_app_up(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    browser = await stage.sign_in(ADAM)
    await stage.fetch("DELETE FROM t_members WHERE role = 'approver'")
    await enable_totp(stage, browser)

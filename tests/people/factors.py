"""Second factors as people use them: a phone with an authenticator app, a passkey, a slip with recovery codes."""

from typing import Any

import httpx
import pyotp

from people.authenticator import Authenticator
from people.stage import OLGA, PASSWORD, WEB_URL, Browser, Stage

SIGN_IN = "/api/auth/sign-in/email"
VERIFY = "/api/auth/totp/verify"
REGISTER = "/api/auth/passkey/register"
AUTHENTICATE = "/api/auth/passkey/authenticate"


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal that opened no session."""
    assert "ah5_session=" not in answer.headers.get("set-cookie", "")
    return answer.status_code, answer.json()["code"]


async def forget_step(stage: Stage) -> None:
    """As if the steps used so far were long ago: time need not pass in a test."""
    await stage.fetch("UPDATE t_totp SET last_step = 0")


async def enable_totp(stage: Stage, browser: Browser) -> tuple[pyotp.TOTP, list[str]]:
    """The app on somebody's phone, and the recovery codes they noted down."""
    made = await browser.post("/api/auth/totp/setup", json={})
    assert made.status_code == 200, made.text
    app = pyotp.TOTP(made.json()["secret"])
    confirmed = await browser.post("/api/auth/totp/confirm", json={"code": app.now()})
    assert confirmed.status_code == 200, confirmed.text
    await forget_step(stage)
    codes: list[str] = confirmed.json()["recoveryCodes"]
    return app, codes


async def half_way(stage: Stage, email: str = OLGA, **room: Any) -> Browser:
    """A browser in which the password was right."""
    browser = stage.browser(**room)
    answer = await browser.post(SIGN_IN, json={"email": email, "password": PASSWORD})
    assert answer.json().get("twoFactorRequired") is True, answer.text
    return browser


async def begin_adding(browser: Browser) -> dict[str, Any]:
    """The options for a new passkey."""
    answer = await browser.post(f"{REGISTER}/options", json={})
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()
    return options


async def add_passkey(browser: Browser, device: Authenticator | None = None, name: str = "Laptop") -> Authenticator:
    """A passkey on a device of somebody who is signed in."""
    device = device or Authenticator(WEB_URL)
    credential = device.create(await begin_adding(browser))
    answer = await browser.post(f"{REGISTER}/verify", json={"credential": credential, "name": name})
    assert answer.status_code == 201, answer.text
    return device


async def begin_proving(browser: Browser, **body: Any) -> dict[str, Any]:
    """The options for proving a passkey."""
    answer = await browser.post(f"{AUTHENTICATE}/options", json=body)
    assert answer.status_code == 200, answer.text
    options: dict[str, Any] = answer.json()
    return options


async def prove(browser: Browser, device: Authenticator, options: dict[str, Any] | None = None) -> httpx.Response:
    """An attempt to sign in with a passkey."""
    options = options or await begin_proving(browser)
    return await browser.post(f"{AUTHENTICATE}/verify", json={"credential": device.get(options)})

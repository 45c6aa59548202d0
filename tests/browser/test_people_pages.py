"""The pages of people as people use them: every page on a desk and on a phone, by day and by night; and the whole way
from an account to an approver in a real Chromium, with a passkey of its own."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from agenthifive.people import links
from agenthifive.people.entrance import Proof, SignedIn
from agenthifive.people.links import Purpose
from application import Place
from browser.visitor import AUTHENTICATOR, SIZES, Visitor

EMAIL, ADAM, PASSWORD = "olga@example.com", "adam@example.com", "correct horse battery staple 7"
OPEN_PAGES = ["/login", "/login?error=account_exists", "/login?second_factor=1", "/register", "/forgot-password",
              "/verify-email?token=x", "/reset-password?token=x", "/invite?token=x", "/docs"]  # fmt: skip
OWN_PAGES = ["/dashboard", "/dashboard/members", "/dashboard/security", "/device", "/device?code=XXXX-XXXX"]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"REGISTRATION": "open"}


async def set_up(place: Place) -> str:
    """Olga, the first person; her id."""
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        account = await people.accounts.create_user(unit, EMAIL, "Olga", PASSWORD)
    user_id: str = account.user.id
    return user_id


async def open_session(place: Place, page: Page, user_id: str) -> None:
    """A session of hers in the browser."""
    people = place.app.keeper.people
    async with place.app.unit() as unit:
        signed_in = await people.entrance.open(unit, user_id, Proof("password", ["password"]))
    assert isinstance(signed_in, SignedIn)
    cookie: Any = {"name": people.cookie_name, "value": signed_in.cookie, "url": people.web_url}
    await page.context.add_cookies([cookie])


async def plug_in(page: Page) -> None:
    """An authenticator inside the browser."""
    session = await page.context.new_cdp_session(page)
    await session.send("WebAuthn.enable")
    await session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})


async def sign_in(page: Page, email: str = EMAIL) -> None:
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Password", exact=True).fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


async def test_every_page_fits_every_screen(visitor: Visitor, place: Place) -> None:
    """No page runs over, asks another host or logs an error; what is refused is a page, too."""
    user_id, origin = await set_up(place), place.app.settings.web_url
    for path in OPEN_PAGES:
        await visitor.page.goto(origin + path)
        visitor.faults = [fault for fault in visitor.faults if "410 (Gone)" not in fault]
        await visitor.check()
    await open_session(place, visitor.page, user_id)
    for path in OWN_PAGES:
        await visitor.page.goto(origin + path)
        visitor.faults = [fault for fault in visitor.faults if "404 (Not Found)" not in fault]
        await visitor.check()
        assert await visitor.page.locator("h1").count() == 1


@pytest.mark.parametrize("path", OWN_PAGES)
async def test_without_a_session_a_page_leads_to_the_sign_in_and_back(path: str, place: Place) -> None:
    await set_up(place)
    answer = await place.client.get(path)
    assert answer.status_code == 302
    back = httpx.URL(answer.headers["location"]).params["next"]
    assert (answer.headers["location"].startswith("/login?next="), back) == (True, path)


@pytest.mark.parametrize(
    "next_path", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
async def test_the_sign_in_page_leads_nowhere_else(next_path: str, place: Place) -> None:
    answer = await place.client.get("/login", params={"next": next_path})
    assert answer.status_code == 200
    assert "evil.example" not in answer.text
    assert "javascript:" not in answer.text


async def test_from_an_account_to_a_colleague_who_approves(browser: Browser, place: Place) -> None:
    await set_up(place)
    origin = place.app.settings.web_url
    page = await browser.new_page(viewport=dict(zip(("width", "height"), SIZES["phone"], strict=True)))
    await plug_in(page)
    await page.goto(f"{origin}/")
    await page.get_by_label("E-mail address").fill(EMAIL)
    await page.get_by_label("Password", exact=True).fill("not her password")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=The e-mail address or the password is wrong")
    assert await page.get_by_label("E-mail address").input_value() == EMAIL, "nothing that was typed is lost"
    await sign_in(page)
    await page.wait_for_url(f"{origin}/dashboard")
    await page.get_by_role("link", name="Security").click()
    await page.get_by_label("Name of a new passkey").fill("Laptop")
    await page.get_by_role("button", name="Add a passkey").click()
    await page.wait_for_selector("text=Laptop")
    await page.get_by_role("link", name="Overview").click()
    await page.get_by_role("button", name="Sign out").click()
    await page.wait_for_url(f"{origin}/login")
    await page.get_by_role("button", name="Use a passkey", exact=True).click()
    await page.wait_for_url(f"{origin}/dashboard")
    await page.get_by_role("link", name="Members").click()
    await page.get_by_label("E-mail address").fill(ADAM)
    await page.get_by_label("Role", exact=True).select_option("approver")
    await page.get_by_role("button", name="Invite", exact=True).click()
    link = page.locator("[data-link]")
    await link.wait_for()
    guest = await (await browser.new_context()).new_page()
    await guest.goto(await link.inner_text())
    await guest.get_by_label("Your name").fill("Adam")
    await guest.get_by_label("Password").fill("short")
    await guest.evaluate("document.querySelector('form').noValidate = true")
    await guest.get_by_role("button", name="Create the account and join").click()
    await guest.wait_for_selector("text=at least 12 characters")
    await guest.get_by_label("Password").fill(PASSWORD)
    await guest.get_by_role("button", name="Create the account and join").click()
    await guest.wait_for_url(f"{origin}/dashboard")
    assert "approver" in await guest.inner_text("main")
    await page.reload()
    assert "adam@example.com" in await page.inner_text("main")


async def test_a_program_signs_in_by_a_code_that_a_person_confirms(browser: Browser, place: Place) -> None:
    await set_up(place)
    page = await browser.new_page()
    started = (await place.ask("POST", "/api/auth/device-code", body={"clientName": "ah5 on build-7"})).json()
    await page.goto(started["verificationUriComplete"])
    await sign_in(page)
    await page.wait_for_selector("text=ah5 on build-7")
    poll = {"deviceCode": started["deviceCode"]}
    assert (await place.ask("POST", "/api/auth/device-code/poll", body=poll)).status_code == 202
    await page.get_by_label("See agents").check()
    await page.get_by_role("button", name="Let it sign in").click()
    await page.wait_for_selector("text=The program is signing in")
    delivered = await place.ask("POST", "/api/auth/device-code/poll", body=poll)
    assert delivered.status_code == 200
    token = delivered.json()["token"]
    assert (await place.ask("GET", "/v1/agents", token)).status_code == 200
    assert (await place.ask("POST", "/api/auth/device-code/poll", body=poll)).status_code == 410


async def test_a_password_is_chosen_through_a_link_that_works_once(browser: Browser, place: Place) -> None:
    user_id, origin = await set_up(place), place.app.settings.web_url
    async with place.app.unit() as unit:
        token = await links.issue(await unit.begin(), Purpose.RESET, user_id, 3600)
    page = await browser.new_page()
    await page.goto(f"{origin}/reset-password?token={token}")
    await page.get_by_label("New password").fill("another long password 9")
    await page.get_by_role("button", name="Set the password").click()
    await page.wait_for_selector("text=Your password is set.")
    await page.goto(f"{origin}/reset-password?token={token}")
    assert "This link cannot be used" in await page.inner_text("main")


async def test_an_address_is_confirmed_by_a_button_not_by_opening_the_link(browser: Browser, place: Place) -> None:
    await set_up(place)
    origin = place.app.settings.web_url
    page = await browser.new_page()
    await page.goto(f"{origin}/register")
    await page.get_by_label("Your name").fill("Vera")
    await page.get_by_label("E-mail address").fill("vera@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create the account").click()
    await page.wait_for_selector("text=Open the link we sent")
    [(user_id,)] = await place.execute("SELECT id::text FROM t_users WHERE email = 'vera@example.com'", [])
    async with place.app.unit() as unit:
        token = await links.issue(await unit.begin(), Purpose.VERIFY, user_id, 3600)
    await page.goto(f"{origin}/verify-email?token={token}")
    verified = "SELECT email_verified_at IS NOT NULL FROM t_users WHERE email = 'vera@example.com'"
    assert await place.execute(verified, []) == [(False,)]
    await page.get_by_role("button", name="Confirm the address").click()
    await page.wait_for_selector("text=Your address is confirmed")
    assert await place.execute(verified, []) == [(True,)]


async def test_an_authenticator_app_completes_a_sign_in(browser: Browser, place: Place) -> None:
    import pyotp

    await set_up(place)
    origin = place.app.settings.web_url
    page = await browser.new_page()
    await page.goto(f"{origin}/login?next=%2Fdashboard%2Fsecurity")
    await sign_in(page)
    await page.get_by_role("button", name="Set up an authenticator app").click()
    secret = page.locator("[data-secret]")
    await secret.wait_for()
    app = pyotp.TOTP((await secret.inner_text()).strip())
    await page.get_by_label("Code that the app shows now").fill(app.now())
    await page.get_by_role("button", name="Confirm", exact=True).first.click()
    codes = page.locator("[data-codes-list]")
    await codes.wait_for()
    recovery = (await codes.inner_text()).split("\n")
    assert len(recovery) == 10
    await page.context.clear_cookies()
    await page.goto(f"{origin}/login")
    await sign_in(page)
    await page.get_by_text("Use a recovery code").click()
    await page.get_by_label("Recovery code").fill(recovery[0])
    await page.locator("details").get_by_role("button", name="Continue").click()
    await page.wait_for_url(f"{origin}/dashboard")


@pytest_asyncio.fixture
async def stale(browser: Browser, place: Place) -> AsyncIterator[Page]:
    """Olga's browser, an hour after she signed in."""
    user_id = await set_up(place)
    page = await browser.new_page()
    await open_session(place, page, user_id)
    await place.execute("UPDATE t_sessions SET auth_time = now() - interval '1 hour'", [])
    yield page
    await page.close()


async def test_what_needs_a_recent_sign_in_asks_for_the_password_and_goes_on(stale: Page, place: Place) -> None:
    await plug_in(stale)
    await stale.goto(f"{place.app.settings.web_url}/dashboard/security")
    await stale.get_by_label("Name of a new passkey").fill("Key")
    await stale.get_by_role("button", name="Add a passkey").click()
    await stale.get_by_label("Your password").fill(PASSWORD)
    await stale.locator("#presence").get_by_role("button", name="Confirm").click()
    await stale.wait_for_selector("li:has-text('Key')")
    assert await place.execute("SELECT name FROM t_passkeys", []) == [("Key",)]

"""Passkeys in a real Chromium: its own readers of our options, an authenticator inside it, our answers to it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Browser, CDPSession, Page

from application import Place
from browser.visitor import AUTHENTICATOR

EMAIL, PASSWORD = "olga@example.com", "correct horse battery staple 7"
POST = """async ([path, body]) => {
    const answer = await fetch(path, {
        method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify(body)});
    return [answer.status, await answer.json()];
}"""
GET = "async (path) => { const answer = await fetch(path); return [answer.status, await answer.json()]; }"
CREATE = """async (options) => (await navigator.credentials.create(
    {publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options)})).toJSON()"""
PROVE = """async (options) => (await navigator.credentials.get(
    {publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options)})).toJSON()"""


class Person:
    """Olga at a page of ours, her laptop unlocked by her finger."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self.page = page
        self.session = session
        self.authenticator = ""

    async def plug_in(self) -> None:
        """An authenticator inside the browser."""
        await self.session.send("WebAuthn.enable")
        added = await self.session.send("WebAuthn.addVirtualAuthenticator", {"options": AUTHENTICATOR})
        self.authenticator = added["authenticatorId"]

    async def post(self, path: str, **body: Any) -> tuple[int, Any]:
        status, answer = await self.page.evaluate(POST, [f"/api/auth/{path}", body])
        return status, answer

    async def get(self, path: str) -> tuple[int, Any]:
        status, answer = await self.page.evaluate(GET, path)
        return status, answer

    async def prove(self) -> dict[str, Any]:
        """What the browser answers to our request options."""
        status, options = await self.post("passkey/authenticate/options")
        assert status == 200, options
        credential: dict[str, Any] = await self.page.evaluate(PROVE, options)
        return credential


@pytest_asyncio.fixture
async def olga(browser: Browser, place: Place) -> AsyncIterator[Person]:
    """The first person of the instance, signed in."""
    page = await browser.new_page()
    await page.goto(f"{place.app.settings.web_url}/docs")
    person = Person(page, await page.context.new_cdp_session(page))
    await person.plug_in()
    async with place.app.unit() as unit:
        link = await place.app.keeper.people.setup.issue_link(unit)
    token = link.partition("?token=")[2]
    status, answer = await person.post("setup", token=token, name="Olga", email=EMAIL, password=PASSWORD)
    assert status == 200, answer
    yield person
    await page.close()


async def add_passkey(olga: Person) -> dict[str, Any]:
    status, options = await olga.post("passkey/register/options")
    assert status == 200, options
    credential: dict[str, Any] = await olga.page.evaluate(CREATE, options)
    status, answer = await olga.post("passkey/register/verify", credential=credential, name="Laptop")
    assert (status, answer["passkey"]["name"]) == (201, "Laptop"), answer
    return credential


async def test_a_passkey_is_added_and_signs_its_owner_in(olga: Person) -> None:
    made = await add_passkey(olga)
    stored = await olga.session.send("WebAuthn.getCredentials", {"authenticatorId": olga.authenticator})
    [kept] = stored["credentials"]
    assert (kept["rpId"], kept["isResidentCredential"]) == ("localhost", True)
    await olga.post("sign-out")
    assert (await olga.get("/v1/me"))[0] == 401
    credential = await olga.prove()
    assert credential["id"] == made["id"], "found without being named"
    status, answer = await olga.post("passkey/authenticate/verify", credential=credential)
    assert (status, answer["user"]["email"]) == (200, EMAIL)
    status, me = await olga.get("/v1/me")
    assert (status, me["user"]["twoFactor"]) == (200, True)
    status, answer = await olga.post("passkey/authenticate/verify", credential=credential)
    assert (status, answer["code"]) == (401, "INVALID_CREDENTIAL"), "an answer counts once"


async def test_a_passkey_completes_a_sign_in_with_a_password(olga: Person) -> None:
    await add_passkey(olga)
    await olga.post("sign-out")
    status, answer = await olga.post("sign-in/email", email=EMAIL, password=PASSWORD)
    assert (status, answer) == (200, {"twoFactorRequired": True, "methods": ["passkey"]})
    assert (await olga.get("/v1/me"))[0] == 401
    status, answer = await olga.post("passkey/authenticate/verify", credential=await olga.prove())
    assert (status, answer["user"]["email"]) == (200, EMAIL)
    assert (await olga.get("/v1/me"))[0] == 200
    status, answer = await olga.post("reauthenticate", credential=await olga.prove())
    assert (status, set(answer)) == (200, {"authTime"})


async def test_the_same_device_is_not_added_twice(olga: Person) -> None:
    await add_passkey(olga)
    _, options = await olga.post("passkey/register/options")
    refused = await olga.page.evaluate(f"(options) => ({CREATE})(options).catch((error) => error.name)", options)
    assert refused == "InvalidStateError"

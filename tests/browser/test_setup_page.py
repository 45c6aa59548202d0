"""The page a new operator sees first, as a person sees it: on a desk and on a phone, by day and by night."""

from application import Place
from browser.visitor import WIDER_THAN_SCREEN, Visitor

PASSWORD = "correct horse battery staple 7"


async def issue_link(place: Place) -> str:
    async with place.app.unit() as unit:
        link: str = await place.app.keeper.people.setup.issue_link(unit)
    return link


async def test_the_first_person_sets_the_instance_up(visitor: Visitor, place: Place) -> None:
    page, link = visitor.page, await issue_link(place)
    await page.goto(link)
    await visitor.check()
    await page.get_by_label("Your name").fill("Olga")
    await page.get_by_label("E-mail address").fill("olga@example.com")
    await page.get_by_label("Password").fill("password1234")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=Please correct")  # a password everybody knows is refused
    assert await page.get_by_label("Your name").input_value() == "Olga", "and nothing that was typed is lost"
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Create the account").click()
    await visitor.page.wait_for_selector("text=Welcome, Olga")
    assert not await page.evaluate(WIDER_THAN_SCREEN)
    token = (await page.inner_text("main")).split("ah5p_")[1][:43]
    me = await place.ask("GET", "/v1/me", f"ah5p_{token}")
    assert (me.status_code, me.json()["user"]["email"]) == (200, "olga@example.com")
    await page.goto(link)
    assert "ah5p_" not in await page.content(), "the link works once"


async def test_the_routes_can_be_read(visitor: Visitor, place: Place) -> None:
    await visitor.page.goto(f"{place.app.settings.web_url}/docs")
    assert "POST /v1/agents/token" in await visitor.page.inner_text("main")
    await visitor.check()

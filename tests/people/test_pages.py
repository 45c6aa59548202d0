"""The set-up page: strict headers, nothing inline, mistakes shown in place, the first token shown once."""

import html
import re
from html.parser import HTMLParser
from urllib.parse import urlencode

import httpx
import pytest

from people.stage import OLGA, PASSWORD, WEB_URL, Browser, Stage, cookies_of

FORM = {"content-type": "application/x-www-form-urlencoded"}
CSP = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)


class Page(HTMLParser):
    """What a reader's tools see of a page."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(answer.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def input(self, name: str) -> dict[str, str | None]:
        return next(attributes for attributes in self.all("input") if attributes["name"] == name)


async def submit(browser: Browser, token: str, headers: dict[str, str] | None = None, **changes: str) -> httpx.Response:
    fields = {"token": token, "name": "Olga", "email": OLGA, "password": PASSWORD, **changes}
    return await browser.post("/setup", content=urlencode(fields), headers={**FORM, **(headers or {})})


def check_page(answer: httpx.Response) -> Page:
    """What is true of the page in every state."""
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["permissions-policy"] == "camera=(), microphone=(), geolocation=()"
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    page = Page(answer)
    assert not page.all("script")
    assert not page.all("style")
    for tag, attributes in page.tags:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
    assert page.all("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all("meta")
    assert len(page.all("h1")) == len(page.all("main")) == 1
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for reference in ("for", "aria-describedby", "aria-labelledby"):
            if attributes.get(reference):
                assert attributes[reference] in ids
    labelled = {attributes["for"] for attributes in page.all("label")}
    assert {field["id"] for field in page.all("input") if field["type"] != "hidden"} == labelled
    return page


async def test_the_form_behind_a_link(stage: Stage) -> None:
    token = await stage.link_token()
    answer = await stage.browser().get(f"/setup?token={token}")
    assert answer.status_code == 200
    page = check_page(answer)
    assert page.all("form") == [{"method": "post", "action": "/setup"}]
    assert page.input("token")["value"] == token
    assert page.input("password")["type"] == "password"
    assert page.input("password")["minlength"] == "12"
    assert page.input("password")["autocomplete"] == "new-password"
    assert page.input("email")["autocomplete"] == "username"


async def test_looking_changes_nothing(stage: Stage) -> None:
    token = await stage.link_token()
    browser = stage.browser()
    for method in ("GET", "HEAD", "GET"):
        assert (await browser.request(method, f"/setup?token={token}")).status_code == 200
    assert (await submit(browser, token)).status_code == 200


@pytest.mark.parametrize("query", ["", "?token=", "?token=x", "?token=%00", "?token=%ff", "?tok=x"])
async def test_a_link_that_is_of_no_use(stage: Stage, query: str) -> None:
    await stage.link_token()
    answer = await stage.browser().get(f"/setup{query}")
    assert answer.status_code == 410
    page = check_page(answer)
    assert not page.all("form")
    assert "agenthifive setup-link" in page.text


async def test_no_form_once_somebody_has_an_account(stage: Stage) -> None:
    token = await stage.link_token()
    await stage.add(OLGA)
    assert (await stage.browser().get(f"/setup?token={token}")).status_code == 410
    late = await submit(stage.browser(), token)
    assert late.status_code == 409
    assert "set up already" in check_page(late).text
    assert await stage.fetch("SELECT used_at FROM t_one_time_links") == [(None,)]


async def test_the_page_at_the_end_shows_a_token_that_works(stage: Stage) -> None:
    token, browser = await stage.link_token(), stage.browser()
    answer = await submit(browser, token)
    assert answer.status_code == 200
    page = check_page(answer)
    [plain] = set(re.findall(r"ah5p_[A-Za-z0-9_-]{43}", answer.text))
    assert f"export AH5_TOKEN={plain}" in page.text
    assert f"curl -sS {WEB_URL}/v1/agents" in page.text
    assert "agenthifive create-user" in page.text
    me = (await stage.browser().get("/v1/me", headers={"authorization": f"Bearer {plain}"})).json()
    assert f"--workspace {me['workspace']['id']}" in page.text
    assert (me["user"]["email"], me["workspace"]["role"], me["principal"]["kind"]) == (OLGA, "owner", "pat")
    assert "ah5_session" in cookies_of(answer)
    assert (await browser.get("/v1/me")).status_code == 200
    assert len(await stage.events("pat_created")) == len(await stage.events("instance_set_up")) == 1


async def test_sending_the_form_again_shows_no_second_token(stage: Stage) -> None:
    token = await stage.link_token()
    await submit(stage.browser(), token)
    again = await submit(stage.browser(), token)
    assert again.status_code == 410
    assert "ah5p_" not in again.text
    assert await stage.fetch("SELECT count(*) FROM t_personal_tokens") == [(1,)]


async def test_mistakes_are_shown_in_place_and_only_the_password_is_lost(stage: Stage) -> None:
    token, browser = await stage.link_token(), stage.browser()
    answer = await submit(browser, token, name='<b>"Olga"', email="olga", password="password1234")
    assert answer.status_code == 400
    page = check_page(answer)
    assert page.input("name")["value"] == '<b>"Olga"'
    assert not page.all("b")
    assert page.input("email")["value"] == "olga"
    assert page.input("password")["value"] == ""
    assert "password1234" not in answer.text
    assert page.input("token")["value"] == token
    assert [field for field in ("name", "email", "password") if "aria-invalid" in page.input(field)] == [
        "email",
        "password",
    ]
    assert page.input("email")["aria-describedby"] == "email-fault"
    assert {"class": "notice", "role": "alert"} in page.all("p")
    assert "easy to guess" in page.text
    assert (await submit(browser, token)).status_code == 200


async def test_names_are_escaped_on_the_last_page(stage: Stage) -> None:
    answer = await submit(stage.browser(), await stage.link_token(), name="<script>alert(1)</script>")
    assert "<script" not in answer.text
    assert html.escape("<script>alert(1)</script>", quote=False) in answer.text


async def test_browsers_hide_the_origin_of_a_page_without_referrer(stage: Stage) -> None:
    """`Origin: null` is what a browser sends with the form of a no-referrer page; the link's token is the proof."""
    token = await stage.link_token()
    headers = {"origin": "null", "sec-fetch-site": "same-origin"}
    assert (await submit(stage.browser(), token, headers)).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.test"}, {"origin": "null", "sec-fetch-site": "cross-site"}]
)
async def test_another_sites_form_is_refused(stage: Stage, headers: dict[str, str]) -> None:
    answer = await submit(stage.browser(), await stage.link_token(), headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert await stage.fetch("SELECT 1 FROM t_users") == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"token=a&token=b", FORM["content-type"], 400),
        (b"token=%ff", FORM["content-type"], 400),
        ("token=é".encode(), FORM["content-type"], 400),
        (b"a=1&b=1&c=1&d=1&e=1", FORM["content-type"], 400),
        (b'{"token":"x"}', "application/json", 415),
        (b"x", "text/plain", 415),
        (b"", None, 415),
        (b"token=" + b"x" * 70_000, FORM["content-type"], 413),
    ],
)
async def test_what_is_no_form_is_refused(stage: Stage, content: bytes, content_type: str | None, status: int) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = await stage.browser().post("/setup", content=content, headers=headers)
    assert answer.status_code == status


async def test_an_empty_form_names_every_field(stage: Stage) -> None:
    token = await stage.link_token()
    answer = await stage.browser().post("/setup", content=urlencode({"token": token}), headers=FORM)
    assert answer.status_code == 400
    assert len([1 for field in check_page(answer).all("input") if "aria-invalid" in field]) == 3

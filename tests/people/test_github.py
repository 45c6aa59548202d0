"""Signing in with GitHub: contract/http.md section 14.2."""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from agenthifive.people import providers
from agenthifive.people.github import ISSUER
from agenthifive.people.model import Account
from agenthifive.people.providers import OpenIdRule
from people.openid_provider import GithubServer
from people.social_stage import SocialStage, error_of
from people.stage import ADAM, OLGA

GITHUB = OpenIdRule(providers.GITHUB, "GitHub", "", "")


def github_server() -> GithubServer:
    return GithubServer(
        ISSUER,
        emails=[
            {"email": "second@example.com", "primary": False, "verified": True},
            {"email": ADAM, "primary": True, "verified": True},
        ],
    )


def github(elsewhere: SocialStage) -> GithubServer:
    assert isinstance(elsewhere.server, GithubServer)
    return elsewhere.server


pytestmark = pytest.mark.parametrize("elsewhere", [github_server], indirect=True)


async def test_somebody_new_comes_with_the_verified_primary_address(elsewhere: SocialStage, olga: Account) -> None:
    browser = elsewhere.browser(GITHUB)
    assert (await elsewhere.go(browser, "github")).headers["location"] == "/dashboard"
    user = (await browser.get("/api/auth/get-session")).json()["user"]
    assert (user["name"], user["email"]) == ("Olga", ADAM)
    [row] = await elsewhere.stage.fetch("SELECT issuer, subject, provider FROM t_accounts")
    assert row == (ISSUER, "583231", "github")
    [request] = elsewhere.server.requests("/login/oauth/authorize")
    asked = dict(parse_qsl(urlsplit(request.target).query))
    assert (asked["scope"], asked["code_challenge_method"]) == ("read:user user:email", "S256")
    assert asked["redirect_uri"] == "http://localhost:4000/api/auth/callback/github"


async def test_a_login_name_that_moves_moves_nobody(elsewhere: SocialStage, olga: Account) -> None:
    await elsewhere.go(elsewhere.browser(GITHUB), "github")
    github(elsewhere).user = {"id": 999, "login": "olga", "name": "Mallory"}
    assert error_of(await elsewhere.go(elsewhere.browser(GITHUB), "github")) == "account_exists"
    github(elsewhere).user = {"id": 583231, "login": "renamed"}
    assert (await elsewhere.go(elsewhere.browser(GITHUB), "github")).headers["location"] == "/dashboard"
    assert (await elsewhere.counts())["t_users"] == 2


@pytest.mark.parametrize(
    ("emails", "code"),
    [
        ([{"email": ADAM, "primary": True, "verified": False}], "email_not_verified"),
        ([{"email": ADAM, "primary": False, "verified": True}], "email_not_verified"),
        ([{"email": ADAM, "primary": True}], "email_not_verified"),
        ([], "email_not_verified"),
        ([{"email": OLGA, "primary": True, "verified": False}], "account_exists"),
        ([{"email": OLGA, "primary": True, "verified": True}], "account_exists"),
        ({"message": "no"}, "provider_error"),
    ],
)
async def test_no_other_address_lets_somebody_in(elsewhere: SocialStage, olga: Account, emails: Any, code: str) -> None:
    github(elsewhere).emails = emails
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser(GITHUB), "github")) == code
    assert await elsewhere.counts() == before


@pytest.mark.parametrize("number", [None, "583231", True, 0, -1, 1.5])
async def test_without_a_number_nobody_is_known(elsewhere: SocialStage, olga: Account, number: object) -> None:
    github(elsewhere).user = {"id": number, "login": "olga"}
    assert error_of(await elsewhere.go(elsewhere.browser(GITHUB), "github")) == "provider_error"
    assert (await elsewhere.counts())["t_accounts"] == 0


async def test_a_reply_of_another_provider_gets_no_code(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.twist = "iss of another provider"
    assert error_of(await elsewhere.go(elsewhere.browser(GITHUB), "github")) == "provider_error"
    assert elsewhere.server.requests("/login/oauth/access_token") == []


async def test_a_code_that_github_refuses(elsewhere: SocialStage, olga: Account) -> None:
    browser = elsewhere.browser(GITHUB)
    location = await elsewhere.reply(browser, "github")
    for code in elsewhere.server.codes.values():
        code.is_used = True
    assert error_of(await browser.get(location)) == "provider_error"
    assert elsewhere.server.requests("/user") == []


async def test_a_token_that_no_header_carries_is_not_sent(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.access_token = "a\r\nx: y"
    assert error_of(await elsewhere.go(elsewhere.browser(GITHUB), "github")) == "provider_error"
    assert elsewhere.server.requests("/user") == []

"""Signing in with an account elsewhere: contract/http.md section 14.2, acceptance 29, goals.md S6."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from agenthifive.people import flows, providers
from agenthifive.people.model import Account
from agenthifive.vault.hashing import sha256_hex
from people.openid_provider import OpenIdServer
from people.social_stage import GENERIC, PERSON, TENANT, SocialStage, error_of, olga_at
from people.stage import ADAM, KEYRING, MALLORY, OLGA, VERA, Stage, cookies_of

MICROSOFT_ANY = providers.microsoft("common")
GOOGLE = providers.google()


def google_server() -> OpenIdServer:
    return OpenIdServer("https://accounts.google.com")


def microsoft_server() -> OpenIdServer:
    base = "https://login.microsoftonline.com"
    return OpenIdServer(f"{base}/common/v2.0", f"{base}/{{tenantid}}/v2.0")


def microsoft_claims(**others: Any) -> dict[str, Any]:
    return {"sub": "pairwise", "tid": TENANT, "oid": PERSON, "preferred_username": OLGA, **others}


async def test_the_way_there(elsewhere: SocialStage) -> None:
    answer = await elsewhere.begin(elsewhere.browser())
    assert answer.status_code == 200
    assert answer.json()["redirect"] is True
    url = urlsplit(answer.json()["url"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == "https://id.example.com/authorize"
    asked = dict(parse_qsl(url.query))
    assert asked["redirect_uri"] == "http://localhost:4000/api/auth/callback/oidc"
    assert (asked["scope"], asked["code_challenge_method"]) == ("openid email profile", "S256")
    assert {len(asked[name]) for name in ("state", "nonce", "code_challenge")} == {43}
    cookie = cookies_of(answer)["ah5_flow"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=900"))
    assert asked["state"] not in cookie
    assert answer.headers["cache-control"] == "no-store"


async def test_a_browser_may_ask_to_stay(elsewhere: SocialStage) -> None:
    body = {"provider": "oidc", "callbackURL": "/dashboard", "disableRedirect": True}
    answer = await elsewhere.browser().post("/api/auth/sign-in/social", json=body)
    assert answer.json()["redirect"] is False


async def test_two_flows_share_nothing(elsewhere: SocialStage) -> None:
    browser = elsewhere.browser()
    first, second = [dict(parse_qsl(urlsplit((await elsewhere.begin(browser)).json()["url"]).query)) for _ in range(2)]
    assert all(first[name] != second[name] for name in ("state", "nonce", "code_challenge"))


async def test_a_provider_that_is_not_set_up_is_unknown(elsewhere: SocialStage) -> None:
    answer = await elsewhere.begin(elsewhere.browser(), "google")
    assert (answer.status_code, answer.json()["code"]) == (404, "PROVIDER_NOT_FOUND")
    assert elsewhere.server.server.received == []


@pytest.mark.parametrize(
    "url",
    ["https://evil.test", "//evil.test", "/\\evil.test", "/\t/evil.test", "javascript:alert(1)", "", "dashboard",
     "/dash board", "/é", "http://localhost:4000.evil.test/", "/" + "a" * 2000],
)  # fmt: skip
async def test_nobody_is_sent_to_another_site(elsewhere: SocialStage, olga: Account, url: str) -> None:
    social = elsewhere.social()
    for browser in (elsewhere.browser(), await elsewhere.stage.sign_in(OLGA, social=social)):
        answer = await elsewhere.begin(browser, callback=url, link="x-ah5-csrf" in browser.headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_CALLBACK_URL")
        assert "ah5_flow" not in cookies_of(answer)


async def test_a_page_of_another_site_cannot_begin(elsewhere: SocialStage) -> None:
    answer = await elsewhere.browser().post(
        "/api/auth/sign-in/social",
        json={"provider": "oidc", "callbackURL": "/"},
        headers={"origin": "https://evil.test"},
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "ORIGIN_NOT_ALLOWED")
    assert "ah5_flow" not in cookies_of(answer)


async def test_somebody_new_registers(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email="Adam@Example.com", name="Adam")
    browser = elsewhere.browser()
    answer = await elsewhere.go(browser)
    assert (answer.status_code, answer.headers["location"]) == (302, "/dashboard")
    assert "cross-origin-opener-policy" not in answer.headers
    assert "Max-Age=0" in cookies_of(answer)["ah5_flow"]
    session = (await browser.get("/api/auth/get-session")).json()
    assert (session["user"]["name"], session["user"]["email"]) == ("Adam", "Adam@Example.com")
    assert session["user"]["emailVerified"] is True
    user_id = session["user"]["id"]
    [row] = await elsewhere.stage.fetch(
        "SELECT a.issuer, a.subject, a.provider, a.email, u.password_hash, u.platform_role, s.methods FROM t_accounts a"
        " JOIN t_users u ON u.id = a.user_id JOIN t_sessions s ON s.user_id = u.id WHERE u.id = %s",
        user_id,
    )
    assert row == ("https://id.example.com", "subject-1", "oidc", "Adam@Example.com", None, "user", ["social"])
    [registered] = await elsewhere.stage.events("user_registered")
    [signed_in] = await elsewhere.stage.events("user_signed_in")
    [workspace] = (await browser.get("/v1/workspaces")).json()["workspaces"]
    assert (workspace["name"], workspace["role"]) == ("Adam's workspace", "owner")
    assert registered["metadata"] == {"method": "oidc", "email": "Adam@Example.com"}
    assert signed_in["metadata"] == {"method": "oidc", "factors": ["social"]}
    for event in (registered, signed_in):
        assert (event["actor"], event["workspace_id"]) == (user_id, workspace["id"])


async def test_the_providers_tokens_are_sealed(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    await elsewhere.go(elsewhere.browser())
    [(account_id, sealed, kid)] = await elsewhere.stage.fetch(
        "SELECT id::text, sealed_tokens, sealed_tokens_kid FROM t_accounts"
    )
    assert kid == KEYRING.active_kid
    assert "provider-" not in sealed
    opened = json.loads(KEYRING.open(sealed, "t_accounts", "sealed_tokens", account_id, None).reveal())
    assert opened == {"accessToken": "provider-access-token", "refreshToken": "provider-refresh-token"}


async def test_people_are_known_by_issuer_and_subject_alone(elsewhere: SocialStage, olga: Account) -> None:
    """An address that changes at the provider changes nobody here, not even into somebody else."""
    elsewhere.server.claims = olga_at(email=ADAM)
    await elsewhere.go(elsewhere.browser())
    elsewhere.server.claims = olga_at(email=OLGA, name="Olga", preferred_username=OLGA)
    browser = elsewhere.browser()
    assert (await elsewhere.go(browser)).headers["location"] == "/dashboard"
    assert (await browser.get("/api/auth/get-session")).json()["user"]["email"] == ADAM
    elsewhere.server.claims = olga_at(subject="subject-2", email=ADAM)
    assert error_of(await elsewhere.go(elsewhere.browser())) == "account_exists"
    assert (await elsewhere.counts())["t_accounts"] == 1


async def test_a_name_that_none_is_becomes_the_address(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM, name="\u202eadmin")
    browser = elsewhere.browser()
    await elsewhere.go(browser)
    assert (await browser.get("/api/auth/get-session")).json()["user"]["name"] == "adam"


@pytest.mark.parametrize(
    "claims",
    [
        microsoft_claims(email=OLGA),
        microsoft_claims(email=OLGA, email_verified=True),
        microsoft_claims(email=OLGA.upper(), xms_edov=False),
        microsoft_claims(email=OLGA, xms_edov=True),
    ],
)
@pytest.mark.parametrize("elsewhere", [microsoft_server], indirect=True)
async def test_an_address_of_somebody_here_opens_nothing(
    elsewhere: SocialStage, olga: Account, claims: dict[str, Any]
) -> None:
    """Acceptance 29; a verified address opens no more than an unverified one."""
    elsewhere.server.claims = claims
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser(MICROSOFT_ANY), "microsoft")) == "account_exists"
    assert await elsewhere.counts() == before
    [event] = await elsewhere.stage.events("user_sign_in_failed")
    assert event["metadata"] == {"reason": "account_exists", "emailSha256": sha256_hex(OLGA)}
    assert (event["actor"], event["workspace_id"], event["decision"]) == ("anonymous", None, "denied")
    assert await elsewhere.stage.events("social_linked") == []


@pytest.mark.parametrize(
    "claims",
    [microsoft_claims(email=ADAM), microsoft_claims(email=ADAM, email_verified=True), microsoft_claims(),
     microsoft_claims(xms_edov=True), microsoft_claims(email=ADAM, xms_edov="yes")],
)  # fmt: skip
@pytest.mark.parametrize("elsewhere", [microsoft_server], indirect=True)
async def test_microsoft_vouches_for_an_address_only_with_xms_edov(
    elsewhere: SocialStage, olga: Account, claims: dict[str, Any]
) -> None:
    elsewhere.server.claims = claims
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser(MICROSOFT_ANY), "microsoft")) == "email_not_verified"
    assert await elsewhere.counts() == before


@pytest.mark.parametrize("elsewhere", [microsoft_server], indirect=True)
async def test_microsoft_accounts_are_known_by_tenant_and_object(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = microsoft_claims(email=ADAM, xms_edov=True)
    answer = await elsewhere.go(elsewhere.browser(MICROSOFT_ANY), "microsoft")
    assert answer.headers["location"] == "/dashboard"
    [row] = await elsewhere.stage.fetch("SELECT issuer, subject FROM t_accounts")
    assert row == (f"https://login.microsoftonline.com/{TENANT}/v2.0", PERSON)


@pytest.mark.parametrize("elsewhere", [google_server], indirect=True)
@pytest.mark.parametrize("is_verified", [False, None, "true", 1])
async def test_an_address_that_is_not_vouched_for_registers_nobody(
    elsewhere: SocialStage, olga: Account, is_verified: object
) -> None:
    elsewhere.server.claims = olga_at(email=ADAM, email_verified=is_verified)
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser(GOOGLE), "google")) == "email_not_verified"
    assert await elsewhere.counts() == before


@pytest.mark.parametrize("email", [None, "", "no address", "adam@example.com\r\nBcc: x", ["adam@example.com"]])
async def test_without_an_address_nobody_registers(elsewhere: SocialStage, olga: Account, email: object) -> None:
    elsewhere.server.claims = {"sub": "subject-1", "email": email, "email_verified": True, "preferred_username": ADAM}
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser())) == "email_not_verified"
    assert await elsewhere.counts() == before


@pytest.mark.parametrize("rule", ["closed", "invite", "domain:example.org"])
async def test_the_rule_of_the_instance_covers_social_sign_up(elsewhere: SocialStage, olga: Account, rule: str) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser(registration=rule))) == "registration_closed"
    assert await elsewhere.counts() == before
    known = elsewhere.browser(registration="domain:example.com")
    assert (await elsewhere.go(known)).headers["location"] == "/dashboard"
    assert (await elsewhere.go(elsewhere.browser(registration=rule))).headers["location"] == "/dashboard"


async def test_the_first_person_comes_by_the_set_up_link(elsewhere: SocialStage) -> None:
    elsewhere.server.claims = olga_at()
    assert error_of(await elsewhere.go(elsewhere.browser())) == "registration_closed"
    assert (await elsewhere.counts())["t_users"] == 0


async def test_a_disabled_person_stays_out(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    await elsewhere.go(elsewhere.browser())
    await elsewhere.stage.fetch("UPDATE t_users SET disabled_at = now() WHERE email = %s", ADAM)
    before = await elsewhere.counts()
    assert error_of(await elsewhere.go(elsewhere.browser())) == "account_disabled"
    assert await elsewhere.counts() == before
    [event] = await elsewhere.stage.events("user_sign_in_failed")
    [(user_id,)] = await elsewhere.stage.fetch("SELECT id::text FROM t_users WHERE email = %s", ADAM)
    assert event["metadata"] == {"reason": "account_disabled", "emailSha256": sha256_hex(ADAM), "userId": user_id}


async def test_a_second_factor_stands_between(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    await elsewhere.go(elsewhere.browser())
    await elsewhere.stage.fetch(
        "INSERT INTO t_totp (user_id, secret, secret_kid, confirmed_at)"
        " SELECT id, 'sealed', 'kid', now() FROM t_users WHERE email = %s",
        ADAM,
    )
    before = await elsewhere.counts()
    answer = await elsewhere.go(elsewhere.browser())
    assert (answer.status_code, answer.headers["location"]) == (302, "/login?second_factor=1")
    assert "HttpOnly" in cookies_of(answer)["ah5_pending"]
    assert "ah5_session" not in cookies_of(answer)
    assert await elsewhere.counts() == before


async def test_fifty_replays_at_once_open_one_session(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    browser = elsewhere.browser()
    location = await elsewhere.reply(browser)
    cookie = {"cookie": f"ah5_flow={browser.cookies['ah5_flow']}"}
    other = elsewhere.browser()
    answers = await asyncio.gather(
        *((elsewhere.browser(), other)[n % 2].get(location, headers=cookie) for n in range(50))
    )
    landed = [answer for answer in answers if answer.headers["location"] == "/dashboard"]
    assert len(landed) == 1
    assert {error_of(answer) for answer in answers if answer not in landed} == {"state_mismatch"}
    assert (await elsewhere.stage.fetch("SELECT count(*) FROM t_sessions"))[0][0] == 1
    assert len(elsewhere.server.requests("/token")) == 1
    assert error_of(await browser.get(location)) == "state_mismatch"


async def test_one_new_person_in_ten_browsers_is_one_person(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    browsers = [elsewhere.browser() for _ in range(10)]
    replies = [await elsewhere.reply(browser) for browser in browsers]
    answers = await asyncio.gather(*(b.get(reply) for b, reply in zip(browsers, replies, strict=True)))
    assert {answer.headers["location"] for answer in answers} == {"/dashboard"}
    counts = await elsewhere.counts()
    assert (counts["t_users"], counts["t_accounts"], counts["t_sessions"]) == (2, 1, 10)


async def test_a_reply_belongs_to_the_browser_that_asked(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    browser, victim = elsewhere.browser(), elsewhere.browser()
    location = await elsewhere.reply(browser)
    assert error_of(await victim.get(location)) == "state_mismatch"
    own = await elsewhere.reply(victim)
    forged = await victim.get(location)
    assert error_of(forged) == "state_mismatch"
    assert forged.headers.get_list("set-cookie") == []
    assert elsewhere.server.requests("/token") == []
    assert (await victim.get(own)).headers["location"] == "/dashboard"
    assert (await browser.get(location)).headers["location"] == "/dashboard"


@pytest.mark.parametrize("change", ["state=x", "twice", "no state", "provider", "cookie", "purpose"])
async def test_a_reply_that_does_not_fit_the_flow(elsewhere: SocialStage, olga: Account, change: str) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    browser = elsewhere.browser()
    location = await elsewhere.reply(browser)
    parts = urlsplit(location)
    pairs = dict(parse_qsl(parts.query))
    changed, headers = location, {"cookie": f"ah5_flow={browser.cookies['ah5_flow']}"}
    if change == "state=x":
        changed = location.replace(pairs["state"], "x")
    elif change == "twice":
        changed = f"{location}&state={pairs['state']}"
    elif change == "no state":
        changed = location.replace("state=", "stat=")
    elif change == "provider":
        changed = location.replace("/callback/oidc", "/callback/google")
    elif change == "cookie":
        headers = {"cookie": f"ah5_flow={browser.cookies['ah5_flow'][:-2]}AA"}
    else:
        sealed = elsewhere.social()._seal.seal("pending", {"provider": "oidc"}, 9e9)
        headers = {"cookie": f"ah5_flow={sealed}"}
    assert error_of(await elsewhere.browser().get(changed, headers=headers)) == "state_mismatch"
    assert elsewhere.server.requests("/token") == []
    assert (await browser.get(location)).headers["location"] == "/dashboard"


async def test_a_reply_at_the_address_of_another_provider(elsewhere: SocialStage, olga: Account) -> None:
    """Both are set up here: the code of one is not brought to the other."""
    elsewhere.server.claims = olga_at(email=ADAM)
    both = elsewhere.stage.social({rule.id: elsewhere.provider(rule) for rule in (GENERIC, GOOGLE)}, "open")
    browser = elsewhere.stage.browser(social=both)
    location = await elsewhere.reply(browser)
    mixed_up = await browser.get(location.replace("/callback/oidc", "/callback/google"))
    assert error_of(mixed_up) == "state_mismatch"
    assert elsewhere.server.requests("/token") == []
    assert (await browser.get(location)).headers["location"] == "/dashboard"


async def test_a_flow_ends_after_a_quarter_of_an_hour(
    elsewhere: SocialStage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flows, "FLOW_TTL_S", -1)
    browser = elsewhere.browser()
    assert error_of(await browser.get(await elsewhere.reply(browser))) == "state_mismatch"
    assert elsewhere.server.requests("/token") == []


async def test_what_a_provider_writes_is_not_repeated(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.twist = "error"
    answer = await elsewhere.go(elsewhere.browser())
    assert error_of(answer) == "provider_error"
    assert answer.headers["location"] == "/login?error=provider_error"
    assert answer.content == b""
    assert elsewhere.server.requests("/token") == []


async def test_looking_changes_nothing(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    browser = elsewhere.browser()
    location = await elsewhere.reply(browser)
    assert (await browser.head(location)).headers["location"] == "/login"
    assert elsewhere.server.requests("/token") == []
    assert (await browser.get(location)).headers["location"] == "/dashboard"


async def test_https_cookies_are_secure(stage: Stage, elsewhere: SocialStage) -> None:
    people = stage.room("https://ah5.example.com")
    browser = stage.browser(people, social=elsewhere.social())
    cookie = cookies_of(await elsewhere.begin(browser))["ah5_flow"]
    assert "Secure" in cookie
    people.close()


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_linking_and_signing_in_with_what_was_linked(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at()
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social(registration="closed"))
    sessions = (await elsewhere.counts())["t_sessions"]
    answer = await elsewhere.go(browser, link=True)
    assert (answer.status_code, answer.headers["location"]) == (302, "/dashboard")
    assert "ah5_session" not in cookies_of(answer)
    assert (await elsewhere.counts())["t_sessions"] == sessions
    [event] = await elsewhere.stage.events("social_linked")
    assert event["metadata"] == {"provider": "oidc"}
    [told] = elsewhere.stage.postbox.mails
    assert (told.to, "an account at oidc" in told.text) == (OLGA, True)
    assert (event["actor"], event["workspace_id"]) == (olga.user.id, olga.workspace_id)
    [account] = (await browser.get("/api/auth/list-accounts")).json()
    assert (account["provider"], account["email"]) == ("oidc", OLGA)
    assert set(account) == {"id", "provider", "email", "createdAt", "lastUsedAt"}
    assert (await elsewhere.go(browser, link=True)).headers["location"] == "/dashboard"
    assert len(await elsewhere.stage.events("social_linked")) == 1
    stranger = elsewhere.browser(registration="closed")
    assert (await elsewhere.go(stranger)).headers["location"] == "/dashboard"
    assert (await stranger.get("/api/auth/get-session")).json()["user"]["id"] == olga.user.id


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        (olga_at(email_verified=False), "email_not_verified"),
        (olga_at(email=None), "email_not_verified"),
        (olga_at(email="olga@example.org"), "email_not_verified"),
        (olga_at(email=ADAM), "account_exists"),
    ],
)
async def test_only_an_address_verified_on_both_sides_links(
    elsewhere: SocialStage, olga: Account, claims: dict[str, Any], code: str
) -> None:
    await elsewhere.stage.add(ADAM)
    elsewhere.server.claims = claims
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social())
    assert error_of(await elsewhere.go(browser, link=True)) == code
    assert (await elsewhere.counts())["t_accounts"] == 0
    assert await elsewhere.stage.events("social_linked") == []


async def test_an_address_we_have_not_verified_links_nothing(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at()
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social())
    await elsewhere.stage.fetch("UPDATE t_users SET email_verified_at = NULL")
    assert error_of(await elsewhere.go(browser, link=True)) == "email_not_verified"
    assert (await elsewhere.counts())["t_accounts"] == 0


async def test_an_account_has_one_owner(elsewhere: SocialStage, olga: Account) -> None:
    await elsewhere.stage.add(VERA)
    elsewhere.server.claims = olga_at()
    await elsewhere.go(await elsewhere.stage.sign_in(OLGA, social=elsewhere.social()), link=True)
    elsewhere.server.claims = olga_at(email=VERA)
    vera = await elsewhere.stage.sign_in(VERA, social=elsewhere.social())
    assert error_of(await elsewhere.go(vera, link=True)) == "account_exists"
    assert (await vera.get("/api/auth/list-accounts")).json() == []


async def test_the_reply_of_a_link_needs_the_session_that_asked(elsewhere: SocialStage, olga: Account) -> None:
    """Nothing is used up, and the provider is not asked: the starter still completes."""
    await elsewhere.stage.add(MALLORY)
    social = elsewhere.social()
    elsewhere.server.claims = olga_at()
    browser = await elsewhere.stage.sign_in(OLGA, social=social)
    location = await elsewhere.reply(browser, link=True)
    flow = f"ah5_flow={browser.cookies['ah5_flow']}"
    mallory = await elsewhere.stage.sign_in(MALLORY, social=social)
    again = await elsewhere.stage.sign_in(OLGA, social=social)
    strangers = [flow, *(f"{flow}; ah5_session={other.cookies['ah5_session']}" for other in (mallory, again))]
    for cookies in strangers:
        answer = await elsewhere.stage.browser(social=social).get(location, headers={"cookie": cookies})
        assert error_of(answer) == "state_mismatch"
    assert elsewhere.server.requests("/token") == []
    assert (await elsewhere.counts())["t_accounts"] == 0
    assert (await browser.get(location)).headers["location"] == "/dashboard"


async def test_a_session_that_ends_meanwhile_links_nothing(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at()
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social())
    location = await elsewhere.reply(browser, link=True)
    answer_token = elsewhere.server._answer_token

    def end_session(request: Any) -> tuple[int, dict[str, Any]]:
        ended.append(asyncio.ensure_future(elsewhere.stage.fetch("DELETE FROM t_sessions")))
        return answer_token(request)

    ended: list[Any] = []
    elsewhere.server._answer_token = end_session  # type: ignore[method-assign]
    provider = elsewhere.provider()
    prove = provider.prove

    async def prove_then_wait(*args: Any) -> Any:
        proven = await prove(*args)
        await asyncio.gather(*ended)
        return proven

    provider.prove = prove_then_wait  # type: ignore[method-assign]
    assert error_of(await browser.get(location)) == "state_mismatch"
    assert (await elsewhere.counts())["t_accounts"] == 0


async def test_linking_needs_a_recent_session(elsewhere: SocialStage, olga: Account) -> None:
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social())
    await elsewhere.stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'")
    assert refused(await elsewhere.begin(browser, link=True)) == (403, "REAUTH_REQUIRED")
    assert refused(await elsewhere.begin(elsewhere.browser(), link=True)) == (401, "AUTHENTICATION_REQUIRED")
    assert elsewhere.server.server.received == []


async def link_of(elsewhere: SocialStage, olga: Account) -> tuple[Any, str]:
    """Olga's browser and the id of the account she linked."""
    elsewhere.server.claims = olga_at()
    browser = await elsewhere.stage.sign_in(OLGA, social=elsewhere.social())
    await elsewhere.go(browser, link=True)
    [account] = (await browser.get("/api/auth/list-accounts")).json()
    return browser, account["id"]


async def test_unlinking(elsewhere: SocialStage, olga: Account) -> None:
    browser, account_id = await link_of(elsewhere, olga)
    answer = await browser.post("/api/auth/unlink-account", json={"accountId": account_id})
    assert (answer.status_code, answer.json()) == (200, {"status": True})
    assert (await browser.get("/api/auth/list-accounts")).json() == []
    [event] = await elsewhere.stage.events("social_unlinked")
    assert (event["metadata"], event["actor"]) == ({"provider": "oidc"}, olga.user.id)
    assert error_of(await elsewhere.go(elsewhere.browser())) == "account_exists"


async def test_a_foreign_account_is_unknown(elsewhere: SocialStage, olga: Account) -> None:
    _, account_id = await link_of(elsewhere, olga)
    await elsewhere.stage.add(MALLORY)
    mallory = await elsewhere.stage.sign_in(MALLORY, social=elsewhere.social())
    unknown = "00000000-0000-4000-8000-000000000000"
    answers = [
        await mallory.post("/api/auth/unlink-account", json={"accountId": each})
        for each in (account_id, unknown, "none", "")
    ]
    assert {(*refused(answer), answer.content) for answer in answers} == {(404, "NOT_FOUND", answers[1].content)}
    assert (await elsewhere.counts())["t_accounts"] == 1


async def test_the_last_way_to_sign_in_stays(elsewhere: SocialStage, olga: Account) -> None:
    browser, account_id = await link_of(elsewhere, olga)
    await elsewhere.stage.fetch("UPDATE t_users SET password_hash = NULL")
    body = {"accountId": account_id}
    assert refused(await browser.post("/api/auth/unlink-account", json=body)) == (409, "LAST_SIGN_IN_METHOD")
    await elsewhere.stage.fetch(
        "INSERT INTO t_accounts (id, user_id, issuer, subject, provider)"
        " VALUES (gen_random_uuid(), %s, 'https://appleid.apple.com', 'x', 'apple')",
        olga.user.id,
    )  # a provider that is not set up here is no way to sign in
    assert refused(await browser.post("/api/auth/unlink-account", json=body)) == (409, "LAST_SIGN_IN_METHOD")
    assert await elsewhere.stage.events("social_unlinked") == []
    await elsewhere.stage.fetch(
        "INSERT INTO t_passkeys (id, user_id, credential_id, public_key, sign_count, transports, aaguid, name)"
        " VALUES (gen_random_uuid(), %s, 'x', 'x', 0, '{}', gen_random_uuid(), 'Laptop')",
        olga.user.id,
    )
    assert (await browser.post("/api/auth/unlink-account", json=body)).status_code == 200


async def test_two_accounts_are_not_unlinked_at_once(elsewhere: SocialStage, olga: Account) -> None:
    browser, first = await link_of(elsewhere, olga)
    await elsewhere.stage.fetch("UPDATE t_users SET password_hash = NULL")
    [(second,)] = await elsewhere.stage.fetch(
        "INSERT INTO t_accounts (id, user_id, issuer, subject, provider)"
        " VALUES (gen_random_uuid(), %s, 'https://id.example.com', 'subject-2', 'oidc') RETURNING id::text",
        olga.user.id,
    )
    answers = await asyncio.gather(
        *(browser.post("/api/auth/unlink-account", json={"accountId": (first, second)[n % 2]}) for n in range(10))
    )
    assert sorted(answer.status_code for answer in answers)[:1] == [200]
    assert [answer.status_code for answer in answers].count(200) == 1
    assert (await elsewhere.counts())["t_accounts"] == 1


async def test_providers_are_offered_by_name(elsewhere: SocialStage) -> None:
    answer = await elsewhere.browser().get("/api/auth/providers")
    assert answer.json()["social"] == [{"id": "oidc", "name": "Example ID"}]


def apple_server() -> OpenIdServer:
    return OpenIdServer("https://appleid.apple.com")


@pytest.mark.parametrize("elsewhere", [apple_server], indirect=True)
async def test_a_posted_reply_is_brought_back_with_the_cookies(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = {"sub": "001.abc", "email": ADAM, "email_verified": "true"}
    browser = elsewhere.browser(providers.apple())
    answer = await elsewhere.go_posted(browser)
    assert answer.headers["location"] == "/dashboard"
    asked = dict(parse_qsl(urlsplit(elsewhere.server.requests("/authorize")[0].target).query))
    assert (asked["response_mode"], asked["scope"]) == ("form_post", "openid email")
    assert (await browser.get("/api/auth/get-session")).json()["user"]["name"] == "adam"


@pytest.mark.parametrize(
    "body", ["", "a=b", "state=%FF", "state=x&" * 40, "code=" + "c" * 9000, "next=https://evil.test", "\xff"]
)
async def test_any_other_form_leads_to_the_sign_in_page(elsewhere: SocialStage, body: str) -> None:
    browser = elsewhere.browser(providers.apple())
    posted = await browser.post(
        "/api/auth/callback/apple",
        content=body.encode("latin-1"),
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert posted.status_code == 303
    assert posted.headers["location"].startswith("/api/auth/callback/apple?")
    assert "evil" not in posted.headers["location"]
    assert error_of(await browser.get(posted.headers["location"])) == "state_mismatch"


async def test_a_reply_is_posted_as_a_form(elsewhere: SocialStage) -> None:
    answer = await elsewhere.browser().post("/api/auth/callback/apple", json={"state": "x"})
    assert refused(answer) == (415, "UNSUPPORTED_MEDIA_TYPE")


async def test_the_generic_name_and_scopes_are_the_operators(elsewhere: SocialStage) -> None:
    rule = providers.generic("Acme", GENERIC.base, "openid email groups")
    answer = await elsewhere.begin(elsewhere.browser(rule))
    assert dict(parse_qsl(urlsplit(answer.json()["url"]).query))["scope"] == "openid email groups"

"""A provider that speaks OpenID Connect, and everything one can get wrong: Core 1.0 section 3.1, RFC 7636, RFC 9207."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import pytest
from structlog.testing import capture_logs

from agenthifive.people import oidc, provider_http, providers
from agenthifive.people.model import Account
from agenthifive.people.oidc import Kept
from agenthifive.people.providers import OpenIdRule, ProviderFailed
from people.openid_provider import OTHER_ISSUER, OpenIdServer, rsa_key
from people.social_stage import PERSON, TENANT, SocialStage, error_of, olga_at
from people.stage import ADAM

TWISTS_OF_TOKENS = {
    "another nonce": "id_token_nonce",
    "another audience": "id_token_audience",
    "two audiences without a party": "id_token_party",
    "another party": "id_token_party",
    "expired": "id_token_expired",
    "issued long ago": "id_token_issued_at",
    "issued in the future": "id_token_issued_at",
    "another issuer": "id_token_issuer",
    "another access token": "id_token_access_token",
    "no subject": "id_token_subject",
    "alg none": "id_token_signature",
    "HS256 under the public key": "id_token_signature",
    "another key": "id_token_signature",
    "another algorithm": "id_token_signature",
    "no id_token": "id_token_form",
}
TWISTS_OF_REPLIES = {
    "iss of another provider": "issuer_mismatch",
    "iss is promised and missing": "issuer_missing",
    "error": "refused",
}
TWISTS_OF_DISCOVERY = {
    "document of another issuer": "discovery_issuer",
    "plain http endpoint": "address",
    "script as authorization endpoint": "address",
    "redirecting discovery": "status_302",
    "huge discovery": "reply_too_large",
    "compressed discovery": "reply_encoding",
    "discovery that is no JSON": "reply_json",
    "discovery that breaks off": "reply_invalid",
    "failing discovery": "status_500",
    "silent discovery": "timeout",
}


def reasons(logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why the provider failed, as the operator reads it."""
    return [entry["reason"] for entry in logs if entry["event"] == "social_sign_in_failed"]


@pytest.mark.parametrize("twist", TWISTS_OF_TOKENS)
async def test_an_id_token_that_is_not_right_lets_nobody_in(elsewhere: SocialStage, olga: Account, twist: str) -> None:
    elsewhere.server.claims, elsewhere.server.twist = olga_at(email=ADAM), twist
    before = await elsewhere.counts()
    with capture_logs() as logs:
        assert error_of(await elsewhere.go(elsewhere.browser())) == "provider_error"
    assert reasons(logs) == [TWISTS_OF_TOKENS[twist]]
    assert len(elsewhere.server.requests("/token")) == 1
    assert await elsewhere.counts() == before
    elsewhere.server.twist = ""
    assert (await elsewhere.go(elsewhere.browser())).headers["location"] == "/dashboard"


@pytest.mark.parametrize("twist", TWISTS_OF_REPLIES)
async def test_a_reply_of_another_provider_gets_no_code(elsewhere: SocialStage, olga: Account, twist: str) -> None:
    elsewhere.server.claims, elsewhere.server.twist = olga_at(email=ADAM), twist
    before = await elsewhere.counts()
    with capture_logs() as logs:
        assert error_of(await elsewhere.go(elsewhere.browser())) == "provider_error"
    assert reasons(logs) == [TWISTS_OF_REPLIES[twist]]
    assert elsewhere.server.requests("/token") == []
    assert await elsewhere.counts() == before


@pytest.mark.parametrize("twist", TWISTS_OF_DISCOVERY)
async def test_a_provider_that_cannot_be_discovered_is_unavailable(
    elsewhere: SocialStage, twist: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if twist == "silent discovery":
        monkeypatch.setattr(provider_http, "CALL_S", 0.3)
    elsewhere.server.twist = twist
    with capture_logs() as logs:
        answer = await elsewhere.begin(elsewhere.browser())
    assert reasons(logs) == [TWISTS_OF_DISCOVERY[twist]]
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert answer.headers["retry-after"] == "10"
    assert "ah5_flow" not in answer.headers.get("set-cookie", "")
    assert len(elsewhere.server.server.received) == 1
    elsewhere.server.twist = ""
    assert (await elsewhere.begin(elsewhere.browser())).status_code == 503  # not asked again at once
    assert len(elsewhere.server.server.received) == 1


async def test_an_endpoint_at_a_forbidden_address_is_not_called(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    elsewhere.server.twist = "token endpoint at the metadata address"
    with capture_logs() as logs:
        assert error_of(await elsewhere.go(elsewhere.browser())) == "provider_error"
    assert reasons(logs) == ["egress_blocked_metadata"]
    assert (await elsewhere.counts())["t_users"] == 1


@pytest.mark.parametrize(
    "base",
    ["https://169.254.169.254", "https://127.0.0.1:8443", "https://[::1]", "https://metadata.google.internal",
     "https://10.0.0.8/realms/x"],
)  # fmt: skip
async def test_an_issuer_at_a_forbidden_address_is_not_called(elsewhere: SocialStage, base: str) -> None:
    provider = elsewhere.provider(OpenIdRule("oidc", "x", base, base))
    with pytest.raises(ProviderFailed, match="egress_blocked"):
        await provider.check_issuer(None)
    assert elsewhere.server.server.connections == 0


async def test_a_wrong_verifier_is_refused_by_the_provider(elsewhere: SocialStage, olga: Account) -> None:
    """The double really checks PKCE: a code without its verifier is worth nothing."""
    elsewhere.server.claims = olga_at(email=ADAM)
    browser = elsewhere.browser()
    location = await elsewhere.reply(browser)
    for code in elsewhere.server.codes.values():
        code.asked["code_challenge"] = "x" * 43
    assert error_of(await browser.get(location)) == "provider_error"


async def test_the_secret_travels_as_the_provider_wants_it(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims, elsewhere.server.is_basic = olga_at(email=ADAM), True
    assert (await elsewhere.go(elsewhere.browser())).headers["location"] == "/dashboard"
    [request] = elsewhere.server.requests("/token")
    assert base64.b64decode((request.header("authorization") or "").removeprefix("Basic ")).count(b":") == 1
    assert {"client_id", "client_secret"} & dict(parse_qsl(request.body.decode())).keys() == set()


async def test_two_audiences_are_fine_when_we_are_the_party(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = olga_at(email=ADAM, aud=["agenthifive-sign-in", "another"], azp="agenthifive-sign-in")
    assert (await elsewhere.go(elsewhere.browser())).headers["location"] == "/dashboard"


async def test_keys_are_fetched_once_and_again_when_one_is_unknown(
    elsewhere: SocialStage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere.server.claims = olga_at(email=ADAM)
    for _ in range(3):
        assert (await elsewhere.go(elsewhere.browser())).headers["location"] == "/dashboard"
    assert len(elsewhere.server.requests("/jwks")) == 1
    assert len(elsewhere.server.requests("/.well-known/openid-configuration")) == 1
    elsewhere.server.key = rsa_key(2)
    assert error_of(await elsewhere.go(elsewhere.browser())) == "provider_error"  # asked less than 30 s ago
    assert len(elsewhere.server.requests("/jwks")) == 1
    monkeypatch.setattr(oidc, "KEYS_AGAIN_S", 0.0001)
    assert (await elsewhere.go(elsewhere.browser())).headers["location"] == "/dashboard"
    assert len(elsewhere.server.requests("/jwks")) == 2


async def test_many_at_once_fetch_once(elsewhere: SocialStage) -> None:
    browser = elsewhere.browser()
    answers = await asyncio.gather(*(elsewhere.begin(browser) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(elsewhere.server.server.received) == 1


async def test_what_is_kept_grows_old() -> None:
    now, fetched = [0.0], []

    async def fetch() -> int:
        fetched.append(now[0])
        if now[0] == 400.0:
            raise ProviderFailed("status_500")
        return len(fetched)

    kept = Kept(fetch, 300.0, lambda: now[0])
    assert (await kept.get(), await kept.get()) == (1, 1)
    now[0] = 29.0
    assert await kept.get(30.0) == 1
    now[0] = 30.0
    assert await kept.get(30.0) == 2
    now[0] = -5.0  # a clock that was set back
    assert await kept.get() == 3
    for now[0], reason in ((400.0, "status_500"), (401.0, "not_available"), (409.9, "not_available")):
        with pytest.raises(ProviderFailed, match=reason):
            await kept.get()
    now[0] = 411.0
    assert await kept.get() == 5
    assert fetched == [0.0, 30.0, -5.0, 400.0, 411.0]


async def test_an_address_the_id_token_lacks_is_asked_for(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = {"sub": "subject-1", "userinfo": {"sub": "subject-1", "email": ADAM, "name": "Adam"}}
    browser = elsewhere.browser()
    assert (await elsewhere.go(browser)).headers["location"] == "/dashboard"
    assert (await browser.get("/api/auth/get-session")).json()["user"]["email"] == ADAM


async def test_what_is_said_of_somebody_else_is_not_believed(elsewhere: SocialStage, olga: Account) -> None:
    elsewhere.server.claims = {"sub": "subject-1", "userinfo": {"email": ADAM}}
    elsewhere.server.twist = "userinfo of somebody else"
    assert error_of(await elsewhere.go(elsewhere.browser())) == "provider_error"
    assert (await elsewhere.counts())["t_users"] == 1


def one_tenant() -> OpenIdServer:
    return OpenIdServer(f"https://login.microsoftonline.com/{TENANT}/v2.0")


@pytest.mark.parametrize("elsewhere", [one_tenant], indirect=True)
async def test_one_tenant_vouches_for_its_people_and_no_other_does(elsewhere: SocialStage, olga: Account) -> None:
    rule = providers.microsoft(TENANT)
    elsewhere.server.claims = {"tid": TENANT, "oid": PERSON, "email": ADAM}
    assert (await elsewhere.go(elsewhere.browser(rule), "microsoft")).headers["location"] == "/dashboard"
    other = PERSON.replace("0a1b", "ffff")
    for claims in ({"tid": other, "oid": PERSON}, {"tid": TENANT, "oid": None}, {"tid": TENANT, "oid": "me"}):
        elsewhere.server.claims = {"email": ADAM, **claims}
        assert error_of(await elsewhere.go(elsewhere.browser(rule), "microsoft")) == "provider_error"
    elsewhere.server.claims = {"tid": TENANT, "oid": PERSON, "iss": OTHER_ISSUER}
    assert error_of(await elsewhere.go(elsewhere.browser(rule), "microsoft")) == "provider_error"

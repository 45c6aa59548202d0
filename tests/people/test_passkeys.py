"""Passkeys: adding, signing in, and every answer that proves nothing. Contract http.md section 14.3, acceptance 31."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from agenthifive.people.model import Account
from agenthifive.vault import base64url
from agenthifive.vault.hashing import sha256_hex
from agenthifive.words import Role
from people.authenticator import PRESENT, VERIFIED, Authenticator
from people.factors import (
    AUTHENTICATE,
    REGISTER,
    add_passkey,
    begin_adding,
    begin_proving,
    enable_totp,
    half_way,
    prove,
    refusal,
)
from people.stage import ADAM, MALLORY, OLGA, WEB_URL, Browser, Stage, cookies_of

WRONG = (401, "INVALID_CREDENTIAL")
SESSIONS = "SELECT count(*) FROM t_sessions"


async def verify(browser: Browser, credential: Any, name: str = "Laptop") -> tuple[int, str]:
    answer = await browser.post(f"{REGISTER}/verify", json={"credential": credential, "name": name})
    return refusal(answer)


async def test_creation_options_are_what_browsers_parse(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    answer = await browser.post(f"{REGISTER}/options", json={})
    options = answer.json()
    assert options["rp"] == {"id": "localhost", "name": "AgentHiFive"}
    assert len(base64url.decode(options["challenge"])) == 32
    assert base64url.decode(options["user"]["id"]).hex() == olga.user.id.replace("-", "")
    assert (options["user"]["name"], options["user"]["displayName"]) == (OLGA, "Olga")
    assert [one["alg"] for one in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["authenticatorSelection"]["residentKey"] == "preferred"
    assert (options["attestation"], options["timeout"], options["excludeCredentials"]) == ("none", 300_000, [])
    parts = set(cookies_of(answer)["ah5_flow"].split("; ")[1:])
    assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=900"} <= parts
    assert options["challenge"] not in cookies_of(answer)["ah5_flow"], "the cookie is sealed"


async def test_a_passkey_is_added_and_kept_out_of_the_next_options(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = Authenticator(WEB_URL)
    credential = device.create(await begin_adding(browser))
    answer = await browser.post(f"{REGISTER}/verify", json={"credential": credential, "name": " Laptop "})
    assert answer.status_code == 201
    passkey = answer.json()["passkey"]
    assert set(passkey) == {"id", "name", "createdAt", "lastUsedAt"}
    assert (passkey["name"], passkey["lastUsedAt"]) == ("Laptop", None)
    [event] = await stage.events("passkey_added")
    assert event["metadata"] == {"passkeyId": passkey["id"], "name": "Laptop"}
    [told] = stage.postbox.mails
    assert (told.to, "a passkey" in told.text) == (OLGA, True), "whose account it is hears of it"
    assert (await browser.get("/api/auth/passkeys")).json() == [passkey]
    assert "ah5_flow" not in browser.cookies
    [excluded] = (await begin_adding(browser))["excludeCredentials"]
    assert base64url.decode(excluded["id"]) == device.credential_id
    assert set(excluded["transports"]) == {"internal", "hybrid"}
    assert (await browser.get("/v1/me")).json()["user"]["twoFactor"] is True


async def test_signing_in_with_a_passkey_counts_as_two_factors(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    browser = stage.browser()
    answer = await prove(browser, device)
    assert (answer.status_code, answer.json()["user"]["id"]) == (200, olga.user.id)
    assert (await browser.get("/v1/me")).status_code == 200
    event = (await stage.events("user_signed_in"))[-1]
    assert event["metadata"] == {"method": "passkey", "factors": ["passkey"]}
    assert (event["actor"], event["workspace_id"]) == (olga.user.id, olga.workspace_id)
    assert "ah5_flow" not in browser.cookies
    [(used, count)] = await stage.fetch("SELECT last_used_at IS NOT NULL, sign_count FROM t_passkeys")
    assert (used, count) == (True, 1)


async def test_a_passkey_completes_a_sign_in_that_waits_for_one(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    browser = await half_way(stage)
    assert "ah5_session" not in browser.cookies
    options = await begin_proving(browser)
    [allowed] = options["allowCredentials"]
    assert base64url.decode(allowed["id"]) == device.credential_id
    assert (await prove(browser, device, options)).status_code == 200
    assert (await stage.events("user_signed_in"))[-1]["metadata"] == {
        "method": "password",
        "factors": ["password", "passkey"],
    }
    assert "ah5_pending" not in browser.cookies
    assert await stage.fetch("SELECT count(*) FROM t_pending_sign_ins WHERE used_at IS NULL") == [(0,)]


async def test_strangers_are_told_nothing_about_accounts(stage: Stage, olga: Account) -> None:
    """The same options for an address with passkeys, without any, unknown, or none at all."""
    await add_passkey(await stage.sign_in(OLGA))
    seen = []
    for body in ({"email": OLGA}, {"email": "nobody@example.com"}, {"email": "no address"}, {}):
        options = await begin_proving(stage.browser(), **body)
        assert len(base64url.decode(options.pop("challenge"))) == 32
        seen.append(options)
    assert (
        seen == [{"timeout": 300_000, "rpId": "localhost", "allowCredentials": [], "userVerification": "required"}] * 4
    )


WRONG_DEVICES = {
    "another origin": {"origin": "http://localhost:4001"},
    "another scheme": {"origin": "https://localhost:4000"},
    "a subdomain": {"origin": "http://evil.localhost:4000"},
    "another relying party": {"rp_id": "evil.test"},
    "nobody verified": {"flags": PRESENT},
    "nobody present": {"flags": VERIFIED},
    "a frame of another site": {"cross_origin": True},
    "another ceremony": {"type_override": "payment.get"},
}


@pytest.mark.parametrize("wrong", WRONG_DEVICES.values(), ids=WRONG_DEVICES)
async def test_an_assertion_that_proves_nothing(stage: Stage, olga: Account, wrong: dict[str, Any]) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    before = await stage.fetch(SESSIONS)
    assert refusal(await prove(stage.browser(), replace(device, **wrong))) == WRONG
    assert await stage.fetch(SESSIONS) == before
    [event] = await stage.events("user_sign_in_failed")
    assert event["metadata"] == {
        "reason": "wrong_passkey",
        "emailSha256": sha256_hex(OLGA),
        "userId": olga.user.id,
    }
    assert (event["workspace_id"], event["decision"]) == (None, "denied")
    assert (await prove(stage.browser(), device)).status_code == 200, "the passkey itself still works"


@pytest.mark.parametrize("wrong", WRONG_DEVICES.values(), ids=WRONG_DEVICES)
async def test_a_registration_that_proves_nothing(stage: Stage, olga: Account, wrong: dict[str, Any]) -> None:
    browser = await stage.sign_in(OLGA)
    credential = replace(Authenticator(WEB_URL), **wrong).create(await begin_adding(browser))
    assert await verify(browser, credential) == (400, "INVALID_CREDENTIAL")
    assert await stage.fetch("SELECT 1 FROM t_passkeys") == []


async def test_a_kind_of_key_that_was_not_asked_for(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    for algorithm in (-9, -19, -35, -47, -65535, 12345):
        credential = Authenticator(WEB_URL, algorithm=algorithm).create(await begin_adding(browser))
        assert await verify(browser, credential) == (400, "INVALID_CREDENTIAL")
    assert await stage.fetch("SELECT 1 FROM t_passkeys") == []


async def test_a_challenge_is_answered_once(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    browser = stage.browser()
    options = await begin_proving(browser)
    flow = browser.cookies["ah5_flow"]
    assert (await prove(browser, device, options)).status_code == 200
    again = stage.browser(cookies={"ah5_flow": flow})
    assert refusal(await prove(again, device, options)) == WRONG


async def test_a_challenge_is_used_up_by_a_wrong_answer_too(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    browser = stage.browser()
    options = await begin_proving(browser)
    assert refusal(await prove(browser, replace(device, flags=PRESENT), options)) == WRONG
    assert refusal(await prove(browser, device, options)) == WRONG


async def test_fifty_answers_at_once_are_one(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA), Authenticator(WEB_URL, counts=0))
    options = await begin_proving(first := stage.browser())
    other = stage.room()
    flow = {"ah5_flow": first.cookies["ah5_flow"]}
    browsers = [stage.browser(people, cookies=flow) for people in (stage.people, other)]
    body = {"credential": device.get(options)}
    before = (await stage.fetch(SESSIONS))[0][0]
    answers = await asyncio.gather(*(browsers[n % 2].post(f"{AUTHENTICATE}/verify", json=body) for n in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 49
    assert await stage.fetch(SESSIONS) == [(before + 1,)]
    other.close()


async def test_a_challenge_belongs_to_the_browser_that_asked(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    options = await begin_proving(stage.browser())
    assert refusal(await prove(stage.browser(), device, options)) == WRONG
    other = stage.browser()
    await begin_proving(other)
    assert refusal(await prove(other, device, options)) == WRONG


async def test_a_challenge_is_over_after_five_minutes(
    stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    monkeypatch.setattr("agenthifive.people.passkeys.CHALLENGE_TTL_S", -1)
    assert refusal(await prove(stage.browser(), device)) == WRONG


async def test_the_challenge_of_one_ceremony_is_none_for_the_other(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = Authenticator(WEB_URL)
    options = {**await begin_proving(browser), "user": {"id": None}}
    assert await verify(browser, device.create(options)) == (400, "INVALID_CREDENTIAL")
    device = await add_passkey(browser)
    options = await begin_adding(browser)
    assert refusal(await prove(browser, device, options)) == WRONG


async def test_a_counter_that_does_not_grow_is_a_copy(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    device.counter = 9
    assert (await prove(stage.browser(), device)).status_code == 200
    for counter in (9, 3, -1):
        copy = replace(device, counter=counter)
        assert refusal(await prove(stage.browser(), copy)) == WRONG
    assert await stage.fetch("SELECT sign_count FROM t_passkeys") == [(10,)]
    assert (await prove(stage.browser(), device)).status_code == 200


async def test_an_authenticator_that_does_not_count_stays_at_zero(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA), Authenticator(WEB_URL, counts=0))
    for _ in range(2):
        assert (await prove(stage.browser(), device)).status_code == 200


async def test_a_key_signs_for_its_own_credential_only(stage: Stage, olga: Account) -> None:
    """Mallory's key under Olga's credential id, Olga's handle on Mallory's passkey, and a passkey nobody knows."""
    device = await add_passkey(await stage.sign_in(OLGA))
    await stage.add(MALLORY)
    foreign = await add_passkey(await stage.sign_in(MALLORY))
    posed = replace(foreign, credential_id=device.credential_id, user_handle=device.user_handle)
    assert refusal(await prove(stage.browser(), posed)) == WRONG
    assert refusal(await prove(stage.browser(), replace(foreign, user_handle=device.user_handle))) == WRONG
    assert refusal(await prove(stage.browser(), Authenticator(WEB_URL))) == WRONG
    unknown = (await stage.events("user_sign_in_failed"))[-1]
    assert unknown["metadata"]["reason"] == "wrong_passkey"
    assert "userId" not in unknown["metadata"]


async def test_a_disabled_account_is_told_so_after_the_proof_only(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    await stage.fetch("UPDATE t_users SET disabled_at = now()")
    assert refusal(await prove(stage.browser(), replace(device, flags=PRESENT))) == WRONG
    before = await stage.fetch(SESSIONS)
    assert refusal(await prove(stage.browser(), device)) == (403, "ACCOUNT_DISABLED")
    assert await stage.fetch(SESSIONS) == before


async def test_one_passkey_belongs_to_one_account(stage: Stage, olga: Account) -> None:
    device = await add_passkey(await stage.sign_in(OLGA))
    await stage.add(MALLORY)
    mallory = await stage.sign_in(MALLORY)
    assert await verify(mallory, device.create(await begin_adding(mallory))) == (409, "CONFLICT")
    assert await stage.fetch("SELECT count(*), min(user_id::text) FROM t_passkeys") == [(1, olga.user.id)]


async def test_a_registration_belongs_to_who_began_it(stage: Stage, olga: Account) -> None:
    """Mallory's browser with Olga's flow cookie, and the other way round, adds nothing."""
    await stage.add(MALLORY)
    mine, hers = await stage.sign_in(OLGA), await stage.sign_in(MALLORY)
    options = await begin_adding(hers)
    mine.cookies["ah5_flow"] = hers.cookies["ah5_flow"]
    assert await verify(mine, Authenticator(WEB_URL).create(options)) == (400, "INVALID_CREDENTIAL")
    assert await stage.fetch("SELECT 1 FROM t_passkeys") == []


async def test_a_person_has_at_most_twenty(stage: Stage, olga: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agenthifive.people.passkeys.PASSKEYS_MAX", 2)
    browser = await stage.sign_in(OLGA)
    for _ in range(2):
        await add_passkey(browser)
    assert await verify(browser, Authenticator(WEB_URL).create(await begin_adding(browser))) == (409, "CONFLICT")


async def test_adding_and_removing_need_a_recent_sign_in(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    [(passkey_id,)] = await stage.fetch("SELECT id::text FROM t_passkeys")
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '11 minutes'")
    assert refusal(await browser.post(f"{REGISTER}/options", json={})) == (403, "REAUTH_REQUIRED")
    assert await verify(browser, device.create({"challenge": "A", "user": {"id": "A"}})) == (403, "REAUTH_REQUIRED")
    assert refusal(await browser.delete(f"/api/auth/passkeys/{passkey_id}")) == (403, "REAUTH_REQUIRED")
    assert (await browser.get("/api/auth/passkeys")).status_code == 200
    assert await stage.fetch("SELECT count(*) FROM t_passkeys") == [(1,)]


async def test_renaming_and_removing(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    await add_passkey(browser)
    [(passkey_id,)] = await stage.fetch("SELECT id::text FROM t_passkeys")
    path = f"/api/auth/passkeys/{passkey_id}"
    renamed = await browser.patch(path, json={"name": "Work laptop"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Work laptop")
    assert refusal(await browser.patch(path, json={"name": "\u202e"})) == (400, "INVALID_REQUEST")
    removed = await browser.delete(path)
    assert (removed.status_code, removed.json()) == (200, {"status": True})
    [event] = await stage.events("passkey_removed")
    assert event["metadata"] == {"passkeyId": passkey_id, "name": "Work laptop"}
    assert (await browser.get("/v1/me")).json()["user"]["twoFactor"] is False


async def test_foreign_unknown_and_malformed_ids_answer_alike(stage: Stage, olga: Account) -> None:
    await add_passkey(await stage.sign_in(OLGA))
    [(foreign,)] = await stage.fetch("SELECT id::text FROM t_passkeys")
    await stage.add(MALLORY)
    mallory = await stage.sign_in(MALLORY)
    for method, options in (("PATCH", {"json": {"name": "Mine"}}), ("DELETE", {})):
        answers = [
            await mallory.request(method, f"/api/auth/passkeys/{passkey_id}", **options)  # type: ignore[arg-type]
            for passkey_id in (foreign, olga.user.id, "x")
        ]
        assert {refusal(answer) for answer in answers} == {(404, "NOT_FOUND")}
        assert len({answer.content for answer in answers}) == 1
    assert await stage.fetch("SELECT name FROM t_passkeys") == [("Laptop",)]


async def test_the_last_way_in_cannot_be_removed(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    await add_passkey(browser)
    await add_passkey(browser)
    await stage.fetch("UPDATE t_users SET password_hash = NULL")
    ids = [row[0] for row in await stage.fetch("SELECT id::text FROM t_passkeys")]
    answers = await asyncio.gather(*(browser.delete(f"/api/auth/passkeys/{one}") for one in ids))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {answer.json().get("code") for answer in answers} == {None, "LAST_SIGN_IN_METHOD"}
    assert await stage.fetch("SELECT count(*) FROM t_passkeys") == [(1,)]


async def test_only_the_cookie_itself_manages_passkeys(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    token = (await browser.post("/v1/tokens", json={"name": "CI"})).json()["plainToken"]
    program = stage.browser(headers={"authorization": f"Bearer {token}"})
    assert refusal(await program.post(f"{REGISTER}/options", json={})) == (403, "PAT_NOT_ALLOWED")
    assert refusal(await program.get("/api/auth/passkeys")) == (403, "PAT_NOT_ALLOWED")
    assert refusal(await stage.browser().post(f"{REGISTER}/options", json={})) == (401, "AUTHENTICATION_REQUIRED")


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}])
async def test_another_site_begins_and_ends_nothing(stage: Stage, olga: Account, headers: dict[str, str]) -> None:
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    body = {"credential": device.get(await begin_proving(browser)), "name": "Evil"}
    for path in (f"{REGISTER}/options", f"{REGISTER}/verify", f"{AUTHENTICATE}/options", f"{AUTHENTICATE}/verify"):
        answer = await browser.post(path, json=body, headers=headers)
        assert refusal(answer) == (403, "ORIGIN_NOT_ALLOWED")
    assert await stage.fetch("SELECT count(*) FROM t_passkeys") == [(1,)]


async def test_a_passkey_shows_that_its_owner_is_there(stage: Stage, olga: Account) -> None:
    browser = await stage.sign_in(OLGA)
    device = await add_passkey(browser)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '1 hour'")
    options = await begin_proving(browser)
    assert len(options["allowCredentials"]) == 1, "whoever is signed in is told their own"
    body = {"credential": device.get(options)}
    assert (await browser.post("/api/auth/reauthenticate", json=body)).status_code == 200
    assert refusal(await browser.post("/api/auth/reauthenticate", json=body)) == WRONG
    allowed, denied = await stage.events("user_reauthenticated")
    assert (allowed["decision"], allowed["metadata"]) == ("allowed", {"method": "passkey"})
    assert (denied["decision"], denied["metadata"]) == ("denied", {"method": "passkey"})


async def test_the_passkey_of_somebody_else_shows_nothing(stage: Stage, olga: Account) -> None:
    await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    device = await add_passkey(await stage.sign_in(ADAM))
    browser = await stage.sign_in(OLGA)
    await stage.fetch("UPDATE t_sessions SET auth_time = now() - interval '1 hour'")
    body = {"credential": device.get(await begin_proving(browser))}
    assert refusal(await browser.post("/api/auth/reauthenticate", json=body)) == WRONG
    assert await stage.fetch("SELECT 1 FROM t_sessions WHERE auth_time > now() - interval '1 minute'") == []


async def test_the_passkey_of_somebody_else_completes_no_sign_in(stage: Stage, olga: Account) -> None:
    """It signs in its owner; the half-finished sign-in stays what it was."""
    await enable_totp(stage, await stage.sign_in(OLGA))
    adam = await stage.add(ADAM, olga.workspace_id, Role.APPROVER)
    device = await add_passkey(await stage.sign_in(ADAM))
    answer = await prove(await half_way(stage), device)
    assert answer.json()["user"]["id"] == adam.user.id
    assert (await stage.events("user_signed_in"))[-1]["metadata"]["factors"] == ["passkey"]
    assert await stage.fetch("SELECT count(*) FROM t_pending_sign_ins WHERE used_at IS NULL") == [(1,)]


async def test_an_instance_at_a_number_offers_no_passkeys(stage: Stage) -> None:
    for origin, is_usable in (("http://127.0.0.1:4000", False), ("https://[::1]:4000", False), (WEB_URL, True)):
        people = stage.room(origin)
        answer = await stage.browser(people).get("/api/auth/providers")
        assert answer.json()["passkeys"] is is_usable
        people.close()


async def test_options_carry_the_host_of_the_instance(stage: Stage, olga: Account) -> None:
    people = stage.room("https://ah5.example.com")
    assert (await begin_proving(stage.browser(people)))["rpId"] == "ah5.example.com"
    people.close()

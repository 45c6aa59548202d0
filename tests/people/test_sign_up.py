"""Registering, and confirming the address: contract/http.md section 14.1, acceptance 25 to 27 and the bad inputs."""

import asyncio
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from agenthifive.notify.console import ConsoleMailer
from agenthifive.operations.ratelimit import Window
from agenthifive.people.model import Account
from agenthifive.people.registration import Registration
from agenthifive.people.service import People
from agenthifive.vault.hashing import sha256_hex
from people.stage import ADAM, OLGA, PASSWORD, VERA, WEB_URL, Browser, Stage

SIGN_UP = "/api/auth/sign-up/email"
VERIFY = "/api/auth/verify-email"
SEND = "/api/auth/send-verification-email"
OPEN = {"registration": Registration("open")}
MEMBERS = {"id", "name", "email", "emailVerified", "image", "createdAt", "updatedAt"}


def body(email: str = ADAM, **members: Any) -> dict[str, Any]:
    return {"name": "Adam", "email": email, "password": PASSWORD, **members}


async def sign_up(client: httpx.AsyncClient, email: str = ADAM, **members: Any) -> httpx.Response:
    return await client.post(SIGN_UP, json=body(email, **members))


async def sign_in(client: httpx.AsyncClient, email: str = ADAM, password: str = PASSWORD) -> httpx.Response:
    return await client.post("/api/auth/sign-in/email", json={"email": email, "password": password})


def refused(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def users(stage: Stage) -> list[tuple[Any, ...]]:
    return await stage.fetch("SELECT email, email_verified_at IS NOT NULL FROM t_users ORDER BY email")


async def test_without_a_mailer_the_link_is_in_the_log_and_the_sign_in_waits_for_it(
    stage: Stage, olga: Account
) -> None:
    """Acceptance 27."""
    client = stage.browser(stage.room(options=OPEN, doors={"mailer": ConsoleMailer()}))
    with capture_logs() as logs:
        assert (await sign_up(client)).status_code == 200
    [line] = [entry for entry in logs if entry["event"] == "mail_not_set_up"]
    assert (line["log_level"], line["to"]) == ("warning", ADAM)
    assert refused(await sign_in(client)) == (403, "EMAIL_NOT_VERIFIED")
    page, _, token = line["link"].partition("?token=")
    assert page == f"{WEB_URL}/verify-email"
    for _ in range(2):
        answer = await client.get(VERIFY, params={"token": token})
        assert (answer.status_code, answer.json()) == (200, {"status": True})
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert (await sign_in(client)).status_code == 200


async def test_the_answer_is_the_same_for_a_known_address_and_its_owner_gets_a_mail(
    stage: Stage, people: People
) -> None:
    """Acceptance 25."""
    new, known = await sign_up(stage.browser(people)), await sign_up(stage.browser(people), OLGA)
    for answer, email in ((new, ADAM), (known, OLGA)):
        assert answer.status_code == 200
        assert (set(answer.json()), set(answer.json()["user"])) == ({"token", "user"}, MEMBERS)
        assert answer.json()["token"] is None
        assert (answer.json()["user"]["email"], answer.json()["user"]["emailVerified"]) == (email, False)
        assert answer.headers["cache-control"] == "no-store"
        assert "session" not in answer.headers.get("set-cookie", "")
    assert len(new.content) == len(known.content) - len(OLGA) + len(ADAM)
    assert await users(stage) == [(ADAM, False), (OLGA, True)]
    assert [(mail.to, mail.subject) for mail in stage.postbox.mails] == [
        (ADAM, "Confirm your e-mail address"),
        (OLGA, "You have an account already"),
    ]
    assert stage.postbox.mails[1].link is None
    [event] = await stage.events("user_registered")
    assert event["metadata"] == {"method": "password", "email": ADAM}


@pytest.mark.parametrize(
    ("rule", "email", "code"),
    [
        ("closed", ADAM, "REGISTRATION_CLOSED"),
        ("invite", ADAM, "REGISTRATION_CLOSED"),
        ("domain:example.org", ADAM, "EMAIL_DOMAIN_NOT_ALLOWED"),
        ("domain:example.com", "adam@sub.example.com", "EMAIL_DOMAIN_NOT_ALLOWED"),
        ("domain:example.com", "adam@example.com.evil.test", "EMAIL_DOMAIN_NOT_ALLOWED"),
    ],
)
async def test_the_rule_of_registration(stage: Stage, olga: Account, rule: str, email: str, code: str) -> None:
    people = stage.room(options={"registration": Registration.of(rule)})
    assert refused(await sign_up(stage.browser(people), email)) == (403, code)
    assert await users(stage) == [(OLGA, True)]
    assert stage.postbox.mails == []


async def test_an_allowed_domain_registers_whatever_its_letters(stage: Stage, olga: Account) -> None:
    people = stage.room(options={"registration": Registration.of("domain:example.com")})
    assert (await sign_up(stage.browser(people), "Adam@EXAMPLE.com")).status_code == 200
    assert (await stage.browser(people).get("/api/auth/providers")).json()["registration"] == "domain"


async def test_nobody_registers_before_the_set_up_link_was_used(stage: Stage) -> None:
    """Acceptance 26: the first account is the superadmin's, whatever the rule says."""
    client = stage.browser(stage.room(options=OPEN))
    assert refused(await sign_up(client)) == (403, "REGISTRATION_CLOSED")
    assert await users(stage) == []


@pytest.mark.parametrize(
    ("members", "code", "path"),
    [
        ({"password": "abcde-fghij"}, "PASSWORD_TOO_SHORT", "password"),
        ({"password": "password1234"}, "PASSWORD_TOO_COMMON", "password"),
        ({"password": ADAM}, "PASSWORD_TOO_COMMON", "password"),
        ({"name": "Adam of Exampleton", "password": "adam of exampleton"}, "PASSWORD_TOO_COMMON", "password"),
        ({"password": "x" * 129}, "INVALID_REQUEST", "password"),
        ({"email": "adam"}, "INVALID_EMAIL", "email"),
        ({"email": "adam@example.com\r\nBcc: vera@example.com"}, "INVALID_EMAIL", "email"),
        ({"email": "adam@example.com, vera@example.com"}, "INVALID_EMAIL", "email"),
        ({"email": "<adam@example.com>"}, "INVALID_EMAIL", "email"),
        ({"email": "a" * 65 + "@example.com"}, "INVALID_EMAIL", "email"),
        ({"name": "Adam\r\nBcc: vera@example.com"}, "INVALID_REQUEST", "name"),
        ({"name": "Ada\u202em"}, "INVALID_REQUEST", "name"),
        ({"name": " "}, "INVALID_REQUEST", "name"),
        ({"name": "x" * 101}, "INVALID_REQUEST", "name"),
        ({"name": 7}, "INVALID_REQUEST", "name"),
    ],
)
async def test_texts_that_are_refused(
    stage: Stage, people: People, members: dict[str, Any], code: str, path: str
) -> None:
    answer = await stage.browser(people).post(SIGN_UP, json={**body(), **members})
    assert refused(answer) == (400, code)
    assert path in [field["path"] for field in answer.json()["fields"]]
    assert await users(stage) == [(OLGA, True)]
    assert stage.postbox.mails == []


@pytest.mark.parametrize("name", ["Ádám Ö. 亚当", "x" * 100, "O'Brien <b>", "${name} {{name}}"])
async def test_unusual_names_are_kept_and_stand_in_no_mail_to_a_stranger(
    stage: Stage, people: People, name: str
) -> None:
    """Whoever registers a foreign address cannot put words into what we send there."""
    answer = await sign_up(stage.browser(people), name=name)
    assert answer.json()["user"]["name"] == name
    assert await stage.fetch("SELECT name FROM t_users WHERE email = %s", ADAM) == [(name,)]
    [mail] = stage.postbox.mails
    assert name not in mail.text + mail.html + mail.subject


async def test_two_simultaneous_registrations_of_one_address_are_one_account(stage: Stage, people: People) -> None:
    other = stage.room(options=OPEN)
    clients = [stage.browser(room) for room in (people, other)]
    answers = await asyncio.gather(*(sign_up(clients[n % 2], ADAM.title() if n % 3 else ADAM) for n in range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert await stage.fetch("SELECT count(*) FROM t_users WHERE email_key = %s", ADAM) == [(1,)]
    assert len(await stage.events("user_registered")) == 1
    assert len(stage.postbox.mails) <= 3
    other.close()


async def test_an_address_cannot_be_taken_before_its_owner_comes(stage: Stage, people: People) -> None:
    """Mallory registers Adam's address first. What Adam is sent when he comes lets him choose the password."""
    hers, client = "mallory-waits-here-now", stage.browser(people)
    await sign_up(client, password=hers)
    first = stage.postbox.token(ADAM)
    await sign_up(client)
    assert stage.postbox.mails[-1].subject == "Finish your registration"
    chosen = {"token": stage.postbox.token(ADAM), "newPassword": PASSWORD}
    assert refused(await client.get(VERIFY, params={"token": first})) == (401, "INVALID_TOKEN")
    await client.post(SEND, json={"email": ADAM})
    await people.errands.close()
    assert (await client.get(VERIFY, params={"token": stage.postbox.token(ADAM)})).status_code == 200
    assert refused(await sign_in(client, password=hers))[0] == 401, "confirming lets in nobody whose password it is not"
    assert (await client.post("/api/auth/reset-password", json=chosen)).status_code == 200
    assert refused(await sign_in(client, password=hers))[0] == 401
    assert (await sign_in(client)).status_code == 200


async def test_strangers_set_off_three_mails_an_hour_to_an_address(stage: Stage, people: People) -> None:
    for _ in range(5):
        assert (await sign_up(stage.browser(people), OLGA)).status_code == 200
    assert len(stage.postbox.mails) == 3


async def test_a_disabled_account_gets_no_mail(stage: Stage, people: People) -> None:
    await stage.fetch("UPDATE t_users SET disabled_at = now()")
    assert (await sign_up(stage.browser(people), OLGA)).status_code == 200
    assert stage.postbox.mails == []


async def test_the_address_limit_of_the_route(stage: Stage, olga: Account) -> None:
    client = stage.browser(stage.room(options=OPEN, sign_up=Window(2, 3600)))
    answers = [await sign_up(client, f"adam{n}@example.com") for n in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[2].json()["limit"] == {"name": "sign_up", "max": 2, "windowSeconds": 3600}


@pytest.mark.parametrize("headers", [{"origin": "https://evil.test"}, {"sec-fetch-site": "cross-site"}])
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (SIGN_UP, body()),
        (SEND, {"email": ADAM}),
        ("/api/auth/request-password-reset", {"email": OLGA}),
        ("/api/auth/reset-password", {"token": "x", "newPassword": PASSWORD}),
    ],
)
async def test_another_site_registers_nobody(
    stage: Stage, people: People, path: str, sent: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = await stage.browser(people).post(path, json=sent, headers=headers)
    assert refused(answer) == (403, "ORIGIN_NOT_ALLOWED")
    await people.errands.close()
    assert (await users(stage), stage.postbox.mails) == ([(OLGA, True)], [])


async def invite_adam(stage: Stage, olga: Account) -> str:
    """Olga invites Adam to her workspace: the token of the link."""
    await stage.fetch(
        "INSERT INTO t_invitations (id, workspace_id, email, email_key, role, token_hash, invited_by, expires_at)"
        " VALUES (gen_random_uuid(), %s, %s, %s, 'approver', %s, %s, now() + interval '1 day') RETURNING id",
        olga.workspace_id, ADAM, ADAM, sha256_hex("invited"), olga.user.id,
    )  # fmt: skip
    return "invited"


async def test_an_invited_person_registers_where_only_invitations_count_and_gets_no_workspace(
    stage: Stage, olga: Account
) -> None:
    token = await invite_adam(stage, olga)
    client = stage.browser(stage.room(options={"registration": Registration("invite")}))
    assert refused(await sign_up(client, VERA, invitation=token)) == (403, "REGISTRATION_CLOSED")
    assert refused(await sign_up(client, invitation="another")) == (403, "REGISTRATION_CLOSED")
    assert (await sign_up(client, invitation=token)).status_code == 200
    await client.get(VERIFY, params={"token": stage.postbox.token(ADAM)})
    assert await stage.fetch("SELECT count(*) FROM t_workspaces") == [(1,)]


async def test_an_invited_person_gets_no_workspace_where_everybody_may_register(stage: Stage, olga: Account) -> None:
    await invite_adam(stage, olga)
    client = stage.browser(stage.room(options=OPEN))
    await sign_up(client)
    assert (await client.get(VERIFY, params={"token": stage.postbox.token(ADAM)})).status_code == 200
    assert await stage.fetch("SELECT count(*) FROM t_workspaces") == [(1,)]


async def registered(stage: Stage, people: People) -> tuple[Browser, str]:
    """Adam has registered: his browser, and the token he was sent."""
    client = stage.browser(people)
    await sign_up(client)
    return client, stage.postbox.token(ADAM)


async def test_confirming_gives_a_workspace_once(stage: Stage, people: People) -> None:
    client, token = await registered(stage, people)
    answers = await asyncio.gather(*(client.get(VERIFY, params={"token": token}) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert await stage.fetch("SELECT name FROM t_workspaces ORDER BY name") == [
        ("Adam's workspace",),
        ("Olga's workspace",),
    ]
    [event] = await stage.events("user_verified")
    assert event["principal_type"] == "user"
    assert await stage.fetch("SELECT count(*) FROM t_sessions") == [(0,)], "a link that is opened signs nobody in"
    me = (await (await stage.sign_in(ADAM, people)).get("/v1/me")).json()
    assert (me["workspace"]["name"], me["workspace"]["role"]) == ("Adam's workspace", "owner")


async def test_a_workspace_is_made_once_whoever_asks(stage: Stage, people: People) -> None:
    await registered(stage, people)
    await stage.fetch("UPDATE t_users SET email_verified_at = now()")
    [(user_id,)] = await stage.fetch("SELECT id::text FROM t_users WHERE email = %s", ADAM)

    async def ensure() -> object:
        async with stage.unit() as unit:
            user = await people.find_user(await unit.begin(), user_id)
            return await people.accounts.ensure_workspace(unit, user)

    made = await asyncio.gather(*(ensure() for _ in range(8)))
    assert sum(each is not None for each in made) == 1
    assert await stage.fetch("SELECT count(*) FROM t_members WHERE user_id = %s", user_id) == [(1,)]


async def test_confirming_goes_on_to_a_path_of_ours(stage: Stage, people: People) -> None:
    client, token = await registered(stage, people)
    answer = await client.get(VERIFY, params={"token": token, "callbackURL": "/login?verified=true"})
    assert (answer.status_code, answer.headers["location"]) == (302, "/login?verified=true")
    assert "session" not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("going_on", ["https://evil.test", "//evil.test", "/\\evil.test", "javascript:alert(1)", ""])
async def test_confirming_goes_nowhere_else_and_confirms_nothing_then(
    stage: Stage, people: People, going_on: str
) -> None:
    client, token = await registered(stage, people)
    answer = await client.get(VERIFY, params={"token": token, "callbackURL": going_on})
    assert refused(answer) == (400, "INVALID_CALLBACK_URL")
    assert "location" not in answer.headers
    assert (ADAM, False) in await users(stage)


async def test_looking_with_head_confirms_nothing(stage: Stage, people: People) -> None:
    client, token = await registered(stage, people)
    assert (await client.head(VERIFY, params={"token": token})).status_code == 200
    assert (await client.head(VERIFY, params={"token": "x"})).status_code == 401
    assert (ADAM, False) in await users(stage)


async def test_a_link_that_is_over_unknown_or_for_something_else_confirms_nothing(stage: Stage, people: People) -> None:
    client, token = await registered(stage, people)
    await client.post("/api/auth/request-password-reset", json={"email": ADAM})
    await people.errands.close()
    for wrong in ("", "x", stage.postbox.token(ADAM), token[:-1], token + "A"):
        assert refused(await client.get(VERIFY, params={"token": wrong})) == (401, "INVALID_TOKEN")
    await stage.fetch("UPDATE t_one_time_links SET expires_at = now()")
    assert refused(await client.get(VERIFY, params={"token": token})) == (401, "INVALID_TOKEN")
    assert (ADAM, False) in await users(stage)


async def test_another_link_voids_the_first_one(stage: Stage, people: People) -> None:
    client, first = await registered(stage, people)
    assert (await client.post(SEND, json={"email": ADAM.upper()})).json() == {"status": True}
    await people.errands.close()
    second = stage.postbox.token(ADAM)
    assert first != second
    assert refused(await client.get(VERIFY, params={"token": first})) == (401, "INVALID_TOKEN")
    assert (await client.get(VERIFY, params={"token": second})).status_code == 200


@pytest.mark.parametrize("email", ["nobody@example.com", OLGA, "no address", "a" * 5000])
async def test_asking_for_a_link_tells_nothing(stage: Stage, people: People, email: str) -> None:
    answer = await stage.browser(people).post(SEND, json={"email": email})
    assert (answer.status_code, answer.json()) == (200, {"status": True})
    await people.errands.close()
    assert stage.postbox.mails == []


async def test_the_right_password_alone_learns_that_the_address_is_not_confirmed(stage: Stage, people: People) -> None:
    client, _ = await registered(stage, people)
    assert refused(await sign_in(client, password="orchid-lantern-gravel-78")) == (401, "INVALID_EMAIL_OR_PASSWORD")
    assert refused(await sign_in(client)) == (403, "EMAIL_NOT_VERIFIED")
    assert (await stage.events("user_sign_in_failed"))[-1]["metadata"]["reason"] == "email_not_verified"
    assert await stage.fetch("SELECT 1 FROM t_sessions") == []

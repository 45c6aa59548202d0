"""ADMIN_EMAIL: one superadmin while nobody has an account, over restarts and replicas."""

import asyncio
from collections.abc import Iterator

import pytest

from agenthifive.notify.console import ConsoleMailer
from agenthifive.people.model import Account, Email
from agenthifive.people.service import People
from people.stage import ADAM, OLGA, PASSWORD, RELEASE, Stage

OPTIONS = {"admin_email": Email(OLGA, OLGA)}


@pytest.fixture
def replicas(stage: Stage) -> Iterator[tuple[People, People]]:
    """Two processes that start with the same setting."""
    made = stage.room(options=OPTIONS), stage.room(options=OPTIONS)
    yield made
    for people in made:
        people.close()


async def start(stage: Stage, people: People) -> str | None:
    """What a server does when it is ready."""
    assert people.first_admin is not None
    async with stage.unit() as unit:
        return await people.first_admin.create(unit)


async def test_a_fresh_instance_gets_its_superadmin(stage: Stage, replicas: tuple[People, People]) -> None:
    link = await start(stage, replicas[0])
    assert link is not None
    assert link.startswith(f"{replicas[0].web_url}/reset-password?token=")
    rows = "SELECT email, platform_role, email_verified_at IS NOT NULL, password_hash FROM t_users"
    assert await stage.fetch(rows) == [(OLGA, "superadmin", True, None)]
    assert await stage.fetch("SELECT count(*) FROM t_workspaces") == [(1,)]
    [(left,)] = await stage.fetch("SELECT extract(epoch FROM expires_at - now())::int FROM t_one_time_links")
    assert 23 * 3600 < left <= 24 * 3600
    [created], [set_up] = await stage.events("user_created"), await stage.events("instance_set_up")
    assert (created["metadata"], set_up["metadata"]) == ({"method": "admin_email", "email": OLGA}, RELEASE)
    assert stage.postbox.token(OLGA) == link.partition("?token=")[2]


async def test_the_link_chooses_the_password_once(stage: Stage, replicas: tuple[People, People]) -> None:
    link = await start(stage, replicas[0])
    body = {"token": str(link).partition("?token=")[2], "newPassword": PASSWORD}
    client = stage.browser(replicas[1])
    assert (await client.post("/api/auth/reset-password", json=body)).status_code == 200
    assert (await client.post("/api/auth/reset-password", json=body)).status_code == 400
    me = (await (await stage.sign_in(OLGA)).get("/v1/me")).json()
    assert (me["user"]["platformRole"], me["workspace"]["role"]) == ("superadmin", "owner")


async def test_replicas_that_start_together_make_one(stage: Stage, replicas: tuple[People, People]) -> None:
    links = await asyncio.gather(*(start(stage, replicas[n % 2]) for n in range(8)))
    assert sum(link is not None for link in links) == 1
    assert await stage.fetch("SELECT count(*) FROM t_users") == [(1,)]
    assert len(stage.postbox.mails) == 1


async def test_a_restart_makes_nothing_and_voids_nothing(stage: Stage, replicas: tuple[People, People]) -> None:
    link = await start(stage, replicas[0])
    assert await start(stage, replicas[1]) is None
    body = {"token": str(link).partition("?token=")[2], "newPassword": PASSWORD}
    assert (await stage.browser().post("/api/auth/reset-password", json=body)).status_code == 200


async def test_an_instance_with_people_gets_no_other_superadmin(stage: Stage, replicas: tuple[People, People]) -> None:
    await stage.add(ADAM)
    assert await start(stage, replicas[0]) is None
    assert await stage.fetch("SELECT email FROM t_users") == [(ADAM,)]


async def test_without_a_mailer_the_link_is_left_to_whoever_greets(stage: Stage) -> None:
    people = stage.room(options=OPTIONS, doors={"mailer": ConsoleMailer()})
    assert await start(stage, people) is not None
    people.close()


async def test_another_link_is_had_like_a_forgotten_password(stage: Stage, replicas: tuple[People, People]) -> None:
    await start(stage, replicas[0])
    await stage.browser(replicas[1]).post("/api/auth/request-password-reset", json={"email": OLGA})
    await replicas[1].errands.close()
    body = {"token": stage.postbox.token(OLGA), "newPassword": PASSWORD}
    assert (await stage.browser().post("/api/auth/reset-password", json=body)).status_code == 200


def test_without_the_setting_nobody_is_made(stage: Stage, olga: Account) -> None:
    assert stage.people.first_admin is None

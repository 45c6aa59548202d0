"""The stage of these tests, and Argon2id at a cost that keeps them quick."""

import ssl
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio

from agenthifive.audit.chains import AdminChain, Instance
from agenthifive.broker.egress import tls_context
from agenthifive.db.database import Database
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.people import passwords
from agenthifive.people.model import Account
from agenthifive.people.registration import Registration
from agenthifive.people.service import People
from agenthifive.words import AuditAction
from certificates import issue
from databases import TestDatabase, fresh_database, open_pool
from fakes import Provider
from people.openid_provider import HOSTS, Doors, OpenIdServer
from people.social_stage import SocialStage
from people.stage import OLGA, Stage


@pytest.fixture(scope="session")
def own_database(worker_id: str) -> Iterator[TestDatabase]:
    """A migrated database in which no other room's tests put people."""
    with fresh_database(f"people_{worker_id}") as made:
        yield made


@pytest_asyncio.fixture(scope="session")
async def own_pool(own_database: TestDatabase) -> AsyncIterator[Database]:
    async with open_pool(own_database.app_dsn) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fast_hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with the smallest cost; its real cost has a test of its own."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "TIME_COST", 1)


@pytest_asyncio.fixture(scope="session")
async def admin(own_database: TestDatabase) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """The superuser's connection to the same database."""
    async with await psycopg.AsyncConnection.connect(own_database.admin_dsn, autocommit=True) as connection:
        yield connection


@pytest_asyncio.fixture(scope="session")
async def own_chain(own_pool: Database, instance: Instance) -> AdminChain:
    """A chain with its first row written, as in an application that has started."""
    chain = AdminChain(own_pool, instance)
    async with Unit(own_pool, chain, SYSTEM) as unit:
        unit.record(AuditAction.INSTANCE_STARTED)
    return chain


@pytest_asyncio.fixture
async def stage(own_pool: Database, own_chain: AdminChain, admin: psycopg.AsyncConnection[Any]) -> AsyncIterator[Stage]:
    """An empty instance."""
    made = Stage(own_pool, own_chain, admin)
    await made.start()
    yield made
    made.people.close()


@pytest_asyncio.fixture
async def olga(stage: Stage) -> Account:
    """The owner of the first workspace."""
    return await stage.add(OLGA)


@pytest.fixture
def people(stage: Stage, olga: Account) -> Iterator[People]:
    """An instance that is set up and where anybody may register."""
    made = stage.room(options={"registration": Registration("open")})
    yield made
    made.close()


@pytest.fixture(scope="session")
def provider_tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS of the providers people sign in with: how they listen, and how we trust them."""
    bundle, chain, key = issue(tmp_path_factory.mktemp("providers"), *HOSTS)
    listening = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    listening.load_cert_chain(chain, key)
    return listening, tls_context(bundle)


@pytest_asyncio.fixture
async def elsewhere(
    stage: Stage, provider_tls: tuple[ssl.SSLContext, ssl.SSLContext], request: pytest.FixtureRequest
) -> AsyncIterator[SocialStage]:
    """A provider people sign in with; the parameter is which one, the generic one without it."""
    listening, trusting = provider_tls
    server: OpenIdServer = getattr(request, "param", OpenIdServer)()
    server.server = Provider(server.serve)
    await server.server.start(listening)
    doors = Doors(trusting, server.server.port)
    yield SocialStage(stage, trusting, server, doors)
    await doors.close()
    await server.server.stop()

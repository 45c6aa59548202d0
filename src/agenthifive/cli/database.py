"""The database a command works on: the operator's, or the embedded one, started when it does not run.

open_place: where it is, by role
at_desk: a pool, the command's own audit chain, and one exit code for everything PostgreSQL may answer
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from psycopg_pool import PoolTimeout

from agenthifive.audit.chains import CLOSE, AdminChain
from agenthifive.cli.console import CommandError, Exit, Terminal, os_user, refused_settings
from agenthifive.db import embedded, migrate
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.db.unit import Signature, Unit
from agenthifive.errors import AppError
from agenthifive.operations.instance import Identity, identify
from agenthifive.secrets_env import init_secrets, read_secrets_env
from agenthifive.settings import LoadedSettings, Settings, SettingsRefused
from agenthifive.words import PrincipalType

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is, by role."""

    app_dsn: str
    owner_dsn: str
    listen_dsn: str
    cluster: embedded.Cluster | None

    def revision(self) -> str | None:
        """The revision of the schema; None before the first migration. Raises: psycopg.Error."""
        return migrate.revision(self.owner_dsn if self.cluster is None else self.cluster.dsn("admin"))

    def migrate(self, say: Callable[[str], None]) -> bool:
        """Bring the schema up to date; the embedded database gets its roles before and after."""
        if self.cluster is None:
            return migrate.upgrade(self.owner_dsn, say)
        if self.revision() == migrate.HEAD:
            return False  # before its first migration the cluster has no owner to ask as
        embedded.apply_roles(self.cluster)
        changed = migrate.upgrade(self.owner_dsn, say)
        embedded.apply_roles(self.cluster)
        return changed

    def require_schema(self) -> None:
        """Raises: CommandError unless the schema is this version's; psycopg.Error."""
        try:
            migrate.check(self.app_dsn)
        except migrate.SchemaError as error:
            raise CommandError(
                str(error), exit_code=Exit.REFUSED, code="schema", hint="Run: agenthifive migrate"
            ) from None


@contextlib.contextmanager
def open_place(
    terminal: Terminal, loaded: LoadedSettings, *, may_create: bool = False, stops_server: bool = False
) -> Iterator[Place]:
    """The database of these settings, for the length of a block.

    Shapes:
        may_create: whether an embedded database is made when there is none.
        stops_server: whether an embedded server ends with the block although somebody else had started it.
    Raises: CommandError.
    """
    settings = loaded.settings
    if settings.database_url is not None:
        app_dsn = settings.database_url.get_secret_value()
        owner, listen = settings.database_migration_url, settings.database_listen_url
        yield Place(
            app_dsn,
            owner.get_secret_value() if owner is not None else app_dsn,
            listen.get_secret_value() if listen is not None else app_dsn,
            None,
        )
        return
    home = settings.agenthifive_home
    if not may_create and not (home / "pg").exists():
        raise CommandError(
            f"There is no database in {home} yet.",
            exit_code=Exit.UNREACHABLE,
            code="no_database",
            hint="Run: agenthifive up. Or set DATABASE_URL, or AGENTHIFIVE_HOME to where one is.",
        )
    was_running = embedded.is_running(home)
    try:
        cluster = embedded.start(home, _passwords(settings), terminal.say)
    except embedded.EmbeddedError as error:
        raise CommandError(str(error), exit_code=Exit.UNREACHABLE, code="database") from None
    try:
        yield Place(cluster.dsn("app"), cluster.dsn("owner"), cluster.dsn("app"), cluster)
    finally:
        if stops_server or not was_running:
            embedded.stop(cluster)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command works on the database itself. What it changes is recorded under the operator's name."""

    settings: Settings
    database: Database
    chain: AdminChain
    identity: Identity

    def unit(self) -> Unit:
        """A unit of work signed by whoever runs the command."""
        return Unit(self.database, self.chain, _signature())


def at_desk(terminal: Terminal, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Do some work on the database of this invocation's settings. Raises: CommandError."""
    loaded = terminal.load()

    async def sit() -> T:
        async with open_desk(loaded.settings, place) as desk:
            return await work(desk)

    with failures_translated(), open_place(terminal, loaded) as place:
        place.require_schema()
        return asyncio.run(sit())


@contextlib.asynccontextmanager
async def open_desk(settings: Settings, place: Place, *, is_set_back: bool = False) -> AsyncIterator[Desk]:
    """A desk for the length of a block. On a copy of a database everything one-time is spent first, as at a start.

    Shapes: is_set_back: the database was restored in place, which only its operator knows.
    Raises: psycopg.Error, PoolTimeout.
    """
    database = Database(
        DatabaseOptions(
            place.app_dsn,
            pool_min=1,
            pool_max=4,
            pool_timeout_ms=settings.db_pool_timeout_ms,
            statement_timeout_ms=settings.db_statement_timeout_ms,
            lock_timeout_ms=settings.db_lock_timeout_ms,
            connect_timeout_s=settings.db_connect_timeout_seconds,
            prepared_statements=settings.db_prepared_statements,
        )
    )
    await database.open(settings.db_connect_timeout_seconds)
    try:
        identity = await identify(database, settings, _signature(), is_set_back=is_set_back)
        chain = AdminChain(database, identity.instance)
        try:
            yield Desk(settings, database, chain, identity)
        finally:
            if chain.chain_id is not None:
                with contextlib.suppress(psycopg.Error, PoolTimeout):
                    async with database.transaction() as connection:
                        await connection.execute(CLOSE, [[chain.chain_id]])
    finally:
        await database.close()


@contextlib.contextmanager
def failures_translated() -> Iterator[None]:
    """What PostgreSQL and the rooms may raise in the block, as a CommandError with its exit code."""
    try:
        yield
    except AppError as error:
        exits = {400: Exit.USAGE, 503: Exit.UNREACHABLE}
        code = exits.get(error.status, Exit.SAID_NO)
        raise CommandError(error.message, exit_code=code, code=error.code, hint=error.hint or "") from None
    except SettingsRefused as refused:
        raise refused_settings(refused.problems) from None
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise CommandError(
            f"The database cannot be reached ({type(error).__name__}).",
            exit_code=Exit.UNREACHABLE,
            code="unreachable",
            hint="Is it running, and is DATABASE_URL right?",
        ) from None
    except psycopg.errors.InsufficientPrivilege:
        raise CommandError(
            "The database role lacks a right this command needs.",
            exit_code=Exit.NOT_PERMITTED,
            code="not_permitted",
            hint="Apply roles.sql again, or use the role it names for this.",
        ) from None


def _signature() -> Signature:
    user = os_user()
    return Signature(f"cli:{user}", PrincipalType.CLI, user)


def _passwords(settings: Settings) -> dict[str, str]:
    """The passwords of the embedded cluster's roles. Raises: SettingsRefused."""
    home = settings.agenthifive_home
    init_secrets(home, os.urandom)
    secrets = read_secrets_env(home)
    return {role: secrets[f"AGENTHIFIVE_DB_{role.upper()}_PASSWORD"] for role in ("owner", "app", "admin")}

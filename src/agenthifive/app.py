"""The composition root: settings in, a running application out. Every room is put together here and nowhere else.

    Settings -> Database -> keyring, catalog -> audit writer -> grants -> egress -> broker -> routes -> Gate (ASGI)

Nothing listens before `start()` has returned. Source: contract/operations.md section 12.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import psycopg
import structlog
from fastapi import FastAPI
from psycopg_pool import PoolTimeout

from agenthifive import __version__
from agenthifive.assembly import BrokerRoom, Keeper, make_broker, make_gate, make_keeper, make_rooms
from agenthifive.audit.chains import CLOSE, AdminChain
from agenthifive.audit.jobs import beat, close_orphans
from agenthifive.catalog.catalog import Catalog, load_catalog
from agenthifive.database_url import database_endpoints
from agenthifive.db.database import Database, DatabaseOptions
from agenthifive.db.unit import SYSTEM, Unit
from agenthifive.edge.frozen import Frozen
from agenthifive.jwt.assembly import JwtRoom, open_jwt
from agenthifive.key_reading import read_keyring
from agenthifive.operations.health import CLOCK_MAX_S, Health
from agenthifive.operations.instance import identify
from agenthifive.operations.jobs import Job, Jobs
from agenthifive.operations.journal import Journal
from agenthifive.operations.key_duty import KeyDuty
from agenthifive.operations.key_figures import KeyFigures
from agenthifive.operations.logs import is_readable
from agenthifive.operations.metrics import Metrics
from agenthifive.operations.reencryption import Pace
from agenthifive.settings import Settings
from agenthifive.vault.keyring import Keyring
from agenthifive.words import AuditAction

_HEARTBEAT_S: Final = 10.0
_ORPHANS_S: Final = 20.0

log = structlog.get_logger(__name__)


class ClockRefused(RuntimeError):
    """This machine's clock is too far from the database's."""


class Application:
    """One process's AgentHiFive. `gate` is the ASGI application to serve between `start` and `stop`."""

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        listen_dsn: str | None = None,
        keyring: Keyring | None = None,
        *,
        reread: Callable[[], Settings] | None = None,
        **doubles: Any,
    ) -> None:
        """Read keys and catalog; reach no database.

        Shapes: keyring: of these settings, when it has been loaded already. reread: reads the settings again, for the
        keys in them. doubles: replace parts in tests; `resolve` answers DNS questions.
        Raises: ValueError.
        """
        self.settings = settings
        self.database = Database(_database_options(settings, dsn))
        self._listen = Database(_database_options(settings, listen_dsn or dsn))
        self.keyring = keyring or read_keyring(settings)
        self.catalog: Catalog = load_catalog(settings.catalog_dir, settings.catalog_extra_hosts)
        self.metrics = Metrics(__version__, settings.git_sha)
        self.journal = Journal(
            is_on=settings.log_level in ("debug", "info"), is_readable=is_readable(settings.log_format)
        )
        self.frozen = Frozen()
        self._dsn = dsn
        self._reread = reread
        self._doubles = doubles
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Open everything, in the order that fails earliest. Raises: KeyRefused, ClockRefused, psycopg.Error."""
        await self.database.open(self.settings.db_start_timeout_seconds)
        self._stack.push_async_callback(self.database.close)
        await self._check_clock()
        identity = await identify(self.database, self.settings, SYSTEM)
        self.instance, self.restored_at_s = identity.instance, identity.restored_at_s
        self.chain = AdminChain(self.database, self.instance)
        await self.chain.open()
        self.keys = KeyDuty(
            self.database,
            self.unit,
            self.keyring,
            None if self._reread is None else self._read_keys_again,
            mode=self.settings.encryption_key_mode,
            pace=Pace(self.settings.reencrypt_batch_size, self.settings.reencrypt_max_rows_per_second),
        )
        self._stack.push_async_callback(self.keys.close)
        await self.keys.start()
        self.metrics.registry.register(KeyFigures(self.keys))
        self.jwt: JwtRoom = await open_jwt(self)
        self._stack.push_async_callback(self.jwt.close)
        self.keeper: Keeper = make_keeper(self)
        self.broker: BrokerRoom = await make_broker(self, self._listen.dedicated, _own_endpoints(self), self._doubles)
        self._stack.callback(self.keeper.people.close)
        self._stack.push_async_callback(self.keeper.token_writer.close)
        self.health = Health(
            self.database,
            is_audit_up=lambda: self.broker.writer.is_healthy,
            is_fresh=lambda: self.broker.changes.is_fresh,
            are_policies_whole=lambda: self.broker.grants.are_policies_whole,
            check_keys=self.keys.is_good,
        )
        management = make_rooms(self)
        self.management: FastAPI = management
        self.gate = make_gate(self, management)
        jobs = Jobs([*self._own_jobs(), *self.keys.jobs, *self.keeper.jobs, *self.broker.jobs], self.unit)
        jobs.start()
        self._stack.push_async_callback(jobs.close)
        async with self.unit() as unit:
            unit.record(
                AuditAction.INSTANCE_STARTED,
                {"version": __version__, "gitSha": self.settings.git_sha, "mode": self.settings.ah5_env,
                 "insecure": list(self.settings.allow_insecure)},
            )  # fmt: skip

    async def stop(self) -> None:
        """Finish what is recorded, close what is open."""
        room: BrokerRoom | None = getattr(self, "broker", None)
        if room is not None:
            await self.keeper.people.finish()
            await room.close()
            await self.keeper.token_writer.close()
            with contextlib.suppress(psycopg.Error, PoolTimeout, OSError):
                async with self.unit() as unit:
                    unit.record(AuditAction.INSTANCE_STOPPED, {"version": __version__, "graceful": True})
                    if room.writer.depth == 0:  # what could not be written leaves its chain to the orphan job
                        await (await unit.begin()).execute(CLOSE, [self._chain_ids()])
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Application"]:
        """Started inside the block, stopped after it."""
        try:
            await self.start()
            yield self
        finally:
            await self.stop()

    def unit(self) -> Unit:
        """A unit of work of the system itself."""
        return Unit(self.database, self.chain, SYSTEM)

    async def _check_clock(self) -> None:
        async with self.database.transaction() as connection:
            row = await (await connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8")).fetchone()
            if row is not None and abs(row[0] - time.time()) > CLOCK_MAX_S:
                raise ClockRefused(
                    f"This machine's clock differs from the database's by {abs(row[0] - time.time()):.0f} seconds; "
                    f"at most {CLOCK_MAX_S:.0f} are allowed. Synchronise the clocks."
                )

    def _read_keys_again(self) -> Keyring:
        assert self._reread is not None
        return read_keyring(self._reread())

    def _own_jobs(self) -> Sequence[Job]:
        return (
            Job("audit_heartbeat", _HEARTBEAT_S, lambda unit: beat(unit, self._chain_ids()), is_shared=False),
            Job("audit_orphans", _ORPHANS_S, close_orphans),
        )

    def measure(self) -> None:
        """Bring the gauges up to date, when somebody scrapes."""
        gauges = self.metrics.gauges
        gauges["broker_in_flight"].set(self.broker.http.in_flight)
        gauges["streams_open"].set(self.broker.live.count)
        gauges["audit_queue_depth"].set(self.broker.writer.depth)
        gauges["grants_age_seconds"].set(self.broker.changes.age_s)
        for scope, count in self.frozen.count().items():
            self.metrics.frozen.labels(scope).set(count)
        stats = self.database.stats()
        gauges["db_pool_in_use"].set(stats.get("pool_size", 0) - stats.get("pool_available", 0))

    def _chain_ids(self) -> list[str]:
        own = self.chain.chain_id
        rows = (*self.broker.writer.chain_ids, *self.keeper.token_writer.chain_ids)
        return [*rows, *([own] if own is not None else [])]


def _database_options(settings: Settings, dsn: str) -> DatabaseOptions:
    return DatabaseOptions(
        dsn,
        pool_min=settings.db_pool_min,
        pool_max=settings.db_pool_max,
        pool_timeout_ms=settings.db_pool_timeout_ms,
        statement_timeout_ms=settings.db_statement_timeout_ms,
        lock_timeout_ms=settings.db_lock_timeout_ms,
        connect_timeout_s=settings.db_connect_timeout_seconds,
        prepared_statements=settings.db_prepared_statements,
    )


def _own_endpoints(app: Application) -> Sequence[tuple[str, int]]:
    """What no call may reach: our own listener and the databases."""
    own = [(app.settings.api_bind_host, app.settings.api_port), *database_endpoints(app._dsn)]  # noqa: SLF001 - same module
    for setting in (app.settings.database_listen_url, app.settings.database_migration_url):
        if setting is not None:
            own += database_endpoints(setting.get_secret_value())
    return own

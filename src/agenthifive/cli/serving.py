"""`up`, `serve`, `migrate`: bring the instance up, in this terminal, until Ctrl-C.

    settings -> production checks -> keys -> one server a home -> database (retried) -> schema -> Application -> welcome

Source: contract/operations.md sections 10 (first start), 12 and 15.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agenthifive.cli.console import CommandError, Exit, Terminal, begin

if TYPE_CHECKING:
    from agenthifive.cli.database import Place
    from agenthifive.settings import LoadedSettings, Settings
    from agenthifive.vault.keyring import Keyring

_RETRY_S: Final = 0.5

PortOption = Annotated[int | None, typer.Option("--port", min=1, max=65535, help="Listen on this port (API_PORT).")]
HostOption = Annotated[str | None, typer.Option("--host", help="Listen on this address (API_BIND_HOST).")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(up)
    app.command()(serve)
    app.command()(migrate)


def up(context: typer.Context, port: PortOption = None, host: HostOption = None) -> None:
    """Set up what is missing (secrets, database, schema) and serve."""
    from agenthifive.cli.database import failures_translated
    from agenthifive.secrets_env import init_secrets

    terminal = begin(context)
    _override(terminal, port, host)
    loaded = terminal.load()
    home = loaded.settings.agenthifive_home
    with failures_translated():
        created = init_secrets(home, os.urandom, has_key_service=loaded.settings.encryption_key_mode != "env")
    for name in created:
        terminal.say(f"Generated {name} in {home / 'secrets.env'}")
    _serve(terminal, terminal.load() if created else loaded, may_migrate=True)


def serve(context: typer.Context, port: PortOption = None, host: HostOption = None) -> None:
    """Serve; secrets and schema must be there."""
    terminal = begin(context)
    _override(terminal, port, host)
    _serve(terminal, terminal.load(), may_migrate=False)


def migrate(context: typer.Context) -> None:
    """Bring the database to this version's schema."""
    from agenthifive.cli.database import failures_translated, open_place
    from agenthifive.db.migrate import HEAD

    terminal = begin(context)
    loaded = terminal.load()
    with failures_translated(), open_place(terminal, loaded, may_create=True) as place:
        changed = _migrate(terminal, loaded, place)
    terminal.finish(
        {"revision": HEAD, "changed": changed},
        f"The database is at revision {HEAD}" + ("." if changed else "; nothing to do."),
    )


def _override(terminal: Terminal, port: int | None, host: str | None) -> None:
    """Options are stronger than every place of a setting."""
    given = {"API_PORT": None if port is None else str(port), "API_BIND_HOST": host}
    terminal.environ = {**terminal.environ, **{name: text for name, text in given.items() if text is not None}}


def _serve(terminal: Terminal, loaded: "LoadedSettings", *, may_migrate: bool) -> None:
    from agenthifive.cli.database import failures_translated, open_place
    from agenthifive.cli.interrupts import interrupted_once
    from agenthifive.cli.key_modes import key_failures
    from agenthifive.key_reading import load_ring
    from agenthifive.vault.keyring import Keyring

    settings = loaded.settings
    _check(terminal, loaded)
    with key_failures("nothing was started"):
        keyring = Keyring.of(load_ring(settings))
    lock = _one_server(settings.agenthifive_home) if settings.database_url is None else contextlib.nullcontext()
    with (
        interrupted_once(),
        failures_translated(),
        lock,
        open_place(terminal, loaded, may_create=True, stops_server=True) as place,
    ):
        _wait_for_database(terminal, place, settings.db_start_timeout_seconds)
        if may_migrate or settings.auto_migrate:
            _migrate(terminal, loaded, place)
        place.require_schema()
        _run(terminal, loaded, place, keyring)


def _check(terminal: Terminal, loaded: "LoadedSettings") -> None:
    from agenthifive.production import check_start, list_start_warnings

    problems = [problem.line for problem in check_start(loaded)]
    if problems:
        raise CommandError(
            "\n       ".join(problems),
            exit_code=Exit.REFUSED,
            code="start_refused",
            hint="Nothing was started. docs/reference/settings.md lists every setting.",
            data={"problems": problems},
        )
    for warning in (*loaded.warnings, *list_start_warnings(loaded)):
        terminal.warn(warning)


def _wait_for_database(terminal: Terminal, place: "Place", timeout_s: float) -> None:
    """Wait for PostgreSQL as long as a start may. Raises: psycopg.OperationalError."""
    import psycopg

    deadline, is_told = time.monotonic() + timeout_s, False
    while True:
        try:
            place.revision()
        except psycopg.OperationalError:
            if time.monotonic() + _RETRY_S > deadline:
                raise
            if not is_told:
                terminal.say(f"Waiting for the database, up to {timeout_s:.0f} s")
                is_told = True
            time.sleep(_RETRY_S)
        else:
            return


def _migrate(terminal: Terminal, loaded: "LoadedSettings", place: "Place") -> bool:
    from agenthifive.cli.database import open_desk
    from agenthifive.db.migrate import HEAD
    from agenthifive.words import AuditAction

    before = place.revision()
    if not place.migrate(terminal.say):
        return False

    async def record() -> None:
        async with open_desk(loaded.settings, place) as desk, desk.unit() as unit:
            unit.record(AuditAction.DATABASE_MIGRATED, {"from": before, "to": HEAD})

    asyncio.run(record())
    return True


def _run(terminal: Terminal, loaded: "LoadedSettings", place: "Place", keyring: "Keyring") -> None:
    """Import the server late: a refused start answers at once."""
    import ssl

    import uvloop

    from agenthifive.app import Application, ClockRefused
    from agenthifive.cli.welcome import Welcome
    from agenthifive.operations.logs import configure_logs
    from agenthifive.operations.server import serve as serve_application
    from agenthifive.vault.canary import KeyRefused

    settings = loaded.settings
    configure_logs(settings.log_level, settings.log_format)
    try:
        reread = partial(_reread, terminal)
        application = Application(settings, place.app_dsn, place.listen_dsn, keyring, reread=reread)
        uvloop.run(serve_application(application, Welcome(terminal).begin))
    except KeyRefused as error:
        raise CommandError(str(error), exit_code=Exit.INTEGRITY, code="keys") from None
    except (ClockRefused, ValueError, ssl.SSLError) as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {settings.api_bind_host}:{settings.api_port}: {error.strerror}.",
            exit_code=Exit.REFUSED,
            code="listen",
            hint="Another program may use the port; set API_PORT.",
        ) from None


def _reread(terminal: Terminal) -> "Settings":
    """The settings as they are now. Raises: ValueError naming every problem."""
    try:
        return terminal.load().settings
    except CommandError as refused:
        raise ValueError(refused.message) from None


@contextlib.contextmanager
def _one_server(home: Path) -> Iterator[None]:
    """One server of an embedded database at a time."""
    import fcntl

    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"Another server is running with the home {home}.",
                exit_code=Exit.REFUSED,
                code="running",
                hint="Stop it, or set AGENTHIFIVE_HOME.",
            ) from None
        yield

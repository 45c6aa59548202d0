"""`db backup | restore | adopt`, and `backup`, `restore` for short: the database in a file, and back.

    backup:  snapshot -> dump and manifest, read back -> recorded
    restore: checks -> an empty database filled -> this version's schema -> adopt
    adopt:   new epoch, everything one-time spent -> proofs -> report

Source: contract/operations.md sections 3.4 and 15.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agenthifive.cli.arguments import misused
from agenthifive.cli.console import CommandError, Exit, Terminal, begin

if TYPE_CHECKING:
    from agenthifive.cli.database import Place
    from agenthifive.db.programs import Target
    from agenthifive.operations.backup import Backup
    from agenthifive.operations.manifest import Manifest
    from agenthifive.settings import LoadedSettings, Settings
    from agenthifive.vault.keyring import Keyring

_EMBEDDED = "embedded"

RevokeOption = Annotated[
    bool, typer.Option("--revoke-pats", help="Also revoke every personal access token; without it they stay.")
]


def register(app: typer.Typer) -> None:
    """Add these commands; backup and restore under both their names."""
    group = typer.Typer(help="Back up the database and bring it back.", rich_markup_mode=None)
    for each in (app, group):
        each.command("backup")(backup)
        each.command("restore")(restore)
    group.command("adopt")(adopt)
    app.add_typer(group, name="db")


def backup(
    context: typer.Context,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write a backup into this folder.")] = None,
    verify: Annotated[
        Path | None, typer.Option("--verify", metavar="FILE", help="Check this dump against its manifest instead.")
    ] = None,
) -> None:
    """Write a dump of the database and its manifest, or check one. The keys are not in it: see `keys backup`."""
    from agenthifive.cli.progress import progress
    from agenthifive.operations.backup import verify_backup

    terminal = begin(context)
    if (out is None) is (verify is None):
        raise misused("Give either --out DIR, to write a backup, or --verify FILE, to check one.")
    if verify is not None:
        dump = terminal.cwd / verify
        with _refusals(), progress(terminal) as watch:
            manifest = verify_backup(dump, terminal.environ, watch)
        _tell_backup(terminal, dump, manifest, "is whole")
        return
    assert out is not None
    made = _back_up(terminal, terminal.cwd / out)
    _tell_backup(terminal, made.dump, made.manifest, "is written, with its manifest")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The dump; its manifest lies beside it.")],
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An empty database, reached as an administrator of its server; without it, or `embedded`: the "
            "embedded database of AGENTHIFIVE_HOME, made anew.",
        ),
    ] = None,
    revoke_pats: RevokeOption = False,
) -> None:
    """Fill an empty database from a backup, and take it into use: everything one-time is spent, the log verified."""
    from agenthifive.cli.adoption import adopt_place
    from agenthifive.cli.database import failures_translated
    from agenthifive.cli.interrupts import interrupted_once
    from agenthifive.cli.progress import progress
    from agenthifive.db import migrate, programs
    from agenthifive.operations.restore import check_backup, restore_backup

    terminal = begin(context)
    loaded, dump = terminal.load(), terminal.cwd / file
    keyring = _read_keys(loaded.settings)
    _check_destination(to, loaded.settings)
    with interrupted_once(), failures_translated(), _refusals():
        with progress(terminal) as watch:
            manifest = check_backup(dump, keyring.kids if keyring is not None else (), migrate.HEAD, watch)
        with _destination(terminal, loaded, to) as (place, target):
            with progress(terminal) as watch:
                used = restore_backup(dump, manifest, target, watch)
            before = place.revision()
            if place.migrate(terminal.say):
                programs.apply_roles(used, target)
            assert keyring is not None  # without a ring the checks have refused
            adopt_place(
                terminal, loaded.settings, place, keyring, anchors=[manifest], revokes_tokens=revoke_pats, before=before
            )


def adopt(
    context: typer.Context,
    anchor: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Manifest of a backup the database must not be older than; repeatable."),
    ] = None,
    revoke_pats: RevokeOption = False,
    set_back: Annotated[
        bool,
        typer.Option(
            "--set-back", help="The database was restored in place (disk snapshot, point in time): spend everything."
        ),
    ] = False,
) -> None:
    """Take a restored database into use: everything one-time is spent, every record opened, the log verified."""
    from agenthifive.cli.adoption import adopt_place
    from agenthifive.cli.database import failures_translated, open_place
    from agenthifive.operations.manifest import read_manifest
    from agenthifive.operations.restore import KeysMissing

    terminal = begin(context)
    loaded = terminal.load()
    with failures_translated(), _refusals():
        anchors = [read_manifest(terminal.cwd / path) for path in anchor or ()]
        keyring = _read_keys(loaded.settings)
        if keyring is None:
            raise KeysMissing([], [])
        with open_place(terminal, loaded) as place:
            place.require_schema()
            adopt_place(
                terminal, loaded.settings, place, keyring,
                anchors=anchors, revokes_tokens=revoke_pats, is_set_back=set_back,
            )  # fmt: skip


def _back_up(terminal: Terminal, folder: Path) -> "Backup":
    from agenthifive.cli.database import failures_translated, open_desk, open_place
    from agenthifive.cli.interrupts import interrupted_once
    from agenthifive.cli.progress import progress
    from agenthifive.db.programs import Target
    from agenthifive.operations.backup import take_backup
    from agenthifive.operations.backups import note_backup

    loaded = terminal.load()
    with interrupted_once(), failures_translated(), _refusals(), open_place(terminal, loaded) as place:
        place.require_schema()

        async def identify() -> None:
            async with open_desk(loaded.settings, place):
                pass

        async def note(made: "Backup") -> None:
            async with open_desk(loaded.settings, place) as desk, desk.unit() as unit:
                await note_backup(await unit.begin(), "database", made.manifest.kids)

        asyncio.run(identify())
        with progress(terminal) as watch:
            made = take_backup(Target(place.app_dsn, terminal.environ), folder, watch)
        asyncio.run(note(made))
    return made


def _check_destination(to: str | None, settings: "Settings") -> None:
    """Raises: CommandError; never with a word of the URL, which may hold a password."""
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    if to == _EMBEDDED and settings.database_url is not None:
        raise misused("--to embedded needs settings without DATABASE_URL.")
    if to is None and settings.database_url is not None:
        raise misused("Say with --to URL which empty database to fill, as an administrator of its server.")
    if to not in (None, _EMBEDDED):
        try:
            conninfo_to_dict(to or "")
        except psycopg.ProgrammingError:
            raise misused("--to is no connection string; expected postgresql://ADMIN@HOST/NAME.") from None


@contextlib.contextmanager
def _destination(terminal: Terminal, loaded: "LoadedSettings", to: str | None) -> "Iterator[tuple[Place, Target]]":
    """The database to fill: by role, and as its administrator."""
    from agenthifive.cli.database import Place, open_place
    from agenthifive.db.programs import Target, as_role
    from agenthifive.operations.restore import APP, OWNER

    if to is not None and to != _EMBEDDED:
        app_dsn = as_role(to, APP)
        yield Place(app_dsn, as_role(to, OWNER), app_dsn, None), Target(to, terminal.environ)
        return
    with open_place(terminal, loaded, may_create=True) as place:
        assert place.cluster is not None
        yield place, Target(place.cluster.dsn("admin"), terminal.environ)


def _read_keys(settings: "Settings") -> "Keyring | None":
    """The ring of the settings; None when there is no key at all. Raises: CommandError."""
    from agenthifive.app import read_keyring

    if settings.encryption_key_mode == "env" and settings.encryption_key is None:
        return None
    try:
        return read_keyring(settings)
    except ValueError as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="settings_refused") from None


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """What backups and restores may raise in the block, as a CommandError with its exit code."""
    from agenthifive.db.programs import ProgramError
    from agenthifive.operations.backup import BackupDamaged, BackupError
    from agenthifive.operations.manifest import ManifestError
    from agenthifive.operations.restore import KeysMissing, NotEmpty, TooNew

    try:
        yield
    except KeysMissing as error:
        hint = "`agenthifive keys restore` brings keys back from a key backup; `agenthifive init` makes the first one."
        raise CommandError(str(error), exit_code=Exit.INTEGRITY, code="keys", hint=hint) from None
    except (BackupDamaged, ManifestError) as error:
        raise CommandError(str(error), exit_code=Exit.INTEGRITY, code="backup_damaged") from None
    except TooNew as error:
        raise CommandError(str(error), exit_code=Exit.REFUSED, code="schema") from None
    except NotEmpty as error:
        raise CommandError(str(error), code="not_empty") from None
    except (BackupError, ProgramError) as error:
        raise CommandError(str(error), code="backup") from None


def _tell_backup(terminal: Terminal, dump: Path, manifest: "Manifest", state: str) -> None:
    rows = sum(manifest.rows.values())
    kids = ", ".join(manifest.kids) or "none: nothing is sealed"
    terminal.finish(
        {"file": str(dump), "createdAt": manifest.created_at, "sha256": manifest.sha256, "rows": rows,
         "revision": manifest.revision, "epoch": manifest.epoch, "kids": manifest.kids},
        f"{dump} {state}.\n{rows:,} rows as of {manifest.created_at}; keys it needs: {kids}.\n"
        "No key is in it: keep the keys apart (agenthifive keys backup).",
    )  # fmt: skip

"""`keys backup | restore-check | restore`: the keys in an encrypted file, and back. No key is ever shown.

Source: contract/operations.md sections 1.7 and 15.
"""

import getpass
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agenthifive.cli.console import CommandError, Exit, Terminal, begin

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.settings import Settings
    from agenthifive.vault.key_backup import Keys
    from agenthifive.vault.secret import Secret

_MAX_BYTES: Final = 1024 * 1024
_MIN_PASSPHRASE: Final = 14

FileArgument = Annotated[Path, typer.Argument(metavar="FILE", help="The backup of the keys.")]


def add_to(group: typer.Typer) -> None:
    """Add these commands to the group `keys`."""
    group.command("backup")(backup)
    group.command("restore-check")(restore_check)
    group.command("restore")(restore)


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write; it must not exist yet.")],
) -> None:
    """Write the keys into a file that only a passphrase opens. Keep it apart from the database's backups."""
    from agenthifive.cli.database import at_desk
    from agenthifive.vault.key_backup import write_key_backup

    terminal = begin(context)
    settings, path = terminal.load().settings, terminal.cwd / out
    if path.exists():
        raise CommandError(f"{path} exists already, and is not overwritten.", code="exists", hint="Name a new file.")
    keys = _collect(settings)
    content = write_key_backup(keys, _passphrase(settings, is_new=True), os.urandom)
    _write_new(path, content)
    try:
        at_desk(terminal, lambda desk: _record(desk, keys))
    except BaseException:
        path.unlink()  # a copy of the keys that the log does not know of must not be left
        raise
    terminal.finish(
        {"file": str(path), "kids": list(keys.kids)},
        f"Wrote {path}: keys {', '.join(keys.kids)}, encrypted.\n"
        "Whoever has it and the passphrase has every key: keep the two apart, and both apart from the server.",
    )


def restore_check(context: typer.Context, file: FileArgument) -> None:
    """Open a backup of the keys and say which records of this database it covers; exit 1 when some are left."""
    terminal = begin(context)
    keys = _open(terminal, file)
    in_use = _kids_in_use(terminal)
    missing = [kid for kid in in_use if kid not in keys.kids]
    data = {"kids": list(keys.kids), "createdAt": keys.created_at, "inUse": list(in_use), "missing": missing}
    if missing:
        raise CommandError(
            f"The backup of {keys.created_at} does not cover what is sealed under kid {', '.join(missing)}.",
            code="not_covered",
            hint="Make a new one: agenthifive keys backup --out FILE",
            data=data,
        )
    terminal.finish(data, f"The backup of {keys.created_at} covers every record of this database; its "
                    f"keys: {', '.join(keys.kids)}.")  # fmt: skip


def restore(
    context: typer.Context,
    file: FileArgument,
    env_file: Annotated[Path, typer.Option("--env-file", metavar="PATH", help="Env file to write the settings into.")],
) -> None:
    """Write the keys of a backup into an env file; a value that is there already is never changed."""
    terminal = begin(context)
    keys = _open(terminal, file)
    path = terminal.cwd / env_file
    written = _add_settings(path, _settings_of(keys))
    terminal.finish(
        {"file": str(path), "names": written, "kids": list(keys.kids)},
        f"Wrote {', '.join(written) or 'nothing: everything was there'} to {path}.",
    )


def _collect(settings: "Settings") -> "Keys":
    """What a backup must hold. Raises: CommandError."""
    from agenthifive.ids import wire_time_of
    from agenthifive.settings_values import ring_keys
    from agenthifive.vault.key_backup import Keys

    if settings.encryption_key_mode != "env":
        raise CommandError(
            f"With ENCRYPTION_KEY_MODE={settings.encryption_key_mode} the key service keeps the keys, and they are "
            "never written down here.",
            exit_code=Exit.REFUSED,
            code="key_mode",
            hint="Back up the key service, and the wrapped keys among the settings.",
        )
    if settings.encryption_key is None:
        raise CommandError(
            "ENCRYPTION_KEY is missing: there is nothing to back up.", exit_code=Exit.REFUSED, code="settings_refused"
        )
    sign_in, signing = settings.better_auth_secret, settings.jwt_private_key
    return Keys(
        ring=list(ring_keys(settings.encryption_key, settings.encryption_key_previous)),
        sign_in_secret=None if sign_in is None else sign_in.get_secret_value(),
        jwt_private_key=None if signing is None else signing.get_secret_value(),
        jwt_kid=settings.jwt_kid,
        created_at=wire_time_of(time.time()),
    )


async def _record(desk: "Desk", keys: "Keys") -> None:
    from agenthifive.operations.backups import note_backup
    from agenthifive.words import AuditAction

    async with desk.unit() as unit:
        await note_backup(await unit.begin(), "keys", keys.kids)
        unit.record(AuditAction.KEY_BACKUP_CREATED, {"kids": list(keys.kids)})


def _write_new(path: Path, content: bytes) -> None:
    """A file only its owner may read. Raises: CommandError."""
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from None


def _kids_in_use(terminal: Terminal) -> Sequence[str]:
    """The kids this database's records need. Raises: CommandError."""
    import psycopg

    from agenthifive.cli.database import failures_translated, open_place
    from agenthifive.operations.backup import read_kids

    with failures_translated(), open_place(terminal, terminal.load()) as place:
        place.require_schema()
        with psycopg.connect(place.app_dsn) as connection:
            return read_kids(connection)


def _open(terminal: Terminal, file: Path) -> "Keys":
    """Raises: CommandError."""
    from agenthifive.vault.key_backup import KeyBackupError, read_key_backup

    path = terminal.cwd / file
    try:
        with path.open("rb") as source:
            content = source.read(_MAX_BYTES)
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).", code="unreadable") from None
    try:
        return read_key_backup(content, _passphrase(terminal.load().settings, is_new=False))
    except KeyBackupError as error:
        raise CommandError(f"{path}: {error}.", exit_code=Exit.INTEGRITY, code="key_backup") from None


def _passphrase(settings: "Settings", *, is_new: bool) -> "Secret[str]":
    """From KEY_BACKUP_PASSPHRASE, or asked for; a new one twice. Raises: CommandError."""
    from agenthifive.vault.secret import Secret

    if settings.key_backup_passphrase is not None:
        return Secret(settings.key_backup_passphrase.get_secret_value())
    if not sys.stdin.isatty():
        raise CommandError(
            "There is nobody to ask for the passphrase.",
            exit_code=Exit.REFUSED,
            code="passphrase",
            hint=f"Set KEY_BACKUP_PASSPHRASE, or KEY_BACKUP_PASSPHRASE_FILE; at least {_MIN_PASSPHRASE} characters.",
        )
    typed = getpass.getpass("Passphrase of the backup: ")
    if is_new:
        if len(typed) < _MIN_PASSPHRASE:
            raise CommandError(
                f"The passphrase has {len(typed)} characters; at least {_MIN_PASSPHRASE} are needed.",
                exit_code=Exit.REFUSED,
                code="passphrase",
                hint="Several unrelated words are easy to keep and hard to guess.",
            )
        if getpass.getpass("Once more: ") != typed:
            raise CommandError("The two passphrases differ.", exit_code=Exit.REFUSED, code="passphrase")
    return Secret(typed)


def _settings_of(keys: "Keys") -> Mapping[str, str]:
    """Setting -> value, for those that have one."""
    values = {
        "ENCRYPTION_KEY": keys.ring[0],
        "ENCRYPTION_KEY_PREVIOUS": ",".join(keys.ring[1:]),
        "BETTER_AUTH_SECRET": keys.sign_in_secret,
        "JWT_PRIVATE_KEY": keys.jwt_private_key,
        "JWT_KID": keys.jwt_kid,
    }
    return {name: value for name, value in values.items() if value}


def _add_settings(path: Path, values: Mapping[str, str]) -> list[str]:
    """Add what is missing to an env file, as a whole or not at all; the names that were. Raises: CommandError."""
    from agenthifive.settings_sources import SettingsRefused, parse_env, read_text_file

    try:
        try:
            content = read_text_file(path)
        except FileNotFoundError:
            content = ""
        present = parse_env(content, path)
        other = [name for name, value in values.items() if present.get(name) not in (None, "", value)]
        if other:
            raise CommandError(
                f"{path} holds another {' and another '.join(other)} already; nothing was written.",
                exit_code=Exit.REFUSED,
                code="exists",
                hint="Name a new file, and merge the two by hand.",
            )
        missing = [name for name, value in values.items() if present.get(name) != value]
        if missing:
            text = content if not content or content.endswith("\n") else f"{content}\n"
            _replace(path, text + "".join(f"{name}={_quoted(values[name])}\n" for name in missing))
        else:
            path.chmod(0o600)
    except SettingsRefused as refused:
        raise CommandError("\n".join(refused.problems), exit_code=Exit.REFUSED, code="settings_refused") from None
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from None
    return missing


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _quoted(value: str) -> str:
    """As an env file has it: in double quotes, with escapes."""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(character, escaped)
    return f'"{value}"'


def _unwritable(path: Path, error: OSError | ValueError) -> CommandError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return CommandError(f"{path} cannot be written ({reason}).", code="unwritable")

"""`keys rotate`: a new key, written where the settings are; on the embedded set-up the whole procedure.

    new key -> file changed -> replicas load it -> records re-encrypted -> 0 left -> old key retired and taken out

Every step may be interrupted: run again, it goes on where it stood. Source: contract/operations.md section 1.5.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agenthifive.cli.console import CommandError, Exit, Terminal, begin
from agenthifive.cli.key_desk import KeyDesk, at_key_desk, read_ring
from agenthifive.cli.key_modes import ManagedMode, rotate_managed

if TYPE_CHECKING:
    from agenthifive.operations.key_status import KeyStatus
    from agenthifive.vault.keyring import Keyring

_KEY_BYTES: Final = 32
_MAX_KEYS: Final = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rotation begins with.

    Shapes:
        staged: a key of the settings this database has never known. under_way: keys a rotation has not finished with.
        spent: keys that are retired already.
    """

    status: "KeyStatus"
    staged: Sequence[str]
    under_way: Sequence[str]
    spent: Sequence[str]


def rotate(
    context: typer.Context,
    env_file: Annotated[
        Path | None, typer.Option(help="The file with ENCRYPTION_KEY (default: where the settings have it from).")
    ] = None,
    stage: Annotated[
        bool, typer.Option("--stage", help="Only add the new key as one that opens; it seals after the next rotate.")
    ] = False,
    mode: Annotated[
        ManagedMode | None, typer.Option("--mode", help="Make the new key at this key service and print it wrapped.")
    ] = None,
) -> None:
    """Replace the encryption key; on the embedded database everything, elsewhere the settings, and say what is next."""
    terminal = begin(context)
    terminal.env_file = env_file or terminal.env_file
    if mode is not None:
        rotate_managed(terminal, mode)
        return
    settings = terminal.load().settings
    if settings.encryption_key_mode != "env":
        raise CommandError(
            f"ENCRYPTION_KEY_MODE is {settings.encryption_key_mode}: its keys are not in the settings.",
            exit_code=Exit.REFUSED,
            code="key_mode",
            hint=f"Run: agenthifive keys rotate --mode {settings.encryption_key_mode}",
        )
    is_whole = settings.database_url is None
    plan: Plan = at_key_desk(terminal, _plan)
    if stage:
        _stage(terminal, env_file, plan, read_ring(settings))
    elif is_whole and plan.under_way:
        terminal.say("Finishing the rotation that is under way")
        _carry_through(terminal, env_file)
    elif plan.status.left:
        raise CommandError(
            f"A rotation is under way: {plan.status.left} records are not under the active key "
            f"{plan.status.active_kid} yet.",
            code="conflict",
            hint="Finish it first: agenthifive keys reencrypt --wait",
        )
    else:
        _activate(terminal, env_file, plan, read_ring(settings), is_whole=is_whole)


def drop_from_file(terminal: Terminal, env_file: Path | None, kids: Sequence[str], active_kid: str) -> Path:
    """Take keys out of the settings' file; the copy of the file as it was. Raises: CommandError."""
    from agenthifive.cli.key_file import find_key_file

    file = find_key_file(terminal.load(), env_file, terminal.cwd)
    copy = file.write([key for kid, key in _keys(terminal) if kid not in kids], kids[0] if kids else active_kid)
    loaded = terminal.load()
    if set(kids) & set(read_ring(loaded.settings).kids):
        terminal.warn(f"ENCRYPTION_KEY_PREVIOUS still holds it: {loaded.sources['ENCRYPTION_KEY_PREVIOUS']}")
    return copy


async def _plan(desk: KeyDesk) -> Plan:
    from agenthifive.operations import key_store as store

    async with desk.desk.database.transaction(read_only=True) as link:
        known = await store.canaries(link)
    status = await desk.status()
    previous = [line for line in status.keys if line.is_loaded and line.kid != status.active_kid]
    return Plan(
        status,
        staged=[line.kid for line in previous if line.kid not in known],
        under_way=[line.kid for line in previous if line.kid in known and line.state != "retired"],
        spent=[line.kid for line in previous if line.state == "retired"],
    )


def _stage(terminal: Terminal, env_file: Path | None, plan: Plan, ring: "Keyring") -> None:
    if plan.staged:
        raise CommandError(
            f"The key with kid {plan.staged[0]} is staged already.",
            code="conflict",
            hint="When every replica has it, make it the active one: agenthifive keys rotate",
        )
    kid, copy = _write(terminal, env_file, plan, ring, is_active=False)
    terminal.finish(
        {"kid": kid, "copy": str(copy), "staged": True},
        f"Staged a new key, kid {kid}; the file as it was: {copy}\n"
        "Give the same settings to every replica, then: agenthifive keys reload. Then: agenthifive keys rotate",
    )


def _activate(terminal: Terminal, env_file: Path | None, plan: Plan, ring: "Keyring", *, is_whole: bool) -> None:
    old = ring.active_kid
    kid, copy = _write(terminal, env_file, plan, ring, is_active=True)
    if is_whole:
        terminal.say(f"New key, kid {kid}; the file as it was: {copy}")
        _carry_through(terminal, env_file)
        return
    terminal.finish(
        {"kid": kid, "previousKid": old, "copy": str(copy), "staged": False},
        f"The active key is now kid {kid}, the previous one kid {old}; the file as it was: {copy}\n"
        "Give the same settings to every replica, then: agenthifive keys reload. Then: agenthifive keys status",
    )


def _write(
    terminal: Terminal, env_file: Path | None, plan: Plan, ring: "Keyring", *, is_active: bool
) -> tuple[str, Path]:
    """Change the file: a new key, or the staged one; its kid, and the copy of the file."""
    from agenthifive.cli.key_file import find_key_file
    from agenthifive.vault.envelope import Key

    file = find_key_file(terminal.load(), env_file, terminal.cwd)
    kept = [(kid, key) for kid, key in _keys(terminal) if kid not in plan.spent]
    staged = next(((kid, key) for kid, key in kept if kid in plan.staged), None)
    if staged is None and len(kept) >= _MAX_KEYS:
        raise CommandError(
            f"The ring holds {len(kept)} keys already.", code="conflict", hint="Retire those that seal no record."
        )
    fresh = os.urandom(_KEY_BYTES)
    kid, key = staged or (Key(fresh).kid, fresh.hex())
    others = [other for name, other in kept if name != kid]
    copy = file.write([key, *others] if is_active else [*others, key], ring.active_kid)
    return kid, copy


def _carry_through(terminal: Terminal, env_file: Path | None) -> None:
    """From the changed file to the end. Raises: CommandError; then running `keys rotate` again goes on."""
    status, retired = at_key_desk(terminal, _replace_everywhere)
    copy = drop_from_file(terminal, env_file, retired, status.active_kid)
    at_key_desk(terminal, KeyDesk.reload_replicas)
    data = {"kid": status.active_kid, "retired": retired, "left": 0, "copy": str(copy)}
    terminal.finish(
        data,
        f"Records under old kids: 0\n"
        f"The active key is kid {status.active_kid}; retired and taken out of the settings: {', '.join(retired)}\n"
        f"{copy} still holds it. Backups of the database made until now need it; remove the file with the last of "
        "them.",
    )


async def _replace_everywhere(desk: KeyDesk) -> tuple["KeyStatus", list[str]]:
    """Load, re-encrypt, prove, retire."""
    from agenthifive.operations.key_admin import retire

    terminal = desk.terminal
    terminal.say("Loading the key in the running server" if (await desk.status()).replicas else "No server is running")
    await desk.put_in_force()
    terminal.say("Re-encrypting")
    status = await desk.reencrypt(None, waits=True)
    if status.left:
        raise CommandError(
            f"{status.left} records are still under earlier keys, which stay in the settings.",
            exit_code=Exit.INTEGRITY,
            code="old_kids",
            hint="See which: agenthifive keys check. Enter those credentials again, then: agenthifive keys rotate",
        )
    retired = [line.kid for line in status.keys if line.is_loaded and line.kid != status.active_kid]
    for kid in retired:
        async with desk.desk.unit() as unit:
            await retire(unit, desk.keyring, kid, desk.mode)
    return status, retired


def _keys(terminal: Terminal) -> list[tuple[str, str]]:
    """The keys of the settings by kid, the active one first."""
    ring = read_ring(terminal.load().settings)
    return [(key.kid, key.material.hex()) for key in ring.keys]

"""`keys ...`: look at the encryption keys, prove them, replace them. `keys rotate` is in `keys_rotate.py`.

Source: contract/operations.md sections 1.5, 1.6 and 15.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli import key_backup, key_modes
from agenthifive.cli.console import CommandError, Exit, Terminal, begin, table
from agenthifive.cli.key_desk import KeyDesk, at_key_desk, pages, read_ring
from agenthifive.cli.keys_rotate import drop_from_file, rotate

if TYPE_CHECKING:
    from agenthifive.operations.key_status import KeyStatus

_KEY_BYTES: Final = 32
_LISTED: Final = 20


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Look at, replace and retire encryption keys.", rich_markup_mode=None)
    group.command("generate")(generate)
    group.command("status")(status)
    group.command("check")(check)
    group.command("rotate")(rotate)
    group.command("reload")(reload)
    group.command("reencrypt")(reencrypt)
    group.command("retire")(retire)
    key_modes.add_commands(group)
    key_backup.add_to(group)
    app.add_typer(group, name="keys")


def generate(context: typer.Context) -> None:
    """Print a new key."""
    key = os.urandom(_KEY_BYTES).hex()
    begin(context).finish({"key": key}, key)


def status(context: typer.Context) -> None:
    """Show every key, the records under it, the job and the replicas; exit 1 while records are under another key."""
    terminal = begin(context)
    found = at_key_desk(terminal, KeyDesk.status)
    _show(terminal, found)
    _finish(terminal, found)


def check(context: typer.Context) -> None:
    """Open every sealed record with the keys of the settings; exit 6 when one does not open."""
    terminal = begin(context)
    opened, unreadable = at_key_desk(terminal, _open_all)
    data = {"opened": opened, "unreadable": unreadable}
    if unreadable:
        lines = [f"{each['table']}.{each['column']} {each['id']} (kid {each['kid']})" for each in unreadable[:_LISTED]]
        raise CommandError(
            f"{len(unreadable)} records do not open with the keys of the settings:\n  " + "\n  ".join(lines),
            exit_code=Exit.INTEGRITY,
            code="unreadable",
            hint="A missing key goes into ENCRYPTION_KEY_PREVIOUS; a damaged credential must be entered again.",
            data=data,
        )
    terminal.finish(data, f"All {sum(opened.values())} sealed records open with the keys of the settings.")


def reload(context: typer.Context) -> None:
    """Make every running replica load the keys of its settings; calls go on."""
    terminal = begin(context)
    replicas = at_key_desk(terminal, KeyDesk.reload_replicas)
    members = [{"id": each.id, "activeKid": each.active_kid, "kids": list(each.kids)} for each in replicas]
    if not replicas:
        terminal.finish({"replicas": []}, "No server is running; the next one that starts reads its keys then.")
        return
    rows = [(each.id, each.active_kid, ", ".join(each.kids)) for each in replicas]
    terminal.finish({"replicas": members}, table(("REPLICA", "ACTIVE", "KEYS"), rows))


def reencrypt(
    context: typer.Context,
    wait: Annotated[bool, typer.Option("--wait", help="When another process is at it, wait for its end.")] = False,
    rate: Annotated[
        int | None, typer.Option(min=0, help="Records per second; 0 as fast as it goes (default: the setting).")
    ] = None,
) -> None:
    """Seal every record with the active key, here and now; may be interrupted and repeated at any time."""
    terminal = begin(context)

    async def work(desk: KeyDesk) -> "KeyStatus":
        await desk.put_in_force()
        return await desk.reencrypt(rate, waits=wait)

    _finish(terminal, at_key_desk(terminal, work))


def retire(
    context: typer.Context,
    kid: Annotated[str, typer.Argument(metavar="KID", help="The key to retire, as `keys status` names it.")],
    env_file: Annotated[Path | None, typer.Option(help="Also take the key out of ENCRYPTION_KEY in this file.")] = None,
) -> None:
    """Declare a key done; refused while any record is sealed under it."""
    terminal = begin(context)
    terminal.env_file = env_file or terminal.env_file

    async def work(desk: KeyDesk) -> None:
        from agenthifive.operations.key_admin import retire as retire_key

        async with desk.desk.unit() as unit:
            await retire_key(unit, desk.keyring, kid, desk.mode)

    at_key_desk(terminal, work)
    told = f"The key with kid {kid} is retired: 0 records are sealed under it."
    if env_file is None:
        terminal.finish({"kid": kid}, f"{told}\nRemove it from the settings of every replica, then: "
                                      "agenthifive keys reload")  # fmt: skip
        return
    ring = read_ring(terminal.load().settings)
    copy = drop_from_file(terminal, env_file, [kid], ring.active_kid)
    terminal.finish({"kid": kid, "file": str(env_file), "copy": str(copy)},
                    f"{told}\nIt is no longer in {env_file}; the file as it was: {copy}. Next: agenthifive keys reload",
                    )  # fmt: skip


async def _open_all(desk: KeyDesk) -> tuple[Mapping[str, int], list[Mapping[str, str]]]:
    """Try every record: how many open by column, and those that do not."""
    from agenthifive.vault.envelope import EnvelopeError
    from agenthifive.vault.sealed_columns import SEALED_COLUMNS

    opened: dict[str, int] = {}
    unreadable: list[Mapping[str, str]] = []
    for column in SEALED_COLUMNS:
        opened[column.name] = 0
        async for records in pages(desk.desk, column):
            for record in records:
                try:
                    desk.keyring.open(record.text, column.table, column.column, record.id, record.workspace_id)
                    opened[column.name] += 1
                except EnvelopeError:
                    members = {"table": column.table, "column": column.column, "id": record.id, "kid": record.kid}
                    unreadable.append(members)
    return opened, unreadable


def _show(terminal: Terminal, found: "KeyStatus") -> None:
    lines = [(line.kid, line.state, line.records, line.seals, "yes" if line.is_loaded else "no") for line in found.keys]
    terminal.show(table(("KID", "STATE", "RECORDS", "SEALS", "IN THE SETTINGS"), lines))
    job = found.job
    if job is not None:
        terminal.show(f"Re-encryption: {found.job_state}, {job.done} of {job.total} done, {job.failed} unreadable")
        for each in job.unreadable[:_LISTED]:
            terminal.show(f"  unreadable: {each['table']}.{each['column']} {each['id']} (kid {each['kid']})")
    for replica in found.replicas:
        trouble = "" if replica.problem is None else f"; {replica.problem}"
        terminal.show(
            f"Replica {replica.id}: seals with {replica.active_kid}, opens {', '.join(replica.kids)}{trouble}"
        )


def _finish(terminal: Terminal, found: "KeyStatus") -> None:
    """Exit 0 when nothing is left under another key, 1 otherwise."""
    data = _data(found)
    if found.left:
        raise CommandError(
            f"{found.left} records are not under the active key {found.active_kid} yet; "
            f"re-encryption is {found.job_state}.",
            code="old_kids",
            hint="Wait for it, or run: agenthifive keys reencrypt",
            data=data,
        )
    terminal.finish(data, "Records under old kids: 0")


def _data(found: "KeyStatus") -> Mapping[str, Any]:
    replicas = [
        {"id": each.id, "activeKid": each.active_kid, "kids": list(each.kids), "problem": each.problem}
        for each in found.replicas
    ]
    unreadable = [] if found.job is None else [dict(each) for each in found.job.unreadable]
    return {**found.wire(), "left": found.left, "unreadable": unreadable, "replicas": replicas}

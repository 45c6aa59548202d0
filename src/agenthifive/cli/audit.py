"""`audit list | verify | export`: the log, read from the database itself.

Source: contract/audit.md sections 6 to 8, operations.md section 12 (6: integrity).
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from agenthifive.cli.arguments import misused, read_id
from agenthifive.cli.console import CommandError, Exit, Terminal, begin, table
from agenthifive.words import AuditAction, AuditDecision

if TYPE_CHECKING:
    from agenthifive.audit.export import ExportFormat
    from agenthifive.audit.verify import Report
    from agenthifive.cli.audit_log import Entry, Wanted
    from agenthifive.cli.database import Desk

WorkspaceOption = Annotated[str | None, typer.Option("--workspace", help="Id of a workspace.")]
AgentOption = Annotated[str | None, typer.Option("--agent", help="Id of an agent.")]
ConnectionOption = Annotated[str | None, typer.Option("--connection", help="Id of a connection.")]
ActionOption = Annotated[AuditAction | None, typer.Option("--action", metavar="ACTION", help="Only this action.")]
DecisionOption = Annotated[AuditDecision | None, typer.Option("--decision", help="Only this decision.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Read the tamper-evident log, and prove it.", rich_markup_mode=None)
    group.command("list")(list_rows)
    group.command("verify")(verify_log)
    group.command("export")(export_log)
    app.add_typer(group, name="audit")


def list_rows(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many rows at most.")] = 50,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    connection: ConnectionOption = None,
    action: ActionOption = None,
    decision: DecisionOption = None,
) -> None:
    """Show the newest rows, of every workspace unless one is named."""
    from agenthifive.cli.audit_log import wire
    from agenthifive.cli.database import at_desk

    terminal = begin(context)
    wanted = _wanted(workspace, agent, connection, action, decision, limit)
    entries = at_desk(terminal, lambda desk: _collect(desk, wanted))
    rows = [(entry.record.timestamp, entry.record.action, entry.record.decision, entry.who, entry.what)
            for entry in entries]  # fmt: skip
    terminal.finish(
        {"events": [wire(entry.record) for entry in entries]},
        table(("TIME", "ACTION", "DECISION", "WHO", "WHAT"), rows) if rows else "No row fits.",
    )


def verify_log(context: typer.Context) -> None:
    """Recompute every hash: exit 0 when the log is what was written, 6 when it is not."""
    terminal = begin(context)
    report = verify_and_record(terminal)
    lines = "\n".join(report.as_lines())
    if report.ok:
        terminal.finish(report.as_json(), lines)
        return
    terminal.show(lines)
    raise CommandError(
        "The log is not what was written.",
        exit_code=Exit.INTEGRITY,
        code="audit_integrity",
        hint="Keep the database as it is, and compare it with a backup from before.",
        data=report.as_json(),
    )


def export_log(
    context: typer.Context,
    form: Annotated[str, typer.Option("--format", help="csv or json.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File; without it, standard output.")] = None,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    connection: ConnectionOption = None,
    action: ActionOption = None,
    decision: DecisionOption = None,
) -> None:
    """Write the rows to a file: CSV for spreadsheets, JSON without loss. The export itself is recorded."""
    from agenthifive.audit.export import ExportFormat
    from agenthifive.cli.database import at_desk

    terminal = begin(context)
    if form not in list(ExportFormat):
        raise misused(f"--format {form} is neither csv nor json.")
    wanted = _wanted(workspace, agent, connection, action, decision, None)
    if output is None:
        at_desk(terminal, lambda desk: _export(desk, wanted, ExportFormat(form), sys.stdout.buffer))
        sys.stdout.buffer.flush()
        return
    path = terminal.cwd / output
    with _new_file(path) as file:
        rows = at_desk(terminal, lambda desk: _export(desk, wanted, ExportFormat(form), file))
    terminal.finish({"file": str(path), "rows": rows}, f"Wrote {rows} rows to {path}.")


def _wanted(
    workspace: str | None,
    agent: str | None,
    connection: str | None,
    action: AuditAction | None,
    decision: AuditDecision | None,
    limit: int | None,
) -> "Wanted":
    from agenthifive.cli.audit_log import Wanted

    for option, value in (("--workspace", workspace), ("--agent", agent), ("--connection", connection)):
        if value is not None:
            read_id(option, value)
    return Wanted(workspace, agent, connection, action and str(action), decision and str(decision), limit)


async def _collect(desk: "Desk", wanted: "Wanted") -> "list[Entry]":
    async with _entries(desk, wanted) as entries:
        return [entry async for entry in entries]


@asynccontextmanager
async def _entries(desk: "Desk", wanted: "Wanted") -> "AsyncIterator[AsyncIterator[Entry]]":
    """The rows over a connection of their own."""
    from agenthifive.cli.audit_log import stream_entries

    connection = await desk.database.dedicated()
    try:
        yield stream_entries(connection, wanted)
    finally:
        await connection.close()


async def _export(desk: "Desk", wanted: "Wanted", form_name: "ExportFormat", out: BinaryIO) -> int:
    """Record, write, record again; how many rows were written."""
    from agenthifive.audit.export import FORMS

    form, rows = FORMS[form_name], 0
    metadata: dict[str, Any] = {"format": str(form_name), "filters": wanted.as_metadata()}
    async with desk.unit() as unit:
        unit.record(AuditAction.AUDIT_EXPORTED, {**metadata, "rows": None}, workspace_id=wanted.workspace_id)
    async with _entries(desk, wanted) as entries:
        async for entry in entries:
            if not rows:
                out.write(form.head)
            out.write(form.rows([entry.record], not rows))
            rows += 1
    out.write(form.tail if rows else form.nothing)
    async with desk.unit() as unit:
        done = {**metadata, "rows": rows, "complete": True}
        unit.record(AuditAction.AUDIT_EXPORTED, done, workspace_id=wanted.workspace_id)
    return rows


def verify_and_record(terminal: Terminal) -> "Report":
    """Verify the whole log and record what was found; that it cannot be recorded changes nothing.

    Raises: CommandError.
    """
    import asyncio

    import psycopg

    from agenthifive.audit.verify import verify
    from agenthifive.cli.database import failures_translated, open_desk, open_place

    loaded = terminal.load()

    async def record(report: "Report") -> None:
        async with open_desk(loaded.settings, place) as desk, desk.unit() as unit:
            decision = AuditDecision.ALLOWED if report.ok else AuditDecision.ERROR
            unit.record(AuditAction.AUDIT_VERIFIED, report.as_metadata(), decision=decision)

    with failures_translated(), open_place(terminal, loaded) as place:
        place.require_schema()
        with psycopg.connect(place.app_dsn) as connection:
            report = verify(connection)
        try:
            asyncio.run(record(report))
        except psycopg.Error as error:
            terminal.warn(f"The verification could not be recorded ({type(error).__name__}).")
        return report


def _new_file(path: Path) -> BinaryIO:
    """A file only its owner may read. Raises: CommandError."""
    import os

    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}).", code="unwritable") from None

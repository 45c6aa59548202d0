"""`freeze`, `unfreeze`: the kill switch, at the database of all replicas and in the file of this machine.

freeze --all: the file first, because it works at once and needs nothing, then the database
--local:      the file only

Source: contract/operations.md sections 11 and 15.
"""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli.arguments import misused, read_id
from agenthifive.cli.console import CommandError, Exit, Terminal, begin

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk
    from agenthifive.edge.frozen import FreezeScope

_REASON_MAX: Final = 500
AllOption = Annotated[bool, typer.Option("--all", help="The whole instance.")]
WorkspaceOption = Annotated[str | None, typer.Option("--workspace", metavar="ID", help="Everything of a workspace.")]
AgentOption = Annotated[str | None, typer.Option("--agent", metavar="ID", help="One agent.")]
LocalOption = Annotated[
    bool, typer.Option("--local", help="Only the FREEZE file of this machine; works without the database.")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("freeze")(freeze)
    app.command("unfreeze")(unfreeze)


def freeze(
    context: typer.Context,
    everything: AllOption = False,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    reason: Annotated[str | None, typer.Option(help="Why, for other administrators.")] = None,
    local: LocalOption = False,
) -> None:
    """Stop agents: no call goes out, no token is issued, open streams are cut."""
    from agenthifive.edge.frozen import FreezeScope

    terminal = begin(context)
    scope, target_id = _target(everything, workspace, agent, is_local=local)
    if reason is not None and len(reason) > _REASON_MAX:
        raise misused(f"--reason has more than {_REASON_MAX} characters.")
    data: dict[str, Any] = {"scope": scope, "targetId": target_id, "reason": reason, "file": None}
    if scope is FreezeScope.INSTANCE:
        data["file"] = _write(terminal, reason)
        terminal.say(f"This machine is frozen by {data['file']}.")
    if not local:
        _record(terminal, scope, target_id, reason, data["file"])
    where = "On this machine" if local else "On every replica, within a second"
    terminal.finish(data, f"Frozen: {_named(scope, target_id)}. {where}. Lift it with: agenthifive unfreeze")


def unfreeze(
    context: typer.Context,
    everything: AllOption = False,
    workspace: WorkspaceOption = None,
    agent: AgentOption = None,
    local: LocalOption = False,
) -> None:
    """Let what was stopped go on."""
    from agenthifive.cli.database import at_desk
    from agenthifive.edge.frozen import FreezeScope
    from agenthifive.operations import freeze as switch

    terminal = begin(context)
    scope, target_id = _target(everything, workspace, agent, is_local=local)
    home = terminal.load().settings.agenthifive_home
    had_file = scope is FreezeScope.INSTANCE and (home / switch.FILE_NAME).exists()

    async def lift(desk: "Desk") -> bool:
        async with desk.unit() as unit:
            await switch.lift(unit, scope, target_id)
        return True

    was_recorded = False
    if not local:
        try:
            was_recorded = at_desk(terminal, lift)
        except CommandError as error:
            if error.code != "conflict" or not had_file:
                raise
    if scope is FreezeScope.INSTANCE:
        try:
            had_file = switch.remove_file(home)
        except OSError as error:
            raise _file_failed(str(home / switch.FILE_NAME), error) from None
    if local and not had_file:
        raise CommandError(f"There is no {switch.FILE_NAME} file in {home}.", code="conflict")
    data = {"scope": scope, "targetId": target_id, "fileRemoved": had_file, "databaseLifted": was_recorded}
    terminal.finish(data, f"No longer frozen: {_named(scope, target_id)}.")


def _record(terminal: Terminal, scope: "FreezeScope", target_id: str | None, reason: str | None, file: Any) -> None:
    """Freeze in the database. Raises: CommandError, which says what the file does all the same."""
    from agenthifive.cli.database import at_desk
    from agenthifive.operations import freeze as switch

    async def activate(desk: "Desk") -> None:
        async with desk.unit() as unit:
            await switch.activate(unit, scope, target_id, reason)

    try:
        at_desk(terminal, activate)
    except CommandError as error:
        if file is None:
            raise
        raise CommandError(
            f"{error.message} Only the processes of this machine are frozen.",
            exit_code=error.exit_code,
            code=error.code,
            hint="Run: agenthifive freeze --all --local, on every machine that serves.",
            data={"file": file},
        ) from None


def _write(terminal: Terminal, reason: str | None) -> str:
    from agenthifive.operations import freeze as switch

    home = terminal.load().settings.agenthifive_home
    try:
        return str(switch.write_file(home, reason))
    except OSError as error:
        raise _file_failed(str(home / switch.FILE_NAME), error) from None


def _file_failed(path: str, error: OSError) -> CommandError:
    return CommandError(
        f"{path} cannot be changed ({type(error).__name__}).",
        exit_code=Exit.NOT_PERMITTED,
        code="not_permitted",
        hint="Run the command as the user the server runs as, or set AGENTHIFIVE_HOME.",
    )


def _target(
    everything: bool, workspace: str | None, agent: str | None, *, is_local: bool
) -> "tuple[FreezeScope, str | None]":
    """What the options name. Raises: CommandError unless it is exactly one thing."""
    from agenthifive.edge.frozen import FreezeScope

    if sum((everything, workspace is not None, agent is not None)) != 1:
        raise misused("Name one of --all, --workspace ID and --agent ID.")
    if is_local and not everything:
        raise misused("--local goes with --all: the file stops everything on this machine.")
    if workspace is not None:
        return FreezeScope.WORKSPACE, read_id("--workspace", workspace)
    if agent is not None:
        return FreezeScope.AGENT, read_id("--agent", agent)
    return FreezeScope.INSTANCE, None


def _named(scope: "FreezeScope", target_id: str | None) -> str:
    return "everything" if target_id is None else f"{scope} {target_id}"

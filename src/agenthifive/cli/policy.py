"""`policy explain`: what would happen to a call, and because of which line of which policy.

Source: contract/policy.md section 15.3.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agenthifive.cli import policy_code
from agenthifive.cli.console import CommandError, Exit, Terminal, begin, table

if TYPE_CHECKING:
    from agenthifive.cli.database import Desk

WORKSPACE_OF_AGENT: Final = "SELECT workspace_id::text FROM t_agents WHERE id = %s"


def register(app: typer.Typer) -> None:
    """Add these commands."""
    group = typer.Typer(help="Explain policies, try them, and keep them as files.", rich_markup_mode=None)
    group.command("explain")(explain)
    policy_code.register(group)
    app.add_typer(group, name="policy")


def explain(
    context: typer.Context,
    method: Annotated[str, typer.Argument(metavar="METHOD", help="GET, POST, PUT, PATCH or DELETE.")],
    url: Annotated[str, typer.Argument(metavar="URL", help="Address at the provider.")],
    agent: Annotated[str, typer.Option(help="Id of the agent.")],
    connection: Annotated[str, typer.Option(help="Id of the connection.")],
    body: Annotated[str | None, typer.Option(help="JSON the call would send.")] = None,
) -> None:
    """Say what would happen to a call. Nothing is sent, counted or recorded."""
    from agenthifive.cli.arguments import read_json
    from agenthifive.cli.database import at_desk

    terminal = begin(context)
    request: dict[str, Any] = {"method": method.upper(), "url": url}
    if body is not None:
        request["body"] = read_json("--body", body)
    answer = at_desk(terminal, lambda desk: _explain(desk, agent, connection, request))
    _tell(terminal, answer)


async def _explain(desk: "Desk", agent: str, connection: str, request: Mapping[str, Any]) -> dict[str, Any]:
    from datetime import UTC, datetime

    from agenthifive.broker.address import Guard, parse_allowlist
    from agenthifive.catalog.catalog import load_catalog
    from agenthifive.ids import is_id
    from agenthifive.policies.explain import Explainer, Question

    settings = desk.settings
    row = None
    if is_id(agent):
        async with desk.database.transaction(read_only=True) as link:
            row = await (await link.execute(WORKSPACE_OF_AGENT, [agent])).fetchone()
    if row is None:
        raise CommandError(f"There is no agent {agent}.", exit_code=Exit.SAID_NO, code="not_found")
    http_hosts = Guard(allowlist=parse_allowlist(settings.ssrf_allowlist_hosts)).http_hosts
    catalog = load_catalog(settings.catalog_dir, settings.catalog_extra_hosts)
    question = Question(row[0], agent, request, datetime.now(UTC), connection_id=connection)
    return await Explainer(desk.database, catalog, http_hosts).explain(question)


def _tell(terminal: Terminal, answer: Mapping[str, Any]) -> None:
    lines = [f"{answer['decision']} ({answer['code']})", str(answer["reason"])]
    rule = answer.get("rule")
    if rule is not None:
        lines.append(f"rule: {rule.get('index')} {rule.get('label') or ''}".rstrip())
    if answer.get("hint"):
        lines.append(f"hint: {answer['hint']}")
    terminal.show("\n".join(lines))
    trace: Sequence[Mapping[str, Any]] = answer["trace"]
    if trace:
        terminal.show(table(("GATE", "RESULT", "DETAIL"), [_step(step) for step in trace]))
    terminal.finish(answer)


def _step(step: Mapping[str, Any]) -> tuple[str, str, str]:
    known = ("gate", "result")
    detail = ", ".join(f"{name} {value}" for name, value in step.items() if name not in known and value is not None)
    return str(step.get("gate")), str(step.get("result")), detail

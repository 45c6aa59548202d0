"""What `db adopt` and the end of `db restore` do with a database: prove it and say what to look at.

Source: contract/operations.md section 3.4.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from agenthifive.cli.console import CommandError, Exit, Terminal

if TYPE_CHECKING:
    from agenthifive.audit.verify import Report
    from agenthifive.cli.database import Place
    from agenthifive.operations.adoption import Active, Opened
    from agenthifive.operations.instance import Identity
    from agenthifive.operations.manifest import Manifest
    from agenthifive.settings import Settings
    from agenthifive.vault.keyring import Keyring

_SHOWN_MAX: Final = 20
_CAPITAL: Final = re.compile("[A-Z]")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done and found. Shapes: tokens: revoked; None when they stay. rollback: what the anchors say."""

    identity: "Identity"
    tokens: int | None
    opened: "Opened"
    report: "Report"
    rollback: Sequence[str]
    active: "Active"

    @property
    def is_good(self) -> bool:
        """Whether every proof succeeded."""
        return not self.opened.failed and self.report.ok and not self.rollback


def adopt_place(
    terminal: Terminal,
    settings: "Settings",
    place: "Place",
    keyring: "Keyring",
    *,
    anchors: "Sequence[Manifest]",
    revokes_tokens: bool,
    is_set_back: bool = False,
    before: str | None = None,
) -> None:
    """Take a database into use and tell the result.

    Shapes: before: the revision it was restored at, when it was migrated since.
    Raises: CommandError with exit code 6 when a proof fails; psycopg.Error, KeysMissing.
    """
    terminal.say("Adopting the database: opening every record, verifying the log")
    outcome = asyncio.run(
        _adopt(settings, place, keyring, anchors, before, revokes_tokens=revokes_tokens, is_set_back=is_set_back)
    )
    if outcome.is_good:
        terminal.finish(_as_json(outcome), "\n".join(_as_lines(outcome)))
        return
    terminal.show("\n".join(_as_lines(outcome)))
    raise CommandError(
        "The database is not what it should be.",
        exit_code=Exit.INTEGRITY,
        code="adopt_failed",
        hint="Do not serve from it. Try another backup, and keep this one as it is.",
        data=_as_json(outcome),
    )


async def _adopt(
    settings: "Settings",
    place: "Place",
    keyring: "Keyring",
    anchors: "Sequence[Manifest]",
    before: str | None,
    *,
    revokes_tokens: bool,
    is_set_back: bool,
) -> Outcome:
    import psycopg

    from agenthifive.audit.verify import verify
    from agenthifive.cli.database import open_desk
    from agenthifive.db.migrate import HEAD
    from agenthifive.operations import adoption
    from agenthifive.operations.backup import read_kids
    from agenthifive.operations.restore import require_kids
    from agenthifive.words import AuditAction, AuditDecision

    async with open_desk(settings, place, is_set_back=is_set_back) as desk:
        tokens = None
        async with desk.unit() as unit:
            if before not in (None, HEAD):
                unit.record(AuditAction.DATABASE_MIGRATED, {"from": before, "to": HEAD})
            if revokes_tokens:
                tokens = await adoption.revoke_tokens(unit)
        with psycopg.connect(place.app_dsn, autocommit=True) as connection:
            require_kids(read_kids(connection), keyring.kids)
            await adoption.close_dead_calls(desk.unit, connection)
            opened = adoption.open_everything(connection, keyring)
            rollback = [line for anchor in anchors for line in adoption.compare_with_anchor(connection, anchor)]
            active = adoption.list_active(connection)
        with psycopg.connect(place.app_dsn) as connection:
            report = verify(connection)
        async with desk.unit() as unit:
            decision = AuditDecision.ALLOWED if report.ok else AuditDecision.ERROR
            unit.record(AuditAction.AUDIT_VERIFIED, report.as_metadata(), decision=decision)
        return Outcome(desk.identity, tokens, opened, report, rollback, active)


def _as_json(outcome: Outcome) -> dict[str, Any]:
    restored = outcome.identity.restored
    return {
        "epoch": outcome.identity.instance.epoch,
        "previousEpoch": None if restored is None else restored.previous_epoch,
        "voided": None if restored is None else dict(restored.voided),
        "revokedTokens": outcome.tokens,
        "sealed": {
            "records": outcome.opened.records,
            "failed": outcome.opened.failed,
            "unreadable": list(outcome.opened.unreadable),
        },
        "audit": outcome.report.as_json(),
        "rollback": list(outcome.rollback),
        "active": {
            "asOf": outcome.active.as_of,
            "agents": [{"id": id_, "name": name} for id_, name in outcome.active.agents],
            "users": [{"id": id_, "email": email} for id_, email in outcome.active.people],
        },
    }


def _as_lines(outcome: Outcome) -> list[str]:
    instance, restored = outcome.identity.instance, outcome.identity.restored
    lines = [f"Epoch {instance.epoch}; nothing new was spent: it had been raised before."]
    if restored is not None:
        spent = ", ".join(f"{count} {_CAPITAL.sub(_apart, kind)}" for kind, count in restored.voided.items())
        lines = [f"Epoch {instance.epoch}, was {restored.previous_epoch}. Spent: {spent}."]
    if outcome.tokens is None:
        lines.append("Personal access tokens stay; --revoke-pats revokes them.")
    else:
        lines.append(f"Revoked {outcome.tokens} personal access tokens.")
    lines.append(f"{outcome.opened.records - outcome.opened.failed} sealed records open.")
    lines += [f"unreadable: {place}" for place in outcome.opened.unreadable]
    lines += outcome.report.as_lines()
    lines += outcome.rollback
    return [*lines, *_active_lines(outcome.active)]


def _active_lines(active: "Active") -> list[str]:
    """Who to look at: the database cannot know who was stopped after the dump was taken."""
    since = "" if active.as_of is None else f", which last heard of anything at {active.as_of}"
    lines = [f"These may act as far as the database knows{since}. Disable again whoever was stopped later:"]
    for kind, everybody in (("agent", active.agents), ("user", active.people)):
        lines += [f"  {kind} {name} ({id_})" for id_, name in everybody[:_SHOWN_MAX]]
        if len(everybody) > _SHOWN_MAX:
            lines.append(f"  and {len(everybody) - _SHOWN_MAX} further {kind}s; --json lists all")
    return lines


def _apart(capital: re.Match[str]) -> str:
    """`agentTokens` in words."""
    return f" {capital[0].lower()}"

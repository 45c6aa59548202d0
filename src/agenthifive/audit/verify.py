"""Recomputing the log: is it what was written, complete and in order?

    l_audit_chains -> genesis of each chain -+
    l_audit_events, by chain and number ------+-> ChainChecker.feed(row) -> problems
    intents and outcomes without each other ------------------------------> problems

The whole check reads one snapshot, so it may run beside live writers. The rows stream: memory does not grow with the
log. Source: contract/audit.md sections 5 and 6 (steps 3, 4 and 8).

GAP: without signed checkpoints nothing says where a chain ends or which chains exist. A chain whose rows were written
anew from some row on, with right hashes, a chain that was cut short, and a chain removed together with its record
look whole; only the two halves of a call that miss each other betray some of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec
import psycopg
from psycopg.types.string import TextLoader

from agenthifive.audit.model import Content, canonical, genesis, link_hash
from agenthifive.words import AuditAction

PROBLEMS_MAX: Final = 100
_INTENTS: Final = [str(AuditAction.EXECUTION_REQUESTED), str(AuditAction.TOKEN_VEND_REQUESTED)]
_BATCH_ROWS: Final = 1000

SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# the text forms below are read character by character
TEXT_FORMS: Final = "SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)"
CHAINS: Final = "SELECT chain_id, kind, instance, epoch, opened_at, prev_checkpoint FROM l_audit_chains"
# the columns of Content in its order, then the two hashes
ROWS: Final = """
    SELECT action, actor, agent_id, approval_id, audit_id, chain_id, chain_seq, connection_id, decision, intent_id, ip,
           metadata, policy_id, principal_id, principal_type, request_id, rule_id, "timestamp", user_agent,
           workspace_id, prev_hash, hash
      FROM l_audit_events ORDER BY chain_id, chain_seq
"""
ORPHAN_INTENTS: Final = f"""
    SELECT i.chain_id, i.chain_seq, i.audit_id FROM l_audit_events i
     WHERE i.action = ANY(%(intents)s) AND i."timestamp" < now() - interval '5 minutes'
       AND NOT EXISTS (SELECT FROM l_audit_events o WHERE o.intent_id = i.audit_id)
     ORDER BY i.chain_id, i.chain_seq LIMIT {PROBLEMS_MAX}
"""
ORPHAN_OUTCOMES: Final = f"""
    SELECT o.chain_id, o.chain_seq, o.audit_id FROM l_audit_events o
     WHERE o.intent_id IS NOT NULL AND NOT EXISTS (
           SELECT FROM l_audit_events i WHERE i.audit_id = o.intent_id AND i.action = ANY(%(intents)s))
     ORDER BY o.chain_id, o.chain_seq LIMIT {PROBLEMS_MAX}
"""

Row = tuple[Any, ...]
_decode = msgspec.json.decode


class ProblemCode(StrEnum):
    """What is wrong. Source: contract/audit.md section 6."""

    CHAIN_MISSING = "chain_missing"
    CHAIN_GENESIS = "chain_genesis"
    ROW_MISSING = "row_missing"
    ROW_ALTERED = "row_altered"
    ROW_LINK = "row_link"
    ORPHAN_INTENT = "orphan_intent"
    ORPHAN_OUTCOME = "orphan_outcome"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault and its place. `audit_id` is None where a row is missing."""

    code: ProblemCode
    chain_id: str
    seq: int
    audit_id: str | None


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found: at most the first hundred problems, by chain and number, then the orphans."""

    chains: int
    rows: int
    problems: Sequence[Problem]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        """The wire form. Source: contract/audit.md section 6; without checkpoints every row belongs to the tail."""
        return {
            "ok": self.ok,
            "chains": self.chains,
            "rows": self.rows,
            "checkpoints": 0,
            "tailRows": self.rows,
            "lastCheckpoint": None,
            "problems": [
                {"code": found.code, "chainId": found.chain_id, "seq": found.seq, "n": None, "auditId": found.audit_id}
                for found in self.problems
            ],
        }

    def as_metadata(self) -> dict[str, Any]:
        """The metadata of the row that records a verification. Source: contract/audit.md section 3."""
        first = self.problems[0].code if self.problems else None
        return {
            "chains": self.chains,
            "rows": self.rows,
            "checkpoints": 0,
            "firstProblem": None if first is None else str(first),
        }

    def as_lines(self) -> list[str]:
        """One line per problem and a last one that says how much was read."""
        lines = [
            f"{found.code}: chain {found.chain_id} row {found.seq}"
            + ("" if found.audit_id is None else f" (audit id {found.audit_id})")
            for found in self.problems
        ]
        figures = f"{self.rows:,} rows in {self.chains:,} chains".replace(",", " ")
        if self.ok:
            return [f"verified {figures}"]
        shown = f"the first {PROBLEMS_MAX} problems" if len(lines) == PROBLEMS_MAX else f"problems: {len(lines)}"
        return [*lines, f"read {figures}; {shown}"]


class ChainChecker:
    """Takes the rows of all chains, each chain's in order, and keeps what is wrong with them. Pure."""

    def __init__(self, genesis_by_chain: Mapping[str, bytes]) -> None:
        self._genesis = genesis_by_chain
        self._chain_id: str | None = None
        self._seq = 0
        self._head: bytes | None = None
        self.rows = 0
        self.chains = len(genesis_by_chain)
        self.problems: list[Problem] = []

    def feed(self, row: Row) -> None:
        """Check one row against the one before it.

        Shapes: row: the columns of ROWS; ids, times and metadata as PostgreSQL writes them.
        """
        chain_id, seq, previous = row[5], row[6], row[20]
        if chain_id != self._chain_id:
            self._begin(row)
        expected = self._seq + 1
        if seq != expected:
            self._note_gap(row, expected)
        elif previous != self._head and self._head is not None:
            self._note(ProblemCode.ROW_LINK if seq > 1 else ProblemCode.CHAIN_GENESIS, row)
        if hash_of(row) != row[21]:
            self._note(ProblemCode.ROW_ALTERED, row)
        self.rows += 1
        self._seq, self._head = seq, row[21]

    def _begin(self, row: Row) -> None:
        chain_id = row[5]
        self._chain_id, self._seq, self._head = chain_id, 0, self._genesis.get(chain_id)
        if self._head is None:
            self.chains += 1
            self._note(ProblemCode.CHAIN_MISSING, row)

    def _note_gap(self, row: Row, expected: int) -> None:
        if row[6] > expected:
            self.note(Problem(ProblemCode.ROW_MISSING, row[5], expected, None))
        else:
            self._note(ProblemCode.ROW_LINK, row)  # the same number twice

    def _note(self, code: ProblemCode, row: Row) -> None:
        self.note(Problem(code, row[5], row[6], row[4]))

    def note(self, problem: Problem) -> None:
        """Keep a problem while there is room."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def hash_of(row: Row) -> bytes | None:
    """The hash a row must have by its columns and its own `prev_hash`; None for columns no writer can have written."""
    try:
        members = (*row[:11], _decode(row[11]), *row[12:17], _wire_time(row[17]), row[18], 1, row[19])
        return link_hash(row[20], canonical(Content(*members)))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def verify(connection: psycopg.Connection[Any]) -> Report:
    """Check the whole log of the database behind a fresh connection; nothing is written.

    Raises: psycopg.Error.
    """
    with connection.transaction():
        connection.execute(SNAPSHOT)
        return check_all(connection)


def check_all(connection: psycopg.Connection[Any]) -> Report:
    """The same in a transaction of the caller's, which sees what that transaction sees. Raises: psycopg.Error."""
    connection.execute(TEXT_FORMS)
    checker = ChainChecker(dict(_read_genesis(connection)))
    for row in _cursor(connection).stream(ROWS, size=_BATCH_ROWS):
        checker.feed(row)
    for code, statement in (
        (ProblemCode.ORPHAN_INTENT, ORPHAN_INTENTS),
        (ProblemCode.ORPHAN_OUTCOME, ORPHAN_OUTCOMES),
    ):
        for chain_id, seq, audit_id in _cursor(connection).execute(statement, {"intents": _INTENTS}):
            checker.note(Problem(code, chain_id, seq, audit_id))
    return Report(checker.chains, checker.rows, checker.problems)


def _read_genesis(connection: psycopg.Connection[Any]) -> Iterator[tuple[str, bytes]]:
    for chain_id, kind, instance, epoch, opened_at, prev_checkpoint in _cursor(connection).execute(CHAINS):
        yield chain_id, genesis(chain_id, kind, instance, epoch, _wire_time(opened_at), prev_checkpoint)


def _cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[Any]:
    """A cursor that leaves ids, times and JSON as text: they are hashed as text, not worked with."""
    cursor = connection.cursor()
    for name in ("uuid", "jsonb", "timestamptz"):
        cursor.adapters.register_loader(name, TextLoader)
    return cursor


def _wire_time(text: str) -> str:
    """`2026-11-23 15:00:01.25+00` as it was hashed: `2026-11-23T15:00:01.250Z`."""
    if len(text) == 26:  # three digits, as nine times in ten
        return text[:10] + "T" + text[11:23] + "Z"
    return f"{text[:10]}T{text[11:19]}.{text[20:-3]:0<3}Z"

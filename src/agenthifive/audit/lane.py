"""One lane of the writer: a connection, a chain, one batch in flight.

The head of the chain moves in memory only after COMMIT is confirmed. When the result of a commit is unknown the
lane reads the chain's head back, and gives the chain up when it cannot. Source: contract/audit.md section 4.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

import msgspec
import psycopg

from agenthifive.audit.chains import HEAD, Instance, open_new
from agenthifive.audit.model import Chain, Event
from agenthifive.db.database import Connection
from agenthifive.db.direct import Direct

BATCH_MAX: Final = 256
# what a unique violation means, by the name of its constraint
_OUTCOME_EXISTS: Final = frozenset({"l_audit_events_intent", "l_audit_events_pkey"})
_KEY_EXISTS: Final = "t_idempotency_keys_pkey"
_JTI_EXISTS: Final = "l_jti_replay_cache_pkey"
_APPEND: Final = b"SELECT audit_append($1::text::json)"
_COMMIT: Final = b"SELECT broker_commit($1::text::json, $2::text::json, $3::text::json)"
_ISSUE: Final = b"SELECT tokens_commit($1::text::json, $2::text::json)"
_READ_BACK_S: Final = 2.0


_REMEMBERED_CHAINS: Final = 64


class Kind(Enum):
    """What a row is to its caller: something to wait for, or something to be sure of."""

    INTENT = auto()
    REFUSAL = auto()
    OUTCOME = auto()


class NotWritten(Exception):
    """The batch, or what is left of it, is not in the log."""


class BudgetExceeded(Exception):
    """The hourly limit of the policy is used up; nothing was written for this call."""

    def __init__(self, used: int, retry_after_s: int) -> None:
        super().__init__(used)
        self.used = used
        self.retry_after_s = retry_after_s


class KeyTaken(Exception):
    """Another call holds this idempotency key; nothing was written for this call."""


class TokenRefused(Exception):
    """The token cannot be issued; nothing was written for it. `reason`: "replay", "changed" or "inactive"."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RateUnit(msgspec.Struct, frozen=True):
    """One call counted against a policy's hourly limit."""

    agent_id: str
    connection_id: str
    max_per_hour: int


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key to be claimed by an intent."""

    principal: str
    key: str
    fingerprint: str
    workspace_id: str
    ttl_s: int


class NewToken(msgspec.Struct, frozen=True, rename="camel"):
    """An access token to be stored with its row, and the assertion it is paid with: the SQL type `new_token`.

    Units: jti_expires_at: seconds since the epoch.
    """

    audit_id: str
    id: str
    agent_id: str
    workspace_id: str
    thumbprint: str
    token_hash: str
    form: str
    scopes: tuple[str, ...]
    ttl_seconds: int
    jti: str
    jti_expires_at: int
    max_tokens: int


@dataclass(slots=True, eq=False)
class Entry:
    """A row on its way into the log, and who waits for it."""

    kind: Kind
    event: Event
    future: asyncio.Future[bool]
    unit: RateUnit | None = None
    claim: Claim | None = None
    token: NewToken | None = None
    entered_at: float = 0.0
    has_given_up: bool = False
    is_written: bool = False


class Lane:
    """Writes batches, one at a time."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], instance: Instance, name: str) -> None:
        self._connect = connect
        self._instance = instance
        self._name = name
        self._connection: Direct | None = None
        self.chain: Chain | None = None
        self.opened: deque[str] = deque(maxlen=_REMEMBERED_CHAINS)
        self.is_up = False

    async def connect(self) -> None:
        """Have a connection and a chain. Raises: psycopg.Error, OSError."""
        if self._connection is None or self._connection.closed or self.chain is None:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None
            async with _kept(await self._connect()) as connection:
                if self.chain is None:
                    self.chain = await open_new(connection, self._instance, "broker", self._name)
                    self.opened.append(self.chain.chain_id)
                self._connection = Direct(connection)
        self.is_up = True

    async def close(self) -> None:
        """Give the connection back."""
        self.is_up = False
        if self._connection is not None:
            await self._connection.close()

    async def write(self, batch: Sequence[Entry], deadline_s: float) -> None:
        """Commit the batch; each entry's future is answered as soon as its fate is known.

        Raises: NotWritten when entries are left that are neither written nor refused.
        """
        try:
            async with asyncio.timeout(deadline_s):
                await self.connect()
                await self._write_all(_without_repeats(batch))
        except (psycopg.Error, OSError, TimeoutError) as error:
            self.is_up = False
            raise NotWritten from error

    async def _write_all(self, batch: list[Entry]) -> None:
        while batch:
            try:
                answer, successor = await self._send(batch)
            except psycopg.errors.UniqueViolation as clash:
                constraint = clash.diag.constraint_name
                if constraint == _JTI_EXISTS or (constraint == _KEY_EXISTS and len(batch) > 1):
                    continue  # who holds the key has committed by now: the next answer names who came too late
                await self._write_apart(batch, clash)
                return
            if answer is None:
                self.chain = successor
                for entry in batch:
                    _succeed(entry)
                return
            left = _without_refused(batch, answer)
            if len(left) == len(batch) > 1:  # limits of one pair that differ: not to be judged together
                for entry in batch:
                    await self._write_all([entry])
                return
            batch = left

    async def _write_apart(self, batch: list[Entry], clash: psycopg.errors.UniqueViolation) -> None:
        """After a clash: each entry by itself, and the one that clashes again is answered by what it met."""
        if len(batch) > 1:
            for entry in batch:
                await self._write_all([entry])
            return
        entry, constraint = batch[0], clash.diag.constraint_name
        if entry.kind is Kind.OUTCOME and constraint in _OUTCOME_EXISTS:
            _succeed(entry)  # written by a commit we never heard of, or by the job that closes orphans
        elif entry.claim is not None and constraint == _KEY_EXISTS:
            _fail(entry, KeyTaken())
        else:
            self.chain = None  # rows we do not know of follow our head: it is not ours to extend
            raise clash

    async def _send(self, batch: Sequence[Entry]) -> tuple[Any, Chain]:
        """What stood in the way, None when everything was written; and the chain as it is then."""
        assert self._connection is not None
        assert self.chain is not None
        rows, successor = self.chain.link([entry.event for entry in batch])
        units, claims, tokens = _units(batch), _claims(batch), _tokens(batch)
        try:
            if tokens is not None:
                answer = await self._connection.call(b"issue", _ISSUE, [rows, tokens])
            elif units is None and claims is None:
                await self._connection.call(b"append", _APPEND, [rows])
                return None, successor
            else:
                answer = await self._connection.call(b"commit", _COMMIT, [rows, units, claims])
        except (psycopg.OperationalError, OSError, asyncio.CancelledError):
            await self._settle(batch, successor)
            raise
        return None if answer is None else msgspec.json.decode(answer), successor

    async def _settle(self, batch: Sequence[Entry], successor: Chain) -> None:
        """The commit's result is unknown: read the head back, or give the chain up."""
        before, self.chain = self.chain, None
        assert before is not None
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):  # else it might still commit after the head was read
                await self._connection.cancel(_READ_BACK_S / 2)
            with contextlib.suppress(psycopg.Error, OSError):
                await self._connection.close()
        self._connection = None
        try:
            async with asyncio.timeout(_READ_BACK_S):
                async with _kept(await self._connect()) as connection:
                    row = await (await connection.execute(HEAD, [before.chain_id])).fetchone()
                    self._connection = Direct(connection)
        except (psycopg.Error, OSError, TimeoutError):
            return
        # by its hash, not its number: a batch that was given up earlier may have taken this one's place
        head = None if row is None else row[0]
        if head == successor.head:
            self.chain = successor
            for entry in batch:
                _succeed(entry)
        elif head == before.head or (head is None and before.seq == 0):
            self.chain = before


@contextlib.asynccontextmanager
async def _kept(connection: Connection) -> AsyncIterator[Connection]:
    """A new connection that is closed unless the block ends well."""
    try:
        yield connection
    except BaseException:
        await connection.close()
        raise


def _succeed(entry: Entry) -> None:
    entry.is_written = True
    if not entry.future.done():
        entry.future.set_result(True)


def _units(batch: Sequence[Entry]) -> bytes | None:
    """The rate units of the batch, one row a pair, in an order that cannot deadlock with another lane."""
    sums: dict[tuple[str, str], list[int]] = {}
    for entry in batch:
        if entry.unit is not None:
            pair = sums.setdefault((entry.unit.agent_id, entry.unit.connection_id), [0, entry.unit.max_per_hour])
            pair[0] += 1
            pair[1] = min(pair[1], entry.unit.max_per_hour)
    if not sums:
        return None
    rows = [
        {"agent": agent, "connection": connection, "units": count, "max": maximum}
        for (agent, connection), (count, maximum) in sorted(sums.items())
    ]
    return msgspec.json.encode(rows)


def _claims(batch: Sequence[Entry]) -> bytes | None:
    rows = [
        {
            "principal": entry.claim.principal,
            "key": entry.claim.key,
            "fingerprint": entry.claim.fingerprint,
            "auditId": entry.event.audit_id,
            "workspaceId": entry.claim.workspace_id,
            "ttlSeconds": entry.claim.ttl_s,
        }
        for entry in batch
        if entry.claim is not None
    ]
    rows.sort(key=lambda row: (row["principal"], row["key"]))  # two lanes with the same keys must not deadlock
    return msgspec.json.encode(rows) if rows else None


def _tokens(batch: Sequence[Entry]) -> bytes | None:
    """The tokens of the batch. Tokens have lanes of their own: no unit or claim is ever beside them."""
    tokens = [entry.token for entry in batch if entry.token is not None]
    return msgspec.json.encode(tokens) if tokens else None


def _without_repeats(batch: Sequence[Entry]) -> list[Entry]:
    """Of the entries that claim one idempotency key, the first; the others have come too late."""
    keys: set[tuple[str, str]] = set()
    left: list[Entry] = []
    for entry in batch:
        key = None if entry.claim is None else (entry.claim.principal, entry.claim.key)
        if key is not None and key in keys:
            _fail(entry, KeyTaken())
            continue
        if key is not None:
            keys.add(key)
        left.append(entry)
    return left


def _without_refused(batch: Sequence[Entry], answer: Any) -> list[Entry]:
    """Answer those that may not go out; what is left is tried again."""
    if isinstance(answer, list):
        return _without_refused_tokens(batch, answer)
    taken = {claim["auditId"] for claim in answer["taken"]}
    budgets = {(pair["agent"], pair["connection"]): pair for pair in answer["refused"]}
    left: list[Entry] = []
    for entry in batch:
        pair = budgets.get((entry.unit.agent_id, entry.unit.connection_id)) if entry.unit is not None else None
        if entry.event.audit_id in taken:
            _fail(entry, KeyTaken())
        elif pair is not None and entry.unit is not None and pair["used"] >= entry.unit.max_per_hour:
            _fail(entry, BudgetExceeded(pair["used"], pair["retryAfter"]))
        else:
            if pair is not None:
                pair["used"] += 1
            left.append(entry)
    return left


def _without_refused_tokens(batch: Sequence[Entry], answer: Sequence[dict[str, str]]) -> list[Entry]:
    reasons = {refused["auditId"]: refused["reason"] for refused in answer}
    for entry in batch:
        if entry.event.audit_id in reasons:
            _fail(entry, TokenRefused(reasons[entry.event.audit_id]))
    return [entry for entry in batch if entry.event.audit_id not in reasons]


def _fail(entry: Entry, error: Exception) -> None:
    entry.has_given_up = True
    if not entry.future.done():
        entry.future.set_exception(error)

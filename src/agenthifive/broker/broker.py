"""The product on one screen: a call goes through four rooms in one direction, and nothing calls back.

    grant -> judge -> commit (intent, rate unit, idempotency key: one durable write) -> unseal -> inject
          -> egress -> reply -> outcome

Every refusal before the commit leaves one row; every call after it leaves two. Source: contract/broker.md section 3.
"""

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from agenthifive.audit.lane import BudgetExceeded, Claim, KeyTaken, Kind, RateUnit
from agenthifive.audit.model import Event
from agenthifive.audit.writer import AuditUnavailable, Writer
from agenthifive.broker import records
from agenthifive.broker.changes import Changes
from agenthifive.broker.delivery import Delivery, Sent
from agenthifive.broker.egress import Egress, EgressError
from agenthifive.broker.grants import Grants, missing
from agenthifive.broker.idempotency import Idempotency, request_of
from agenthifive.broker.judge import Judged, as_error, check_grant, judge, read_target
from agenthifive.broker.model import Call, Grant, Principal, Reply
from agenthifive.broker.outbound import prepare
from agenthifive.broker.target import ParsedTarget
from agenthifive.broker.vend import vend
from agenthifive.edge.context import Context
from agenthifive.errors import AppError
from agenthifive.policy.decide import Budget
from agenthifive.policy.model import Deny, Hold
from agenthifive.vault.keyring import Keyring

_JUDGED_IN_PLACE_BYTES = 64 * 1024
_NO_ROW = frozenset(
    {"invalid_request", "invalid_json", "unavailable", "key_unavailable", "audit_unavailable", "missing_target"}
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Bounds of brokered calls. Units: seconds, bytes."""

    http_hosts: frozenset[str] = frozenset()
    agent_max_in_flight: int = 32
    head_timeout_s: float = 60.0
    llm_head_timeout_s: float = 300.0
    idempotency_ttl_s: int = 86_400
    rule_evaluation_s: float = 2.0


class Broker:
    """Carries out calls. One per process."""

    def __init__(
        self,
        grants: Grants,
        changes: Changes,
        writer: Writer,
        keyring: Keyring,
        egress: Egress,
        idempotency: Idempotency,
        delivery: Delivery,
        options: BrokerOptions,
    ) -> None:
        self.grants = grants
        self.changes = changes
        self.writer = writer
        self._keyring = keyring
        self._egress = egress
        self._idempotency = idempotency
        self._delivery = delivery
        self._options = options
        self._in_flight: dict[str, int] = {}

    @property
    def agent_max_in_flight(self) -> int:
        """How many calls of one agent may run at a time."""
        return self._options.agent_max_in_flight

    async def handle(self, call: Call) -> Reply:
        """Carry out a call of model B, or vend a token for model A.

        Raises: AppError; after the commit point its body says whether anything was sent.
        """
        grant: Grant | None = None
        judged: Judged | None = None
        try:
            self.require_freshness()
            grant = await self._resolve(call)
            if call.model == "A":
                return await self._vend(call, self._found(call, grant))
            if call.llm_tail is not None:
                grant = self._found(call, grant)  # the address of an LLM call is the connection's
            parsed = read_target(call, grant, self._options.http_hosts)
            grant = self._found(call, grant)
            check_grant(grant, "B")
            judged = await self._judge(call, grant, parsed)
            if isinstance(judged.decision, Deny):
                raise as_error(judged.decision)
            if call.idempotency_key is not None:
                stored = await self._idempotency.find(call, request_of(grant, judged.fingerprint))
                if stored is not None:
                    await self._append(Kind.REFUSAL, records.idempotent_replay(call, grant, stored.audit_id, _now()))
                    return stored.reply
            if call.approval_id is not None:
                raise AppError("approval_not_found", "There is no approval with this id. Send the call without it.")
            if isinstance(judged.decision, Hold):
                raise as_error(judged.decision)
            event = await self._commit(call, grant, judged)
        except AppError as error:
            raise await self._refused(call, grant, judged, error) from None
        return await self._execute(call, grant, judged, event)

    def require_freshness(self) -> None:
        """Grants older than a second decide nothing, and without keys nothing is carried out.

        Raises: AppError (unavailable, key_unavailable).
        """
        self._keyring.require_good()
        if not self.changes.is_fresh:
            raise AppError("unavailable", "The current permissions cannot be confirmed right now. Try again shortly.",
                           retry_after_s=2)  # fmt: skip

    async def refuse_frozen(self, principal: Principal, context: Context, via: str) -> None:
        """Gate 2: what an operator has stopped is refused, and recorded, unread. Raises: AppError (frozen)."""
        try:
            self.grants.frozen.check(principal.workspace_id, principal.agent_id)
        except AppError as error:
            raise await self._refused(Call(principal, context, "B", via), None, None, error) from None

    async def _resolve(self, call: Call) -> Grant | None:
        if call.connection_id is None:
            self._check_service(call.service or "")
        agent_id = call.principal.agent_id or call.agent_id
        workspace_id = call.principal.workspace_id
        if agent_id is None:
            agent_id = await self.grants.newest_agent(workspace_id, call.connection_id, call.service, call.model)
            if agent_id is None:
                # without a policy there is no agent: the grant of nobody tells unknown connections from ungranted ones
                agent_id = "00000000-0000-0000-0000-000000000000"
        elif call.principal.agent_id is None and not await self.grants.has_agent(workspace_id, agent_id):
            raise AppError("not_found", "No agent with this id exists in the workspace. List them with GET /v1/agents.")
        grant = await self.grants.resolve(workspace_id, agent_id, call.connection_id, call.service)
        if grant is not None and call.service is not None and grant.service.id != call.service:
            raise AppError("invalid_request", f"This connection is of the service {grant.service.id}.")
        return grant

    def _check_service(self, service_id: str) -> None:
        """Whether a service may be named instead of a connection. Raises: AppError."""
        service = self.grants.catalog.get(service_id)
        if service is None:
            raise AppError("unknown_service", "No such service. The services are listed at GET /v1/catalog.")
        if not service.file.singleton:
            raise AppError(
                "service_not_singleton",
                f"There may be several {service.file.name} connections. Name one by connectionId; "
                "GET /v1/connections lists them.",
            )

    def _found(self, call: Call, grant: Grant | None) -> Grant:
        by_service = call.connection_id is None
        if grant is None or (by_service and grant.status != "healthy"):
            reason = missing(call.service if by_service else None, grant is not None)
            raise AppError(reason.code, reason.message, hint=reason.hint)
        return grant

    async def _judge(self, call: Call, grant: Grant, parsed: ParsedTarget) -> Judged:
        """Gates 6 to 11. A large body is judged in a thread, so that it delays nobody else's call."""
        boundary = os.urandom(16).hex() if call.body is not None else ""
        now = datetime.now(UTC)
        if call.received_bytes <= _JUDGED_IN_PLACE_BYTES:
            return judge(call, grant, parsed, now=now, boundary=boundary)
        budget = Budget(time.thread_time, self._options.rule_evaluation_s)
        return await asyncio.to_thread(lambda: judge(call, grant, parsed, now=now, boundary=boundary, budget=budget))

    async def _vend(self, call: Call, grant: Grant) -> Reply:
        check_grant(grant, "A")
        self.grants.frozen.check(grant.workspace_id, grant.agent_id)
        return await vend(call, grant, self._keyring, self.writer, now=datetime.now(UTC))

    async def _commit(self, call: Call, grant: Grant, judged: Judged) -> Event:
        """Gate 15: everything that must be true before the first byte leaves, in one durable write."""
        agent_id = grant.agent_id
        self.grants.frozen.check(grant.workspace_id, agent_id)  # it may have been stopped while its body came in
        if self._in_flight.get(agent_id, 0) >= self._options.agent_max_in_flight:
            raise AppError(
                "rate_limited",
                f"This agent has {self._options.agent_max_in_flight} calls running. Wait for one to end.",
                detail="in_flight",
                retry_after_s=1,
            )
        event = records.intent(call, grant, judged, _now())
        entry = self.writer.entry(Kind.INTENT, event)
        assert grant.policy is not None
        limit = grant.policy.max_requests_per_hour
        if limit is not None:
            entry.unit = RateUnit(agent_id, grant.connection_id, limit)
        if call.idempotency_key is not None:
            entry.claim = Claim(
                call.principal.id,
                call.idempotency_key,
                request_of(grant, judged.fingerprint),
                grant.workspace_id,
                self._options.idempotency_ttl_s,
            )
        self._in_flight[agent_id] = self._in_flight.get(agent_id, 0) + 1
        is_committed = False
        try:
            await self.writer.append(entry)
            is_committed = True
        except BudgetExceeded as spent:
            raise AppError(
                "budget_exceeded",
                f"The policy allows {limit} requests an hour and they are used up. Try again in "
                f"{spent.retry_after_s} seconds.",
                retry_after_s=spent.retry_after_s,
                extra={"limit": {"name": "policy", "max": limit, "windowSeconds": 3600}, "used": spent.used},
            ) from None
        except KeyTaken:
            raise self._idempotency.in_progress() from None
        except AuditUnavailable:
            raise audit_unavailable() from None
        finally:
            if not is_committed:
                self._release(agent_id)
        return event

    async def _execute(self, call: Call, grant: Grant, judged: Judged, event: Event) -> Reply:
        """Gates 16 to 20: from here on an outcome row follows whatever happens."""
        started = asyncio.get_running_loop().time()
        self.grants.used_connections.add(grant.connection_id)
        sent = Sent(call, grant, judged, event, started, self._release)
        try:
            outbound, scrubber = prepare(call, grant, judged, self._keyring)
            is_llm = grant.facts.is_llm
            timeout_s = self._options.llm_head_timeout_s if is_llm else self._options.head_timeout_s
            wire = await self._egress.send(outbound, timeout_s)
        except (EgressError, AppError) as error:
            raise await self._delivery.fail(sent, error) from None
        except BaseException:
            await asyncio.shield(self._delivery.abandon(sent))
            raise
        return await self._delivery.deliver(sent, outbound, wire, scrubber)

    def _release(self, agent_id: str) -> None:
        left = self._in_flight[agent_id] - 1
        if left:
            self._in_flight[agent_id] = left
        else:
            del self._in_flight[agent_id]

    async def _refused(self, call: Call, grant: Grant | None, judged: Judged | None, error: AppError) -> AppError:
        """The refusal with the id of the row that records it; without the row there is no answer but 503."""
        if error.code in _NO_ROW or "auditId" in (error.extra or {}):
            return error
        event = records.refusal(call, grant, judged, error, _now())
        try:
            await self._append(Kind.REFUSAL, event)
        except AppError as unavailable:
            return unavailable
        shown = {name: value for name, value in (error.extra or {}).items() if name != "used"}
        error.extra = {**shown, "auditId": event.audit_id}
        return error

    async def _append(self, kind: Kind, event: Event) -> None:
        try:
            await self.writer.append(self.writer.entry(kind, event))
        except AuditUnavailable:
            raise audit_unavailable() from None


def audit_unavailable() -> AppError:
    """The refusal when a call cannot be recorded."""
    return AppError(
        "audit_unavailable", "The call could not be recorded, so it was not carried out. Try again.", retry_after_s=2
    )


def _now() -> float:
    return time.time()

"""From the provider's head to the agent's reply, and the outcome row that every sent call gets.

    head -> redirect? -> kind -> buffered: read, decode, filter, scrub -> envelope (execute) or as it is (LLM proxy)
                              -> raw: a stream or download, scrubbed piece by piece          (streaming.py)
         -> outcome row, then reply

Source: contract/broker.md sections 9 to 11, 14.3 and 16.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from agenthifive.audit.lane import Kind as RowKind
from agenthifive.audit.model import Event
from agenthifive.audit.writer import Writer
from agenthifive.broker import records
from agenthifive.broker.content import Kind, kind_of
from agenthifive.broker.decompress import BadEncoding, Decompressor, TooLarge
from agenthifive.broker.egress import Egress, EgressError, Outbound, as_egress
from agenthifive.broker.filters import Filters, unfilterable
from agenthifive.broker.idempotency import Idempotency
from agenthifive.broker.judge import Judged
from agenthifive.broker.model import Call, Grant, Reply
from agenthifive.broker.redirects import follow
from agenthifive.broker.replies import Arrived, envelope, passed_on, summary_of_binary
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.streaming import Streaming
from agenthifive.broker.wire import Wire, WireError
from agenthifive.errors import AppError
from agenthifive.policy.constraints.inbound import inbound_filter
from agenthifive.policy.replies import reply_rules
from agenthifive.words import AuditAction, AuditDecision, Outcome

BUFFERED_BYTES_MAX: Final = 10 * 1024 * 1024
_FILTERED_IN_PLACE_BYTES: Final = 64 * 1024
_BUFFERED_IDLE_S: Final = 60.0
_BUFFERED_TOTAL_S: Final = 120.0
_LLM_TOTAL_S: Final = 600.0

log = structlog.get_logger(__name__)
AuthFailure = Callable[[Grant, int, bytes | None], None]


@dataclass(slots=True)
class Sent:
    """A call after its commit point, and how it is going.

    Shapes:
        started_s: loop time. release: frees the agent's place among the running calls; called once, at the end.
    """

    call: Call
    grant: Grant
    judged: Judged
    intent: Event
    started_s: float
    release: Callable[[str], None]
    attempts: int = 1
    status: int = 0
    size_bytes: int = 0
    redirect_host: str | None = None
    is_client_gone: bool = False
    is_concluded: bool = False

    @property
    def audit_id(self) -> str:
        """What the reply names."""
        return self.intent.audit_id

    def outcome_metadata(self) -> dict[str, Any]:
        """The members every outcome of a sent call has."""
        metadata: dict[str, Any] = {
            "provider": self.grant.service.provider,
            "service": self.grant.service.id,
            "method": self.call.method,
            "path": self.judged.target.path,
            "dataSize": self.size_bytes,
            "durationMs": int((asyncio.get_running_loop().time() - self.started_s) * 1000),
            "attempts": self.attempts,
        }
        if self.status:
            metadata["responseStatus"] = self.status
        redactions = getattr(self.judged.decision, "redactions", ())
        if redactions:
            metadata["redactions"] = [{"type": found.type, "count": found.count} for found in redactions]
        if self.is_client_gone:
            metadata["clientGone"] = True
        if self.redirect_host is not None:
            metadata["redirectHost"] = self.redirect_host
        return metadata


class Delivery:
    """Turns provider replies into ours."""

    def __init__(
        self,
        writer: Writer,
        egress: Egress,
        idempotency: Idempotency,
        streaming: Streaming,
        *,
        max_download_bytes: int,
        on_auth_failure: AuthFailure,
    ) -> None:
        self._writer = writer
        self._egress = egress
        self._idempotency = idempotency
        self._streaming = streaming
        self._max_download_bytes = max_download_bytes
        self._on_auth_failure = on_auth_failure

    async def deliver(self, sent: Sent, outbound: Outbound, wire: Wire, scrubber: SecretScrubber) -> Reply:
        """The reply for a head that has arrived. Raises: AppError."""
        try:
            try:
                outbound, wire = await follow(self._egress, sent, outbound, wire)
                sent.status = wire.status
                return await self._answer(sent, outbound, wire, scrubber)
            except WireError as error:
                raise as_egress(error) from None
            except TooLarge:
                raise EgressError("response_too_large", "", was_sent=True) from None
            except BadEncoding:
                raise EgressError("upstream_invalid", "encoding", was_sent=True) from None
        except (EgressError, AppError) as error:
            wire.close()
            raise await self.fail(sent, error) from None
        except BaseException:
            wire.close()
            await asyncio.shield(self.abandon(sent))
            raise

    async def _answer(self, sent: Sent, outbound: Outbound, wire: Wire, scrubber: SecretScrubber) -> Reply:
        call = sent.call
        policy = sent.grant.policy
        assert policy is not None
        request = sent.judged.request
        filters = Filters(reply_rules(policy, request), inbound_filter(policy.constraint, request))
        arrived = Arrived(wire.status, wire.headers)
        is_success = 200 <= arrived.status < 300
        wants_raw = is_success and (call.stream or call.download or call.via == "llm_proxy")
        kind = kind_of(arrived.content_type, None) if arrived.content_type is not None else None
        if kind is Kind.BINARY and not wants_raw and call.via == "execute" and arrived.may_have_body:
            if filters:
                raise unfilterable("binary")
            self._egress.release(outbound, wire)
            return await self._succeed(sent, summary_of_binary(sent, arrived, scrubber), None)
        if wants_raw and kind is not Kind.JSON and (kind is not None or not filters):
            if filters and kind is Kind.BINARY:
                raise unfilterable("binary")
            return self._stream(sent, outbound, wire, scrubber, arrived, kind, filters)
        body = await self._read(sent, wire, arrived)
        self._egress.release(outbound, wire)
        sent.size_bytes = len(body)
        if arrived.status == 401 or sent.grant.service.file.auth_failure:
            self._on_auth_failure(sent.grant, arrived.status, body)
        is_passed_on = call.via == "llm_proxy" or wants_raw
        make = passed_on if is_passed_on else envelope
        shape = partial(make, sent, arrived, kind or kind_of(None, body[:512]), body, filters, scrubber)
        # A large body is searched in a thread, so that it delays nobody else's call.
        reply = await asyncio.to_thread(shape) if filters and len(body) > _FILTERED_IN_PLACE_BYTES else shape()
        return await self._succeed(sent, reply, None if is_passed_on else reply.body)

    def _stream(
        self,
        sent: Sent,
        outbound: Outbound,
        wire: Wire,
        scrubber: SecretScrubber,
        arrived: Arrived,
        kind: Kind | None,
        filters: Filters,
    ) -> Reply:
        policy = sent.grant.policy
        assert policy is not None
        default = self._max_download_bytes if sent.call.download else BUFFERED_BYTES_MAX
        limit = policy.max_response_bytes or default
        _check_declared(arrived, limit)
        return self._streaming.begin(self, sent, outbound, wire, scrubber, arrived, kind, filters, limit)

    async def _read(self, sent: Sent, wire: Wire, arrived: Arrived) -> bytes:
        """The whole body, decoded. Raises: WireError, TooLarge, BadEncoding, EgressError."""
        policy = sent.grant.policy
        assert policy is not None
        limit = policy.max_response_bytes or BUFFERED_BYTES_MAX
        _check_declared(arrived, limit)
        decoder = Decompressor(arrived.encoding, limit_bytes=limit)
        pieces: list[bytes] = []
        deadline = sent.started_s + (_LLM_TOTAL_S if sent.grant.facts.is_llm else _BUFFERED_TOTAL_S)
        while chunk := await wire.read(_BUFFERED_IDLE_S):
            pieces.extend(decoder.feed(chunk))
            if not wire.is_complete and asyncio.get_running_loop().time() > deadline:
                raise WireError("timeout", "total")
        decoder.finish()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _succeed(self, sent: Sent, reply: Reply, keep: bytes | None) -> Reply:
        """The outcome row first, then the reply. Raises: AppError when a GET's outcome cannot be recorded."""
        is_recorded = await self.conclude(sent, AuditDecision.ALLOWED, sent.outcome_metadata())
        if sent.call.idempotency_key is not None:
            await self._idempotency.settle(sent.grant, sent.audit_id, keep, outcome=None)
        if is_recorded:
            return reply
        if sent.call.method == "GET":
            raise AppError(
                "audit_unavailable",
                "What happened could not be recorded, so the reply is withheld.",
                retry_after_s=2,
                extra={"auditId": sent.audit_id, "outcome": str(Outcome.UNKNOWN)},
            )
        body = reply.body
        if body is not None and sent.call.via == "execute" and body.endswith(b"}"):
            body = body[:-1] + b',"outcomeRecorded":false}'
        return Reply(reply.status, [*reply.headers, ("x-agenthifive-audit-outcome", "deferred")], body)

    async def fail(self, sent: Sent, error: EgressError | AppError) -> AppError:
        """Record a call that did not succeed; the refusal to raise."""
        shown = error if isinstance(error, AppError) else explain(error, sent.judged.target.host)
        was_sent = error.was_sent if isinstance(error, EgressError) else sent.status != 0
        outcome = Outcome.UNKNOWN if was_sent else Outcome.NOT_SENT
        metadata = sent.outcome_metadata() | {"errorCode": shown.code, "outcome": str(outcome)}
        decision, action = AuditDecision.ERROR, AuditAction.EXECUTION_COMPLETED
        if isinstance(error, EgressError) and error.code == "egress_blocked":
            decision, action = AuditDecision.DENIED, AuditAction.EXECUTION_DENIED
            metadata = {
                "model": "B",
                "method": sent.call.method,
                "host": sent.judged.target.host,
                "path": sent.judged.target.path,
                "reason": error.code,
                "detail": error.detail,
                "addressClass": error.address_class or "",
            }
            if error.address is not None:
                metadata["address"] = error.address
        await self.conclude(sent, decision, metadata, action)
        if sent.call.idempotency_key is not None:
            await self._idempotency.settle(sent.grant, sent.audit_id, None, outcome=str(outcome))
        shown.extra = {**(shown.extra or {}), "auditId": sent.audit_id, "outcome": str(outcome)}
        return shown

    async def settle_raw(self, sent: Sent, *, has_failed: bool) -> None:
        """A raw reply is never kept for repetition."""
        outcome = str(Outcome.UNKNOWN) if has_failed else None
        await self._idempotency.settle(sent.grant, sent.audit_id, None, outcome=outcome)

    async def abandon(self, sent: Sent) -> None:
        """The call was cut from outside (client gone, shutdown): whether the provider acted is not known."""
        sent.is_client_gone = True
        metadata = sent.outcome_metadata() | {"errorCode": "cancelled", "outcome": str(Outcome.UNKNOWN)}
        await self.conclude(sent, AuditDecision.ERROR, metadata)
        if sent.call.idempotency_key is not None:
            await self._idempotency.settle(sent.grant, sent.audit_id, None, outcome=str(Outcome.UNKNOWN))

    async def conclude(
        self,
        sent: Sent,
        decision: AuditDecision,
        metadata: dict[str, Any],
        action: AuditAction = AuditAction.EXECUTION_COMPLETED,
    ) -> bool:
        """Write the outcome row, once; False when it will be written later."""
        if sent.is_concluded:
            return True
        sent.is_concluded = True
        sent.release(sent.grant.agent_id)
        row = records.conclusion(sent.intent, action, decision, metadata, time.time())
        return await self._writer.conclude(self._writer.entry(RowKind.OUTCOME, row))


def explain(error: EgressError, host: str) -> AppError:
    """What an agent is told of a failure: the kind of it and the host, never an address or a provider's text."""
    messages = {
        "egress_blocked": f"{host} leads to an address that must not be called ({error.detail}).",
        "upstream_unreachable": f"{host} could not be reached ({error.detail}). Try again later.",
        "upstream_timeout": f"{host} did not answer in time ({error.detail}).",
        "upstream_invalid": f"{host} answered with something that is not valid HTTP ({error.detail}).",
        "response_too_large": f"The reply of {host} is larger than the policy allows. Ask for less at a time.",
        "redirect_blocked": f"The reply redirects to {error.detail or 'another place'}, which is not followed.",
        "llm_redirect": "The provider answered with a redirect, which is never followed here.",
    }
    retries = error.code in ("upstream_unreachable", "upstream_timeout") and not error.was_sent
    has_detail = error.detail and error.code not in ("redirect_blocked", "llm_redirect")
    return AppError(
        error.code,
        messages[error.code],
        detail=error.detail if has_detail else None,
        retry_after_s=2 if retries else None,
    )


def _check_declared(arrived: Arrived, limit_bytes: int) -> None:
    if arrived.encoding is None and arrived.declared_bytes is not None and arrived.declared_bytes > limit_bytes:
        raise EgressError("response_too_large", "", was_sent=True)

"""Raw replies: streams and downloads, decoded, filtered and scrubbed piece by piece, with back-pressure all the way.

    wire.read -> decompress -> rules -> scrub -> client        an early end shows as an error in the stream's own form

The outcome row is written when the stream has ended, however it ended. Source: contract/broker.md sections 10.3,
10.4 and 11.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from agenthifive.broker.content import Kind, media_type_of
from agenthifive.broker.decompress import BadEncoding, Decompressor, TooLarge
from agenthifive.broker.dialects import dialect_of
from agenthifive.broker.egress import Egress, EgressError, Outbound, as_egress
from agenthifive.broker.filters import Filters
from agenthifive.broker.headers import file_name_in, raw_reply_headers
from agenthifive.broker.live import LiveStreams, Running
from agenthifive.broker.model import Reply
from agenthifive.broker.replies import Arrived, llm_headers
from agenthifive.broker.scrub import SecretScrubber, StreamScrubber
from agenthifive.broker.stream_rules import JSON_SEQ, FilteredStream, open_filter
from agenthifive.broker.streams import ends_at_border, stream_error
from agenthifive.broker.wire import Wire, WireError
from agenthifive.words import AuditDecision, Outcome

if TYPE_CHECKING:
    from agenthifive.broker.delivery import Delivery, Sent

_IDLE_S: Final = 120.0
_DOWNLOAD_TOTAL_S: Final = 1800.0
_STREAM_TOTAL_S: Final = 3600.0


class CutOff(Exception):
    """A stream ended before the provider ended it; the code says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Streaming:
    """Begins raw replies and keeps the list of those that run."""

    def __init__(self, egress: Egress, live: LiveStreams) -> None:
        self._egress = egress
        self._live = live

    def begin(
        self,
        delivery: "Delivery",
        sent: "Sent",
        outbound: Outbound,
        wire: Wire,
        scrubber: SecretScrubber,
        arrived: Arrived,
        kind: Kind | None,
        filters: Filters,
        limit_bytes: int,
    ) -> Reply:
        """The head of a raw reply; its chunks follow as they come. Raises: AppError (response_not_filterable)."""
        rules = None
        if filters:
            assert kind is not None
            rules = open_filter(kind, arrived.content_type, filters, scrubber)
            arrived = arrived.in_utf8() if kind is Kind.TEXT else arrived
        if sent.call.via == "llm_proxy":
            headers = llm_headers(sent, arrived, scrubber)
            headers.append(("x-accel-buffering", "no"))
        else:
            headers = raw_reply_headers(
                content_type=arrived.content_type,
                file_name=file_name_in(arrived.disposition) if arrived.disposition else None,
                content_length=None,
                provider_status=arrived.status,
                audit_id=sent.audit_id,
                is_stream=not sent.call.download,
            )
        decoder = Decompressor(arrived.encoding, limit_bytes=limit_bytes)
        is_json_seq = media_type_of(arrived.content_type) == JSON_SEQ
        flow = _Flow(sent, outbound, wire, decoder, rules or scrubber.stream(), rules, kind, is_json_seq)
        return Reply(arrived.status if sent.call.via == "llm_proxy" else 200, headers, None, self._run(delivery, flow))

    async def _run(self, delivery: "Delivery", flow: "_Flow") -> AsyncGenerator[bytes, None]:
        sent = flow.sent
        running = self._live.add(sent, flow.wire.close)
        error: EgressError | CutOff | None = None
        is_whole = False
        tail = b""
        try:
            async for piece in _pieces(flow, running):
                sent.size_bytes += len(piece)
                tail = piece[-4:]
                yield piece
            is_whole = True
        except (EgressError, CutOff) as failure:
            error = failure
        finally:
            self._live.remove(running)
            if is_whole:
                self._egress.release(flow.outbound, flow.wire)
            else:
                flow.wire.close()
                sent.is_client_gone = error is None  # closed or cancelled from the client's side
            await _conclude(delivery, sent, error)
        if error is not None:
            last = _last_words(flow, error.code, tail)
            if last:
                yield last
            raise CutOff(error.code)


@dataclass(frozen=True, slots=True)
class _Flow:
    """One raw reply on its way. `rules` is the stream itself where response rules apply, else None."""

    sent: "Sent"
    outbound: Outbound
    wire: Wire
    decoder: Decompressor
    stream: FilteredStream | StreamScrubber
    rules: FilteredStream | None
    kind: Kind | None
    is_json_seq: bool


async def _pieces(flow: _Flow, running: Running) -> AsyncIterator[bytes]:
    """What the client gets. Raises: EgressError, CutOff."""
    loop = asyncio.get_running_loop()
    deadline = flow.sent.started_s + (_DOWNLOAD_TOTAL_S if flow.sent.call.download else _STREAM_TOTAL_S)
    wire, stream, rules = flow.wire, flow.stream, flow.rules
    is_binary = flow.kind is Kind.BINARY
    try:
        while chunk := await wire.read(_IDLE_S):
            _stop_if_cut(running)  # what had arrived before the cut stays here too
            if loop.time() > deadline:
                raise WireError("timeout", "total")
            for content in flow.decoder.feed(chunk):
                clean = stream.feed(content)
                if is_binary and stream.found:
                    raise EgressError("upstream_invalid", "credential_echo", was_sent=True)
                if clean:
                    yield clean
                if rules is not None and rules.fault:
                    raise CutOff(rules.fault)
        flow.decoder.finish()
    except WireError as failure:
        raise CutOff(running.cut_by) if running.cut_by else as_egress(failure) from None
    except TooLarge:
        raise EgressError("response_too_large", "", was_sent=True) from None
    except BadEncoding:
        raise EgressError("upstream_invalid", "encoding", was_sent=True) from None
    _stop_if_cut(running)
    rest = stream.finish()
    if is_binary and stream.found:
        raise EgressError("upstream_invalid", "credential_echo", was_sent=True)
    if rest:
        yield rest
    if rules is not None and rules.fault:
        raise CutOff(rules.fault)


def _stop_if_cut(running: Running) -> None:
    if running.cut_by:
        raise CutOff(running.cut_by)


def _last_words(flow: _Flow, code: str, tail: bytes) -> bytes:
    """How the end is told in the stream's own form, so that a cut never looks like an end."""
    sent, kind = flow.sent, flow.kind
    if kind not in (Kind.EVENT_STREAM, Kind.LINE_STREAM):
        return b""
    dialect = (
        dialect_of(sent.grant.service, sent.grant.params, sent.judged.target.path)
        if sent.call.via == "llm_proxy"
        else None
    )
    message = "The stream ended early; what was received is not complete."
    is_at_border = ends_at_border(kind, tail)
    return stream_error(kind, dialect, code, message, is_at_border=is_at_border, is_json_seq=flow.is_json_seq)


async def _conclude(delivery: "Delivery", sent: "Sent", error: EgressError | CutOff | None) -> None:
    metadata = sent.outcome_metadata()
    decision = AuditDecision.ALLOWED
    if error is not None:
        decision = AuditDecision.ERROR
        metadata |= {"errorCode": error.code, "outcome": str(Outcome.UNKNOWN)}
    await asyncio.shield(delivery.conclude(sent, decision, metadata))
    if sent.call.idempotency_key is not None:
        await delivery.settle_raw(sent, has_failed=error is not None)

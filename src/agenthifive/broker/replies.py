"""Replies as bytes: the envelope of `execute`, and the provider's own reply passed on by the LLM proxy.

    body -> inbound filters and response rules -> secret scrub -> envelope | as it is

Source: contract/broker.md sections 2, 10 and 14.3.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from agenthifive import strict_json
from agenthifive.broker import client_json
from agenthifive.broker.content import Kind, decode_text, in_utf8, kind_of
from agenthifive.broker.downloads import Attachment, attachment_payload, binary_summary
from agenthifive.broker.filters import Filters, unfilterable
from agenthifive.broker.headers import envelope_headers, file_name_in, llm_reply_headers, raw_reply_headers
from agenthifive.broker.model import Reply
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.spread_text import filter_value
from agenthifive.broker.stream_rules import apply_rules, check_charset
from agenthifive.errors import AppError
from agenthifive.policy.model import Allow
from agenthifive.policy.replies import NotFilterable

if TYPE_CHECKING:
    from agenthifive.broker.delivery import Sent

_SAMPLE_BYTES: Final = 512
_NO_BODY: Final = frozenset({204, 205, 304})
_JSON: Final = "application/json"
_STREAMS: Final = frozenset({Kind.EVENT_STREAM, Kind.LINE_STREAM})
_validate = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
Pairs = list[tuple[str, str]]


class Arrived:
    """A provider's head, with the few headers that decide."""

    __slots__ = ("content_type", "declared_bytes", "disposition", "encoding", "headers", "status")

    def __init__(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        self.status = status
        self.headers = headers
        self.content_type: str | None = None
        self.encoding: str | None = None
        self.disposition: str | None = None
        self.declared_bytes: int | None = None
        for name, value in headers:
            if name == "content-type":
                self.content_type = value
            elif name == "content-length":
                self.declared_bytes = int(value)
            elif name == "content-encoding" and value.strip().lower() != "identity":
                self.encoding = value
            elif name == "content-disposition":
                self.disposition = value

    @property
    def may_have_body(self) -> bool:
        """Whether the status allows a body and the head does not deny one."""
        return self.status not in _NO_BODY and self.declared_bytes != 0

    def in_utf8(self) -> "Arrived":
        """The head of a text that was filtered."""
        shown = in_utf8(self.content_type) or ""
        return Arrived(self.status, [(n, shown if n == "content-type" else v) for n, v in self.headers])


def envelope(
    sent: "Sent", arrived: Arrived, kind: Kind, body: bytes, filters: Filters, scrubber: SecretScrubber
) -> Reply:
    """The 200 answer of `execute`. Raises: AppError (response_not_filterable)."""
    if not body:
        shown = b"null"
    elif kind is Kind.JSON:
        shown = _json_body(body, arrived, filters, scrubber)
    else:
        shown = _encode(scrubber.scrub_text(_text(body, arrived.content_type, kind, filters, scrubber)))
    return _wrap(sent, arrived, shown, scrubber)


def summary_of_binary(sent: "Sent", arrived: Arrived, scrubber: SecretScrubber) -> Reply:
    """The envelope for a file that was not asked for as a download; its bytes are not read."""
    place = {"url": sent.judged.target.url}
    if sent.grant.service.file.singleton:
        place["service"] = sent.grant.service.id
    else:
        place["connectionId"] = sent.grant.connection_id
    summary = binary_summary(arrived.content_type, arrived.declared_bytes, arrived.disposition, place)
    return _wrap(sent, arrived, scrubber.scrub_bytes(_encode(summary)), scrubber)


def passed_on(
    sent: "Sent", arrived: Arrived, kind: Kind, body: bytes, filters: Filters, scrubber: SecretScrubber
) -> Reply:
    """The provider's reply without an envelope: the LLM proxy, and raw replies that had to be read whole.

    Raises: AppError (response_not_filterable, upstream_invalid).
    """
    content_type = arrived.content_type
    file_name = file_name_in(arrived.disposition) if arrived.disposition else None
    attachment = _attachment(body, filters) if sent.call.download and kind is Kind.JSON else None
    if attachment is not None:  # a file that travelled inside JSON, from here on the file it is
        body, content_type, file_name = attachment.data, attachment.content_type, attachment.filename
        kind = kind_of(content_type, body[:_SAMPLE_BYTES])
    if kind is Kind.BINARY and not filters:
        shown = _checked_binary(body, scrubber)
    elif filters and body:
        shown = _filtered(body, content_type, kind, filters, scrubber)
        arrived, content_type = arrived.in_utf8(), in_utf8(content_type)
    else:
        shown = scrubber.scrub_bytes(body)
    if sent.call.via == "llm_proxy":
        return Reply(arrived.status, llm_headers(sent, arrived, scrubber), shown)
    headers = raw_reply_headers(
        content_type=content_type,
        file_name=file_name,
        content_length=len(shown),
        provider_status=arrived.status,
        audit_id=sent.audit_id,
        is_stream=False,
    )
    return Reply(200, headers, shown)


def llm_headers(sent: "Sent", arrived: Arrived, scrubber: SecretScrubber) -> Pairs:
    """The vendor headers an LLM client may see, and ours."""
    return llm_reply_headers(
        scrubber.scrub_headers(list(arrived.headers)),
        audit_id=sent.audit_id,
        request_id=sent.call.context.request_id,
    )


def _json_body(body: bytes, arrived: Arrived, filters: Filters, scrubber: SecretScrubber) -> bytes:
    """The JSON value as text that stands in an answer of ours; what is not JSON becomes a string."""
    if filters:
        body = _filtered(body, arrived.content_type, Kind.JSON, filters, scrubber)
    else:
        body = scrubber.scrub_bytes(body)
    try:
        _validate(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _encode(scrubber.scrub_text(decode_text(body, arrived.content_type)))
    return body


def _filtered(body: bytes, content_type: str | None, kind: Kind, filters: Filters, scrubber: SecretScrubber) -> bytes:
    """A whole reply as the rules and the scrub leave it. Raises: AppError."""
    if kind is not Kind.JSON:
        return scrubber.scrub_text(_text(body, content_type, kind, filters, scrubber)).encode()
    try:
        value, is_strict = client_json.loads(body)
        return client_json.dumps(scrubber.scrub_json(filter_value(value, is_strict, filters, scrubber)))
    except client_json.NotJson:
        pass
    except RecursionError:
        raise unfilterable("unparsable") from None
    except NotFilterable as error:
        raise unfilterable(error.detail) from None
    try:
        return scrubber.scrub_text(filters.broken_json(decode_text(body, content_type))).encode()
    except NotFilterable as error:
        raise unfilterable(error.detail) from None


def _text(body: bytes, content_type: str | None, kind: Kind, filters: Filters, scrubber: SecretScrubber) -> str:
    """A textual reply as the rules leave it. Raises: AppError."""
    if not filters:
        return decode_text(body, content_type)
    if kind is Kind.BINARY:
        raise unfilterable("binary")
    try:
        if kind not in _STREAMS:
            check_charset(content_type)
            return filters.text(decode_text(body, content_type))
        shown, fault = apply_rules(kind, content_type, filters, scrubber, body)
    except NotFilterable as error:
        raise unfilterable(error.detail) from None
    if fault == "response_too_large":
        raise AppError(fault, "An event or record of the reply is larger than 1 MiB. Ask for less at a time.")
    if fault:
        raise unfilterable("unparsable")
    return shown.decode("utf-8", "replace")


def _attachment(body: bytes, filters: Filters) -> Attachment | None:
    """The file in a JSON reply, unless field rules take it away. Raises: AppError."""
    try:
        value = strict_json.loads(body)
    except strict_json.InvalidJson:
        return None
    attachment = attachment_payload(filters.fields(value) if filters else value)
    if attachment is None or attachment.filename is None or not filters:
        return attachment
    try:
        return replace(attachment, filename=filters.name(attachment.filename))
    except NotFilterable as error:
        raise unfilterable(error.detail) from None


def _checked_binary(data: bytes, scrubber: SecretScrubber) -> bytes:
    if scrubber.contains(data):
        raise AppError(
            "upstream_invalid", "The reply repeats the credential and was withheld.", detail="credential_echo"
        )
    return data


def _wrap(sent: "Sent", arrived: Arrived, body: bytes, scrubber: SecretScrubber) -> Reply:
    """The envelope around a body that is JSON text already."""
    headers = scrubber.scrub_headers(list(envelope_headers(arrived.headers).items()))
    text = b'{"model":"B","status":%d,"headers":%b,"body":%b,"auditId":"%b"%b}' % (
        arrived.status,
        _encode(dict(headers)),
        body,
        sent.audit_id.encode("ascii"),
        _redactions(sent),
    )
    return Reply(
        200,
        [("content-type", _JSON), ("cache-control", "no-store"), ("x-agenthifive-audit-id", sent.audit_id)],
        text,
    )


def _redactions(sent: "Sent") -> bytes:
    decision = sent.judged.decision
    if not isinstance(decision, Allow) or not decision.redactions:
        return b""
    found = [{"type": item.type, "field": item.field, "count": item.count} for item in decision.redactions]
    members = {"piiRedacted": True, "redactions": found, "hint": "Parts of the request were masked by the policy."}
    return b"," + _encode(members)[1:-1]

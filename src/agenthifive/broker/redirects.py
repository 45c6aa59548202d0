"""Redirects are data on the same origin, refused elsewhere, and followed once where the catalog says so.

The credential goes to the judged origin only, whatever the provider answers. Source: contract/broker.md section 9.
"""

from typing import TYPE_CHECKING, Final

from agenthifive.broker.egress import Egress, EgressError, Outbound
from agenthifive.broker.redirect import resolve_redirect
from agenthifive.broker.wire import Wire

if TYPE_CHECKING:
    from agenthifive.broker.delivery import Sent

_REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 307, 308})
_KEPT: Final = frozenset({"accept", "range"})
_HEAD_TIMEOUT_S: Final = 60.0


async def follow(egress: Egress, sent: "Sent", outbound: Outbound, wire: Wire) -> tuple[Outbound, Wire]:
    """The reply to deliver: this one, or that of the one place the catalog allows. Raises: EgressError."""
    location = _location(wire)
    if location is None:
        return outbound, wire
    if sent.call.via == "llm_proxy":
        wire.close()
        raise EgressError("llm_redirect", "", was_sent=True)
    current = sent.judged.target
    place = resolve_redirect(current, location)
    if place.is_same_origin:
        return outbound, wire
    sent.redirect_host = None if place.target is None else place.target.host
    wire.close()
    target = place.target
    if (
        target is None
        or sent.call.method != "GET"
        or not sent.grant.service.allows_redirect(current.host, target.origin, target.path)
    ):
        raise EgressError("redirect_blocked", place.other_host(current) or "", was_sent=True)
    headers = [("host", target.authority), ("accept-encoding", "gzip")]
    headers.extend(pair for pair in sent.judged.headers if pair[0] in _KEPT)
    second = Outbound("GET", target.scheme, target.host, target.port, target.request_target, headers, None, "redirect")
    sent.attempts += 1
    landed = await egress.send(second, _HEAD_TIMEOUT_S)
    if _location(landed) is not None:
        landed.close()
        raise EgressError("redirect_blocked", target.host, was_sent=True)
    return second, landed


def _location(wire: Wire) -> str | None:
    if wire.status not in _REDIRECTS:
        return None
    for name, value in wire.headers:
        if name == "location":
            return value
    return None

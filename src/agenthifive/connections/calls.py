"""One request of our own to a provider: the credential placed, five seconds, a bounded reply without our secrets.

    address -> strict parse -> the connection's own hosts -> inject -> Egress -> read, decode, scrub -> Reply

Probes, look-ups and revocations go through here; redirects are data. No database transaction may be open meanwhile.
Source: contract/connections.md sections 9 and 10, catalog/SCHEMA.md section 5.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agenthifive import __version__
from agenthifive.broker.decompress import BadEncoding, Decompressor, TooLarge
from agenthifive.broker.egress import Egress, EgressError, Outbound, as_egress
from agenthifive.broker.inject import NotInjectable, SlotMissing, inject
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.target import InvalidUrl, Target, parse_target
from agenthifive.broker.wire import Wire, WireError
from agenthifive.catalog.address import Unrenderable
from agenthifive.catalog.binding import bind
from agenthifive.catalog.hosts import covers_host
from agenthifive.catalog.injection import InjectionPlan
from agenthifive.catalog.service import HTTPS_PORT
from agenthifive.connections.model import OpenCredential
from agenthifive.errors import AppError

CALL_S: Final = 5.0
REPLY_BYTES_MAX: Final = 256 * 1024
_USER_AGENT: Final = f"AgentHiFive/{__version__}"
_RETRY_S: Final = 5


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, before the credential is placed. `headers`: lower-case names."""

    method: str
    url: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, at most 256 KiB of it, our secrets replaced."""

    status: int
    headers: Sequence[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The first value of a header, None without it."""
        return next((value for key, value in self.headers if key == name), None)


class CannotCall(Exception):
    """The request could not be built from the connection as it is; nothing was sent."""


class ProviderCalls:
    """Sends requests of our own."""

    def __init__(self, egress: Egress, listed_hosts: frozenset[str]) -> None:
        self._egress = egress
        self._listed_hosts = listed_hosts

    async def send(self, credential: OpenCredential, request: Request, pool: str) -> Reply:
        """Carry a request out with a credential.

        Shapes:
            pool: keeps the sockets of different credentials apart.
        Raises: EgressError, CannotCall.
        """
        try:
            target = parse_target(request.url, http_hosts=self._listed_hosts).target
            plan = plan_for(credential, target)
            injected = inject(request.headers, target.path, target.query, plan, credential.payload)
        except (InvalidUrl, Unrenderable, NotInjectable, SlotMissing) as error:
            raise CannotCall(str(error)) from None
        headers = [("host", target.authority), ("accept-encoding", "gzip"), *injected.headers]
        names = {name for name, _ in headers}
        if "user-agent" not in names:
            headers.append(("user-agent", _USER_AGENT))
        if request.body is not None and "content-type" not in names:
            headers.append(("content-type", "application/json"))
        outbound = Outbound(
            request.method,
            target.scheme,
            target.host,
            target.port,
            injected.path + injected.query,
            headers,
            request.body,
            pool,
        )
        scrubber = SecretScrubber((*injected.secrets, *credential.secrets))
        return await self._exchange(outbound, scrubber)

    async def check_hosts(self, credential: OpenCredential) -> None:
        """Ask the egress guard about a connection's own server, before anything is stored for it.

        A name that does not resolve now is judged when it is called. Raises: EgressError (egress_blocked).
        """
        for bound in bind(credential.service, credential.variant, credential.params).hosts:
            if bound.catalog_host is None and bound.origin not in credential.service.extra_origins:
                try:
                    await self._egress.check(bound.origin[1], bound.origin[2])
                except EgressError as error:
                    if error.code == "egress_blocked":
                        raise

    def forget(self, pool: str) -> None:
        """Close the sockets kept for a credential."""
        self._egress.forget(pool)

    async def _exchange(self, outbound: Outbound, scrubber: SecretScrubber) -> Reply:
        try:
            async with asyncio.timeout(CALL_S):
                wire = await self._egress.send(outbound, CALL_S)
                try:
                    body = b"" if outbound.method == "HEAD" else await _read(wire)
                except BaseException:
                    wire.close()
                    raise
        except TimeoutError:
            raise EgressError("upstream_timeout", "total", was_sent=True) from None
        except WireError as error:
            raise as_egress(error) from None
        except BadEncoding:
            raise EgressError("upstream_invalid", "encoding", was_sent=True) from None
        reply = Reply(wire.status, scrubber.scrub_headers(wire.headers), scrubber.scrub_bytes(body))
        self._egress.release(outbound, wire)
        return reply


def plan_for(credential: OpenCredential, target: Target) -> InjectionPlan:
    """Where the secret stands in a request of ours.

    Raises: Unrenderable for an address that is none of the connection's.
    """
    service, variant = credential.service, credential.variant
    bound = bind(service, variant, credential.params).find(*target.origin)
    if bound is not None:
        return bound.plan
    is_platform = (target.scheme, target.port) == ("https", HTTPS_PORT) and any(
        covers_host(name, target.host) for name in service.file.platform_hosts
    )
    if not is_platform:
        raise Unrenderable("the address is none of the connection's")
    return variant.platform_plan


def explain(error: EgressError | CannotCall, host_words: str) -> AppError:
    """What a person is told: the kind of trouble and the service, never an address or a provider's text."""
    if isinstance(error, CannotCall):
        return AppError(
            "credential_not_injectable",
            f"The credential cannot be sent to {host_words}: {error}. Check its fields and enter it again.",
        )
    if error.code == "egress_blocked":
        return AppError(
            "egress_blocked",
            f"{host_words} leads to an address that must not be called ({error.detail}). An operator can allow a "
            "private host in SSRF_ALLOWLIST_HOSTS.",
            detail=error.detail,
            hint="SSRF_ALLOWLIST_HOSTS",
        )
    if error.code == "upstream_timeout":
        return AppError(
            "upstream_timeout",
            f"{host_words} did not answer in time. Try again.",
            detail=error.detail,
            retry_after_s=_RETRY_S,
        )
    return AppError(
        "upstream_unreachable",
        f"{host_words} could not be reached ({error.detail}). Try again.",
        detail=error.detail,
        retry_after_s=_RETRY_S,
    )


async def _read(wire: Wire) -> bytes:
    """The decoded body; what exceeds the bound is left unread. Raises: WireError, BadEncoding."""
    encoding = next((value for name, value in wire.headers if name == "content-encoding"), None)
    decoder = Decompressor(encoding, limit_bytes=REPLY_BYTES_MAX)
    pieces: list[bytes] = []
    try:
        while chunk := await wire.read(CALL_S):
            pieces.extend(decoder.feed(chunk))
        decoder.finish()
    except TooLarge:
        return b"".join(pieces)  # a status still says what it says; cut JSON says nothing
    return b"".join(pieces)

"""One GET of WEB_JWKS_URL: five seconds, 64 KiB, no redirect, through the process's one dialler.

The operator names this address and no request can, so its guard lets internal addresses pass, this very server among
them. In production it lets nothing else pass, unless WEB_JWKS_ALLOW_PUBLIC says so.
Source: contract/http.md section 13 "WEB_JWKS_URL".
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agenthifive import __version__
from agenthifive.broker.address import AllowedHost, Guard
from agenthifive.broker.egress import Egress, EgressError, Outbound, ask_system, tls_context
from agenthifive.broker.wire import Wire, WireError
from agenthifive.jwt.source import SourceFailed

TOTAL_S: Final = 5.0
BYTES_MAX: Final = 64 * 1024
_TYPES: Final = frozenset({"application/json", "application/jwk-set+json"})
_PORTS: Final = {"http": 80, "https": 443}


def make_fetch(
    url: str, ca_bundle: Path | None, *, internal_only: bool
) -> tuple[Callable[[], Awaitable[bytes]], Callable[[], Awaitable[None]]]:
    """A way to fetch the document of a URL that `settings_values.read_jwks_url` accepted, and a way to end it."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
    guard = Guard(allow_private=True, allowlist=(AllowedHost(host, None, ()),))
    egress = Egress(guard, tls_context(ca_bundle), _ask_internal if internal_only else _ask)
    headers = (
        ("host", parts.netloc),
        ("accept", "application/json"),
        ("accept-encoding", "identity"),
        ("user-agent", f"AgentHiFive/{__version__}"),
        ("connection", "close"),
    )
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    outbound = Outbound("GET", parts.scheme, host, port, target, headers, None, "jwks")

    async def fetch() -> bytes:
        try:
            async with asyncio.timeout(TOTAL_S):
                wire = await egress.send(outbound, TOTAL_S)
                try:
                    return await _read(wire)
                finally:
                    wire.close()
        except TimeoutError:
            raise SourceFailed("no answer in time") from None
        except (EgressError, WireError) as error:
            raise SourceFailed(f"{type(error).__name__}: {error.detail}") from None

    return fetch, egress.close


async def _read(wire: Wire) -> bytes:
    """The body of a good answer. Raises: SourceFailed, WireError."""
    headers = dict(wire.headers)
    if wire.status != 200:
        raise SourceFailed(f"status {wire.status}")
    if headers.get("content-type", "").partition(";")[0].strip().lower() not in _TYPES:
        raise SourceFailed("not application/json")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise SourceFailed("a compressed body")
    body = b""
    while piece := await wire.read(TOTAL_S):
        body += piece
        if len(body) > BYTES_MAX:
            raise SourceFailed(f"more than {BYTES_MAX} bytes")
    return body


async def _ask(host: str, port: int) -> Sequence[str]:
    return await asyncio.to_thread(ask_system, host, port)


async def _ask_internal(host: str, port: int) -> Sequence[str]:
    """The addresses of a name, none of them public. Raises: OSError."""
    addresses = await _ask(host, port)
    if any(ip_address(address.partition("%")[0]).is_global for address in addresses):
        raise OSError("a public address")
    return addresses

"""One request of ours to a provider people sign in with: https only, guarded, five seconds, a bounded JSON reply.

Redirects are refused. No database transaction may be open meanwhile. Source: contract/broker.md section 8,
contract/http.md section 14.2.
"""

import asyncio
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from agenthifive import __version__, strict_json
from agenthifive.broker.egress import Egress, EgressError, Outbound
from agenthifive.broker.target import InvalidUrl, Target, parse_target
from agenthifive.broker.wire import Wire, WireError
from agenthifive.people.providers import Client, ProviderFailed

CALL_S: Final = 5.0
REPLY_BYTES_MAX: Final = 256 * 1024
_POOL: Final = "sign-in"
_USER_AGENT: Final = f"AgentHiFive/{__version__}"


class ProviderHttp:
    """Asks providers."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress

    async def get(self, url: str, bearer: str | None = None) -> Any:
        """The JSON at an address. Raises: ProviderFailed."""
        credential = [] if bearer is None else [("authorization", f"Bearer {_header_text(bearer)}")]
        return await self._send("GET", url, credential, None)

    async def post(self, url: str, fields: Mapping[str, str], basic: Client | None = None) -> Any:
        """The JSON that answers a form.

        Shapes: basic: who asks, when it is told in the header.
        Raises: ProviderFailed.
        """
        headers = [("content-type", "application/x-www-form-urlencoded")]
        if basic is not None:  # RFC 6749 section 2.3.1: both halves are form-encoded before they are joined
            pair = f"{quote_plus(basic.id)}:{quote_plus(basic.secret)}"
            headers.append(("authorization", f"Basic {b64encode(pair.encode()).decode()}"))
        return await self._send("POST", url, headers, urlencode(fields).encode())

    async def _send(self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> Any:
        target = read_https(url)
        outbound = Outbound(
            method,
            target.scheme,
            target.host,
            target.port,
            target.request_target,
            [
                ("host", target.authority),
                ("accept", "application/json"),
                ("accept-encoding", "identity"),
                ("user-agent", _USER_AGENT),
                *headers,
            ],
            body,
            _POOL,
        )
        try:
            async with asyncio.timeout(CALL_S):
                wire = await self._egress.send(outbound, CALL_S)
                try:
                    data = await _read(wire)
                except BaseException:
                    wire.close()
                    raise
        except TimeoutError:
            raise ProviderFailed("timeout") from None
        except EgressError as error:
            raise ProviderFailed(f"{error.code}_{error.detail}") from None
        except WireError as error:
            raise ProviderFailed(f"reply_{error.kind}") from None
        status = wire.status
        self._egress.release(outbound, wire)
        if status != 200:
            raise ProviderFailed(f"status_{status}")
        try:
            return strict_json.loads(data)
        except strict_json.InvalidJson:
            raise ProviderFailed("reply_json") from None


def read_https(url: str) -> Target:
    """An address of a provider, which is never plain http. Raises: ProviderFailed."""
    try:
        return parse_target(url).target
    except InvalidUrl:
        raise ProviderFailed("address") from None


def _header_text(token: str) -> str:
    """A token as a header may carry it. Raises: ProviderFailed."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ProviderFailed("token_reply")
    return token


async def _read(wire: Wire) -> bytes:
    """The body. Raises: WireError, ProviderFailed."""
    if next((value for name, value in wire.headers if name == "content-encoding"), "identity") != "identity":
        raise ProviderFailed("reply_encoding")
    pieces, size = [], 0
    while chunk := await wire.read(CALL_S):
        size += len(chunk)
        if size > REPLY_BYTES_MAX:
            raise ProviderFailed("reply_too_large")
        pieces.append(chunk)
    return b"".join(pieces)

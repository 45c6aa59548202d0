"""What is known of a request before anybody knows who sent it."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

import msgspec

from agenthifive.audit.model import visible
from agenthifive.ids import new_id

CONTEXT_KEY: Final = "agenthifive"
Headers = Sequence[tuple[bytes, bytes]]
_REQUEST_ID_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


class Context(msgspec.Struct):
    """Who is on the other end of the socket, by the trusted-proxy rule, and how this request is called in logs."""

    request_id: str
    ip: str
    user_agent: str | None
    scheme: str


class TrustedProxies:
    """Which peers may speak for others. Source: contract/http.md section 4, operations.md section 5."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in networks)

    def read(self, scope: dict[str, Any]) -> Context:
        """The context of an ASGI request."""
        peer = _plain(scope["client"][0]) if scope.get("client") else "127.0.0.1"
        user_agent = forwarded = request_id = proto = None
        for name, value in scope["headers"]:
            if name == b"user-agent":
                user_agent = visible(value.decode("latin-1"))
            elif name == b"x-forwarded-for" and self._networks:
                forwarded = f"{forwarded},{value.decode('latin-1')}" if forwarded else value.decode("latin-1")
            elif name == b"x-request-id" and self._networks:
                request_id = value.decode("latin-1")
            elif name == b"x-forwarded-proto" and self._networks:
                proto = value.decode("latin-1")
        if not self._networks or not self._is_trusted(peer):
            return Context(new_id(), peer, user_agent, scope["scheme"])
        client = self._client(peer, forwarded)
        is_usable_id = request_id is not None and 8 <= len(request_id) <= 64 and set(request_id) <= _REQUEST_ID_CHARS
        return Context(
            request_id if is_usable_id and request_id is not None else new_id(),
            client,
            user_agent,
            proto if proto in ("http", "https") else scope["scheme"],
        )

    def _client(self, peer: str, forwarded: str | None) -> str:
        """The right-most address that no trusted proxy owns; text that is no address ends the search."""
        client = peer
        for text in reversed(forwarded.split(",") if forwarded else ()):
            candidate = _plain(text.strip())
            try:
                ip_address(candidate)
            except ValueError:
                break
            client = candidate
            if not self._is_trusted(candidate):
                break
        return client

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks if network.version == parsed.version)


def _plain(address: str) -> str:
    """An IPv4 client of a listener that speaks both families is written as the IPv4 address it is."""
    return address[7:] if address[:7].lower() == "::ffff:" and "." in address else address


def limit_key(ip: str) -> str:
    """How a client address is counted: IPv6 per /64. Source: contract/http.md section 16."""
    if ":" not in ip:
        return ip
    try:
        return str(ip_network(f"{ip}/64", strict=False))
    except ValueError:
        return ip


def header(headers: Headers, name: bytes) -> str | None:
    """The first value of a header, None when it was not sent."""
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None

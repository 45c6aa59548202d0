"""The only door out: resolve, classify every answer, dial a checked address, verify the peer, strict HTTP/1.1.

    Egress.send -> name check -> resolve once -> classify all -> dial by address -> TLS for the name -> Wire
                             -> or an idle Wire of the same (origin, credential), already checked

Nothing else in the process opens an outbound socket (`tests/house/` proves it). Proxy variables are ignored, because
nothing here reads the environment; redirects are data. Source: contract/broker.md section 8.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from agenthifive.broker.address import Guard
from agenthifive.broker.wire import Wire, WireError

DNS_TIMEOUT_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 5.0
CONNECT_TOTAL_S: Final = 10.0
TLS_TIMEOUT_S: Final = 10.0
ADDRESSES_MAX: Final = 3
IDLE_MAX_S: Final = 60.0
AGE_MAX_S: Final = 300.0
_IDLE_PER_KEY: Final = 64
_SWEEP_S: Final = 10.0

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
PoolKey = tuple[str, str, int, str]


class EgressError(Exception):
    """The request could not be carried out.

    Shapes:
        code, detail: as in contract/broker.md section 3, gates 18 and 19. `was_sent` is False when no byte of the
        request reached the provider. address and address_class are for the audit row only.
    """

    def __init__(
        self, code: str, detail: str, *, was_sent: bool, address: str | None = None, address_class: str | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.was_sent = was_sent
        self.address = address
        self.address_class = address_class


class Outbound(msgspec.Struct, frozen=True):
    """A request as it goes onto the wire.

    Shapes:
        target: path and query as bytes of the request line. headers: in order, `host` first, framing excluded.
        pool: keeps connections of different credentials apart.
    """

    method: str
    scheme: str
    host: str
    port: int
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes | None
    pool: str

    def head(self) -> bytes:
        """The request line and header block."""
        lines = [f"{self.method} {self.target} HTTP/1.1\r\n"]
        lines.extend(f"{name}: {value}\r\n" for name, value in self.headers)
        if self.body is not None:
            lines.append(f"content-length: {len(self.body)}\r\n")
        elif self.method in ("POST", "PUT", "PATCH"):
            lines.append("content-length: 0\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1")


class Egress:
    """Dials, keeps connections, hands out one exchange at a time."""

    def __init__(self, guard: Guard, tls: ssl.SSLContext, resolve: Resolver | None = None) -> None:
        self._guard = guard
        self._tls = tls
        self._threads = ThreadPoolExecutor(32, "resolve")
        self._resolve = resolve or self._ask_system
        self._idle: dict[PoolKey, list[Wire]] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(self, outbound: Outbound, head_timeout_s: float) -> Wire:
        """Send a request and return the connection with the reply's head read; the caller releases it.

        Raises: EgressError.
        """
        key = (outbound.scheme, outbound.host, outbound.port, outbound.pool)
        wire = self._checkout(key)
        is_reused = wire is not None
        if wire is None:
            wire = await self._dial(outbound.scheme, outbound.host, outbound.port)
        try:
            await wire.exchange(outbound.head(), outbound.body, head_timeout_s)
        except WireError as error:
            if is_reused and error.kind == "closed" and outbound.method == "GET":
                return await self._send_again(outbound, head_timeout_s)
            raise as_egress(error) from None
        except BaseException:
            wire.close()
            raise
        return wire

    def release(self, outbound: Outbound, wire: Wire) -> None:
        """Give a connection back after its reply was read, or drop it when it was not."""
        if not wire.release() or self._is_closed:
            wire.close()
            return
        idle = self._idle.setdefault((outbound.scheme, outbound.host, outbound.port, outbound.pool), [])
        if len(idle) >= _IDLE_PER_KEY:
            idle.pop(0).close()
        idle.append(wire)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def forget(self, pool: str) -> None:
        """Close what is kept for a connection whose credential is gone."""
        for key in [key for key in self._idle if key[3] == pool]:
            for wire in self._idle.pop(key):
                wire.close()

    async def close(self) -> None:
        """Close every kept connection."""
        self._is_closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for wires in self._idle.values():
            for wire in wires:
                wire.close()
        self._idle.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send_again(self, outbound: Outbound, head_timeout_s: float) -> Wire:
        """A kept connection had been closed before any byte of a reply: a GET may go once more, freshly checked."""
        wire = await self._dial(outbound.scheme, outbound.host, outbound.port)
        try:
            await wire.exchange(outbound.head(), outbound.body, head_timeout_s)
        except WireError as error:
            raise as_egress(error) from None
        except BaseException:
            wire.close()
            raise
        return wire

    def _checkout(self, key: PoolKey) -> Wire | None:
        idle = self._idle.get(key)
        now = asyncio.get_running_loop().time()
        while idle:
            wire = idle.pop()
            if wire.is_usable and now - wire.idle_since < IDLE_MAX_S and now - wire.created_at < AGE_MAX_S:
                return wire
            wire.close()
        return None

    def _sweep(self) -> None:
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for key, wires in list(self._idle.items()):
            fresh = [wire for wire in wires if wire.is_usable and now - wire.idle_since < IDLE_MAX_S]
            for wire in set(wires).difference(fresh):
                wire.close()
            if fresh:
                self._idle[key] = fresh
            else:
                del self._idle[key]
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    async def _dial(self, scheme: str, host: str, port: int) -> Wire:
        sock = await self.connect(host, port)
        loop = asyncio.get_running_loop()
        try:
            if scheme == "https":
                async with asyncio.timeout(TLS_TIMEOUT_S):
                    _, wire = await loop.create_connection(
                        lambda: Wire(loop), sock=sock, ssl=self._tls, server_hostname=host
                    )
            else:
                _, wire = await loop.create_connection(lambda: Wire(loop), sock=sock)
        except TimeoutError:
            sock.close()
            raise EgressError("upstream_unreachable", "tls", was_sent=False) from None
        except (ssl.SSLError, ssl.CertificateError, OSError, ValueError):
            sock.close()
            raise EgressError("upstream_unreachable", "tls", was_sent=False) from None
        return wire

    async def connect(self, host: str, port: int) -> socket.socket:
        """A socket connected to a checked address, for what speaks another protocol than HTTP. Raises: EgressError."""
        return await self._connect(await self.check(host, port), port)

    async def check(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, all of them allowed. Raises: EgressError."""
        refusal = self._guard.check_name(host, port)
        if refusal is not None:
            raise EgressError("egress_blocked", refusal.reason, was_sent=False, address_class=refusal.reason)
        addresses = await self._answers(host, port)
        refusal = self._guard.check_answers(host, port, addresses)
        if refusal is not None:
            raise EgressError(
                "egress_blocked", refusal.reason, was_sent=False, address=refusal.address, address_class=refusal.reason
            )
        return addresses

    async def _answers(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(DNS_TIMEOUT_S):
                addresses = await self._resolve(host, port)
        except TimeoutError:
            raise EgressError("upstream_timeout", "dns", was_sent=False) from None
        except OSError:
            addresses = ()
        if not addresses:
            raise EgressError("upstream_unreachable", "dns", was_sent=False)
        return addresses

    async def _ask_system(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        answers = await loop.run_in_executor(self._threads, ask_system, host, port)
        return list(dict.fromkeys(answers))

    async def _connect(self, addresses: Sequence[str], port: int) -> socket.socket:
        """A socket connected to the first checked address that answers. Raises: EgressError."""
        timed_out = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_TOTAL_S):
                for address in addresses[:ADDRESSES_MAX]:
                    try:
                        return await _connect_one(address, port)
                    except TimeoutError:
                        timed_out = True
                    except OSError:
                        continue
                if not timed_out:
                    raise EgressError("upstream_unreachable", "connect", was_sent=False)
        raise EgressError("upstream_timeout", "connect", was_sent=False)


async def _connect_one(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await asyncio.get_running_loop().sock_connect(sock, (address, port))
        if sock.getpeername()[0] != address:
            raise ConnectionError("the peer is not the address that was dialled")
    except BaseException:
        sock.close()
        raise
    return sock


def ask_system(host: str, port: int) -> list[str]:
    """Every address the system's resolver knows for a name. Blocks. Raises: OSError."""
    return [str(answer[4][0]) for answer in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def tls_context(ca_bundle: Path | None, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """Certificates verified, TLS 1.2 or newer, the system's roots and the operator's. Raises: OSError, ssl.SSLError.

    Shapes: protocols: what is spoken inside, for ALPN; none where the other side does not ask.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if ca_bundle is not None:
        context.load_verify_locations(cafile=ca_bundle)
    return context


def as_egress(error: WireError) -> EgressError:
    """How a failure of the exchange appears to the agent: from here on the provider may have acted."""
    if error.kind == "timeout":
        return EgressError("upstream_timeout", error.detail, was_sent=True)
    if error.kind == "closed":
        return EgressError("upstream_unreachable", "connect", was_sent=True)
    return EgressError("upstream_invalid", error.detail, was_sent=True)

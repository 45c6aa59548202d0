"""The only door out, against providers that behave and providers that do not."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from agenthifive.broker.address import Guard, parse_allowlist
from agenthifive.broker.egress import Egress, EgressError, Outbound, tls_context
from agenthifive.broker.wire import WireError
from fakes import Script, provider, raw, respond

LOCAL = Guard(allow_private=True)


def outbound(port: int, method: str = "GET", body: bytes | None = None, host: str = "api.example.com") -> Outbound:
    return Outbound(method, "http", host, port, "/v1/x", [("host", host)], body, "connection-1")


async def to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest_asyncio.fixture
async def egress() -> AsyncIterator[Egress]:
    door = Egress(LOCAL, tls_context(None), to_loopback)
    yield door
    await door.close()


async def fetch(egress: Egress, request: Outbound, head_s: float = 5.0) -> tuple[int, bytes]:
    wire = await egress.send(request, head_s)
    pieces = []
    while piece := await wire.read(2.0):
        pieces.append(piece)
    egress.release(request, wire)
    return wire.status, b"".join(pieces)


async def test_a_request_arrives_as_it_was_written_and_its_connection_is_kept(egress: Egress) -> None:
    async with provider(respond(200, b'{"a":1}')) as upstream:
        for _ in range(3):
            assert await fetch(egress, outbound(upstream.port, "POST", b"hello")) == (200, b'{"a":1}')
        assert upstream.connections == 1
        assert [(r.method, r.target, r.body) for r in upstream.received] == [("POST", "/v1/x", b"hello")] * 3
        assert upstream.received[0].header("content-length") == "5"


async def test_connections_of_different_credentials_are_never_shared(egress: Egress) -> None:
    async with provider() as upstream:
        first = outbound(upstream.port)
        second = Outbound("GET", "http", first.host, first.port, first.target, first.headers, None, "connection-2")
        await fetch(egress, first)
        await fetch(egress, second)
        assert upstream.connections == 2


async def test_a_get_on_a_kept_connection_that_was_closed_meanwhile_goes_once_more(egress: Egress) -> None:
    async with provider() as upstream:
        await fetch(egress, outbound(upstream.port))
        kept = next(iter(egress._idle.values()))[0]
        upstream.script = raw(b"")
        task = asyncio.create_task(fetch(egress, outbound(upstream.port)))
        while len(upstream.received) < 2:
            await asyncio.sleep(0)
        upstream.script = respond()
        assert (await task)[0] == 200
        assert not kept.is_usable
        assert len(upstream.received) == 3


async def test_a_post_is_never_sent_twice(egress: Egress) -> None:
    async with provider() as upstream:
        await fetch(egress, outbound(upstream.port))
        upstream.script = raw(b"")
        with pytest.raises(EgressError) as refused:
            await fetch(egress, outbound(upstream.port, "POST", b"x"))
        assert (refused.value.code, refused.value.was_sent) == ("upstream_unreachable", True)
        assert len(upstream.received) == 2


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        (["93.184.216.34", "10.0.0.5"], "private"),
        (["93.184.216.34", "fd00::1"], "unique_local"),
        (["::ffff:169.254.169.254"], "v4_mapped"),
        (["64:ff9b::a9fe:a9fe"], "nat64"),
        (["2002:7f00:1::1"], "sixto4"),
        (["168.63.129.16"], "metadata"),
        (["127.0.0.1"], "loopback"),
    ],
)
async def test_one_refused_answer_refuses_the_call_and_nothing_is_dialled(answers: list[str], detail: str) -> None:
    async with provider() as upstream:

        async def resolve(host: str, port: int) -> Sequence[str]:
            return answers

        door = Egress(Guard(), tls_context(None), resolve)
        with pytest.raises(EgressError) as refused:
            await door.send(outbound(upstream.port), 1.0)
        await door.close()
        assert (refused.value.code, refused.value.detail, refused.value.was_sent) == ("egress_blocked", detail, False)
        assert upstream.connections == 0


async def test_a_name_that_turns_to_loopback_after_its_first_answer_is_never_dialled_there() -> None:
    async with provider() as upstream:
        questions = 0

        async def rebinding(host: str, port: int) -> Sequence[str]:
            nonlocal questions
            questions += 1
            return ["192.0.2.1"] if questions == 1 else ["127.0.0.1"]

        door = Egress(Guard(), tls_context(None), rebinding)
        for _ in range(50):
            with pytest.raises(EgressError):
                await door.send(outbound(upstream.port), 1.0)
        await door.close()
        assert upstream.connections == 0


async def test_of_a_thousand_calls_to_a_name_that_alternates_none_reaches_the_address_that_is_refused() -> None:
    answers = ["127.0.0.2", "127.0.0.1"]  # the first is allowed here, as a public address would be
    touched: list[str] = []
    async with provider() as upstream:
        questions = 0

        async def rebinding(host: str, port: int) -> Sequence[str]:
            nonlocal questions
            questions += 1
            return [answers[questions % 2]]

        door = Egress(Guard(allowlist=parse_allowlist("api.example.com=127.0.0.2/32")), tls_context(None), rebinding)
        connect = door._connect

        async def watched(addresses: Sequence[str], port: int) -> object:
            touched.extend(addresses)
            return await connect(["127.0.0.1"], port)  # where the provider of this test listens

        door._connect = watched  # type: ignore[method-assign, assignment]
        for number in range(1000):
            if number % 2:
                assert (await fetch(door, outbound(upstream.port)))[0] == 200
                door.forget("connection-1")  # the next call asks again
            else:
                with pytest.raises(EgressError) as refused:
                    await door.send(outbound(upstream.port), 1.0)
                assert (refused.value.code, refused.value.was_sent) == ("egress_blocked", False)
        await door.close()
    assert touched == ["127.0.0.2"] * 500
    assert len(upstream.received) == 500


async def test_proxies_of_the_environment_receive_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with provider() as upstream, provider() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            for spelled in (name, name.lower()):
                monkeypatch.setenv(spelled, f"http://127.0.0.1:{proxy.port}")
        door = Egress(LOCAL, tls_context(None), to_loopback)
        assert (await fetch(door, outbound(upstream.port)))[0] == 200
        await door.close()
    assert (len(upstream.received), proxy.connections) == (1, 0)


async def test_an_allowlisted_name_is_lifted_on_its_port_and_network_only() -> None:
    async with provider() as upstream, provider() as other:
        guard = Guard(allowlist=parse_allowlist(f"git.corp:{upstream.port}=127.0.0.0/8"))
        door = Egress(guard, tls_context(None), to_loopback)
        assert (await fetch(door, outbound(upstream.port, host="git.corp")))[0] == 200
        for host, port in (("git.corp", other.port), ("x.git.corp", upstream.port)):
            with pytest.raises(EgressError) as refused:
                await door.send(outbound(port, host=host), 1.0)
            assert refused.value.code == "egress_blocked"
        await door.close()
        assert other.connections == 0


BROKEN = {
    "length and chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nab",
    "odd length": b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab",
    "bare line feed": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nab",
    "bad chunk size": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "chunk size overflow": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\nab\r\n",
    "early end": b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nab",
    "early end of chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
    "bytes after the end": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n",
    "garbage after the end": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabxyz",
    "unknown coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "interim flood": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9 + b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nx: a\x00b\r\ncontent-length: 0\r\n\r\n",
    "folded header": b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 0\r\n\r\n",
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN.keys())
async def test_a_reply_that_two_readers_could_frame_differently_is_refused(egress: Egress, reply: bytes) -> None:
    async with provider(raw(reply)) as upstream:
        with pytest.raises((EgressError, WireError)) as refused:
            await fetch(egress, outbound(upstream.port))
        error = refused.value
        assert (error.kind if isinstance(error, WireError) else error.code) in ("invalid", "upstream_invalid")
        assert not egress._idle.get(("http", "api.example.com", upstream.port, "connection-1"))


@pytest.mark.parametrize(
    "head",
    [b"".join(b"x-%d: y\r\n" % n for n in range(100_000)), b"x: " + b"y" * 10_000_000, b"x: y\r\n" * 201],
    ids=["100 000 fields", "one endless field", "201 fields"],
)
async def test_a_head_without_end_is_refused_early(egress: Egress, head: bytes) -> None:
    async with provider(raw(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n")) as upstream:
        with pytest.raises(EgressError) as refused:
            await fetch(egress, outbound(upstream.port))
        assert (refused.value.code, refused.value.detail) == ("upstream_invalid", "headers")


GOOD: dict[str, tuple[Script, bytes]] = {
    "chunked": (
        raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=1\r\nab\r\n1\r\nc\r\n0\r\nt: 1\r\n\r\n"),
        b"abc",
    ),
    "until the connection ends": (raw(b"HTTP/1.1 200 OK\r\n\r\nabc"), b"abc"),
    "HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc"), b"abc"),
    "interim heads": (
        raw(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        b"abc",
    ),
    "equal lengths twice are one": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), b""),
}


@pytest.mark.parametrize(("script", "body"), GOOD.values(), ids=GOOD.keys())
async def test_legitimate_framings_are_read(egress: Egress, script: Script, body: bytes) -> None:
    async with provider(script) as upstream:
        assert (await fetch(egress, outbound(upstream.port)))[1] == body


async def test_a_provider_that_stays_silent_ends_in_a_timeout_of_its_phase(egress: Egress) -> None:
    async def silent(request: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3600)

    async with provider(silent) as upstream:
        with pytest.raises(EgressError) as refused:
            await fetch(egress, outbound(upstream.port), 0.1)
        assert (refused.value.code, refused.value.detail, refused.value.was_sent) == ("upstream_timeout", "head", True)
        upstream.script = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab", close=False)
        request = outbound(upstream.port)
        wire = await egress.send(request, 5.0)
        assert await wire.read(5.0) == b"ab"
        with pytest.raises(WireError) as stalled:
            await wire.read(0.1)
        assert (stalled.value.kind, stalled.value.detail) == ("timeout", "idle")


async def test_what_is_not_read_yet_stays_bounded(egress: Egress) -> None:
    sent = 0

    async def flood(request: object, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n")
        for _ in range(1600):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with provider(flood) as upstream:
        request = outbound(upstream.port)
        wire = await egress.send(request, 5.0)
        await asyncio.sleep(0.3)  # time for the provider to send as much as it can
        assert wire._buffered < 1024 * 1024
        assert sent < 32 * 1024 * 1024
        total = 0
        while piece := await wire.read(5.0):
            total += len(piece)
        assert total == 104857600


async def test_nothing_listens_is_unreachable_and_nothing_was_sent(egress: Egress) -> None:
    async with provider() as upstream:
        port = upstream.port
    with pytest.raises(EgressError) as refused:
        await egress.send(outbound(port), 1.0)
    assert (refused.value.code, refused.value.detail, refused.value.was_sent) == (
        "upstream_unreachable",
        "connect",
        False,
    )


async def test_no_answer_and_a_slow_answer_to_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("no such name")

    async def slow(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(3600)
        return []

    monkeypatch.setattr("agenthifive.broker.egress.DNS_TIMEOUT_S", 0.05)
    for resolve, code in ((nothing, "upstream_unreachable"), (slow, "upstream_timeout")):
        door = Egress(LOCAL, tls_context(None), resolve)
        with pytest.raises(EgressError) as refused:
            await door.send(outbound(1), 1.0)
        assert (refused.value.code, refused.value.detail, refused.value.was_sent) == (code, "dns", False)
        await door.close()


class TestTls:
    """Certificates are verified against the name of the URL; there is no switch."""

    async def test_the_right_name_under_a_known_root_works(self, certificates: "Certificates") -> None:
        async with provider(tls=certificates.server) as upstream:
            door = Egress(LOCAL, tls_context(certificates.bundle), to_loopback)
            request = Outbound("GET", "https", "api.example.com", upstream.port, "/", [("host", "x")], None, "c")
            assert (await fetch(door, request))[0] == 200
            await door.close()

    @pytest.mark.parametrize(("host", "knows_root"), [("other.example.com", True), ("api.example.com", False)])
    async def test_a_foreign_name_or_an_unknown_root_sees_no_http(
        self, certificates: "Certificates", host: str, knows_root: bool
    ) -> None:
        async with provider(tls=certificates.server) as upstream:
            door = Egress(LOCAL, tls_context(certificates.bundle if knows_root else None), to_loopback)
            request = Outbound("GET", "https", host, upstream.port, "/", [("host", "x")], None, "c")
            with pytest.raises(EgressError) as refused:
                await door.send(request, 5.0)
            await door.close()
            assert (refused.value.code, refused.value.detail) == ("upstream_unreachable", "tls")
            assert not refused.value.was_sent
            assert upstream.received == []


class Certificates:
    """A root of our own and a server certificate for api.example.com."""

    def __init__(self, folder: Path) -> None:
        from certificates import issue

        self.bundle, chain, key = issue(folder, "api.example.com")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(chain, key)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))

"""The client of the command line: where it goes, what it believes, and what it does with answers."""

import ssl
from pathlib import Path

import pytest

from agenthifive.cli import client as client_module
from agenthifive.cli.client import Client, ServerRefused, read_base
from agenthifive.cli.console import CommandError, Exit
from certificates import issue
from cli.server import Script, serving


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://localhost:4000", "http://localhost:4000"),
        ("http://127.0.0.1:4000/", "http://127.0.0.1:4000"),
        ("http://[::1]:4000", "http://[::1]:4000"),
        ("https://agents.example.com", "https://agents.example.com"),
    ],
)
def test_origins(text: str, origin: str) -> None:
    assert read_base(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "http://agents.example.com",
        "http://10.0.0.1:4000",
        "http://localhost.evil.test",
        "http://127.0.0.1@evil.test",
        "https://user:password@agents.example.com",
        "https://agents.example.com/v1",
        "https://agents.example.com?x=1",
        "https://agents.example.com#x",
        "https://agents.example.com:0",
        "https://agents.example.com:99999",
        "ftp://agents.example.com",
        "agents.example.com",
        "https://",
        "https://[::1",
        "",
    ],
)
def test_nothing_else_is_an_address(text: str) -> None:
    with pytest.raises(CommandError) as caught:
        Client(text)
    assert caught.value.exit_code is Exit.USAGE


def test_an_answer_is_heard_as_it_came() -> None:
    heard: list[bytes] = []
    with serving(Script(200, b'{"a":1}', {"x-one": "two"})) as server:
        answer = Client(server.base, hear=heard.append).post("/v1/x", {"b": 2}, token="ah5t_x")
    assert (answer.status, answer.json(), answer.headers["x-one"]) == (200, {"a": 1}, "two")
    [received] = server.received
    assert (received.method, received.path, received.body) == ("POST", "/v1/x", {"b": 2})
    assert received.headers["authorization"] == "Bearer ah5t_x"
    assert received.headers["content-type"] == "application/json"
    assert b"x-one: two" in heard[0]
    assert heard[0].endswith(b'{"a":1}')


def test_a_refusal_keeps_its_words() -> None:
    body = b'{"error":"Not so.","code":"no_policy","hint":"Ask.","detail":"d","auditId":"a"}'
    with serving(Script(403, body)) as server, pytest.raises(ServerRefused) as caught:
        Client(server.base).get("/v1/x")
    refused = caught.value
    assert (refused.status, refused.message, refused.code, refused.hint) == (403, "Not so.", "no_policy", "Ask.")
    assert refused.shows_code
    assert refused.body["auditId"] == "a"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"<html>nginx</html>"),
        (500, b'{"message":"x"}'),
        (502, b""),
        (403, b'{"error":1,"code":2}'),
        (400, b"[1]"),
    ],
)
def test_an_answer_of_somebody_else_is_said_to_be_one(status: int, body: bytes) -> None:
    with serving(Script(status, body)) as server, pytest.raises(CommandError) as caught:
        Client(server.base).get("/v1/x")
    assert caught.value.code == "unexpected_answer"
    assert str(status) in caught.value.message


def test_redirects_are_not_followed() -> None:
    with serving(Script(200, b"{}")) as other:
        with serving(Script(302, b"", {"location": f"{other.base}/v1/x"})) as server, pytest.raises(CommandError):
            Client(server.base).get("/v1/x", token="ah5t_x")
        assert other.received == []


def test_json_that_reads_two_ways_is_refused() -> None:
    with serving(Script(200, b'{"a":1,"a":2}')) as server, pytest.raises(CommandError):
        Client(server.base).get("/v1/x").json()


def test_an_endless_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "ANSWER_BYTES_MAX", 10)
    with serving(Script(200, b'"0123456789"')) as server, pytest.raises(CommandError) as caught:
        Client(server.base).get("/v1/x")
    assert "longer" in caught.value.message


def test_a_server_that_is_not_there_is_unreachable() -> None:
    with serving(Script(200, b"{}")) as server:
        base = server.base
    with pytest.raises(CommandError) as caught:
        Client(base).get("/v1/x")
    assert (caught.value.exit_code, caught.value.code) == (Exit.UNREACHABLE, "unreachable")


def test_a_certificate_that_is_not_trusted_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    _, chain, key = issue(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with serving(Script(200, b"{}"), context) as server, pytest.raises(CommandError) as caught:
        Client(server.base).get("/v1/x", token="ah5t_x")
    assert caught.value.exit_code is Exit.UNREACHABLE
    assert "certificate" in caught.value.message
    assert server.received == []


def test_a_trusted_certificate_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, chain, key = issue(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    with serving(Script(200, b"{}"), context) as server:
        assert Client(server.base).get("/v1/x").status == 200

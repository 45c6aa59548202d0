"""Keys from a source: believed as a whole or not at all, asked rarely, bridged for an hour, never a way in."""

import asyncio
import json
from typing import Any

import pytest

from agenthifive.errors import AppError
from agenthifive.jwt.source import RemoteKeys, SourceFailed, read_jwks
from signing_keys import signing_key

A, B = signing_key("a"), signing_key("b", "EC")


def entry(key: Any, **members: Any) -> dict[str, Any]:
    return {**key.jwk, "kid": key.kid, "use": "sig", "alg": key.alg, **members}


def jwks(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(entries)}).encode()


class Source:
    """A source whose answer the test chooses, with a clock the test moves."""

    def __init__(self, *keys: Any) -> None:
        self.body: bytes | None = jwks(*map(entry, keys))
        self.asked = 0
        self.now_s = 0.0
        self.removed: set[str] = set()
        self.keys = RemoteKeys(self.fetch, self.is_removed, clock=lambda: self.now_s)

    async def fetch(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        if self.body is None:
            raise SourceFailed("down")
        return self.body

    async def is_removed(self, kid: str) -> bool:
        return kid in self.removed

    async def find(self, kid: str) -> str | None:
        found = await self.keys.find(kid)
        return None if found is None else found.alg


async def test_keys_are_fetched_when_the_first_token_comes_and_kept_for_ten_minutes() -> None:
    source = Source(A, B)
    assert source.asked == 0
    for at_s in (0, 300, 599):
        source.now_s = at_s
        assert (await source.find("a"), await source.find("b")) == ("RS256", "ES256")
    assert source.asked == 1
    source.now_s = 601
    assert await source.find("a") == "RS256"
    assert source.asked == 2


async def test_an_unknown_kid_is_asked_for_once_in_thirty_seconds() -> None:
    source = Source(A)
    assert await source.find("a") == "RS256"
    source.now_s = 29
    assert await source.find("b") is None
    assert source.asked == 1
    source.body = jwks(entry(A), entry(B))
    source.now_s = 31
    assert await source.find("b") == "ES256"
    source.now_s = 32
    for _ in range(50):
        assert await source.find("made-up") is None
    assert source.asked == 2


async def test_many_at_once_cause_one_fetch() -> None:
    source = Source(A)
    assert set(await asyncio.gather(*(source.find("a") for _ in range(100)))) == {"RS256"}
    assert source.asked == 1


async def test_a_failing_source_is_bridged_for_an_hour_then_nobody_comes_in() -> None:
    source = Source(A)
    await source.find("a")
    source.body = None
    for at_s in (700, 3500, 3600):
        source.now_s = at_s
        assert await source.find("a") == "RS256"
    source.now_s = 3601
    with pytest.raises(AppError) as refused:
        await source.find("a")
    assert (refused.value.code, refused.value.status, refused.value.retry_after_s) == ("unavailable", 503, 30)
    source.body, source.now_s = jwks(entry(A)), 3635
    assert await source.find("a") == "RS256"


async def test_a_source_that_never_answered_lets_nobody_in() -> None:
    source = Source()
    source.body = None
    for _ in range(3):
        with pytest.raises(AppError) as refused:
            await source.find("a")
        assert refused.value.status == 503
    assert source.asked == 1


async def test_while_the_source_fails_an_unknown_kid_is_not_called_wrong() -> None:
    source = Source(A)
    await source.find("a")
    source.body, source.now_s = None, 60
    with pytest.raises(AppError) as refused:
        await source.find("b")
    assert refused.value.status == 503
    assert await source.find("a") == "RS256"


async def test_a_key_the_source_dropped_is_dropped_with_the_next_fetch() -> None:
    source = Source(A, B)
    await source.find("a")
    source.body, source.now_s = jwks(entry(B)), 601
    assert await source.find("a") is None


async def test_a_key_that_was_taken_away_here_counts_for_nothing_at_once() -> None:
    source = Source(A)
    assert await source.find("a") == "RS256"
    source.removed.add("a")
    assert await source.find("a") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html></html>",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":[]}',
        b'{"keys":["a"]}',
        b'{"keys":[],"keys":[]}',
        jwks({name: value for name, value in entry(A).items() if name != "kid"}),
        jwks(entry(A, kid=1)),
        jwks(entry(A), entry(B, kid="a")),
        jwks(entry(A, d="AQAB")),
        jwks(entry(A), entry(B, d="AQAB")),
        jwks(entry(A), {"kty": "oct", "kid": "c", "k": "c2VjcmV0"}),
        jwks(*(entry(A, kid=str(n)) for n in range(101))),
    ],
)
async def test_a_document_that_is_no_jwks_of_public_keys_is_a_failure_and_changes_nothing(body: bytes) -> None:
    with pytest.raises(SourceFailed):
        read_jwks(body)
    source = Source(A)
    await source.find("a")
    source.body, source.now_s = body, 601
    assert await source.find("a") == "RS256"


@pytest.mark.parametrize(
    "other",
    [
        entry(B, use="enc"),
        entry(B, alg="ES384"),
        entry(B, alg="none"),
        entry(B, crv="P-384"),
        {"kty": "AKP", "kid": "b", "pub": "AA"},
        {"kty": "RSA", "kid": "b", "n": "AQAB", "e": "AQAB"},
    ],
)
def test_a_key_of_another_kind_or_purpose_is_left_out(other: dict[str, Any]) -> None:
    assert list(read_jwks(jwks(entry(A), other))) == ["a"]

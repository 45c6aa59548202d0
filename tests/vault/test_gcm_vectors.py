"""Published vectors of AES-GCM through `seal` and `open`: the right ones hold both ways, the altered ones open nothing.

Their source is named in gcm_vectors.txt. Sizes that an envelope cannot have are refused before any cipher runs.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agenthifive.vault import base64url
from agenthifive.vault.envelope import EnvelopeError, Key, KeyLengthError, read_envelope, seal


@dataclass(frozen=True)
class Vector:
    number: str
    is_valid: bool
    key: bytes
    iv: bytes
    place: bytes
    plain: bytes
    ciphertext: bytes
    tag: bytes

    def __str__(self) -> str:
        return self.number

    def envelope(self, kid: str) -> str:
        """The vector as an envelope that names this key."""
        parts = {"iv": self.iv, "ciphertext": self.ciphertext, "tag": self.tag}
        members = {"v": 2, "alg": "A256GCM", "kid": kid} | {n: base64url.encode(p) for n, p in parts.items()}
        return json.dumps(members, separators=(",", ":"))


def read_vectors() -> Iterator[Vector]:
    """Every vector of the file."""
    for line in Path(__file__).with_name("gcm_vectors.txt").read_text("ascii").splitlines():
        if not line.startswith("#"):
            number, result, *octets = line.split(" ")
            yield Vector(number, result == "valid", *(bytes.fromhex(text.replace("-", "")) for text in octets))


VECTORS = list(read_vectors())


def test_both_kinds_of_vectors_are_there() -> None:
    assert [sum(one.is_valid is kind for one in VECTORS) for kind in (True, False)] == [17, 19]


@pytest.mark.parametrize("vector", VECTORS, ids=str)
def test_a_vector_is_judged_as_published(vector: Vector) -> None:
    key = Key(vector.key)
    text = vector.envelope(key.kid)
    if vector.is_valid:
        assert seal(vector.plain, key, vector.place, vector.iv) == text
        assert read_envelope(text).open({key.kid: key}, vector.place) == vector.plain
    else:
        assert seal(vector.plain, key, vector.place, vector.iv) != text
        with pytest.raises(EnvelopeError):
            read_envelope(text).open({key.kid: key}, vector.place)


@pytest.mark.parametrize("size_bytes", [16, 24])
def test_the_other_key_sizes_of_the_suite_are_refused(size_bytes: int) -> None:
    with pytest.raises(KeyLengthError):
        Key(bytes(range(size_bytes)))


@pytest.mark.parametrize("size_bytes", [0, 1, 2, 4, 6, 8, 10, 11, 13, 14, 16, 128])
def test_the_other_iv_sizes_of_the_suite_are_refused(size_bytes: int) -> None:
    vector = VECTORS[0]
    odd = Vector("odd", False, vector.key, bytes(size_bytes), b"", vector.plain, vector.ciphertext, vector.tag)
    key = Key(odd.key)
    with pytest.raises(EnvelopeError):
        read_envelope(odd.envelope(key.kid)).open({key.kid: key}, b"")
    with pytest.raises(ValueError, match="iv"):
        seal(b"", key, b"", odd.iv)

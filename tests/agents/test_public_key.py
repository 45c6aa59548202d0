"""Which keys an agent may register, and what of them is kept."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.agents.public_key import InvalidPublicKey, read_public_key
from agenthifive.errors import AppError

P256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
ACCEPTED = ("EC P-256", "Ed25519", "RSA of 2048 to 4096 bits")


def test_each_kind_of_key_is_accepted_with_its_algorithm(signer) -> None:
    key = read_public_key(signer.jwk)
    assert (key.alg, key.jwk, key.kid) == (signer.alg, signer.jwk, None)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    """RFC 8037 appendix A.3."""
    assert read_public_key(ED25519).thumbprint == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_only_the_key_and_its_kid_are_kept() -> None:
    optional = {
        "kid": "k 1",
        "alg": "ES256",
        "use": "sig",
        "key_ops": ["verify"],
        "x5u": "https://evil.example",
        "n": "AQAB",
    }
    key = read_public_key({**P256, **optional})
    assert (key.jwk, key.kid) == (P256, "k 1")
    assert key.thumbprint == read_public_key(P256).thumbprint


def test_null_means_absent_for_optional_members() -> None:
    assert read_public_key({**P256, "kid": None, "alg": None, "use": None, "key_ops": None}) == read_public_key(P256)


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k"])
@pytest.mark.parametrize("jwk", [P256, ED25519, {"kty": "oct"}, {}])
def test_a_private_member_makes_the_key_exposed(jwk: dict[str, str], member: str) -> None:
    for value in ("c2VjcmV0LWNhbmFyeQ", "", None, []):
        with pytest.raises(InvalidPublicKey) as refusal:
            read_public_key({**jwk, member: value})
        assert refusal.value.is_private
        assert "exposed" in refusal.value.message
        assert "generate another" in refusal.value.message
        assert "c2VjcmV0LWNhbmFyeQ" not in str(refusal.value.body())


REFUSED: dict[str, Any] = {
    "null": None,
    "text": "-----BEGIN PUBLIC KEY-----",
    "list": [P256],
    "empty": {},
    "P-384": {**P256, "crv": "P-384"},
    "secp256k1": {**P256, "crv": "secp256k1"},
    "X25519": {**ED25519, "crv": "X25519"},
    "oct": {"kty": "oct"},
    "off the curve": {**P256, "x": P256["y"]},
    "padded": {**P256, "x": P256["x"] + "="},
    "RSA 1024": {"kty": "RSA", "n": "w" + "A" * 169 + "E", "e": "AQAB"},
    "small order": {**ED25519, "x": "A" * 43},
    "x null": {**P256, "x": None},
    "kid empty": {**P256, "kid": ""},
    "kid of 129 characters": {**P256, "kid": "k" * 129},
    "kid not ASCII": {**P256, "kid": "clé"},
    "kid with a line break": {**P256, "kid": "k\n"},
    "kid number": {**P256, "kid": 1},
    "alg of another key": {**P256, "alg": "EdDSA"},
    "alg none": {**P256, "alg": "none"},
    "alg list": {**P256, "alg": ["ES256"]},
    "use enc": {**P256, "use": "enc"},
    "use empty": {**P256, "use": ""},
    "key_ops empty": {**P256, "key_ops": []},
    "key_ops sign": {**P256, "key_ops": ["sign", "verify"]},
    "key_ops without verify": {**P256, "key_ops": ["encrypt"]},
    "key_ops text": {**P256, "key_ops": "verify"},
    "key_ops of numbers": {**P256, "key_ops": ["verify", 1]},
}


@pytest.mark.parametrize("jwk", REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_naming_what_is_accepted(jwk: Any) -> None:
    with pytest.raises(InvalidPublicKey) as refusal:
        read_public_key(jwk)
    assert isinstance(refusal.value, AppError)
    assert (refusal.value.code, refusal.value.status) == ("invalid_public_key", 400)
    assert not refusal.value.is_private
    assert all(name in refusal.value.message for name in ACCEPTED)
    assert not any(value in refusal.value.message for value in (P256["x"], P256["y"], ED25519["x"]))


def test_a_kid_of_128_characters_is_accepted() -> None:
    assert read_public_key({**P256, "kid": "~" * 128}).kid == "~" * 128


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["EC", "P-256", "AQAB", "sig", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("kdxyne"), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "kid", "alg", "use", "key_ops"]), JSON))
def test_any_json_is_refused_as_a_bad_key_and_in_no_other_way(junk: Any, changes: dict[str, Any]) -> None:
    for jwk in (junk, changes, {**P256, **changes}):
        try:
            read_public_key(jwk)
        except InvalidPublicKey:
            continue
        assert jwk["x"] == P256["x"]

"""Taking id_tokens and key sets apart: OpenID Connect Core 1.0 section 3.1.3.7."""

import json
from hashlib import sha256, sha512
from typing import Any

import pytest
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from agenthifive.people.id_tokens import Expected, check_token, find_key, read_keys, read_token
from agenthifive.people.providers import ProviderFailed
from agenthifive.vault import base64url
from people.openid_provider import rsa_key

NOW = 1_800_000_000
ISSUER = "https://id.example.com"
EXPECTED = Expected(lambda text: text == ISSUER, "us", "nonce-1", "token-1")
CLAIMS = {"iss": ISSUER, "aud": "us", "exp": NOW + 60, "iat": NOW, "nonce": "nonce-1", "sub": "s"}


pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")


def sign(claims: object, key: Any, alg: str, **header: Any) -> str:
    return jws.serialize_compact({"alg": alg, **header}, json.dumps(claims), key, algorithms=[alg])


def check(text: str, *keys: Any, now: float = NOW) -> dict[str, Any]:
    token = read_token(text)
    key = find_key(read_keys({"keys": [key.as_dict(private=False) for key in keys]}), token.kid)
    assert key is not None
    return dict(check_token(token, key, EXPECTED, now))


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (rsa_key(3), "RS256"),
        (ECKey.generate_key("P-256", parameters={"kid": "e"}), "ES256"),
        (OKPKey.generate_key("Ed25519", parameters={"kid": "o"}), "EdDSA"),
    ],
    ids=["RS256", "ES256", "EdDSA"],
)
def test_each_algorithm_goes_with_its_key(key: Any, alg: str) -> None:
    assert check(sign(CLAIMS, key, alg, kid=key.kid), key) == CLAIMS
    assert check(sign(CLAIMS, key, alg), key) == CLAIMS  # one key needs no name


def test_the_hash_of_the_access_token_goes_with_the_algorithm() -> None:
    keys = [(OKPKey.generate_key("Ed25519"), "EdDSA", sha512), (rsa_key(3), "RS256", sha256)]
    for key, alg, digest in keys:
        for each in (sha512, sha256):
            value = each(b"token-1").digest()
            text = sign({**CLAIMS, "at_hash": base64url.encode(value[: len(value) // 2])}, key, alg)
            if each is digest:
                assert check(text, key)["sub"] == "s"
            else:
                with pytest.raises(ProviderFailed, match="id_token_access_token"):
                    check(text, key)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"exp": None}, "times"),
        ({"exp": "soon"}, "times"),
        ({"exp": True}, "times"),
        ({"iat": None}, "times"),
        ({"nbf": "x"}, "times"),
        ({"exp": NOW - 60}, "expired"),
        ({"nbf": NOW + 61}, "expired"),
        ({"iat": NOW + 61}, "issued_at"),
        ({"iat": NOW - 901}, "issued_at"),
        ({"aud": None}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": {"us": 1}}, "audience"),
        ({"aud": ["us", "them"]}, "party"),
        ({"azp": "them"}, "party"),
        ({"nonce": None}, "nonce"),
        ({"nonce": ["nonce-1"]}, "nonce"),
        ({"nonce": "nonce-2"}, "nonce"),
        ({"iss": None}, "issuer"),
        ({"iss": f"{ISSUER}/"}, "issuer"),
        ({"at_hash": None}, "access_token"),
    ],
)
def test_every_claim_is_checked(change: dict[str, Any], reason: str) -> None:
    key = rsa_key(3)
    with pytest.raises(ProviderFailed, match=rf"^id_token_{reason}$"):
        check(sign({**CLAIMS, **change}, key, "RS256"), key)


def test_clocks_may_differ_by_a_minute() -> None:
    text = sign(CLAIMS, rsa_key(3), "RS256")
    assert check(text, rsa_key(3), now=NOW + 119)
    assert check(text, rsa_key(3), now=NOW - 60)
    for now in (NOW + 120, NOW - 61):
        with pytest.raises(ProviderFailed):
            check(text, rsa_key(3), now=now)


def crooked(header: object, payload: bytes = b"{}", signature: str = "AAAA") -> str:
    return f"{base64url.encode(json.dumps(header).encode())}.{base64url.encode(payload)}.{signature}"


@pytest.mark.parametrize(
    "text",
    [None, 7, "", "a.b", "a.b.c.d", "=.=.=", crooked([]), crooked({}), crooked({"alg": None}),
     crooked({"alg": ["RS256"]}),
     crooked({"alg": "RS256", "kid": 7}), crooked({"alg": "RS256", "crit": ["b64"], "b64": False}),
     crooked({"alg": "RS256"}, signature="A A"), crooked({"alg": "RS256"}, signature="é"), "é.é.é",
     crooked({"alg": "RS256", "x": "y" * 20_000})],
)  # fmt: skip
def test_what_is_no_token_is_refused(text: object) -> None:
    with pytest.raises(ProviderFailed, match=r"^id_token_form$"):
        read_token(text)


@pytest.mark.parametrize("payload", [b"", b"[]", b'"x"', b'{"iss":"a","iss":"b"}', b"\xff"])
def test_claims_are_one_object(payload: bytes) -> None:
    key = rsa_key(3)
    text = jws.serialize_compact({"alg": "RS256"}, payload, key, algorithms=["RS256"])
    with pytest.raises(ProviderFailed, match=r"^id_token_form$"):
        check(text, key)


def test_only_sound_keys_for_signatures_count() -> None:
    good = rsa_key(3).as_dict(private=False)
    short = {**good, "n": base64url.encode((1 << 1023 | 1).to_bytes(128, "big")), "kid": "short"}
    others = [
        {**good, "use": "enc"},
        {**good, "alg": "RS512"},
        {**good, "kid": 7},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
        short,
        "x",
        None,
    ]
    keys = read_keys({"keys": [*others, good]})
    assert [key.kid for key in keys] == ["key-3"]
    many = [RSAKey.import_key(rsa_key(3).as_dict(private=False)).as_dict(private=False)] * 100
    assert len(read_keys({"keys": many})) == 32


@pytest.mark.parametrize("document", [None, [], {}, {"keys": None}, {"keys": {"a": 1}}, "x"])
def test_what_is_no_key_set_is_refused(document: object) -> None:
    with pytest.raises(ProviderFailed, match=r"^keys$"):
        read_keys(document)


def test_a_key_must_be_named_once() -> None:
    one, two = (rsa_key(number).as_dict(private=False) for number in (3, 4))
    keys = read_keys({"keys": [one, two]})
    assert find_key(keys, "key-4") is keys[1].key
    assert find_key(keys, None) is None
    assert find_key(keys, "key-5") is None
    assert find_key(read_keys({"keys": [one, {**two, "kid": "key-3"}]}), "key-3") is None
    assert find_key(read_keys({"keys": [one, one]}), "key-3") is keys[0].key

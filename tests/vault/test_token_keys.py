"""The key that signs tokens: one algorithm a key, verified by an independent implementation, told to nobody."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from joserfc.jwk import JWKRegistry
from joserfc.jws import deserialize_compact

from agenthifive.vault.compact import write_compact
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import UnusableKey, load_public_jwk, thumbprint
from agenthifive.vault.token_keys import one_line, read_signing_key
from signing_keys import pem, signing_key, weak_key

KINDS = {"RSA": "RS256", "EC": "ES256", "Ed25519": "EdDSA"}
PKCS8, PKCS1 = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # RFC 9864 prefers another name for the same thing
@pytest.mark.parametrize("kind", KINDS)
def test_the_key_decides_the_algorithm_and_others_verify_with_its_public_half(kind: str) -> None:
    key = signing_key("a", kind)
    assert key.alg == KINDS[kind]
    token = write_compact(key, "JWT", {"sub": "x"})
    read = deserialize_compact(token, JWKRegistry.import_key(dict(key.jwk)), algorithms=[key.alg])
    assert read.protected == {"alg": key.alg, "kid": "a", "typ": "JWT"}
    assert load_public_jwk(key.jwk).verifies(key.sign(b"message"), b"message")
    assert not load_public_jwk(key.jwk).verifies(key.sign(b"message"), b"another")


@pytest.mark.parametrize("kind", KINDS)
def test_the_public_half_has_no_private_member(kind: str) -> None:
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & signing_key("a", kind).jwk.keys()


def test_without_a_name_the_thumbprint_names_the_key() -> None:
    key = read_signing_key(Secret(pem("a")))
    assert key.kid == thumbprint(key.jwk)


def test_one_line_is_the_same_key() -> None:
    line = one_line(Secret(pem("a")))
    assert "\n" not in line.reveal()
    assert read_signing_key(line).jwk == read_signing_key(Secret(pem("a"))).jwk


def test_a_key_is_not_shown() -> None:
    assert repr(signing_key("a")) == "SigningKey(RS256, 'a')"


def _written(private: object, form: serialization.PrivateFormat = PKCS8, password: bytes | None = None) -> str:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return str(private.private_bytes(serialization.Encoding.PEM, form, encryption).decode())  # type: ignore[attr-defined]


REFUSED = {
    "empty": "",
    "text": "a word",
    "public": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
    "cut": "-----BEGIN PRIVATE KEY-----\nMIIEvwIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----",
    "not ASCII": "-----BEGIN PRIVATE KEY-----\nä\n-----END PRIVATE KEY-----",
    "PKCS#1": _written(rsa.generate_private_key(public_exponent=65537, key_size=2048), PKCS1),
    "passphrase": _written(ec.generate_private_key(ec.SECP256R1()), password=b"word"),
    "1024 bits": weak_key(),
    "small exponent": _written(rsa.generate_private_key(public_exponent=3, key_size=2048)),
    "P-384": _written(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": _written(ec.generate_private_key(ec.SECP256K1())),
    "Ed448": _written(ed448.Ed448PrivateKey.generate()),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_of_another_kind_or_strength_is_refused_without_being_quoted(case: str) -> None:
    with pytest.raises(UnusableKey) as refused:
        read_signing_key(Secret(REFUSED[case]))
    assert str(refused.value)
    for line in REFUSED[case].replace("\\n", "\n").splitlines():
        assert line == "" or line not in str(refused.value)

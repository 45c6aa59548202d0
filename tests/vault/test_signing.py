"""Signatures: published vectors, sound keys only, one encoding of each signature."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.vault import base64url
from agenthifive.vault.secret import Secret
from agenthifive.vault.signing import (
    UnusableKey,
    canonical_jwk,
    ed25519_public,
    load_public_jwk,
    new_ed25519_seed,
    new_rsa_pem,
    sign_ed25519,
    thumbprint,
    verifies_ed25519,
)

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

RFC7515_ES256 = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
RFC7515_RS256 = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2l"
    "ZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2Cap"
    "Hg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FR"
    "WyuXpoQ",
    "e": "AQAB",
}
RFC8037_ED25519 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
JOE = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
VECTORS = {
    "RFC 7515 A.3": (
        RFC7515_ES256,
        "ES256",
        "eyJhbGciOiJFUzI1NiJ9." + JOE,
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    ),
    "RFC 7515 A.2": (
        RFC7515_RS256,
        "RS256",
        "eyJhbGciOiJSUzI1NiJ9." + JOE,
        (
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t"
            "1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12j"
            "zDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ"
            "Ge77Rw"
        ),
    ),
    "RFC 8037 A.4": (
        RFC8037_ED25519,
        "EdDSA",
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    ),
}
# RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature
RFC8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
            "d25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
            "387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
            "4a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
]


@pytest.mark.parametrize(("jwk", "alg", "signed", "signature"), VECTORS.values(), ids=VECTORS.keys())
def test_published_signatures_verify_and_any_change_does_not(
    jwk: dict[str, str], alg: str, signed: str, signature: str
) -> None:
    key, octets = load_public_jwk(jwk), base64url.decode(signature)
    assert key.alg == alg
    assert key.verifies(octets, signed.encode())
    assert not key.verifies(octets, signed.encode() + b"x")
    for index in range(len(octets)):
        assert not key.verifies(octets[:index] + bytes([octets[index] ^ 1]) + octets[index + 1 :], signed.encode())
    for wrong in (
        b"",
        octets[:-1],
        octets + b"\0",
        b"\0" + octets,
        octets * 2,
        bytes(len(octets)),
        b"\xff" * len(octets),
    ):
        assert not key.verifies(wrong, signed.encode())


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC8032)
def test_ed25519_signs_as_rfc_8032_says(seed: str, public: str, message: str, signature: str) -> None:
    secret = Secret(bytes.fromhex(seed))
    assert ed25519_public(secret).hex() == public
    assert sign_ed25519(secret, bytes.fromhex(message)).hex() == signature
    assert verifies_ed25519(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message))
    assert not verifies_ed25519(bytes.fromhex(public), bytes.fromhex(signature), b"other")


def test_ed25519_refuses_a_signature_with_s_beyond_the_group_order() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    _, public, message, signature = RFC8032[1]
    octets = bytes.fromhex(signature)
    forged = octets[:32] + (int.from_bytes(octets[32:], "little") + order).to_bytes(32, "little")
    assert not verifies_ed25519(bytes.fromhex(public), forged, bytes.fromhex(message))


def test_new_keys_are_fresh_and_work() -> None:
    seed, other = new_ed25519_seed(), new_ed25519_seed()
    assert seed != other
    assert len(seed.reveal()) == 32
    assert verifies_ed25519(ed25519_public(seed), sign_ed25519(seed, b"m"), b"m")
    assert not verifies_ed25519(ed25519_public(other), sign_ed25519(seed, b"m"), b"m")
    pem = new_rsa_pem().reveal()
    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    private = serialization.load_pem_private_key(pem.encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert (private.key_size, private.public_key().public_numbers().e) == (2048, 65537)


def test_thumbprints_of_the_rfcs() -> None:
    """RFC 7638 section 3.1 and RFC 8037 appendix A.3."""
    rsa_key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV"
        "4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU"
        "8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(rsa_key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    assert thumbprint(RFC8037_ED25519) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    assert canonical_jwk(RFC8037_ED25519).startswith(b'{"crv":"Ed25519","kty":"OKP","x":"')


def test_es256_accepts_neither_der_nor_r_and_s_out_of_range() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.public_key().public_numbers()
    key = load_public_jwk(
        {"kty": "EC", "crv": "P-256", "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}
    )
    der = private.sign(b"m", ec.ECDSA(SHA256()))
    r, s = decode_dss_signature(der)
    assert key.verifies(r.to_bytes(32) + s.to_bytes(32), b"m")
    assert not key.verifies(r.to_bytes(32) + b"\0" + s.to_bytes(32), b"m")
    assert not key.verifies(der, b"m")
    assert not key.verifies(der[:64], b"m")
    assert not key.verifies(der.ljust(64, b"\0"), b"m")
    for bad in [
        (0, s),
        (r, 0),
        (0, 0),
        (ORDER_P256, s),
        (r, ORDER_P256),
        (1, 0),
        (ORDER_P256, ORDER_P256),
        (2**256 - 1, s),
    ]:
        assert not key.verifies(bad[0].to_bytes(32) + bad[1].to_bytes(32), b"m")
    r, s = decode_dss_signature(private.sign(b"m", ec.ECDSA(SHA384())))
    assert not key.verifies(r.to_bytes(32) + s.to_bytes(32), b"m")


def test_rs256_accepts_neither_pss_nor_another_hash() -> None:
    private = serialization.load_pem_private_key(new_rsa_pem().reveal().encode(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    key = load_public_jwk(rsa_jwk(private.public_key().public_numbers()))
    assert key.verifies(private.sign(b"m", padding.PKCS1v15(), SHA256()), b"m")
    assert not key.verifies(private.sign(b"m", padding.PKCS1v15(), SHA384()), b"m")
    pss = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
    assert not key.verifies(private.sign(b"m", pss, SHA256()), b"m")


def test_a_loaded_key_is_loaded_once() -> None:
    with_more = {**RFC7515_ES256, "kid": "x", "alg": "ES256"}
    assert load_public_jwk(RFC7515_ES256) is load_public_jwk(with_more)
    assert load_public_jwk(RFC7515_ES256) is not load_public_jwk(RFC8037_ED25519)


def test_no_ed25519_point_of_small_order_is_accepted() -> None:
    """All eight, found by multiplying points with the group order, and their second spellings."""
    order = 2**252 + 27742317777372353535851937790883648493
    torsion = set()
    y = 2
    while len(torsion) < 8:
        y += 1
        for x in square_roots((y * y - 1) * pow(D * y * y + 1, -1, P) % P):
            torsion.add(multiply(order, (x, y)))
    spellings = [(y + offset) | (x & 1) << 255 for x, y in torsion for offset in (0, P) if y + offset < 2**255]
    spellings += [y | 1 << 255 for y in (1, P - 1, P + 1)]
    assert len(set(spellings)) == 14
    for spelling in spellings:
        with pytest.raises(UnusableKey):
            load_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64(spelling.to_bytes(32, "little"))})


def test_an_ed25519_point_off_the_curve_or_spelled_twice_is_refused() -> None:
    for y in range(2, 60):
        on_curve = bool(square_roots((y * y - 1) * pow(D * y * y + 1, -1, P) % P))
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(y.to_bytes(32, "little"))}
        if on_curve:
            assert load_public_jwk(jwk).alg == "EdDSA"
        else:
            with pytest.raises(UnusableKey, match="not on Ed25519"):
                load_public_jwk(jwk)
    for y in range(P, 2**255):
        with pytest.raises(UnusableKey):
            load_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": b64(y.to_bytes(32, "little"))})


def test_a_p256_coordinate_has_one_spelling() -> None:
    prime, b = 2**256 - 2**224 + 2**192 + 2**96 - 1, 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    x = 4
    while pow(x**3 - 3 * x + b, (prime - 1) // 2, prime) != 1:
        x += 1
    y = pow(x**3 - 3 * x + b, (prime + 1) // 4, prime)
    jwk = {"kty": "EC", "crv": "P-256", "x": b64(x.to_bytes(32)), "y": b64(y.to_bytes(32))}
    assert load_public_jwk(jwk).alg == "ES256"
    with pytest.raises(UnusableKey, match="not below the field prime"):
        load_public_jwk({**jwk, "x": b64((x + prime).to_bytes(32))})


GOOD_N = int.from_bytes(base64url.decode(RFC7515_RS256["n"]))
X25519 = x25519.X25519PrivateKey.generate().public_key().public_bytes_raw()


def b64(octets: bytes) -> str:
    return base64url.encode(octets)


def whole(number: int) -> str:
    return b64(number.to_bytes((number.bit_length() + 7) // 8))


def rsa_jwk(numbers: rsa.RSAPublicNumbers) -> dict[str, str]:
    return {"kty": "RSA", "n": whole(numbers.n), "e": whole(numbers.e)}


def changed(jwk: dict[str, str], **members: Any) -> dict[str, Any]:
    return {name: value for name, value in {**jwk, **members}.items() if value is not None}


UNSOUND = {
    "empty": {},
    "kty missing": changed(RFC7515_ES256, kty=None),
    "kty list": changed(RFC7515_ES256, kty=["EC"]),
    "kty in lower case": changed(RFC7515_ES256, kty="ec"),
    "symmetric": {"kty": "oct", "k": "AAAA"},
    "P-384": changed(RFC7515_ES256, crv="P-384"),
    "secp256k1": changed(RFC7515_ES256, crv="secp256k1"),
    "no curve": changed(RFC7515_ES256, crv=None),
    "point off the curve": changed(RFC7515_ES256, y=RFC7515_ES256["x"]),
    "origin": changed(RFC7515_ES256, x=b64(bytes(32)), y=b64(bytes(32))),
    "x is not below the prime": changed(RFC7515_ES256, x=b64(b"\xff" * 32)),
    "x padded": changed(RFC7515_ES256, x=RFC7515_ES256["x"] + "="),
    "x in the standard alphabet": changed(RFC7515_ES256, y=RFC7515_ES256["y"].replace("_", "/")),
    "x with stray bits": changed(RFC7515_ES256, x=RFC7515_ES256["x"][:-1] + "V"),
    "x of 31 bytes": changed(RFC7515_ES256, x=b64(b"\1" * 31)),
    "x of 33 bytes": changed(RFC7515_ES256, x=b64(b"\0" + base64url.decode(RFC7515_ES256["x"]))),
    "x number": changed(RFC7515_ES256, x=1),
    "y missing": changed(RFC7515_ES256, y=None),
    "compressed point": {"kty": "EC", "crv": "P-256", "x": b64(b"\2" + bytes(32)), "y": ""},
    "X25519": {"kty": "OKP", "crv": "X25519", "x": b64(X25519)},
    "Ed448": {"kty": "OKP", "crv": "Ed448", "x": b64(bytes(57))},
    "Ed25519 of 31 bytes": changed(RFC8037_ED25519, x=b64(bytes(31))),
    "Ed25519 of 33 bytes": changed(RFC8037_ED25519, x=b64(bytes(33))),
    "RSA 1024": changed(RFC7515_RS256, n=whole(2**1023 + 1)),
    "RSA 2047": changed(RFC7515_RS256, n=whole(GOOD_N >> 1 | 1)),
    "RSA 4097": changed(RFC7515_RS256, n=whole(2**4096 + 1)),
    "RSA even": changed(RFC7515_RS256, n=whole(GOOD_N + 1)),
    "RSA with factor 3": changed(RFC7515_RS256, n=whole(GOOD_N - GOOD_N % 6 + 3)),
    "RSA with factor 751": changed(RFC7515_RS256, n=whole(GOOD_N - GOOD_N % 1502 + 751)),
    "RSA with a leading zero": changed(RFC7515_RS256, n=b64(b"\0" + base64url.decode(RFC7515_RS256["n"]))),
    "RSA n empty": changed(RFC7515_RS256, n=""),
    "e 3": changed(RFC7515_RS256, e="Aw"),
    "e 1": changed(RFC7515_RS256, e="AQ"),
    "e 0": changed(RFC7515_RS256, e="AA"),
    "e even": changed(RFC7515_RS256, e=whole(65538)),
    "e 2^32 + 1": changed(RFC7515_RS256, e=whole(2**32 + 1)),
    "e with a leading zero": changed(RFC7515_RS256, e=b64(b"\0\1\0\1")),
}


@pytest.mark.parametrize("jwk", UNSOUND.values(), ids=UNSOUND.keys())
def test_unsound_keys_are_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(UnusableKey):
        load_public_jwk(jwk)


@pytest.mark.parametrize("size_bits", [2048, 3072, 4096])
def test_rsa_sizes_from_2048_to_4096_bits_are_accepted(size_bits: int) -> None:
    modulus = 2 ** (size_bits - 1) + 1
    while any(modulus % divisor == 0 for divisor in range(3, 752, 2)):
        modulus += 2
    assert load_public_jwk(rsa_jwk(rsa.RSAPublicNumbers(2**32 - 1, modulus))).alg == "RS256"


MEMBER = st.none() | st.integers() | st.text("AQ_-=", max_size=6) | st.binary(max_size=40).map(b64)


@given(
    st.fixed_dictionaries(
        {"kty": st.sampled_from(["EC", "OKP", "RSA", "oct", None])},
        optional={"crv": st.sampled_from(["P-256", "Ed25519", 1]), **dict.fromkeys("xyne", MEMBER)},
    )
)
def test_any_jwk_is_loaded_or_refused_as_unusable(jwk: dict[str, Any]) -> None:
    try:
        key = load_public_jwk(jwk)
    except UnusableKey:
        return
    assert not key.verifies(bytes(64), b"m")


def test_a_real_ed25519_key_is_accepted() -> None:
    for _ in range(20):
        public = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()
        text = base64.urlsafe_b64encode(public).decode().rstrip("=")
        assert load_public_jwk({"kty": "OKP", "crv": "Ed25519", "x": text}).alg == "EdDSA"


def square_roots(square: int) -> list[int]:
    root = pow(square, (P + 3) // 8, P)
    for candidate in (root, root * pow(2, (P - 1) // 4, P) % P):
        if candidate * candidate % P == square:
            return [candidate, P - candidate]
    return []


def add(left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = left, right
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def multiply(factor: int, point: tuple[int, int]) -> tuple[int, int]:
    total = (0, 1)
    for bit in f"{factor:b}":
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total

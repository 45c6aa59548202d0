"""A hundred ways to get in with a spoilt assertion, for each kind of key; each is refused with its own code.

Source: contract/agents.md section 17, acceptance 11 to 17.
"""

import hmac
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from agenthifive.agents.assertion import (
    AssertionRefused,
    accepted_audiences,
    parse_assertion,
    verify_assertion,
)
from agenthifive.vault import base64url

AGENT_ID = "058c9a52-6a0e-4f5b-9d5e-1f2a3b4c5d6e"
NOW_S = 1_767_225_600.25
IAT = int(NOW_S)
AUDIENCES = accepted_audiences("https://ah5.example.com", "http://ah5.internal:4000", (), False)

MALFORMED = "malformed_assertion"
HEADER = "assertion_header_refused"
MISMATCH = "assertion_key_mismatch"
SIGNATURE = "assertion_signature_invalid"
AUDIENCE = "assertion_audience"
LIFETIME = "assertion_lifetime"
CLOCK = "clock_skew"
JTI = "jti_invalid"

Attack = tuple[str, str, Callable[[Any], str]]


def header(code: str, **members: Any) -> Attack:
    return f"header {members}", code, lambda s: s.token(members)


def claim(code: str, **changes: Any) -> Attack:
    shown = {name: str(value)[:40] for name, value in changes.items()}
    return f"claims {shown}", code, lambda s: s.token(**changes)


def payload(name: str, code: str, text: str | bytes) -> Attack:
    return name, code, lambda s: s.raw(payload=text)


def raw_header(name: str, code: str, text: str | bytes) -> Attack:
    return name, code, lambda s: s.raw(header=text if isinstance(text, bytes) else text.replace("ALG", s.alg))


def edited(name: str, code: str, edit: Callable[[str], str]) -> Attack:
    return name, code, lambda s: edit(s.token())


def resigned(name: str, code: str, sign: Callable[[Any, bytes], bytes]) -> Attack:
    def build(s: Any) -> str:
        signed = s.token().rpartition(".")[0]
        return f"{signed}.{base64url.encode(sign(s, signed.encode()))}"

    return name, code, build


def public_pem(s: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return s.private.public_key().public_bytes(serialization.Encoding.PEM, form)


def hmac_with_the_public_key(s: Any) -> str:
    signed = ".".join(base64url.encode(json.dumps(part).encode()) for part in ({"alg": "HS256"}, s.claims()))
    return f"{signed}.{base64url.encode(hmac.digest(public_pem(s), signed.encode(), 'sha256'))}"


def pss(s: Any) -> str:
    signed = s.token({"alg": "PS256"}).rpartition(".")[0]
    key = s.private if isinstance(s.private, rsa.RSAPrivateKey) else rsa.generate_private_key(65537, 2048)
    scheme = padding.PSS(padding.MGF1(SHA256()), padding.PSS.DIGEST_LENGTH)
    return f"{signed}.{base64url.encode(key.sign(signed.encode(), scheme, SHA256()))}"


def der(s: Any, message: bytes) -> bytes:
    if isinstance(s.private, ec.EllipticCurvePrivateKey):
        return s.private.sign(message, ec.ECDSA(SHA256()))
    return b"\x30" + bytes([len(s.sign(message)) & 0x7F]) + s.sign(message)


def of_another_algorithm(s: Any) -> str:
    return s.token({"alg": {"ES256": "RS256", "EdDSA": "ES256", "RS256": "EdDSA"}[s.alg]})


def with_stray_bits(text: str, position: int) -> str:
    """Change a bit that a lax decoder throws away, in a segment made to have one."""
    segments = text.split(".")
    segment = segments[position]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return ".".join(
        [
            *segments[:position],
            segment[:-1] + alphabet[alphabet.index(segment[-1]) | 1],
            *segments[position + 1 :],
        ]
    )


def in_one_segment(text: str, position: int, edit: Callable[[str], str]) -> str:
    segments = text.split(".")
    segments[position] = edit(segments[position])
    return ".".join(segments)


def huge(name: str, number: str) -> Attack:
    written = f'{{%s,"{name}":{number}}}'
    return f"{name} {number[:20]}", LIFETIME, lambda s: s.raw(payload=without(s, name, written))


def without(s: Any, name: str, written: str) -> str:
    return written.replace("%s", json.dumps(s.claims(**{name: ...}))[1:-1])


ATTACKS: list[Attack] = [
    # the header chooses the algorithm, the key, or what the text means
    *[
        header(HEADER, alg=alg)
        for alg in ("none", "None", "", "HS256", "HS512", "PS256", "ES384", "RS1", "es256", "Ed25519")
    ],
    *[header(HEADER, alg=alg) for alg in (None, True, 1, ["ES256"], {"ES256": 1})],
    ("HS256 with the public key as secret", HEADER, hmac_with_the_public_key),
    ("PS256 signature", HEADER, pss),
    ("another accepted algorithm", MISMATCH, of_another_algorithm),
    raw_header("no alg", HEADER, "{}"),
    header(HEADER, crit=["exp"]),
    header(HEADER, jku="https://evil.example/jwks.json"),
    header(HEADER, x5u="https://evil.example/cert.pem"),
    header(HEADER, x5c=["MIIB"]),
    header(HEADER, x5t="AAAA"),
    header(HEADER, jwk={"kty": "EC"}),
    header(HEADER, b64=False, crit=["b64"]),
    header(HEADER, b64=True),
    header(HEADER, zip="DEF"),
    header(HEADER, cty="JWT"),
    header(HEADER, enc="A256GCM"),
    header(HEADER, Alg="none"),
    header(HEADER, typ="at+jwt"),
    header(HEADER, typ="JOSE"),
    header(HEADER, typ=""),
    header(HEADER, typ=None),
    header(HEADER, typ=["JWT"]),
    header(HEADER, typ="application/client-authentication+jwt"),
    header(MISMATCH, kid="x"),
    header(MISMATCH, kid=""),
    header(MISMATCH, kid=None),
    header(MISMATCH, kid=["x"]),
    header(MISMATCH, kid="../../keys/1"),
    # the form
    edited("empty", MALFORMED, lambda _: ""),
    edited("two segments", MALFORMED, lambda text: text.rpartition(".")[0]),
    edited("empty signature", MALFORMED, lambda text: text.rpartition(".")[0] + "."),
    edited("empty header", MALFORMED, lambda text: text[text.index(".") :]),
    edited("empty payload", MALFORMED, lambda text: in_one_segment(text, 1, lambda _: "")),
    edited("four segments", MALFORMED, lambda text: text + ".AAAA"),
    edited("five segments", MALFORMED, lambda text: text + ".AAAA.AAAA"),
    edited("trailing dot", MALFORMED, lambda text: text + "."),
    edited("trailing newline", MALFORMED, lambda text: text + "\n"),
    edited("leading blank", MALFORMED, lambda text: " " + text),
    edited("newline inside", MALFORMED, lambda text: text[:9] + "\n" + text[9:]),
    edited("byte order mark", MALFORMED, lambda text: "\ufeff" + text),
    edited("Bearer in front", MALFORMED, lambda text: "Bearer " + text),
    edited("NUL at the end", MALFORMED, lambda text: text + "\0"),
    edited("not ASCII", MALFORMED, lambda text: text + "é"),
    edited("lone surrogate", MALFORMED, lambda text: text + "\ud800"),
    *[
        edited(
            f"padding in segment {n}",
            MALFORMED,
            lambda text, n=n: in_one_segment(text, n, lambda part: part + "="),
        )
        for n in range(3)
    ],
    edited("standard alphabet", MALFORMED, lambda text: in_one_segment(text, 2, lambda part: "+/" + part[2:])),
    (
        "header with stray bits",
        MALFORMED,
        lambda s: with_stray_bits(s.raw(header=f'{{"alg":"{s.alg}" }}'), 0),
    ),
    ("payload with stray bits", MALFORMED, lambda s: with_stray_bits(s.raw(payload=odd_length(s)), 1)),
    edited("signature with stray bits", MALFORMED, lambda text: with_stray_bits(text, 2)),
    claim(MALFORMED, filler="x" * 9000),
    edited("8193 bytes", MALFORMED, lambda text: text + "A" * (8193 - len(text))),
    # JSON
    raw_header("header array", MALFORMED, '["ALG"]'),
    raw_header("header text", MALFORMED, '"ALG"'),
    raw_header("duplicate alg", MALFORMED, '{"alg":"none","alg":"ALG"}'),
    raw_header("duplicate alg, escaped", MALFORMED, '{"alg":"ALG","\\u0061lg":"ALG"}'),
    raw_header("header with a byte order mark", MALFORMED, b'\xef\xbb\xbf{"alg":"ES256"}'),
    raw_header("header in UTF-16", MALFORMED, '{"alg":"ES256"}'.encode("utf-16")),
    raw_header("header with single quotes", MALFORMED, "{'alg':'ALG'}"),
    payload("payload array", MALFORMED, "[{%s}]"),
    payload("payload null", MALFORMED, "null"),
    payload("payload number", MALFORMED, "1"),
    payload("payload with a byte order mark", MALFORMED, b"\xef\xbb\xbf{%s}"),
    payload("payload not UTF-8", MALFORMED, b'{%s,"x":"\xff"}'),
    payload("lone surrogate in the payload", MALFORMED, '{%s,"x":"\\ud800"}'),
    payload("trailing data", MALFORMED, "{%s}{}"),
    payload("trailing comma", MALFORMED, "{%s,}"),
    payload("comment", MALFORMED, "{%s/**/}"),
    payload("duplicate sub", MALFORMED, f'{{%s,"sub":"{AGENT_ID}"}}'),
    payload("duplicate aud", MALFORMED, '{%s,"aud":"https://ah5.example.com"}'),
    payload("duplicate deep inside", MALFORMED, '{%s,"x":[{"a":1,"a":1}]}'),
    payload("NaN", MALFORMED, '{%s,"x":NaN}'),
    payload("Infinity", MALFORMED, '{%s,"exp2":Infinity}'),
    payload("a number beyond all bounds", MALFORMED, '{%s,"x":1e400}'),
    payload("a broken number as nbf", MALFORMED, '{%s,"nbf":01e400}'),
    payload("33 levels", MALFORMED, '{%s,"x":' + "[" * 32 + "]" * 32 + "}"),
    payload("depth 5000", MALFORMED, "[" * 5000),
    payload("depth 2500, closed", MALFORMED, "[" * 2500 + "]" * 2500),
    payload("quotes without end", MALFORMED, '{"exp":' + '"\\' * 2900),
    # who
    *[
        claim(MALFORMED, sub=sub, iss=sub)
        for sub in (
            "not-a-uuid",
            "",
            AGENT_ID.upper(),
            AGENT_ID + "\n",
            "{" + AGENT_ID + "}",
            AGENT_ID.replace("-", ""),
        )
    ],
    *[claim(MALFORMED, sub=sub, iss=sub) for sub in ([AGENT_ID], {"id": AGENT_ID}, None, 1, True, ...)],
    claim(MALFORMED, iss=...),
    claim(MALFORMED, iss="058c9a52-6a0e-4f5b-9d5e-000000000000"),
    claim(MALFORMED, iss=[AGENT_ID]),
    # the signature
    edited("payload of another assertion", SIGNATURE, lambda text: in_one_segment(text, 1, other_payload)),
    ("signed by a stranger", SIGNATURE, lambda s: type(s)(s.alg).token()),
    resigned("zero signature", SIGNATURE, lambda s, message: bytes(len(s.sign(message)))),
    resigned("one byte", SIGNATURE, lambda _, __: b"\0"),
    resigned("cut", SIGNATURE, lambda s, message: s.sign(message)[:-1]),
    resigned("extended", SIGNATURE, lambda s, message: s.sign(message) + b"\0"),
    resigned("leading zero", SIGNATURE, lambda s, message: b"\0" + s.sign(message)),
    resigned("zero inside", SIGNATURE, lambda s, message: s.sign(message)[:32] + b"\0" + s.sign(message)[32:]),
    resigned("DER", SIGNATURE, der),
    resigned("r of zero", SIGNATURE, lambda s, message: bytes(32) + s.sign(message)[32:]),
    resigned("s of zero", SIGNATURE, lambda s, message: s.sign(message)[:-32] + bytes(32)),
    resigned("r beyond the order", SIGNATURE, lambda s, message: b"\xff" * 32 + s.sign(message)[32:]),
    resigned("s beyond the order", SIGNATURE, lambda s, message: s.sign(message)[:-32] + b"\xff" * 32),
    resigned("over the payload only", SIGNATURE, lambda s, message: s.sign(message.partition(b".")[2])),
    # for whom
    *[
        claim(AUDIENCE, aud=aud)
        for aud in (
            ...,
            None,
            "",
            "/",
            "https://evil.example.com",
            "https://ah5.example.com.evil.example",
            "https://ah5.example.com/x",
            "https://ah5.example.com/v1/v1",
            "https://ah5.example.com/v1/agents/token",
            "https://ah5.example.com/V1",
            "HTTPS://AH5.EXAMPLE.COM",
            "http://ah5.example.com",
            "https://ah5.example.com:443",
            "https://ah5.example.com ",
            "https://ah5.example.com?",
            "http://localhost:4000",
            [],
            ["https://ah5.example.com", "https://ah5.example.com"],
            ["https://ah5.example.com", "https://evil.example"],
            [["https://ah5.example.com"]],
            {"https://ah5.example.com": 1},
            1,
        )
    ],
    # how long
    claim(LIFETIME, exp=IAT + 61),
    claim(LIFETIME, exp=IAT + 120),
    claim(LIFETIME, exp=IAT),
    claim(LIFETIME, exp=IAT - 1),
    claim(LIFETIME, iat=True, exp=30),
    claim(LIFETIME, iat=2**53 - 30, exp=2**53),
    claim(LIFETIME, iat=IAT - 86400, exp=IAT + 60),
    *[
        claim(LIFETIME, exp=exp)
        for exp in (
            ...,
            None,
            True,
            str(IAT + 30),
            IAT + 30.5,
            float(IAT + 30),
            [IAT + 30],
            0,
            -1,
            2**53,
            2**63,
            2**64,
        )
    ],
    *[claim(LIFETIME, iat=iat) for iat in (..., None, True, str(IAT), float(IAT), [IAT], 0, -IAT, 2**53)],
    *[claim(LIFETIME, nbf=nbf) for nbf in (None, True, "0", 1.5)],
    *[
        huge(name, number)
        for name in ("exp", "iat")
        for number in ("1e400", "-1e400", "9" * 5000, "1" + "0" * 400 + ".5")
    ],
    huge("exp", "17672256e2"),
    # when
    claim(CLOCK, iat=IAT - 60, exp=IAT - 30),
    claim(CLOCK, iat=IAT - 35, exp=IAT - 5),
    claim(CLOCK, iat=IAT - 60, exp=IAT),
    claim(CLOCK, iat=IAT + 61, exp=IAT + 91),
    claim(CLOCK, iat=IAT + 600, exp=IAT + 630),
    claim(CLOCK, iat=2**53 - 31, exp=2**53 - 1),
    claim(CLOCK, iat=1, exp=31),
    claim(CLOCK, nbf=IAT + 3600),
    claim(CLOCK, nbf=IAT + 6),
    claim(CLOCK, nbf=10**300),
    # once
    *[claim(JTI, jti=jti) for jti in (..., None, "", "1234567", "x" * 129, 12345678, ["12345678"], True)],
    *[claim(JTI, jti="12345678" + end) for end in (" ", "\n", "\0", "\x7f", "é")],
]


def odd_length(s: Any) -> str:
    """Valid claims written so that the segment has bits to spare."""
    written = json.dumps(s.claims())
    return written + " " * ((1 - len(written)) % 3)


def other_payload(segment: str) -> str:
    claims = json.loads(base64url.decode(segment))
    return base64url.encode(json.dumps({**claims, "jti": "another-jti"}).encode())


@pytest.mark.parametrize(("name", "code", "build"), ATTACKS, ids=[re.sub(r"[^ -~]", "?", a[0]) for a in ATTACKS])
def test_an_attack_is_refused_with_its_code(signer, name: str, code: str, build: Callable[[Any], str]) -> None:
    with pytest.raises(AssertionRefused) as caught:
        verify_assertion(
            parse_assertion(build(signer)), signer.key, audiences=AUDIENCES, max_lifetime_s=60, now_s=NOW_S
        )
    refused = caught.value
    assert (refused.code, refused.status) == (code, 401)
    assert refused.agent_is_proven is (code in (AUDIENCE, LIFETIME, CLOCK, JTI))
    assert ("reason" in refused.body()) is (code == CLOCK)
    assert AGENT_ID not in json.dumps(refused.body())


def test_the_table_is_as_large_as_it_claims_and_covers_every_code() -> None:
    assert len({name for name, _, _ in ATTACKS}) == len(ATTACKS) >= 100
    codes = Counter(code for _, code, _ in ATTACKS)
    assert set(codes) == {MALFORMED, HEADER, MISMATCH, SIGNATURE, AUDIENCE, LIFETIME, CLOCK, JTI}

"""What a good assertion may look like, what each refusal says, and that nothing else comes out."""

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.agents.assertion import (
    AssertionRefused,
    Claims,
    accepted_audiences,
    parse_assertion,
    verify_assertion,
)
from agenthifive.agents.public_key import PublicKey, read_public_key
from agenthifive.vault import base64url
from agenthifive.vault.signing import UnusableKey

AGENT_ID = "058c9a52-6a0e-4f5b-9d5e-1f2a3b4c5d6e"
NOW_S = 1_767_225_600.25
IAT = int(NOW_S)
AUDIENCES = accepted_audiences("https://ah5.example.com", "http://ah5.internal:4000", ("prod-ah5",), False)


def verify(text: str, key: PublicKey | None, *, max_lifetime_s: int = 60, now_s: float = NOW_S) -> Claims:
    return verify_assertion(parse_assertion(text), key, audiences=AUDIENCES, max_lifetime_s=max_lifetime_s, now_s=now_s)


def refusal(text: str, key: PublicKey | None, **options: Any) -> AssertionRefused:
    with pytest.raises(AssertionRefused) as caught:
        verify(text, key, **options)
    assert caught.value.status == 401
    return caught.value


VALID: dict[str, Any] = {
    "as existing clients send it": {},
    "typ JWT": {"header": {"typ": "JWT"}},
    "typ in other case": {"header": {"typ": "jwt"}},
    "typ client-authentication+jwt": {"header": {"typ": "Client-Authentication+JWT"}},
    "aud list of one": {"aud": ["https://ah5.example.com"]},
    "aud with a slash": {"aud": "https://ah5.example.com/"},
    "aud with slashes": {"aud": "https://ah5.example.com//"},
    "aud with /v1": {"aud": "https://ah5.example.com/v1"},
    "aud with /v1/": {"aud": "https://ah5.example.com/v1/"},
    "aud internal": {"aud": "http://ah5.internal:4000"},
    "aud extra": {"aud": "prod-ah5"},
    "lifetime of 60 s": {"exp": IAT + 60},
    "lifetime of 1 s": {"exp": IAT + 1},
    "issued 60 s ahead": {"iat": IAT + 60, "exp": IAT + 90},
    "issued almost 60 s ago": {"iat": IAT - 59, "exp": IAT + 1},
    "expired 4 s ago": {"iat": IAT - 34, "exp": IAT - 4},
    "nbf now": {"nbf": IAT},
    "nbf 5 s ahead": {"nbf": IAT + 5},
    "jti of 8": {"jti": "!" * 8},
    "jti of 128": {"jti": "~" * 128},
    "other claims": {"scope": ["a", {"b": None}], "x": 1.5, "é": "é\U0001f600"},
}


@pytest.mark.parametrize("changes", VALID.values(), ids=VALID.keys())
def test_a_good_assertion_is_accepted(signer, changes: dict[str, Any]) -> None:
    claims = verify(signer.token(**changes), signer.key)
    sent = signer.claims(**changes)
    assert claims == Claims(AGENT_ID, sent["jti"], sent["iat"], sent["exp"])


def test_the_thumbprint_is_the_kid_of_a_key_without_one(signer) -> None:
    assert verify(signer.token({"kid": signer.key.thumbprint}), signer.key).agent_id == AGENT_ID


def test_a_registered_kid_is_the_only_kid(signer) -> None:
    key = read_public_key({**signer.jwk, "kid": "k-1"})
    assert verify(signer.token(), key)
    assert verify(signer.token({"kid": "k-1"}), key)
    for kid in (signer.key.thumbprint, "K-1", "k-1 "):
        assert refusal(signer.token({"kid": kid}), key).code == "assertion_key_mismatch"


def test_a_longer_lifetime_can_be_configured(signer) -> None:
    text = signer.token(exp=IAT + 300)
    assert verify(text, signer.key, max_lifetime_s=300)
    assert verify(text, signer.key, max_lifetime_s=300, now_s=IAT + 299)
    assert "120 seconds" in refusal(text, signer.key, max_lifetime_s=120).message


def test_client_id_is_compared_with_sub(signer) -> None:
    text = signer.token()
    for absent_or_equal in (None, AGENT_ID):
        assert parse_assertion(text, absent_or_equal).agent_id == AGENT_ID
    for other in ("", AGENT_ID.upper(), 1, [AGENT_ID], {}):
        with pytest.raises(AssertionRefused) as caught:
            parse_assertion(text, other)
        assert caught.value.code == "malformed_assertion"


def test_an_unknown_agent_is_told_that_it_is_not_active(signer) -> None:
    answer = refusal(signer.token(), None)
    assert answer.code == "invalid_agent"
    assert "not active" in answer.message


def test_clock_skew_is_only_said_to_a_proven_agent(signer, signers) -> None:
    late, early = {"iat": IAT - 60, "exp": IAT - 30}, {"iat": IAT + 600, "exp": IAT + 630}
    for changes in (late, early, {"nbf": IAT + 3600}):
        answer = refusal(signer.token(**changes), signer.key)
        assert answer.agent_is_proven
        body = json.dumps(answer.body(), separators=(",", ":"))
        assert '"reason":"clock_skew"' in body
        assert answer.body()["serverTime"] == "2026-01-01T00:00:00.250Z"
        assert "ynchronise" in answer.message
        stranger = refusal(signer.token(**changes), type(signer)(signer.alg).key)
        assert stranger.code == "assertion_signature_invalid"
        assert not stranger.agent_is_proven
        assert "reason" not in stranger.body()


def test_each_refusal_says_what_the_contract_demands(signer) -> None:
    key, other = signer.key, type(signer)(signer.alg).key
    assert "payload" in refusal(signer.raw(payload="[]"), key).message
    assert "header" in refusal(signer.raw(header="[]"), key).message
    assert "'jku'" in refusal(signer.token({"jku": "https://evil.example"}), key).message
    assert signer.alg in refusal(signer.token({"kid": "x"}), key).message
    assert "re-enrol" in refusal(signer.token(), other).message
    assert "60 seconds" in refusal(signer.token(exp=IAT + 120), key).message
    hint = refusal(signer.token(aud="https://evil.example"), key).hint
    assert hint == "http://ah5.internal:4000, https://ah5.example.com, prod-ah5"


def test_the_first_failing_check_answers(signer) -> None:
    """Spoilt everywhere, then repaired from the front: the codes come in the order of the contract."""
    spoilt: list[tuple[str, dict[str, Any]]] = [
        ("assertion_header_refused", {"header": {"typ": "at+jwt"}}),
        ("malformed_assertion", {"iss": "x"}),
        ("assertion_key_mismatch", {"header": {"kid": "x"}}),
        ("assertion_audience", {"aud": "x"}),
        ("assertion_lifetime", {"exp": IAT - 9000}),
        ("clock_skew", {"nbf": IAT + 9000}),
        ("jti_invalid", {"jti": 1}),
    ]
    for first in range(len(spoilt)):
        changes: dict[str, Any] = {}
        for _, change in reversed(spoilt[first:]):
            changes.update(change)
        assert refusal(signer.token(**changes), signer.key).code == spoilt[first][0]


def test_nothing_is_judged_before_the_signature(signer) -> None:
    stranger = type(signer)(signer.alg)
    for changes in ({"aud": "x"}, {"exp": 1}, {"nbf": IAT + 99}, {"jti": 1}):
        assert refusal(stranger.token(**changes), signer.key).code == "assertion_signature_invalid"


def test_an_assertion_has_at_most_8192_bytes(signer) -> None:
    texts = [signer.token(filler="x" * length) for length in range(5500, 6100)]
    sizes = {len(text): outcome(text, signer.key) for text in texts}
    assert {size for size, answer in sizes.items() if answer == "accepted"} == {size for size in sizes if size <= 8192}
    assert max(sizes) > 8192 > min(sizes)
    assert "8192" in refusal(texts[-1], signer.key).message


def test_rows_before_the_signature_are_not_attributed_and_those_after_are(signer) -> None:
    unproven = [
        signer.token({"crv": 1}),
        signer.token(sub="x"),
        signer.token({"kid": "x"}),
        signer.token() + "A",
    ]
    proven = [signer.token(aud="x"), signer.token(exp=1), signer.token(nbf=IAT + 99), signer.token(jti="")]
    assert [refusal(text, signer.key).agent_is_proven for text in unproven + proven] == [False] * 4 + [True] * 4


def test_a_damaged_stored_key_is_our_fault_and_no_401(signer) -> None:
    damaged = PublicKey({"kty": "EC", "crv": "P-256", "x": "", "y": ""}, None, "", signer.alg)
    with pytest.raises(UnusableKey):
        verify(signer.token(), damaged)


@pytest.mark.parametrize(
    ("web_url", "internal_url", "extra", "development", "expected"),
    [
        ("https://a.example/", None, (), False, {"https://a.example"}),
        ("https://a.example/v1", "", ("", "b", "b/v1/"), False, {"https://a.example", "b"}),
        ("https://a.example", None, ("/", "/v1"), True, {"https://a.example"}),
        ("http://localhost:4000", None, (), False, {"http://localhost:4000"}),
        ("http://localhost:4000", None, (), True, {"http://localhost:4000", "http://127.0.0.1:4000"}),
        (
            "http://127.0.0.1",
            "http://localhost:9/x",
            ("localhost",),
            True,
            {
                "http://127.0.0.1",
                "http://localhost",
                "http://localhost:9/x",
                "http://127.0.0.1:9/x",
                "localhost",
            },
        ),
        ("http://localhost.evil.example", None, (), True, {"http://localhost.evil.example"}),
    ],
)
def test_accepted_audiences(
    web_url: str, internal_url: str | None, extra: tuple[str, ...], development: bool, expected: set[str]
) -> None:
    assert accepted_audiences(web_url, internal_url, extra, development) == expected


def outcome(text: str, key: PublicKey | None) -> str:
    try:
        verify(text, key)
    except AssertionRefused as caught:
        return caught.code
    return "accepted"


@given(st.text(max_size=40) | st.text('.ey{}[]"\n=-_A', max_size=60))
def test_any_text_is_refused_and_nothing_else_happens(text: str) -> None:
    with pytest.raises(AssertionRefused):
        parse_assertion(text)


@given(st.binary(max_size=60), st.binary(max_size=120), st.binary(max_size=70))
def test_any_three_segments_are_refused(header: bytes, payload: bytes, signature: bytes) -> None:
    with pytest.raises(AssertionRefused):
        parse_assertion(".".join(map(base64url.encode, (header, payload, signature))))


TIMES = st.sampled_from([0, -1, 1, IAT, IAT + 30, IAT - 99, 2**53, 2**63, 2**64, 10**400, 1.5, 1e300])
VALUES = (
    st.none()
    | st.booleans()
    | TIMES
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(max_size=9)
    | st.sampled_from([AGENT_ID, "https://ah5.example.com", [], ["https://ah5.example.com"], {}, {"a": [1]}])
)
NAMES = st.sampled_from(["iss", "sub", "aud", "iat", "exp", "nbf", "jti", "x"])


@given(
    claims=st.dictionaries(NAMES, VALUES, max_size=3),
    header=st.dictionaries(st.sampled_from(["alg", "typ", "kid", "crit", "jwk"]), VALUES, max_size=1),
)
def test_signed_nonsense_is_judged_and_never_breaks_the_judge(signers, claims: dict, header: dict) -> None:
    """Accepted only when everything that counts is as it should be."""
    signer = signers["EdDSA"]
    if outcome(signer.token(header, **claims), signer.key) != "accepted":
        return
    sent = signer.claims(**claims)
    assert sent["iss"] == sent["sub"] == AGENT_ID
    assert sent["aud"] in ("https://ah5.example.com", ["https://ah5.example.com"])
    assert type(sent["iat"]) is type(sent["exp"]) is int
    assert 0 < sent["exp"] - sent["iat"] <= 60
    assert header in ({}, {"kid": signer.key.thumbprint})


def test_no_character_of_an_assertion_can_be_changed(signers) -> None:
    """Every character replaced by its neighbours in the alphabet, every one removed, every one doubled."""
    signer = signers["EdDSA"]
    text, key = signer.token(), signer.key
    for index, character in enumerate(text):
        before, after = text[:index], text[index + 1 :]
        for other in ("A", "B", "_", ".", "=", "", character * 2):
            if other != character:
                assert outcome(before + other + after, key) != "accepted"


def test_a_key_proves_one_agent_only(signers) -> None:
    for left, right in itertools.permutations(signers.values(), 2):
        assert outcome(left.token(), right.key) == "assertion_key_mismatch"

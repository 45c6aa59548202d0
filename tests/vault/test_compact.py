"""Tokens are read by one strict reader: three canonical segments, three header members, JSON with one meaning."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.vault.compact import MAX_BYTES, NotCompact, read_compact, type_of, write_compact
from signing_keys import forge, signing_key

KEY = signing_key("a", "Ed25519")
HEADER = {"alg": "EdDSA", "kid": "a", "typ": "JWT"}
GOOD = write_compact(KEY, "JWT", {"sub": "x"})
_HEAD, _CLAIMS, _SIGNATURE = GOOD.split(".")


def test_what_is_written_is_read() -> None:
    token = read_compact(GOOD)
    assert (token.alg, token.kid, token.typ, token.claims) == ("EdDSA", "a", "JWT", {"sub": "x"})
    assert token.signed.decode() == f"{_HEAD}.{_CLAIMS}"
    assert "sub" not in repr(token)


EXTRA = {"jku": "https://evil.test/k", "x5u": "https://evil.test/c", "jwk": dict(KEY.jwk), "x5c": ["MII"], "x5t": "a",
         "crit": ["exp"], "b64": False, "zip": "DEF", "cty": "JWT", "x": 1}  # fmt: skip
REFUSED = {
    **{f"header {name}": forge({**HEADER, name: value}, {}, KEY) for name, value in EXTRA.items()},
    "no kid": forge({"alg": "EdDSA", "typ": "JWT"}, {}, KEY),
    "no typ": forge({"alg": "EdDSA", "kid": "a"}, {}, KEY),
    "kid a number": forge({**HEADER, "kid": 1}, {}, KEY),
    "alg a list": forge({**HEADER, "alg": ["EdDSA"]}, {}, KEY),
    "alg twice": forge(b'{"alg":"none","alg":"EdDSA","kid":"a","typ":"JWT"}', {}, KEY),
    "header a list": forge(b"[]", {}, KEY),
    "claims a list": forge(HEADER, b"[]", KEY),
    "claim twice": forge(HEADER, b'{"sub":"x","sub":"y"}', KEY),
    "claim twice within": forge(HEADER, b'{"a":{"sub":"x","sub":"y"}}', KEY),
    "not a number": forge(HEADER, b'{"exp":NaN}', KEY),
    "huge number": forge(HEADER, b'{"exp":1e400}', KEY),
    "deep": forge(HEADER, b'{"a":' + b"[" * 9 + b"]" * 9 + b"}", KEY),
    "9 KiB": forge(HEADER, {"a": "x" * 9216}, KEY),
    "padded": f"{_HEAD}=.{_CLAIMS}.{_SIGNATURE}",
    "standard alphabet": f"{_HEAD}.{_CLAIMS}.{base64.b64encode(b'?' * 63 + b'>').decode()}",
    "trailing bits": f"{_HEAD}.{_CLAIMS}.{_SIGNATURE[:-1]}{'B' if _SIGNATURE[-1] != 'B' else 'C'}",
    "line break": GOOD + "\n",
    "space": f" {GOOD}",
    "two segments": f"{_HEAD}.{_CLAIMS}",
    "four segments": f"{GOOD}.{_SIGNATURE}",
    "no signature": f"{_HEAD}.{_CLAIMS}.",
    "no claims": f"{_HEAD}..{_SIGNATURE}",
    "not ASCII": GOOD + "é",
}


@pytest.mark.parametrize("case", REFUSED)
def test_another_form_is_refused(case: str) -> None:
    with pytest.raises(NotCompact):
        read_compact(REFUSED[case])


def test_eight_kibibytes_is_the_most() -> None:
    room = MAX_BYTES - len(forge(HEADER, {"a": ""}, KEY))
    longest = forge(HEADER, {"a": "x" * (room * 3 // 4)}, KEY)
    assert MAX_BYTES - 4 < len(longest) <= MAX_BYTES
    assert read_compact(longest).kid == "a"


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    for spoilt in (text, f"{_HEAD}.{text}.{_SIGNATURE}", f"{text}.{_CLAIMS}.{_SIGNATURE}"):
        try:
            read_compact(spoilt)
        except NotCompact:
            continue
        assert spoilt.count(".") == 2


def test_the_type_is_known_before_anything_is_believed() -> None:
    assert type_of(GOOD) == "JWT"
    assert type_of("a.b.c") is None
    assert type_of(json.dumps({})) is None

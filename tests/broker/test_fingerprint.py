"""The fingerprint: the contract's test vector, what must not change it, and what must.

Source: contract/approvals.md section 3.
"""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.body import read_body, read_raw_body
from agenthifive.broker.fingerprint import fingerprint, vend_fingerprint
from agenthifive.broker.headers import sanitise_request_headers

URL = "https://gmail.googleapis.com/gmail/v1/users/me/messages/send?uploadType=media"
BODY = {"raw": "SGk=", "b": [1, 2.5, "é"]}


def print_of(body=BODY, *, method="POST", url=URL, headers=None, content_type=None, boundary="B", **flags):
    kept = sanitise_request_headers(headers or {}, strip=frozenset())
    content_type = dict(kept).get("content-type", content_type)
    chosen = {"download": False, "bypass": False, "full": False, **flags}
    return fingerprint(method, url, headers=kept, body=read_body(body, content_type, boundary=boundary), **chosen)


def test_the_vector_of_the_contract():
    assert print_of() == "564d1edf576e6c1d2ca2b7f84b7d69f7a34a97c026b047f0737daedf9d3151bf"


def test_the_lines_are_those_of_the_contract():
    lines = [
        "ah5-fp/1",
        "GET",
        "https://api.example.com/",
        "download=1 bypass=0 full=1",
        "a:1",
        "a-b:2",
        "body:none:" + sha256(b"").hexdigest(),
    ]
    expected = sha256("\n".join(lines).encode()).hexdigest()
    actual = print_of(
        None,
        method="GET",
        url="https://api.example.com/",
        headers={"A-B": "2", "A": "1"},
        download=True,
        full=True,
    )
    assert actual == expected


def test_vending_has_a_fingerprint_of_its_own():
    lines = [
        "ah5-fp/1",
        "VEND",
        "connection:c1",
        "download=0 bypass=0 full=0",
        f"body:none:{sha256(b'').hexdigest()}",
    ]
    assert vend_fingerprint("c1") == sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize(
    "same",
    [
        {"body": {"b": [1, 2.5, "é"], "raw": "SGk="}},
        {"body": '{ "b":[1,2.50,"\\u00e9"],"raw":"SGk=" }'},
        {"content_type": "application/json"},
        {"headers": {"Content-Type": "application/json"}},
        {
            "headers": {
                "User-Agent": "x",
                "Accept": "y",
                "Accept-Language": "z",
                "Accept-Charset": "c",
                "Date": "d",
            }
        },
        {"headers": {"traceparent": "1", "tracestate": "2", "baggage": "3", "sentry-trace": "4"}},
        {"headers": {"X-Request-Id": "1", "X-Correlation-Id": "2", "X-Client-Request-Id": "3"}},
        {"headers": {"Idempotency-Key": "1", "X-Stainless-Retry-Count": "2", "X-Stainless-OS": "3"}},
        {"headers": {"Authorization": "x"}},
    ],
    ids=repr,
)
def test_what_a_repeat_may_vary_does_not_matter(same):
    assert print_of(**same) == print_of()


@pytest.mark.parametrize(
    "other",
    [
        {"method": "PUT"},
        {"url": URL + "&x=1"},
        {"url": URL.replace("send", "Send")},
        {"download": True},
        {"bypass": True},
        {"full": True},
        {"headers": {"X-Title": "1"}},
        {"headers": {"Accept-Version": "1"}},
        {"content_type": "application/json; charset=utf-8"},
        {"body": {**BODY, "raw": "SGk"}},
        {"body": {**BODY, "b": [2.5, 1, "é"]}},
        {"body": {**BODY, "b": [1, 2.5, "e\u0301"]}},
        {"body": {**BODY, "b": ["1", 2.5, "é"]}},
        {"body": {**BODY, "b": [True, 2.5, "é"]}},
        {"body": {**BODY, "c": None}},
        {"body": None},
        {"body": "SGk="},
    ],
    ids=repr,
)
def test_any_difference_that_the_provider_sees_matters(other):
    assert print_of(**other) != print_of()


def test_each_kind_of_body_is_its_own():
    data = "YT1i"  # a=b
    form = "application/x-www-form-urlencoded"
    bodies = [
        ("a=b", None),
        ("a=b", form),
        ({"_binary": True, "data": data}, form),
        ({"_binary": True, "data": data}, None),
        ({"_multipart": True, "parts": [{"name": "a", "value": "b"}]}, None),
        (None, form),
    ]
    assert len({print_of(body, content_type=content_type) for body, content_type in bodies}) == len(bodies)


def test_integers_are_exact_at_any_length():
    assert print_of({"n": 10**40}) != print_of({"n": 10**40 + 1})


PART = {"name": "a", "filename": "f", "contentType": "text/plain", "value": "v"}


class TestMultipart:
    def of(self, *parts, subtype="form-data", boundary="B"):
        return print_of({"_multipart": True, "subtype": subtype, "parts": list(parts)}, boundary=boundary)

    def test_the_boundary_does_not_matter(self):
        assert self.of(PART, boundary="X") == self.of(PART, boundary="Y")

    @pytest.mark.parametrize("member", ["name", "filename", "contentType", "value"])
    def test_each_member_matters(self, member):
        changed = {**PART, member: "text/html"} if member == "contentType" else {**PART, member: "other"}
        assert self.of(changed) != self.of(PART)

    def test_order_number_and_subtype_matter(self):
        other = {"name": "b", "value": "w"}
        prints = [
            self.of(PART, other),
            self.of(other, PART),
            self.of(PART),
            self.of(PART, subtype="related"),
        ]
        assert len(set(prints)) == 4

    def test_borders_between_members_cannot_be_moved(self):
        assert self.of({"name": "ab", "value": "c"}) != self.of({"name": "a", "value": "bc"})


def test_a_raw_body_has_the_print_of_its_value():
    flags = {"download": False, "bypass": False, "full": False}
    raw = read_raw_body(b'{ "b": [1, 2.5, "\xc3\xa9"], "raw": "SGk=" }', "application/json")
    assert fingerprint("POST", URL, headers=[], body=raw, **flags) == print_of()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, database=None)
@given(VALUES)
def test_member_order_never_matters(value):
    assert print_of({"x": reversed_members(value), "y": 1}) == print_of({"y": 1, "x": value})


def reversed_members(value):
    if isinstance(value, dict):
        return {key: reversed_members(value[key]) for key in reversed(value)}
    if isinstance(value, list):
        return [reversed_members(item) for item in value]
    return value

"""Redaction by the policy's own patterns: found whatever the disguise, replaced where it stands."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.fields import compile_path
from agenthifive.policy.model import Body, Part, Request
from agenthifive.policy.pii import Finding, compile_types, find, forms, replace, search
from agenthifive.policy.rewrite import PersonalData, Unread, rewrite
from agenthifive.strict_json import dumps
from policy.calls import call, facts_of

STAFF = compile_types([{"type": "custom", "pattern": r"EMP-\d{5}"}])
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MARK = "[PII_REDACTED:custom]"


def redacted(request: Request, *fields: str, types: Any = STAFF) -> tuple[Body, list[tuple[str, int]]]:
    """The rewritten body and (field, count) of what was replaced."""
    data = PersonalData(types, tuple(map(compile_path, fields)))
    hits = data.search(request)
    assert not isinstance(hits, Unread)
    kept = [hit for hit in hits if hit.leaf.target is not None]
    return rewrite(request.body, kept), [(r.field, r.count) for hit in kept for r in hit.report()]


def stuck(request: Request, *fields: str) -> list[str]:
    """Fields whose findings cannot be replaced."""
    hits = PersonalData(STAFF, tuple(map(compile_path, fields))).search(request)
    assert not isinstance(hits, Unread)
    return [hit.leaf.where for hit in hits if hit.leaf.target is None]


# ---- finding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("from EMP-12345 to", "from # to"),
        ("ﬁ EM\u200bP-１２３45 ok é", "ﬁ # ok é"),
        ("a EMP<wbr>-1&shy;2345 b", "a # b"),
        ("EMP-123", "EMP-123"),
        ("EMP-12345EMP-67890", "##"),
        ("<b>😀 EMP-12345</b> & é", "<b>😀 #</b> & é"),
    ],
)
def test_a_finding_is_seen_through_disguises_and_replaced_in_the_original(text: str, left: str) -> None:
    found = find(text, STAFF)
    assert found is not None
    assert replace(text, found, "#") == left


disguises = st.lists(st.sampled_from(["\u200b", "\u00ad", "<wbr>", "&shy;", "", ""]), min_size=9, max_size=9)


@given(st.text("é <&x😀ﬁ", max_size=6), disguises, st.text("é <&x😀ﬁ", max_size=6))
def test_places_in_the_original_are_exact(before: str, between: list[str], after: str) -> None:
    hidden = "".join(char + gap for char, gap in zip("EMP-12345", [*between[:8], ""], strict=True))
    found = find(before + hidden + after, STAFF)
    assert found == (Finding(len(before), len(before) + len(hidden), "custom", None),)


def test_overlapping_findings_are_removed_as_one() -> None:
    types = compile_types(
        [
            {"type": "custom", "pattern": "AAAA-BBBB", "replacement": "<1>"},
            {"type": "custom", "pattern": "BBBB-CCCC-DDDD", "replacement": "<2>"},
        ]
    )
    assert find("x AAAA-BBBB-CCCC-DDDD y", types) == (Finding(2, 21, "custom", "<2>"),)


def test_a_text_with_too_many_disguises_or_findings_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MAX_DISGUISES", 10)
    monkeypatch.setattr(search, "MAX_FINDINGS", 10)
    assert find("ｅ" * 12, STAFF) is None
    assert find("EMP-12345 " * 11, STAFF) is None
    assert find("EMP-12345 " * 10, STAFF) is not None


def test_a_replacement_is_text_and_not_a_format() -> None:
    types = compile_types([{"type": "custom", "pattern": "x", "replacement": "{type}%s\\1"}])
    found = find("axb", types)
    assert found is not None
    assert replace("axb", found, "[{type}]") == "a{type}%s\\1b"


# ---- rewriting ---------------------------------------------------------------------------------------


def test_json_is_rewritten_in_place_and_the_caller_s_value_is_not_touched() -> None:
    body = {"a": [{"b": "EMP-12345 EMP-12345"}, "x"], "c": "EMP-12345"}
    request = call("POST", body=body)
    kept = request.body.value
    new, report = redacted(request, "a", "c", "$body")
    assert new.value == {"a": [{"b": f"{MARK} {MARK}"}, "x"], "c": MARK}
    assert new.size_bytes == len(dumps(new.value))
    assert report == [("a[0].b", 2), ("c", 1)]
    assert request.body.value is kept
    assert kept == body


def test_only_the_named_fields_are_rewritten() -> None:
    request = call("POST", body={"m": [{"c": "EMP-12345"}, {"d": "EMP-12345"}], "n": "EMP-12345"})
    new, report = redacted(request, "m[*].c")
    assert new.value == {"m": [{"c": MARK}, {"d": "EMP-12345"}], "n": "EMP-12345"}
    assert report == [("m[0].c", 1)]


def test_a_field_reaches_into_arrays_as_conditions_do() -> None:
    new, _ = redacted(call("POST", body={"m": [{"c": "EMP-12345"}]}), "m.c")
    assert new.value == {"m": [{"c": MARK}]}


def test_a_form_is_rewritten_value_by_value() -> None:
    request = call("POST", body="a=1&t=EMP-12345+%26&t=x&u=EMP%2D12345", headers=FORM)
    new, report = redacted(request, "t")
    assert new.value == "a=1&t=%5BPII_REDACTED%3Acustom%5D+%26&t=x&u=EMP-12345"
    assert new.size_bytes == len(new.value)
    assert report == [("t", 1)]


def test_text_parts_are_rewritten_and_json_in_them_stays_json() -> None:
    parts = [
        {"name": "caption", "value": "EMP-12345"},
        {"name": "meta", "contentType": "application/json", "value": '{"k":["EMP-12345",1]}'},
        {"name": "file", "filename": "a.bin", "data": "AAEC"},
    ]
    request = call("POST", body={"_multipart": True, "subtype": "form-data", "parts": parts})
    new, report = redacted(request, "$body")
    assert [part.value for part in new.value] == [MARK, f'{{"k":["{MARK}",1]}}', None]
    assert new.value[2].data == b"\x00\x01\x02"
    assert isinstance(new.value[0], Part)
    assert report == [("caption", 1), ("meta.k[0]", 1)]
    assert new.size_bytes == request.body.size_bytes + 2 * (len(MARK) - len("EMP-12345"))


def test_a_text_body_is_rewritten() -> None:
    new, report = redacted(call("POST", body="é EMP-12345"), "$body")
    assert (new.value, new.size_bytes, report) == (f"é {MARK}", len(f"é {MARK}".encode()), [("$body", 1)])


@pytest.mark.parametrize(
    ("body", "path", "fields", "where"),
    [
        ({"n": 123456}, "/v1/x", ("$body",), []),
        ({"EMP-12345": {"k": "x"}}, "/v1/x", ("$body",), ["*"]),
        ({"a": {"EMP-12345": "EMP-12345"}}, "/v1/x", ("a",), ["a.*"]),
        (None, "/v1/x?q=EMP-12345", ("$query.q",), ["$query.q"]),
        ({"a": "EMP-12345"}, "/v1/x", ("$text",), ["$text"]),
    ],
)
def test_what_cannot_be_rewritten_is_named_without_its_text(
    body: Any, path: str, fields: tuple[str, ...], where: list[str]
) -> None:
    assert stuck(call("POST", path, body), *fields) == where


def test_an_argument_in_the_query_cannot_be_rewritten() -> None:
    request = call("POST", "/bot/sendMessage?text=EMP-12345", {"text": "EMP-12345"}, facts=facts_of("telegram"))
    assert stuck(request, "text") == ["text"]
    new, _ = redacted(request, "text")
    assert new.value == {"text": MARK}


def test_numbers_are_scanned_as_their_digits() -> None:
    digits = PersonalData(compile_types([{"type": "custom", "pattern": r"^\d{6}$"}]), (compile_path("n"),))
    hits = digits.search(call("POST", body={"n": 123456}))
    assert not isinstance(hits, Unread)
    assert [hit.leaf.target for hit in hits] == [None]


def test_structure_and_images_of_a_prompt_are_left_alone() -> None:
    body = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "EMP-12345"}, {"type": "image", "data": "EMP-12345"}],
            },
            {"type": "reasoning", "text": "EMP-12345"},
        ]
    }
    new, report = redacted(call("POST", "/v1/responses", body, facts=facts_of("openai")), "$body")
    assert report == [("messages[0].content[0].text", 1)]
    assert new.value["messages"][1]["text"] == "EMP-12345"


@pytest.mark.parametrize(("body", "field"), [("text", "a"), ({"_binary": True, "data": "AAEC"}, "$body")])
def test_what_cannot_be_looked_into_is_not_answered(body: Any, field: str) -> None:
    assert PersonalData(STAFF, (compile_path(field),)).search(call("POST", body=body)) is Unread.HIDDEN

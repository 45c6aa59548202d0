"""Response rules: which apply to a reply, and what they leave of it."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.policy.compile import Policy, compile_policy
from agenthifive.policy.model import Request
from agenthifive.policy.pii import search
from agenthifive.policy.replies import NotFilterable, filter_json, filter_text, reply_rules
from policy.calls import GENERIC, call, document, facts_of

CUSTOM = {"redact": [{"type": "custom", "pattern": r"EMP-\d{5}"}]}
NUMBERS = {"redact": [{"type": "custom", "pattern": r"\d{7,}"}]}


def rule(content: dict[str, Any], label: str = "F", **more: Any) -> dict[str, Any]:
    return {"label": label, "match": more.pop("match", {}), "filter": content, **more}


def policy(*rules: dict[str, Any], facts: Any = GENERIC, **facets: Any) -> Policy:
    return compile_policy(
        {**document(allowlists=[]), "rules": {"request": [], "response": list(rules)}, **facets}, facts
    )


def labels(applied: Policy, request: Request, **more: Any) -> list[str | None]:
    return [r.ref.label for r in reply_rules(applied, request, **more)]


def filtered(value: Any, *rules: dict[str, Any]) -> Any:
    return filter_json(value, reply_rules(policy(*rules), call()))


# ---- which rules apply -------------------------------------------------------------------------------


def test_a_rule_applies_when_either_view_of_the_path_matches() -> None:
    applied = policy(rule(CUSTOM, match={"urlPattern": "^/v1/a/b$", "methods": ["GET"]}))
    assert labels(applied, call("GET", "/v1/a%2Fb/")) == ["F"]
    assert labels(applied, call("POST", "/v1/a/b", {})) == []
    assert labels(applied, call("GET", "/v1/a")) == []


def test_a_rule_applies_when_any_view_of_the_query_matches() -> None:
    applied = policy(rule(CUSTOM, match={"queryPattern": "[?&]alt=media"}))
    assert labels(applied, call("GET", "/x?alt=%20media")) == ["F"]
    assert labels(applied, call("GET", "/x?q=%26alt%3Dmedia")) == []


def test_full_fields_skip_the_rules_that_say_so() -> None:
    applied = policy(rule(CUSTOM, "A", relaxWhen=["full_fields"]), rule(CUSTOM, "B"))
    assert labels(applied, call()) == ["A", "B"]
    assert labels(applied, call(), full_fields=True) == ["B"]


@pytest.mark.parametrize("guard", ["dr-contact-pii", "cs-pii-redact"])
def test_rules_of_two_guards_are_skipped_for_full_fields_without_saying_so(guard: str) -> None:
    applied = policy(rule(CUSTOM, guard=guard), rule(CUSTOM, "B", guard=guard, relaxWhen=[]))
    assert labels(applied, call(), full_fields=True) == ["B"]


@pytest.mark.parametrize(
    ("chats", "path", "expected"),
    [
        (["5"], "/bot/getChat?chat_id=5", []),
        (["5"], "/bot/getUpdates", []),
        (["5"], "/bot/getMe", ["T"]),
        ([], "/bot/getUpdates", ["T"]),
        (["5"], "/bot/getChat?chat_id=6", ["T"]),
    ],
)
def test_trusted_destinations_skip_the_rules_that_say_so(chats: list[str], path: str, expected: list[str]) -> None:
    facts = facts_of("telegram")
    constraint = {"provider": "telegram", "allowedChatIds": chats, "trustedSkipsApproval": False}
    applied = policy(rule(CUSTOM, "T", relaxWhen=["trusted_recipient"]), facts=facts, providerConstraints=constraint)
    assert labels(applied, call("GET", path, facts=facts)) == expected


# ---- fields ------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text("ab", max_size=2)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x.y", "c"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def names_in(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(names_in(inner) for inner in value.values()))
    return set().union(*(names_in(inner) for inner in value)) if isinstance(value, list) else set()


@given(json_values)
def test_a_dropped_name_is_nowhere_in_the_reply(value: Any) -> None:
    left = filtered(value, rule({"denyFields": ["a", "x.y"]}))
    assert not names_in(left) & {"a", "x.y"}


@given(json_values)
def test_dropping_what_is_not_there_changes_nothing(value: Any) -> None:
    assert filtered(value, rule({"denyFields": ["nowhere", "a.nowhere"]})) == value


@given(json_values)
def test_keeping_every_name_changes_nothing_but_scalars_of_objects_stay(value: Any) -> None:
    assert filtered(value, rule({"allowFields": ["*"]})) == value


def test_a_chain_is_dropped_wherever_it_occurs() -> None:
    value = {"x": [{"owner": {"email": 1, "id": 2}}], "owner": [{"email": 3}], "email": 4}
    assert filtered(value, rule({"denyFields": ["owner.email"]})) == {
        "x": [{"owner": {"id": 2}}],
        "owner": [{}],
        "email": 4,
    }


def test_a_kept_path_does_not_keep_scalars_on_its_way() -> None:
    assert filtered({"a": 1, "b": {"id": 2, "x": 3}}, rule({"allowFields": ["a.id", "b.id"]})) == {"b": {"id": 2}}


# ---- redaction by own patterns -----------------------------------------------------------------------


def test_strings_names_and_long_numbers_are_redacted() -> None:
    value = {
        "EMP-12345": 1,
        "EMP-67890": ["x EMP-12345"],
        "n": 12345678,
        "small": 123456,
        "neg": -12345678,
        "f": True,
    }
    left = filtered(value, rule(CUSTOM), rule(NUMBERS))
    assert left == {
        "[REDACTED]": 1,
        "[REDACTED]#2": ["x [REDACTED]"],
        "n": "[REDACTED]",
        "small": 123456,
        "neg": -12345678,
        "f": True,
    }


def nested(text: str, levels: int, *, url_safe: bool = False) -> str:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    for _ in range(levels):
        text = encode(text.encode()).decode()
    return text


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_encoded_text_is_redacted_inside_and_encoded_again(levels: int) -> None:
    secret = "please write to EMP-12345 about the invoice"
    left = filtered({"data": nested(secret, levels)}, rule(CUSTOM))["data"]
    assert left == nested(secret.replace("EMP-12345", "[REDACTED]"), levels)


def test_the_alphabet_and_padding_of_encoded_text_are_kept() -> None:
    text = base64.urlsafe_b64encode(b"??? EMP-12345 ???~~~~>>").decode().rstrip("=")
    left = filtered([text], rule(CUSTOM))[0]
    assert "=" not in left
    assert not set(left) & set("+/")
    assert base64.urlsafe_b64decode(left + "=" * (-len(left) % 4)) == b"??? [REDACTED] ???~~~~>>"


def test_encoded_text_without_findings_is_left_as_it_was_written() -> None:
    text = nested("nothing to see in here, really", 1)
    broken = text[:10] + "\n" + text[10:]
    assert filtered([broken], rule(CUSTOM)) == [broken]


def test_paging_tokens_survive_and_sentences_in_their_place_do_not() -> None:
    value = {"nextPageToken": "AEMP-12345bcdEFGHIJ", "cursor": "see EMP-12345 now please"}
    assert filtered(value, rule(CUSTOM)) == {
        "nextPageToken": "AEMP-12345bcdEFGHIJ",
        "cursor": "see [REDACTED] now please",
    }


def test_text_is_redacted_and_cannot_be_cut_by_members() -> None:
    assert filter_text("x EMP-12345", reply_rules(policy(rule(CUSTOM)), call())) == "x [REDACTED]"
    with pytest.raises(NotFilterable) as refusal:
        filter_text("x", reply_rules(policy(rule({"denyFields": ["a"]})), call()))
    assert refusal.value.detail == "unparsable"


@pytest.mark.parametrize("value", [{"t": "EMP-12345 EMP-12345"}, ["EMP-12345", "EMP-12345"]])
def test_a_reply_that_is_too_much_to_look_through_is_never_passed(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_FINDINGS", 1)
    with pytest.raises(NotFilterable) as refusal:
        filtered(value, rule(CUSTOM))
    assert refusal.value.detail == "unparsable"
    with pytest.raises(NotFilterable):
        filter_text("EMP-12345 EMP-12345", reply_rules(policy(rule(CUSTOM)), call()))


def test_the_reply_itself_is_not_changed() -> None:
    value = {"a": [{"b": "EMP-12345"}]}
    filtered(value, rule({**CUSTOM, "denyFields": ["a"]}))
    assert value == {"a": [{"b": "EMP-12345"}]}

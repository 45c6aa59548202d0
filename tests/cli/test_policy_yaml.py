"""YAML that is JSON in another dress: what is written is read again, and what is more than JSON is not read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.cli.console import tame
from agenthifive.cli.policy_yaml import TEXT_BYTES_MAX, InvalidYaml, read_yaml, write_yaml

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["no", "On", "~", "null", "true", "1_000", "0o7", "012", "12:30", "2026-01-01", "1e3", ".inf", "<<", "=", "- x"]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=15,
)


@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=4), max_size=3))
def test_what_is_written_is_read_again(documents: list[dict[str, Any]]) -> None:
    text = write_yaml(documents)
    assert read_yaml(text) == documents
    assert tame(text) == text


def test_words_of_other_readers_stay_texts() -> None:
    [read] = read_yaml("a: no\nb: 2026-01-01\nc: 1_000\nd: 0o7\ne: 012\nf: .inf\ng: yes\nh: 12:30\n<<: {x: 1}\n")
    assert read == {"a": "no", "b": "2026-01-01", "c": "1_000", "d": "0o7", "e": "012", "f": ".inf", "g": "yes",
                    "h": "12:30", "<<": {"x": 1}}  # fmt: skip


def test_short_lists_stand_on_one_line() -> None:
    assert write_yaml([{"methods": ["GET", "POST"], "rules": [{"a": 1}]}]) == (
        "---\nmethods: [GET, POST]\nrules:\n  - a: 1\n"
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb:\n  a: 1\n  a: 2", "line 4: a member name occurs twice"),
        ("a: &x [1]\nb: *x", "line 1: anchors and aliases are not read"),
        ("a: *x", "line 1: anchors and aliases are not read"),
        ("a: !!python/object/apply:os.system [x]", "line 1: tags are not read"),
        ("a: !!binary aGk=", "line 1: tags are not read"),
        ("1: x", "line 1: a member name must be a text"),
        ("? [a]\n: b", "line 1: a member name must be a text"),
        ("true: x", "line 1: a member name must be a text"),
        ("a:\n  - [", "line 2: "),
        ("a: 1e400", "line 1: a number is too large"),
        ("a: " + "1" * 5000, "a number is too long"),
        ("a: " + "[" * 40 + "]" * 40, "line 1: it is nested deeper than 32"),
        ("a: \x01", "special characters are not allowed"),
        ("a: " + "x" * TEXT_BYTES_MAX, "it is longer than"),
    ],
)
def test_what_is_more_than_json_is_refused_with_its_line(text: str, fault: str) -> None:
    with pytest.raises(InvalidYaml) as refused:
        read_yaml(text)
    assert str(refused.value).startswith(fault)


def test_a_bomb_of_aliases_is_not_even_opened() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(InvalidYaml):
        read_yaml("\n".join(lines))

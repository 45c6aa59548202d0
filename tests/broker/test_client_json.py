"""JSON is read as the clients of a provider read it, and only what was strict passes as it came."""

import json

import pytest

from agenthifive.broker.client_json import NotJson, dumps, loads, without_halves


@pytest.mark.parametrize("text", ['{"a":1}', " [1, 2] ", '"\\ud83d\\ude00"', "7"])
def test_strict_json_is_read_strictly(text: str) -> None:
    assert loads(text) == (json.loads(text), True)
    assert loads(text.encode()) == (json.loads(text), True)


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a":1,"a":2}', {"a": 2}), ('"\\ud83d"', "\ud83d"), ("[Infinity]", [float("inf")]), ("\ufeff1", 1)],
)
def test_what_clients_read_is_read_and_marked(text: str, value: object) -> None:
    assert loads(text) == (value, False)
    assert loads(text.encode()) == (value, False)


@pytest.mark.parametrize("text", ["", "{", "a", '{"a":1}{', "[" * 100_000, "\x00"])
def test_what_nobody_reads_is_not_json(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(NotJson):
            loads(form)


@pytest.mark.parametrize("value", [{"a": ["é", 1, None]}, "\ud83d", 2**70, [1.5]])
def test_every_value_can_be_written_on_one_line(value: object) -> None:
    written = dumps(value)
    assert b"\n" not in written
    assert json.loads(written) == value


def test_halves_of_pairs_become_replacement_characters() -> None:
    assert without_halves({"\ud83d": ["a\ude00", 1, "😀"]}) == {"\ufffd": ["a\ufffd", 1, "😀"]}

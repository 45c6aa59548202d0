"""Response rules hold in event streams, line streams and texts, alike for every chunking."""

import gzip
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.content import Kind
from agenthifive.broker.decompress import Decompressor
from agenthifive.broker.filters import Filters
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.broker.stream_rules import apply_rules, open_filter
from agenthifive.errors import AppError
from agenthifive.policy.replies import ReplyRule
from broker.llm_streams import ALL_DIALECTS, CARD, DIALECTS, NUMBER, Dialect, as_sse, passed, read_sse, redact, rule
from policy.test_held_text import CASES, OWN_PATTERNS

MARK = "[REDACTED]"
DENY = rule({"denyFields": ["secret"]})
ids = [dialect.name for dialect in ALL_DIALECTS]
texts = [dialect for dialect in ALL_DIALECTS if not dialect.is_json]
tools = [dialect for dialect in ALL_DIALECTS if dialect.is_json]


def events_in(data: bytes) -> list[Any]:
    return [json.loads(text) for _, text in read_sse(data) if text != "[DONE]"]


def shown_by(dialect: Dialect, deltas: Sequence[str], *rules: ReplyRule) -> str:
    """The text a client joins; everything around it must be in order too."""
    data, fault = passed(as_sse(dialect.events(deltas), dialect), *rules)
    assert fault == ""
    read = read_sse(data)
    assert [text for _, text in read].count("[DONE]") == dialect.ends_with_done
    assert (read[-1][1] == "[DONE]") == dialect.ends_with_done
    events = events_in(data)
    if dialect.is_named:
        assert [name for name, _ in read] == [event["type"] for event in events]
    return dialect.join(events)


# ---- text that is spread over the events of LLM streams ------------------------------------------------


@pytest.mark.parametrize("dialect", texts, ids=[d.name for d in texts])
@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_the_shared_cases_hold_in_every_dialect(dialect: Dialect, case: dict[str, Any]) -> None:
    rules = redact(*(OWN_PATTERNS[kind["type"]] for kind in case["redact"]))
    text = "".join(case["deltas"])
    for deltas in (case["deltas"], [text], list(text), *([text[:at], text[at:]] for at in range(len(text)))):
        assert shown_by(dialect, deltas, rules) == case["joined"]


@pytest.mark.parametrize("dialect", texts, ids=[d.name for d in texts])
def test_no_joined_text_contains_a_card_number_that_came_in_nineteen_pieces(dialect: Dialect) -> None:
    number = "4242 4242 4242 4242"
    text = shown_by(dialect, ["my card: ", *number, ", thanks. ", *["bye "] * 200], CARD)
    assert text == f"my card: {MARK}, thanks. " + "bye " * 200


@pytest.mark.parametrize("dialect", tools, ids=[d.name for d in tools])
def test_tool_arguments_stay_json(dialect: Dialect) -> None:
    text = '{"pad":"' + "x" * 300 + '","n":4242424242424242,"s":"a \\u0034242424242424242"}'
    for deltas in (list(text), [text], [text[:317], text[317:]]):
        arguments = json.loads(shown_by(dialect, deltas, CARD))
        assert (arguments["n"], arguments["s"]) == (MARK, f"a {MARK}")


@pytest.mark.parametrize("dialect", ALL_DIALECTS, ids=ids)
def test_the_text_ends_before_the_event_that_ends_it(dialect: Dialect) -> None:
    events = dialect.events(['"one ', 'two"'])
    data, _ = passed(as_sse(events, dialect), CARD)
    shown = events_in(data)
    last = max(number for number, event in enumerate(shown) if dialect.join_of(event))
    assert last == len(shown) - 1 - len(events) + max(n for n, e in enumerate(events) if dialect.join_of(e)) + 1


@pytest.mark.parametrize("dialect", ALL_DIALECTS, ids=ids)
def test_a_stream_that_ends_without_saying_so_still_gives_its_text(dialect: Dialect) -> None:
    events = [event for event in dialect.events(["one ", "two"]) if dialect.join_of(event)]
    for data in (as_sse(events, dialect).replace(b"data: [DONE]\n\n", b""), as_sse(events, None)[:-2]):
        shown, fault = passed(data, CARD)
        assert fault == ""
        assert dialect.join_of(*events_in(shown)) == "one two"


def test_channels_do_not_mix_and_end_in_their_order() -> None:
    def choice(index: int, finish: str | None = None, **delta: Any) -> dict[str, Any]:
        return {"index": index, "delta": delta, "finish_reason": finish}

    events = [
        {"choices": [choice(0, content="42424242"), choice(1, content="424242")]},
        {"choices": [choice(1, content="x"), choice(0, content="42424242", tool_calls=[])]},
        {"choices": [choice(0, tool_calls=[{"index": 1, "id": "t", "function": {"arguments": "[424242"}}])]},
        {"choices": [choice(0, tool_calls=[{"index": 1, "function": {"arguments": "4242424242]"}}])]},
        {"choices": [choice(1, finish="length", content="y")]},
        {"choices": [choice(0, finish="tool_calls")]},
    ]  # fmt: skip
    data, _ = passed(as_sse(events), CARD)
    said: dict[Any, str] = {}
    ended: list[int] = []
    for event in events_in(data):
        for each in event["choices"]:
            assert each["index"] not in ended
            said[each["index"]] = said.get(each["index"], "") + (each["delta"].get("content") or "")
            for call in each["delta"].get("tool_calls", ()):
                said["tool"] = said.get("tool", "") + call["function"]["arguments"]
            ended += [each["index"]] if each["finish_reason"] else []
    assert said == {0: MARK, 1: "424242xy", "tool": f'["{MARK}"]'}
    assert ended == [1, 0]
    assert data.count(b'"id":"t"') == 1


def test_lists_of_tokens_do_not_tell_what_the_text_hides() -> None:
    tokens = [{"token": part, "top_logprobs": []} for part in ("4242", "4242424242", "42")]
    chat = {"choices": [{"index": 0, "delta": {"content": NUMBER}, "logprobs": {"content": tokens}}]}
    response = {"type": "response.output_text.delta", "delta": NUMBER, "logprobs": tokens}
    gemini = {"candidates": [{"content": {"parts": [{"text": NUMBER}]}, "logprobsResult": {"chosen": tokens}}]}
    data, _ = passed(as_sse([chat, response, gemini]), CARD)
    assert b"4242" not in data
    assert data.count(MARK.encode()) == 3


def test_padding_that_tells_the_length_of_a_text_goes_with_it_and_other_members_stay_judged() -> None:
    where = {"type": "response.output_text.delta", "output_index": 0}
    events = [{**where, "delta": "x", "obfuscation": "abc", "sequence_number": n, "note": n} for n in range(3)]
    events.append({**where, "delta": "x", "note": NUMBER, "sequence_number": int(NUMBER)})
    *shown, last = events_in(passed(as_sse(events), CARD)[0])[:4]
    assert shown == [{**where, "delta": "", "sequence_number": n, "note": n} for n in range(3)]
    assert last == {**where, "delta": "", "note": MARK, "sequence_number": MARK}


def test_the_name_of_an_event_of_ours_is_filtered_as_its_type_is() -> None:
    kinds = (f"response.{NUMBER} x.delta", "response.a\ndata: b.delta")
    data, _ = passed(as_sse([{"type": kind, "output_index": n, "delta": "x"} for n, kind in enumerate(kinds)]), CARD)
    *_, first, second = read_sse(data)
    assert [first[0], second[0]] == [f"response.{MARK} x.delta", None]
    assert NUMBER.encode() not in data


def test_whole_arguments_of_a_response_are_json_too() -> None:
    arguments = f'{{"n":{NUMBER}}}'
    item = {"type": "function_call", "arguments": arguments}
    events = [
        {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": arguments},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"output": [item, item]}},
    ]
    events += [{**events[0], "arguments": '"open'}, events[0]]  # what one of them leaves open is nothing to the next
    first, second, third, _, last = events_in(passed(as_sse(events), CARD)[0])
    response = third["response"]["output"][1]
    for text in (first["arguments"], second["item"]["arguments"], response["arguments"], last["arguments"]):
        assert json.loads(text) == {"n": MARK}


def test_text_that_a_block_begins_with_belongs_to_it() -> None:
    events = [
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": NUMBER[:9]}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": NUMBER[9:]}},
        {"type": "content_block_stop", "index": 0},
    ]
    shown = events_in(passed(as_sse(events), CARD)[0])
    assert [e["type"] for e in shown] == ["content_block_start", *["content_block_delta"] * 2, "content_block_stop"]
    assert shown[2]["delta"]["text"] == MARK


def test_a_channel_that_a_field_rule_takes_away_does_not_come_back_at_its_end() -> None:
    for denied in ("content", "choices.delta.content", "delta"):
        dialect = DIALECTS["chat"]
        data, fault = passed(as_sse(dialect.events(["one ", "two"]), dialect), rule({"denyFields": [denied]}), CARD)
        assert fault == ""
        assert b"one" not in data
        assert b"two" not in data


def test_removal_and_redaction_both_hold_in_one_event() -> None:
    event = {"secret": "s1", "note": f"card {NUMBER}", "list": [{"secret": 2, "n": int(NUMBER)}]}
    data, _ = passed(as_sse([event]), DENY, CARD)
    assert events_in(data) == [{"note": f"card {MARK}", "list": [{"n": MARK}]}]


def test_a_secret_that_the_hold_would_cut_in_two_is_scrubbed() -> None:
    secret = "sk-secret-0123456789-abcdefghij"
    for dialect in texts:
        for before in range(0, 300, 29):
            deltas = ["x" * before + " " + secret + " ", *["and so on "] * 40]
            data, _ = passed(as_sse(dialect.events(deltas), dialect), CARD, secrets=[secret])
            assert dialect.join(events_in(data)) == "x" * before + " [REDACTED:credential] " + "and so on " * 40


def test_half_a_surrogate_pair_does_not_make_an_event_unreadable() -> None:
    data = b"".join(
        b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text
        for text in (b"42424242 \\ud83d", b"\\ude00 4242", b"424242424242")
    )
    shown, fault = passed(data, CARD)
    assert fault == ""
    joined = "".join(event["choices"][0]["delta"]["content"] for event in events_in(shown))
    assert joined == f"42424242 😀 {MARK}"


def test_more_open_texts_than_anybody_needs_end_the_stream() -> None:
    events = [{"choices": [{"index": index, "delta": {"content": "x"}}]} for index in range(300)]
    shown, fault = passed(as_sse(events), CARD)
    assert fault == "response_not_filterable"
    assert len(read_sse(shown)) == 256


def test_texts_that_have_ended_make_room_for_others() -> None:
    events = [{"choices": [{"index": n, "delta": {"content": "x"}, "finish_reason": "stop"}]} for n in range(1000)]
    shown, fault = passed(as_sse(events), CARD)
    assert (events_in(shown), fault) == (events, "")


def test_an_end_in_every_event_does_not_tear_a_finding_in_two() -> None:
    for reason in ("stop", ""):
        events = [
            {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": reason}]}
            for text in ("a ", NUMBER[:7], NUMBER[7:], " b")
        ]
        text = "".join(e["choices"][0]["delta"]["content"] for e in events_in(passed(as_sse(events), CARD)[0]))
        assert NUMBER not in text
        assert text.endswith(f"{MARK} b")


# ---- framing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", [" ", ""])
def test_what_is_not_touched_passes_byte_for_byte(end: str, blank: str) -> None:
    lines = ["\ufeff: hello", "", "event: e", "id: 7", "odd: x", f'data:{blank}{{"a": 1,', f"data:{blank}  2: 3}}", "",
             f'data:{blank}{{"a":  "b"}}', "", f"data:{blank}plain words", "", "data", "", "retry: 5", "",
             f"data:{blank}[DONE]", "", ""]  # fmt: skip
    data = end.join(lines).encode()
    for chunks in ([data], [bytes([byte]) for byte in data]):
        assert passed(chunks, CARD) == (data, "")


def test_a_changed_event_keeps_everything_around_its_data() -> None:
    data = f'\ufeff: c\r\nevent: e\r\ndata:{{"a":\r\nodd: x\r\ndata:"{NUMBER}"}}\r\nid: 1\r\n\r\n'.encode()
    assert (
        passed(data, CARD)[0] == f'\ufeff: c\r\nevent: e\r\ndata: {{"a":"{MARK}"}}\r\nodd: x\r\nid: 1\r\n\r\n'.encode()
    )


def test_names_ids_and_comments_are_read_as_well() -> None:
    data = f': {NUMBER}\nevent: {NUMBER}\nid: {NUMBER}\nodd {NUMBER}: x\ndata: {{"a": 1}}\n\n'.encode()
    assert passed(data, CARD)[0] == data.replace(NUMBER.encode(), MARK.encode())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"plain {NUMBER} words", f"plain {MARK} words"),
        (f'{{"a":"{NUMBER}"', f'{{"a":"{MARK}"'),
        (f'{{"a":"\\u0034{NUMBER[1:]}"', f'{{"a":"{MARK}"'),
        (f'{{"a":1,"a":"\\u0034{NUMBER[1:]}"}}', f'{{"a":"{MARK}"}}'),
        (f'{{"a":NaN,"b":{NUMBER}}}', f'{{"a":null,"b":"{MARK}"}}'),
        (f'"{NUMBER}"', f'"{MARK}"'),
        (NUMBER, f'"{MARK}"'),
    ],
)
def test_data_that_is_not_strict_json_is_redacted_too(text: str, shown: str) -> None:
    assert passed(f"data: {text}\n\n".encode(), CARD)[0] == f"data: {shown}\n\n".encode()
    line, _ = passed(f"{text}\n".encode(), CARD, kind=Kind.LINE_STREAM)
    assert line == f"{shown}\n".encode()


@pytest.mark.parametrize("kind", [Kind.EVENT_STREAM, Kind.LINE_STREAM])
def test_a_field_rule_ends_the_stream_at_what_it_cannot_read(kind: Kind) -> None:
    first, bad, last = b'{"a":1}', b'{"secret":', b'{"a":2}'
    frame = (lambda d: b"data: " + d + b"\n\n") if kind is Kind.EVENT_STREAM else (lambda d: d + b"\n")
    data = b"".join(map(frame, (first, bad, last)))
    for chunks in ([data], [bytes([byte]) for byte in data]):
        assert passed(chunks, DENY, kind=kind) == (frame(first), "response_not_filterable")


@pytest.mark.parametrize("kind", [Kind.EVENT_STREAM, Kind.LINE_STREAM])
def test_a_record_of_more_than_a_mebibyte_ends_the_stream_after_those_before_it(kind: Kind) -> None:
    data = b'data: {"a":1}\n\ndata: ' if kind is Kind.EVENT_STREAM else b'{"a":1}\n'
    before = data[: data.rindex(b"\n") + 1]
    for size in (65536, 1 << 22):
        big = b"x" * (1024 * 1024 + 1)
        chunks = [data, *(big[at : at + size] for at in range(0, len(big), size)), b"\n\n"]
        assert passed(chunks, CARD, kind=kind) == (before, "response_too_large")


def test_nesting_that_no_filter_can_follow_ends_the_stream() -> None:
    data = b"data: " + b"[" * 900 + b"]" * 900 + b"\n\n"
    shown, fault = passed(data * 2, DENY)
    assert (shown, fault) in [(data * 2, ""), (b"", "response_not_filterable")]
    assert passed(b"data: " + b"[" * 100_000 + b"\n\n", DENY) == (b"", "response_not_filterable")


# ---- line streams and texts ----------------------------------------------------------------------------


def test_lines_are_filtered_one_by_one_and_texts_over_them() -> None:
    lines = [{"secret": 1, "a": NUMBER}, *({"choices": [{"index": 0, "delta": {"content": c}}]} for c in NUMBER)]
    data = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines) + b"\n \n"
    shown, fault = passed(data, DENY, CARD, kind=Kind.LINE_STREAM)
    assert fault == ""
    first, *rest = [json.loads(line) for line in shown.splitlines() if line.strip()]
    assert first == {"a": MARK}
    assert "".join(event["choices"][0]["delta"]["content"] for event in rest) == MARK


def test_a_json_text_sequence_keeps_its_separators() -> None:
    data = b'\x1e{"a":\n 1}\n\x1e{"choices":[{"delta":{"content":"%b"}}]}' % NUMBER.encode()
    shown, _ = passed(data, CARD, kind=Kind.LINE_STREAM, content_type="application/json-seq")
    first, second, rest = shown.split(b"\x1e")[1:]
    assert first == b'{"a":\n 1}\n'
    assert json.loads(second) == {"choices": [{"delta": {"content": ""}}]}
    assert json.loads(rest)["choices"][0]["delta"]["content"] == MARK


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "text/csv; charset=utf-8"])
def test_a_text_is_the_same_for_every_chunking(content_type: str) -> None:
    text = f"é😀 {NUMBER} <a>{NUMBER}</a> " * 3 + "word " * 120 + NUMBER
    data = text.encode()
    expected = text.replace(NUMBER, MARK).encode()
    chunkings = [[data], [bytes([byte]) for byte in data], *([data[:at], data[at:]] for at in range(0, len(data), 3))]
    for chunks in chunkings:
        assert passed(chunks, CARD, kind=Kind.TEXT, content_type=content_type) == (expected, "")


@pytest.mark.parametrize("charset", ["utf-16", "utf-16le", "iso-8859-1", "utf-8", "us-ascii"])
def test_a_text_in_another_charset_leaves_in_utf8(charset: str) -> None:
    text = f"é {NUMBER} ü"
    data = text.encode("utf-8-sig" if charset in ("utf-8", "us-ascii") else charset)
    content_type = f"text/plain; charset={charset}"
    for chunks in ([data], [bytes([byte]) for byte in data]):
        shown, _ = passed(chunks, CARD, kind=Kind.TEXT, content_type=content_type)
        assert shown.decode() == f"é {MARK} ü"


@pytest.mark.parametrize("data", [b"", b"x", b"\xff\xfe"])
def test_short_texts_pass(data: bytes) -> None:
    assert passed([data], CARD, kind=Kind.TEXT)[0] in (data, b"")


@pytest.mark.parametrize(
    ("kind", "filters", "detail"),
    [
        (Kind.TEXT, Filters((DENY,)), "unparsable"),
        (Kind.TEXT, Filters((), lambda value: value), "unparsable"),
        (Kind.TEXT, Filters((CARD,)), "unparsable"),
    ],
)
def test_what_cannot_be_filtered_is_refused_before_its_first_byte(kind: Kind, filters: Filters, detail: str) -> None:
    with pytest.raises(AppError) as refusal:
        open_filter(kind, "text/plain; charset=utf-32", filters, SecretScrubber([]))
    assert (refusal.value.code, refusal.value.detail) == ("response_not_filterable", detail)


@pytest.mark.parametrize("kind", [Kind.EVENT_STREAM, Kind.LINE_STREAM])
def test_places_are_taken_out_of_records(kind: Kind) -> None:
    data = as_sse([{"result": [1, 2]}]) if kind is Kind.EVENT_STREAM else b'{"result":[1,2]}\n'
    filters = Filters((), lambda value: {**value, "result": value["result"][:1]})
    shown, fault = apply_rules(kind, None, filters, SecretScrubber([]), data)
    assert (shown.replace(b" ", b""), fault) == (data.replace(b" ", b"").replace(b"[1,2]", b"[1]"), "")


# ---- every chunking ------------------------------------------------------------------------------------

SECRET = "sk-secret-0123456789"
records = st.lists(
    st.sampled_from(
        [
            *(b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}' % t.encode()
              for t in (NUMBER, NUMBER[:5], NUMBER[5:], "é ", " word ", SECRET, "\\u0034242", "x" * 200)),
            *(b'event: content_block_delta\r\ndata:{"type":"content_block_delta","index":0,"delta":%b}' % d
              for d in (b'{"type":"text_delta","text":"4242424"}',
                        b'{"type":"input_json_delta","partial_json":"[42424"}',
                        b'{"type":"input_json_delta","partial_json":"2424242]"}')),
            b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}', b"data: [DONE]", b": c",
            b'data: {"secret":1,"n":4242424242424242}', b"data: x 4242424242424242 \xc3", b"id: 4242424242424242",
            b'data: {"a":\ndata: "4242424242424242"}', b'data: {"a":"\\ud83d"}', b"",
        ]
    ),
    max_size=14,
)  # fmt: skip
ends = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])


@settings(max_examples=150, deadline=None)
@given(records, ends, st.lists(st.integers(0, 3000), max_size=6), st.booleans())
def test_an_event_stream_is_the_same_for_every_chunking(
    parts: list[bytes], end: bytes, cuts: list[int], has_field_rule: bool
) -> None:
    data = end.join(parts)
    rules = (DENY, CARD) if has_field_rule else (CARD,)
    whole = passed(data, *rules, secrets=[SECRET])
    places = sorted({min(cut, len(data)) for cut in cuts})
    chunks = [data[a:b] for a, b in itertools.pairwise((0, *places, len(data)))]
    assert passed(chunks, *rules, secrets=[SECRET]) == whole
    assert passed([bytes([byte]) for byte in data], *rules, secrets=[SECRET]) == whole
    assert SECRET.encode() not in whole[0]


def test_a_compressed_stream_is_alike_at_every_border() -> None:
    body = f'data: {{"t":"{NUMBER}"}}\r\n\r\ndata:{{"t":"sec\\u0072et-123"}}\r\n\r\n'.encode()
    packed = gzip.compress(body)
    outputs = set()
    for at in range(len(packed) + 1):
        decoder = Decompressor("gzip", limit_bytes=1000)
        stream = open_filter(Kind.EVENT_STREAM, None, Filters((CARD,)), SecretScrubber(["secret-123"]))
        shown = [stream.feed(piece) for part in (packed[:at], packed[at:]) for piece in decoder.feed(part)]
        outputs.add(b"".join([*shown, stream.finish()]))
    assert len(outputs) == 1
    assert [json.loads(text) for _, text in read_sse(outputs.pop())] == [{"t": MARK}, {"t": "[REDACTED:credential]"}]

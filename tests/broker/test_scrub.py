"""No secret leaves with a reply, in any form, however the reply is cut; what is no secret is not touched."""

import base64
import json
from urllib.parse import quote

import pytest

from agenthifive.broker.scrub import PLACEHOLDER, SecretScrubber

SECRET = "ya29.a0Af+B_byC/x7-Qm=T3kz~Wp9LrV5nEdJ8sG"
TEXT = PLACEHOLDER.decode()
TOKEN = "Zm9vYmFyYmF6cXV4cXV1eGNvcmdlZ3JhdWx0Z2FycGx"


def streamed(scrubber: SecretScrubber, chunks: list[bytes]) -> bytes:
    stream = scrubber.stream()
    return b"".join([*[stream.feed(chunk) for chunk in chunks], stream.finish()])


def json_escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


FORMS = {
    "plain": SECRET,
    "base64, no byte before": base64.b64encode(f"{SECRET}".encode()).decode(),
    "base64, one byte before": base64.b64encode(f"a{SECRET}:".encode()).decode(),
    "base64, two bytes before": base64.b64encode(f"ab{SECRET}!?".encode()).decode(),
    "base64url": base64.urlsafe_b64encode(f"user?~{SECRET}~~".encode()).decode(),
    "percent-encoded": quote(SECRET, safe=""),
    "percent-encoded, lower case": quote(SECRET, safe="").replace("%2B", "%2b").replace("%2F", "%2f"),
    "percent-encoded throughout": "".join(f"%{ord(character):02X}" for character in SECRET),
    "JSON, slashes escaped": SECRET.replace("/", "\\/"),
    "JSON, HTML-safe": SECRET.replace("+", "\\u002B").replace("=", "\\u003d"),
    "JSON, escaped throughout": json_escaped(SECRET),
    "hex": SECRET.encode().hex(),
    "hex, upper case": SECRET.encode().hex().upper(),
    "base64 in a URL": quote(base64.b64encode(f"~~~{SECRET}".encode()).decode(), safe=""),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_is_replaced_and_its_surroundings_stay(form: str) -> None:
    scrubber = SecretScrubber([SECRET])
    scrubbed = scrubber.scrub_text(f'{{"before": 1, "echo": "{form}", "after": 2}}')
    assert scrubbed.startswith('{"before": 1, "echo": "')
    assert scrubbed.endswith('", "after": 2}')
    assert scrubbed.count(TEXT) == 1
    assert scrubber.scrub_header(f"Bearer {form}").count(TEXT) == 1
    assert scrubber.contains(b"\x00\xff" + form.encode() + b"\xfe")
    assert TEXT in scrubber.scrub_json({"echo": [form]})["echo"][0]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_each_form_is_replaced_when_it_is_split_at_any_byte(form: str) -> None:
    scrubber = SecretScrubber([SECRET])
    data = f'data: {{"text":"{form}"}}\n\ndata: [DONE]\n\n'.encode()
    whole = scrubber.scrub_bytes(data)
    assert PLACEHOLDER in whole
    for cut in range(len(data) + 1):
        assert streamed(scrubber, [data[:cut], data[cut:]]) == whole
    assert streamed(scrubber, [bytes((byte,)) for byte in data]) == whole


def test_of_a_plain_echo_nothing_is_left() -> None:
    assert SecretScrubber([SECRET]).scrub_text(f"key={SECRET};") == f"key={TEXT};"


def test_only_the_characters_of_the_secret_are_replaced_in_base64() -> None:
    encoded = base64.b64encode(b"user:" + SECRET.encode() + b" and more text").decode()
    scrubbed = SecretScrubber([SECRET]).scrub_text(encoded)
    before, after = scrubbed.split(TEXT)
    assert encoded.startswith(before)
    assert encoded.endswith(after)
    assert base64.b64decode(before[:4]) == b"use"
    assert base64.b64decode(after[-8:]).endswith(b"text")


def test_overlapping_secrets_leave_no_rest() -> None:
    scrubber = SecretScrubber(["abcdefgh1234", "1234zyxwvuts"])
    assert scrubber.scrub_text("<abcdefgh1234zyxwvuts>") == f"<{TEXT}>"
    assert SecretScrubber(["aaaaaaaa"]).scrub_text("a" * 11) == TEXT
    assert SecretScrubber(["abcdefgh", "abcdefgh-long"]).scrub_text("abcdefgh-long") == TEXT


def test_a_short_secret_is_replaced_as_a_token_only() -> None:
    scrubber = SecretScrubber(["k3y-1"])
    assert (
        scrubber.scrub_text('k3y-1 xk3y-1 k3y-12 "k3y-1" k3y-1,k3y_1') == f'{TEXT} xk3y-1 k3y-12 "{TEXT}" {TEXT},k3y_1'
    )
    assert scrubber.scrub_text(r"\nk3y-1 %3Dk3y-1 \u003dk3y-1") == rf"\n{TEXT} %3D{TEXT} \u003d{TEXT}"
    assert scrubber.scrub_text(base64.b64encode(b"k3y-1").decode()) == base64.b64encode(b"k3y-1").decode()
    assert SecretScrubber([""]).scrub_text("nothing") == "nothing"


def test_a_short_secret_at_a_border_of_chunks() -> None:
    scrubber = SecretScrubber(["k3y-1"])
    for text in ("k3y-1", "k3y-12", "xk3y-1", r"\u003dk3y-1 k3y-1", "k3y-k3y-1"):
        data = text.encode()
        whole = scrubber.scrub_bytes(data)
        for cut in range(len(data) + 1):
            assert streamed(scrubber, [data[:cut], data[cut:]]) == whole


def test_an_escape_before_the_secret_does_not_hide_it() -> None:
    """The percent sign and the first two letters of the secret also read as one escaped byte."""
    assert SecretScrubber(["ab/cdefghij"]).scrub_text("%ab%2Fcdefghij") == f"%{TEXT}"
    assert SecretScrubber(["ab/cdefghij"]).scrub_text(r"\u00ab\/cdefghij") == rf"\u00{TEXT}"
    assert SecretScrubber(["u00ab/cdefg"]).scrub_text(r"\u00ab\/cdefg") == rf"\{TEXT}"
    assert SecretScrubber(["0041/abcdefg"]).scrub_text(r"\u0041\/abcdefg") == rf"\u{TEXT}"


def test_odd_secrets_are_found_in_their_escaped_forms() -> None:
    secret = 'p%2F"q\\r\näß € 😀'
    scrubber = SecretScrubber([secret])
    for echo in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
    ):
        assert scrubber.scrub_text(f"<{echo}>") == f"<{TEXT}>"
    form = quote(secret, safe="").replace("%20", "+")
    assert scrubber.scrub_text(f"a={form}&b=1") == f"a={TEXT}&b=1"


# ---------------------------------------------------------------------------------------- our own links

LINK_FORMS = {
    "plain": f"https://hub.example.com/api/quick-action/{TOKEN}/approve",
    "JSON": f"https:\\/\\/hub.example.com\\/api\\/quick-action\\/{TOKEN}\\/approve",
    "percent": quote(f"https://hub.example.com/api/quick-action/{TOKEN}/approve", safe=""),
    "token partly escaped": f"https://hub.example.com/api/quick-action/%5a\\u006D{TOKEN[2:]}%5F/approve",
    "hex": f"https://hub.example.com/api/quick-action/{TOKEN}/approve".encode().hex(),
}


@pytest.mark.parametrize("link", LINK_FORMS.values(), ids=LINK_FORMS)
def test_our_links_are_replaced_in_every_form_and_chunking(link: str) -> None:
    scrubber = SecretScrubber([])
    data = f'{{"snippet":"see {link}"}}'.encode()
    whole = scrubber.scrub_bytes(data)
    assert whole.count(PLACEHOLDER) == 1
    assert TOKEN[2:].encode() not in whole
    assert TOKEN.encode().hex().encode() not in whole
    for cut in range(len(data) + 1):
        assert streamed(scrubber, [data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("shift", range(3))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_our_links_are_replaced_inside_an_encoded_mail(shift: int, encode: object) -> None:
    assert callable(encode)
    mail = (
        b"x" * (30 + shift) + f"https://hub.example.com/api/quick-action/{TOKEN}/approve and a footer of mine".encode()
    )
    data = b'{"data":"' + encode(mail) + b'"}'
    whole = SecretScrubber([]).scrub_bytes(data)
    rest = whole[9:-2].split(PLACEHOLDER)
    assert len(rest) == 2
    for part in (rest[0], *[rest[1][skip:] for skip in range(4)]):
        readable = base64.urlsafe_b64decode(part.replace(b"+", b"-").replace(b"/", b"_")[: len(part) // 4 * 4])
        assert TOKEN[:8].encode() not in readable
        assert TOKEN[-8:].encode() not in readable
    for cut in range(len(data) + 1):
        assert streamed(SecretScrubber([]), [data[:cut], data[cut:]]) == whole


def test_a_path_that_only_resembles_ours_stays() -> None:
    for text in (
        "/api/quick-actions/abc",
        "/api/quick-action/",
        "/api/quick-action/ abc",
        "quick-action/abc",
    ):
        assert SecretScrubber([]).scrub_text(text) == text


# ---------------------------------------------------------------------------------------- JSON and headers


def test_json_is_scrubbed_in_strings_names_and_numbers() -> None:
    scrubber = SecretScrubber([SECRET, "8675309867"])
    value = {SECRET: [1, None, True, {"a": f"x{SECRET}"}], "n": 8675309867, "f": 1.5, "text": "clean"}
    assert scrubber.scrub_json(value) == {
        TEXT: [1, None, True, {"a": f"x{TEXT}"}],
        "n": TEXT,
        "f": 1.5,
        "text": "clean",
    }


def test_clean_json_is_the_same_object() -> None:
    value = {"a": ["b", {"c": 'quote " backslash \\ line \n'}], "url": "https://x.test/?q=%20a%2Fb"}
    assert SecretScrubber([SECRET]).scrub_json(value) is value


@pytest.mark.parametrize("secret", [SECRET, 'a"b\\c\nd%e', 'k"1', "k\n1"])
def test_json_text_inside_a_json_string_is_scrubbed(secret: str) -> None:
    scrubber = SecretScrubber([secret])
    assert scrubber.scrub_json([secret]) == [TEXT]
    if len(secret) >= 8:
        inner = json.dumps({"echo": secret.replace("/", "\\/")}).replace("\\\\/", "\\/")
        assert scrubber.scrub_json({"body": inner}) == {"body": f'{{"echo": "{TEXT}"}}'}


def test_headers_are_scrubbed_and_clean_ones_kept() -> None:
    scrubber = SecretScrubber([SECRET, "pässword-1"])
    headers = [
        ("x-echo", f"Bearer {SECRET}"),
        ("etag", '"abc"'),
        ("x-raw", "pässword-1".encode().decode("latin-1")),
    ]
    assert scrubber.scrub_headers(headers) == [
        ("x-echo", f"Bearer {TEXT}"),
        ("etag", '"abc"'),
        ("x-raw", TEXT),
    ]
    assert scrubber.scrub_header("pässword-1") == TEXT
    assert scrubber.scrub_header("☃ pässword-1") == f"☃ {TEXT}"
    assert scrubber.scrub_headers(headers[1:2]) == headers[1:2]


def test_a_clean_binary_reply_contains_nothing() -> None:
    assert not SecretScrubber([SECRET, "k3y-1"]).contains(bytes(range(256)) * 40)
    assert not SecretScrubber(["k3y-1"]).contains(b"\x00xk3y-1x")


# ---------------------------------------------------------------------------------------- streams


def test_an_event_leaves_at_once() -> None:
    stream = SecretScrubber([SECRET, "k3y-1"]).stream()
    for event in (b'data: {"delta":"ya29"}\n\n', b"data: 100%\r\n\r\n", b": ping\n\n", b'{"a":"\\u00"}\n'):
        assert stream.feed(event) == event
    assert not stream.found


def test_the_beginning_of_a_form_waits_and_is_released_when_it_is_none() -> None:
    stream = SecretScrubber([SECRET]).stream()
    assert stream.feed(b"say " + SECRET[:20].encode()) == b"say "
    assert stream.feed(b" no") == SECRET[:20].encode() + b" no"
    assert stream.feed(b"ya29") == b""
    assert stream.finish() == b"ya29"
    assert not stream.found


def test_no_more_than_the_longest_form_waits() -> None:
    scrubber = SecretScrubber([SECRET])
    stream = scrubber.stream()
    fed = released = 0
    for chunk in [b"%79" * 50, b"A" * 9000, b"%", b"\\u0079" * 400, b"\\"] * 3:
        fed += len(chunk)
        released += len(stream.feed(chunk))
        assert fed - released < scrubber.longest_form_bytes()


def test_a_secret_repeated_without_end_is_not_buffered() -> None:
    stream = SecretScrubber(["aaaaaaaa"]).stream()
    out = b"".join(stream.feed(b"aaa") for _ in range(2000)) + stream.feed(b"b") + stream.finish()
    assert out == PLACEHOLDER + b"b"


def test_found_tells_a_binary_stream_that_it_must_end() -> None:
    stream = SecretScrubber([SECRET]).stream()
    stream.feed(b"\x00\x01" + SECRET[:10].encode())
    assert not stream.found
    stream.feed(SECRET[10:].encode() + b"\x00")
    assert stream.found

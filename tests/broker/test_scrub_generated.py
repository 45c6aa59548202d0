"""The scrub against a slow, plain reading of the same rule, and against itself under every chunking."""

import base64
import binascii

from hypothesis import given, settings
from hypothesis import strategies as st

from agenthifive.broker.scrub import PLACEHOLDER, SecretScrubber

SECRETS = [
    "abcdefgh",
    "ab/cd+ef=",
    "aaaaaaaa",
    "41ab%2Fcd",
    'q"uo\\te1/',
    "u00abcdef",
    "pass word",
    "pässwörd",
    "%41%41%4",
    "0041abcd",
    "efgh1234",
    "\\u0061bcd",
    "b-1",
    "é",
]
SHORT = {
    '"': '\\"',
    "\\": "\\\\",
    "/": "\\/",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}


def run(scrubber: SecretScrubber, chunks: list[bytes]) -> bytes:
    stream = scrubber.stream()
    return b"".join([*[stream.feed(chunk) for chunk in chunks], stream.finish()])


def slow_forms(secret: str) -> list[bytes]:
    """Plain and base64, the latter as what stays equal whatever stands around the secret."""
    forms = [secret.encode(), secret.replace(" ", "+").encode()]
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            rows = [encode(bytes([a]) * shift + secret.encode() + bytes([a ^ 255]) * 3) for a in (0, 85, 170, 255)]
            columns = [row[0] if len(set(row)) == 1 else 0 for row in zip(*rows, strict=True)]
            forms.append(max(bytes(columns).split(b"\0"), key=len))
    return forms


def slow_ends(data: bytes, at: int, form: bytes) -> set[int]:
    """Where an occurrence of a form that begins here can end."""
    ends = {at}
    for character in form.decode():
        following: set[int] = set()
        for end in ends:
            units = character.encode("utf-16-be").hex()
            for written in (
                "".join("\\u" + units[i : i + 4] for i in range(0, len(units), 4)),
                SHORT.get(character),
            ):
                if (
                    written
                    and data[end : end + len(written)].lower() == written.encode()
                    and data[end + 1 : end + 2] != b"U"
                ):
                    following.add(end + len(written))
            utf8_ends = {end}
            for byte in character.encode():
                utf8_ends = {e + 1 for e in utf8_ends if data[e : e + 1] == bytes([byte])} | {
                    e + 3 for e in utf8_ends if data[e : e + 3].lower() == f"%{byte:02x}".encode()
                }
            following |= utf8_ends
        ends = following
    return ends


def slow_scrub(data: bytes, secrets: list[str]) -> bytes:
    spans: list[tuple[int, int]] = []
    for at in range(len(data)):
        for secret in secrets:
            if len(secret) < 8:
                continue
            for form in slow_forms(secret):
                spans += [(at, end) for end in slow_ends(data, at, form)]
            for form in (secret.encode().hex().encode(), secret.encode().hex().upper().encode()):
                if data.startswith(form, at):
                    spans.append((at, at + len(form)))
    out, covered = b"", 0
    for start, end in sorted(spans):
        if start >= covered:
            out += data[covered:start] + PLACEHOLDER
        covered = max(covered, end)
    return out + data[covered:]


@st.composite
def echoes(draw: st.DrawFn, secrets: list[str]) -> bytes:
    """A secret written with random escapes, in some encoding, perhaps broken off."""
    secret = draw(st.sampled_from(secrets))
    plain = secret.encode()
    form = draw(
        st.sampled_from(
            [
                plain,
                plain,
                base64.b64encode(b"x" * draw(st.integers(0, 2)) + plain + b"yy"),
                base64.urlsafe_b64encode(b"~" * draw(st.integers(0, 2)) + plain + b"?"),
                binascii.hexlify(plain),
                binascii.hexlify(plain).upper(),
            ]
        )
    )
    written = b""
    for character in form.decode():
        choices = [character.encode()] * 6 + ["".join(f"%{byte:02X}" for byte in character.encode()).encode()]
        choices += [f"\\u{ord(character):04x}".encode(), SHORT.get(character, character).encode()]
        written += draw(st.sampled_from(choices))
    return written[draw(st.integers(0, 3)) if draw(st.booleans()) else 0 : draw(st.integers(0, len(written) + 40))]


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[str], bytes]:
    secrets = draw(st.lists(st.sampled_from(SECRETS), min_size=1, max_size=3, unique=True))
    noise = st.text(st.sampled_from('abu014%\\/ "\n+é'), max_size=4).map(str.encode)
    return secrets, b"".join(draw(st.lists(st.one_of(noise, echoes(secrets)), max_size=4)))


@settings(max_examples=120, deadline=None)
@given(replies())
def test_the_result_is_the_one_of_the_plain_reading(case: tuple[list[str], bytes]) -> None:
    secrets, data = case
    secrets = [secret for secret in secrets if len(secret) >= 8]
    assert SecretScrubber(secrets).scrub_bytes(data) == slow_scrub(data, secrets)


@settings(max_examples=120, deadline=None)
@given(replies(), st.data())
def test_the_result_does_not_depend_on_the_chunks(case: tuple[list[str], bytes], data_source: st.DataObject) -> None:
    secrets, data = case
    scrubber = SecretScrubber(secrets)
    whole = scrubber.scrub_bytes(data)
    assert run(scrubber, [bytes((byte,)) for byte in data]) == whole
    for cut in range(len(data) + 1):
        assert run(scrubber, [data[:cut], data[cut:]]) == whole
    cuts = sorted(data_source.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    assert run(scrubber, [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == whole


PREFIXES = [
    b"/api/quick-action/",
    b"%2Fapi%2Fquick-action%2F",
    b"L2FwaS9xdWljay1hY3Rpb24v",
    b"9hcGkvcXVpY2stYWN0aW9uL",
    b"",
]
TOKENS = st.lists(st.sampled_from([b"abc_-", b"%41", b"\\u0041", b"%2", b"/", b" ", b"Q" * 60]), max_size=4).map(
    b"".join
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PREFIXES), TOKENS).map(b"".join), max_size=3).map(b"".join))
def test_links_do_not_depend_on_the_chunks(data: bytes) -> None:
    scrubber = SecretScrubber([])
    whole = scrubber.scrub_bytes(data)
    assert run(scrubber, [bytes((byte,)) for byte in data]) == whole
    for cut in range(len(data) + 1):
        assert run(scrubber, [data[:cut], data[cut:]]) == whole


@settings(max_examples=100, deadline=None)
@given(replies())
def test_json_hides_nothing_a_reader_of_its_strings_would_find(case: tuple[list[str], bytes]) -> None:
    secrets, data = case
    text = data.decode("utf-8", "replace")
    scrubber = SecretScrubber(secrets)
    assert scrubber.scrub_json({"a": [text]}) == {"a": [scrubber.scrub_text(text)]}

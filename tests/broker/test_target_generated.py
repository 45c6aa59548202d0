"""The URL parser against generated text: no traversal gets out, no text has two readings or takes long.

Source: contract/broker.md section 4.1, contract/goals.md S2.
"""

import contextlib
import itertools
import re
import time
from urllib.parse import unquote, urlsplit

import httptools
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from agenthifive.broker.target import MAX_URL_BYTES, InvalidUrl, ParsedTarget, parse_target, query_pairs
from agenthifive.policy.paths import glob_regex, glob_subject, strict_path

ORIGIN = "https://api.example.com"
ALLOWED = re.compile(glob_regex("/v1/**"))


# fmt: off
DOTS = (
    "..", ".", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e.", "..;", "..;a=b", "%2e%2e%3b", "‥", "．．",
    "%e2%80%a5", "%ef%bc%8e%ef%bc%8e", "%c0%ae%c0%ae", "%c0%2e", "%u002e%u002e", "..%00", "..%20", "%20..",
    "...", ". .", "%2%65", "%%32%65", "..%0d", "..%09", "%e0%80%ae", "..%c0%af", "..%u2215", "%uff0e.",
)
SEPARATORS = (
    "/", "\\", "%2f", "%5c", "%252f", "%255c", "//", "/./", "／", "%c0%af", "%ef%bc%8f", ";/", "%2f/", "\\/",
)
# fmt: on
TRAVERSALS = [
    f"/v1/{head}{separator.join([dots] * depth)}{separator}{tail}"
    for head in ("", "a/", "a;b/", "a%2f")
    for dots in DOTS
    for separator in SEPARATORS
    for depth in (1, 2, 3, 6)
    for tail in ("admin", "", "v1/../admin")
]


def test_no_traversal_leaves_the_rule_under_any_reading_of_the_provider():
    assert len(set(TRAVERSALS)) > 20_000
    sent = 0
    for path in TRAVERSALS:
        try:
            target = parse_target(ORIGIN + path).target
        except InvalidUrl:
            continue
        if ALLOWED.search(glob_subject(target.path)):
            sent += 1
            for reached in effective_paths(target.path):
                assert reached == "/v1" or reached.startswith("/v1/"), (path, reached)
    assert sent > 0  # else nothing was tried: names such as `...` are legitimate


def effective_paths(path):
    """Where servers might end up: decoding 0 to 2 times, folding backslashes, cutting parameters or blanks."""
    for rounds, folds, cuts in itertools.product((0, 1, 2), (False, True), (False, True)):
        reading = path
        for _ in range(rounds):
            reading = unquote(reading, errors="replace")
        if folds:
            reading = reading.replace("\\", "/")
        segments = []
        for segment in reading.split("/"):
            name = segment.split(";")[0].strip() if cuts else segment
            if name == "..":
                segments = segments[:-1]
            elif name not in ("", "."):
                segments.append(name)
        yield "/" + "/".join(segments)


# fmt: off
PIECES = st.sampled_from([
    "https", "http", "://", ":", "/", "//", "?", "#", "&", "=", "@", "[", "]", ".", "..", ";", "%", "%2e", "%2F",
    "%25", "%00", "%c3%9c", "%ff", "\\", " ", "\t", "api.example.com", "git.corp", "127.0.0.1", "0x7f", "::1", "xn--",
    "é", ":443", ":8443", ":0", "a", "A", "1", "+", "'", "\u2025", "\uff0e", "\ud800",
])
# fmt: on
HOSTILE_TEXT = st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=16).map("".join),
    st.lists(PIECES, max_size=12).map(lambda pieces: ORIGIN + "/" + "".join(pieces)),
)
SCALARS = st.one_of(st.text(max_size=8), st.integers(), st.booleans(), st.floats())
QUERIES = st.none() | st.dictionaries(st.text(max_size=5), SCALARS | st.lists(SCALARS, max_size=3), max_size=3)
HOSTS = frozenset({"git.corp"})


@settings(max_examples=500, deadline=None, database=None)
@given(url=HOSTILE_TEXT, query=QUERIES, strip=st.sampled_from([(), ("a", "key")]))
@example(url="https://api.example.com/a%2", query={"a": "5"}, strip=())
@example(url="https://api.example.com/?%C3&=", query={"": "%A9"}, strip=("a",))
def test_any_text_is_refused_or_has_one_reading(url, query, strip):
    try:
        parsed = parse_target(url, query, http_hosts=HOSTS, strip_params=strip)
    except InvalidUrl as error:
        event(error.detail)
        return
    event("parsed")
    target = parsed.target
    assert parse_target(target.url, http_hosts=HOSTS, strip_params=strip) == ParsedTarget(target, ())
    assert target.strict_path == strict_path(target.path)
    assert re.fullmatch(r"[!-~]+", target.url)
    assert len(target.url) <= MAX_URL_BYTES
    assert target.scheme == "https" or target.host in HOSTS
    second = urlsplit(target.url)
    assert (second.scheme, second.hostname, second.netloc) == (target.scheme, target.host, target.authority)
    assert (second.path, second.query, second.fragment) == (target.path, target.query[1:], "")
    assert second.username is None
    assert second.password is None
    third = httptools.parse_url(target.url.encode())
    assert third.host.decode() == target.host
    assert (third.port or {"https": 443, "http": 80}[target.scheme]) == target.port
    assert (third.path.decode(), (third.query or b"").decode()) == (target.path, target.query[1:])
    assert not {name for name, _ in query_pairs(target.query)} & set(strip)


@pytest.mark.parametrize(
    "url",
    [
        ORIGIN + "/" + "%25" * 2000,
        ORIGIN + "/" + "a;/" * 2600,
        ORIGIN + "/v1?" + "a&" * 4000,
        "https://" + "a." * 4000,
        "https://xn--" + "a" * 59 + ".example/",
        ORIGIN + "/" + "\u2025" * 900,
    ],
)
def test_no_text_takes_long_to_refuse(url):
    started = time.process_time()
    with contextlib.suppress(InvalidUrl):
        parse_target(url, strip_params=("key",))
    assert time.process_time() - started < 0.5

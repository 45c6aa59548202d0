"""Patterns that blow up engines which backtrack: refused when they are saved, or searched in time linear in the text.

Shapes from the literature on regular expression denial of service (OWASP, CVE reports of the libraries named): nested
and overlapping repetition, alternatives that overlap, adjacent repetition, counted repetition, look-around and
back-references.
"""

import time
from collections.abc import Callable

import pytest

from agenthifive.policy.patterns import pattern_fault, pattern_set

SHORT, LONG = 16 * 1024, 64 * 1024
QUADRATIC = (LONG // SHORT) ** 2
"""How much longer a search of four times the text takes where each character costs one more pass."""

# pattern, what is repeated to pump it, what makes it fail at the end
CATASTROPHIC = [
    # nested repetition
    (r"^(a+)+$", "a", "!"),
    (r"^(a*)*$", "a", "!"),
    (r"^(a+)*$", "a", "!"),
    (r"^(a*)+$", "a", "!"),
    (r"^((a+)+)+$", "a", "!"),
    (r"^(([a-z])+.)+[A-Z]([a-z])+$", "a", "!"),
    (r"(x+x+)+y", "x", "z"),
    (r"^(\w+\s?)*$", "aaaa ", "!"),
    (r"^([\w.]+)+@$", "a.", "!"),
    (r"^(\d+)+$", "1", "x"),
    (r"^(.*)*$", "a", "\n\x00"),
    (r"(.*)*x", "a", "!"),
    (r"(?:.+)+=", "a", "!"),
    (r"^(?:[a-z]+)+\d$", "a", "!"),
    (r"(\s+)+$", " ", "x"),
    (r"(?:\r?\n)+(?:\r?\n)+x", "\n", "!"),
    # alternatives that overlap
    (r"^(a|aa)+$", "a", "!"),
    (r"^(a|a?)+$", "a", "!"),
    (r"^(a|a)*$", "a", "!"),
    (r"^(?:a|ab|b)*c$", "ab", "!"),
    (r"^(\w|\d)+$", "1", "!"),
    (r"^(?:[a-z]|[a-m])*$", "a", "!"),
    (r"^(.|\n)*x$", "\n", "!"),
    (r"(?i)^(?:foo|fo|f)+$", "fo", "!"),
    (r"^(?:x|xx|xxx)*y", "x", "!"),
    (r"(\\.|[^\\\"])*\"$", "\\\\", "!"),
    (r"(?:[^<]|<[^/])*</", "<a", "!"),
    # adjacent repetition
    (r"a*a*a*a*a*b", "a", "!"),
    (r"\s*\s*\s*$", " ", "x"),
    (r"^\s+|\s+$", " ", "x"),
    (r"\d+\d+\d+\d+x", "1", "!"),
    (r".*.*=.*", "x", "!"),
    (r".*,.*,.*,.*,x", ",", "!"),
    (r"^.*\.\w+\.\w+$", "a.", "!"),
    (r"[a-z]*[a-z0-9]*[a-z_]*!$", "a", "?"),
    (r"(?:.*a){12}", "a", "!"),
    (r"(.*?,){11}P", "1,", "!"),
    (r"\w*\d*\w*\d*x", "1", "!"),
    (r"<.*?>.*?</.*?>!", "<a>", "?"),
    (r"[^=]*=[^=]*=[^=]*=!", "=", "?"),
    # counted repetition
    (r"^(a{1,10}){1,10}$", "a", "!"),
    (r"^(?:a?){30}a{30}$", "a", "!"),
    (r"(a?){50}b", "a", "!"),
    (r"(?:a{0,30}){0,30}b", "a", "!"),
    (r"([a-z]{1,30}){1,30}9", "a", "!"),
    (r"(?:x{1,5}y?){1,20}z", "xy", "!"),
    (r"[ab]*a[ab]{12}c", "ab", "!"),
    (r".*a.{14}b", "a", "!"),
    (r"((a{1,100}){1,100}){1,100}", "a", "!"),
    (r"(?:a{1000}){1000}", "a", "!"),
    (r"(?:(?:(?:a{10}){10}){10}){10}", "a", "!"),
    # of libraries that had to be repaired
    (r"^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(([a-z]{2,3})|([a-z]{2,3}[.]{1}[a-z]{2,3}))$",
     "a", "!"),
    (r"^(([a-z])+\.)+[A-Z]([a-z])+$", "a.", "!"),
    (r"^\d{1,3}(,?\d{3})*(\.\d+)?$", "111", "!"),
    (r"(?:[\u00a0\s]+)+$", "\u00a0", "x"),
    (r"(?:\x1b\[|\x9b)[()\[\];?]*(?:\d{1,4}(?:;\d{0,4})*)?[0-9A-ORZcf-nqry=><]", "\x1b[;", "!"),
    (r"^data:([^,;]+)?(;[^,;]+=[^,;]*)*(;base64)?,.*$", "data:;a=b", "!"),
    (r"^(?:(?:https?|ftp)://)?(?:\S+(?::\S*)?@)?(?:[a-z0-9-]+\.)+[a-z]{2,}$", "a.", "!"),
    (r"!\[[^\]]*\]\([^)]*\)|\[[^\]]*\]\([^)]*\)x", "[", "!"),
    (r"^(?:[^\"\\]+|\\.)*\"x", "\\a", "!"),
    (r"(?:--?[a-z]+(?:=\S*)?\s*)*;$", "--a ", "!"),
    (r"(\w+)\s*=\s*(\w+)\s*;\s*(\w+)$", "a ", "!"),
    (r"^(?:\+?1[-.\s]?)?(?:\(?\d{3}\)?[-.\s]?)*x$", "111-", "!"),
    (r"[\s\S]*[\s\S]*END$", "E", "!"),
    # what cannot be searched in linear time at all
    (r"(a+)+\1", "a", "!"),
    (r"^(?=(a+))a*b\1+$", "a", "!"),
    (r"(?<=a+)+b", "a", "!"),
    (r"^(?!.*(.+)\1)x", "a", "!"),
    (r"(?>a+)+b", "a", "!"),
    (r"(a++)+b", "a", "!"),
    (r"(?P<x>a+)(?P=x)+b", "a", "!"),
]  # fmt: skip


def test_there_are_enough_of_them_and_both_answers_occur() -> None:
    assert len({pattern for pattern, _, _ in CATASTROPHIC}) == len(CATASTROPHIC) >= 60
    refused = [pattern for pattern, _, _ in CATASTROPHIC if pattern_fault(pattern) is not None]
    assert 5 <= len(refused) <= 15, refused


@pytest.mark.parametrize(("pattern", "pump", "tail"), CATASTROPHIC)
def test_a_pattern_is_refused_or_linear(pattern: str, pump: str, tail: str) -> None:
    """Alone and beside others, as policies search them."""
    if pattern_fault(pattern) is not None:
        return
    for patterns in ((pattern,), (pattern, "^/v1/other", "[0-9]{3}-[0-9]{4}")):
        searched = pattern_set(patterns)
        searched.hits(pumped(pump, tail, SHORT))  # states of the automaton are made when they are first needed
        short, long = (best_of(searched.hits, pumped(pump, tail, size)) for size in (SHORT, LONG))
        assert long < (short + 0.000_2) * QUADRATIC * 0.75, (patterns, short, long)


def pumped(pump: str, tail: str, size: int) -> bytes:
    return (pump * (size // len(pump.encode())) + tail).encode()


def best_of(search: Callable[[bytes], object], text: bytes) -> float:
    """Processor seconds of the fastest of five searches: others share the machine."""
    seconds = []
    for _ in range(5):
        started = time.thread_time()
        search(text)
        seconds.append(time.thread_time() - started)
    return min(seconds)

"""Globs mean what the policy says they mean, alone and compared with each other."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.catalog.globs import PathSet, glob_fault, lies_inside, tidy_glob
from agenthifive.policy.paths import glob_regex

PIECES = st.sampled_from(["/", "/a", "/b", "/*", "/**", "/a*", "/*b", "/a.b", "/ab", "*", "**", "/x/**"])
GLOBS = (
    st.lists(PIECES, min_size=1, max_size=4)
    .map("".join)
    .filter(lambda glob: glob.startswith("/") and glob_fault(glob) is None)
)
PATHS = st.lists(st.sampled_from(["/", "a", "b", ".", "ab", "x", "-"]), max_size=8).map(
    lambda parts: "/" + "".join(parts)
)


def matches(glob: str, path: str) -> bool:
    return re.fullmatch(glob_regex(glob), path) is not None


@given(GLOBS, GLOBS, PATHS)
def test_inside_means_no_path_escapes(glob: str, bound: str, path: str) -> None:
    if lies_inside(glob, bound) and matches(glob, path):
        assert matches(bound, path)


@given(GLOBS)
def test_every_glob_lies_inside_itself_and_everything(glob: str) -> None:
    assert lies_inside(glob, glob)
    assert lies_inside(glob, "/**")


@pytest.mark.parametrize(
    ("glob", "bound"),
    [
        ("/v1/items", "/v1/**"), ("/v1", "/v1/**"), ("/v1/**", "/v1/**"), ("/v1/*/x", "/v1/**"),
        ("/v1/a", "/v1/*"), ("/v1/a*", "/v1/*"), ("/a/*/c", "/a/**/c"), ("/bot*/*", "/bot*/*"),
        ("/v1/x/**", "/v1/x/**"), ("/v1/a/b/**", "/v1/*/b/**"),
    ],
)  # fmt: skip
def test_what_is_certainly_inside(glob: str, bound: str) -> None:
    assert lies_inside(glob, bound)


@pytest.mark.parametrize(
    ("glob", "bound"),
    [
        ("/**", "/v1/**"), ("/v1*", "/v1/**"), ("/v1/**", "/v1/*"), ("/v1/*", "/v1/a"), ("/v1/*/*", "/v1/*"),
        ("/v2/a", "/v1/**"), ("/v1/**/x", "/v1/*/x"), ("/V1/a", "/v1/**"),
    ],
)  # fmt: skip
def test_what_is_not_certainly_inside(glob: str, bound: str) -> None:
    assert not lies_inside(glob, bound)


@given(st.lists(GLOBS, min_size=1, max_size=4), PATHS)
def test_a_set_covers_what_any_of_its_globs_covers(globs: list[str], path: str) -> None:
    assert PathSet(globs).has(path) is any(matches(glob, path) for glob in globs)


@given(st.lists(GLOBS, min_size=1, max_size=4), PATHS)
def test_letter_case_counts_only_where_it_should(globs: list[str], path: str) -> None:
    covered = PathSet(globs).has(path)
    assert PathSet(globs, ignores_case=True).has(path.upper()) is covered
    assert PathSet([glob.upper() for glob in globs], ignores_case=True).has(path) is covered


def test_an_escaped_slash_is_no_part_of_a_star() -> None:
    assert not PathSet(["/v1/*/x"]).has("/v1/a%2Fb/x")
    assert not PathSet(["/v1/*/x"]).has("/v1/a%252Fb/x")
    assert PathSet(["/v1/*/x"]).has("/v1/a%20b/x")


def test_strict_sets_meet_strict_views() -> None:
    assert PathSet(["/v1/x/"], is_strict=True).has("/v1/x")
    assert PathSet(["/v1/*"], is_strict=True).has("/v1/100%")
    assert tidy_glob("/") == "/"


def test_an_empty_set_covers_nothing() -> None:
    assert not PathSet([]).has("/")

"""Where a browser may be sent: contract/http.md section 14.2 (INVALID_CALLBACK_URL)."""

import pytest

from agenthifive.errors import AppError
from agenthifive.people.redirects import own_path

HOSTILE = [
    "", "x", "dashboard", "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "/\t/evil.test",
    "/\n/evil.test", "/a\\b", " /a", "/a b", "https://evil.test", "https:/evil.test", "javascript:alert(1)",
    "data:text/html,x", "/é", "/a\x7f", "/a\x00", "/" + "a" * 1024, "http://localhost:4000/a", "?next=/", "#a",
    ".", "..",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_only_paths_of_ours(text: str) -> None:
    with pytest.raises(AppError) as refused:
        own_path(text)
    assert refused.value.code == "INVALID_CALLBACK_URL"


@pytest.mark.parametrize("text", ["/", "/dashboard", "/a/b?c=d&e=%2F%2Fevil.test#f", "/%5Cevil.test", "/" + "a" * 1023])
def test_a_path_stays_as_it_is(text: str) -> None:
    assert own_path(text) == text

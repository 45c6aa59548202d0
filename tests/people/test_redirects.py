"""Where browsers are sent: a path on our origin, however the text is written."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.errors import AppError
from agenthifive.people.redirects import own_path, require_own_path

OURS = "https://agents.example.com"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/login",
        "/login?verified=true",
        "/dashboard/",
        "/dashboard/agents?sort=name&page=2",
        "/login?next=%2Fdashboard%2Fagents",
        "/a/b%20c".replace("%20", "-"),
        "/@olga",
        "/a:b",
        "/x?y=//evil.test",
    ],
)
def test_paths_of_ours(path: str) -> None:
    assert own_path(path) == path == require_own_path(path)
    assert urlsplit(urljoin(OURS, path))[:2] == urlsplit(OURS)[:2]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "login",
        "?x=1",
        "#x",
        "/x#y",
        "https://evil.test",
        "https://agents.example.com/login",
        "https:/evil.test",
        "https:evil.test",
        "HTTP://evil.test",
        "//evil.test",
        "///evil.test",
        "////evil.test",
        "//olga@evil.test",
        "//evil.test:443/login",
        "/\\evil.test",
        "\\\\evil.test",
        "\\/evil.test",
        "/a\\b",
        "/%5cevil.test",
        "/%5Cevil.test",
        "/%255cevil.test",
        "/%2fevil.test",
        "/%2Fevil.test",
        "/%252fevil.test",
        "/%25252fevil.test",
        "%2f%2fevil.test",
        "/a//evil.test",
        "/a/%2f/evil.test",
        "/./evil.test",
        "/../evil.test",
        "/..//evil.test",
        "/%2e%2e//evil.test",
        "/a/..;/b/../c",
        "/%2e/evil.test",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "/\tevil.test",
        "/\t/evil.test",
        "/\n/evil.test",
        "/%09/evil.test",
        "/%0a/evil.test",
        "/x%0d%0aset-cookie:%20a=b",
        "/x\r\nset-cookie: a=b",
        "/x?y=%0d%0a",
        "/x%00",
        "/x\x00",
        " /login",
        "/login ",
        "/a%20b",
        "\u2028/login",
        "/\u2215evil.test",
        "/\uff0fevil.test",
        "/é",
        "/" + "a" * 2000,
        "/%25252525252525252f",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    assert own_path(text) is None
    with pytest.raises(AppError) as refused:
        require_own_path(text)
    assert (refused.value.status, refused.value.code) == (400, "INVALID_CALLBACK_URL")


@given(st.text(alphabet="/\\.%25fFcC?#@:ae \t\n", max_size=24))
def test_whatever_passes_stays_on_our_origin(text: str) -> None:
    path = own_path(text)
    if path is not None:
        assert path == text
        assert urlsplit(urljoin(OURS, path))[:2] == urlsplit(OURS)[:2]
        assert not set(path) & set("\\ \t\n")

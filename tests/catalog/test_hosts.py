"""Host names of service files: a star is one label, and never over names that strangers register."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.catalog.hosts import covers_host, host_fault, is_host_name, is_label

NAMES = st.from_regex(r"(?:[a-z0-9-]{1,5}\.){0,3}[a-z0-9.-]{0,6}github\.com", fullmatch=True)


def test_a_star_covers_one_label_of_its_suffix() -> None:
    """contract/catalog/SCHEMA.md section 13."""
    assert covers_host("*.github.com", "api.github.com")
    for host in ("github.com", "a.b.github.com", "evilgithub.com", ".github.com", "api.github.com.evil.test"):
        assert not covers_host("*.github.com", host)
    assert covers_host("api.github.com", "api.github.com")
    assert not covers_host("api.github.com", "x.api.github.com")


@given(NAMES)
def test_what_a_star_covers_has_exactly_one_label_more(host: str) -> None:
    if covers_host("*.github.com", host):
        label = host.removesuffix(".github.com")
        assert label
        assert "." not in label
        assert len(host.split(".")) == 3


@pytest.mark.parametrize("name", ["api.x.com", "*.x.com", "a-b.c9.io", "email-imap.internal"])
def test_names_a_file_may_have(name: str) -> None:
    assert host_fault(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "com", "*.com", "*", "a.*.com", "*a.x.com", "A.x.com", "a.x.com.", "10.0.0.1", "a.x.1", "-a.x.com",
     "a..x.com", "a_b.x.com", "é.x.com", "*.co.uk", "*.github.io", "*.vercel.app", "*.blob.core.windows.net",
     "a.x.com:443", "a.x.com/x", "a." * 127 + "com"],
)  # fmt: skip
def test_names_a_file_may_not_have(name: str) -> None:
    assert host_fault(name) is not None


def test_storage_of_a_provider_may_be_the_end_of_a_redirect() -> None:
    assert host_fault("*.blob.core.windows.net", is_redirect=True) is None
    assert host_fault("*.github.io", is_redirect=True) is not None


def test_labels() -> None:
    assert is_label("acme-1")
    assert not any(is_label(text) for text in ("", "a.b", "-a", "a-", "A", "a" * 64, "a\n"))
    assert not is_host_name("api.x.com\n")

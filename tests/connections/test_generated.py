"""Properties of what this room reads: cursors, labels, dates, and stored credentials read once more."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from agenthifive.catalog.catalog import Catalog
from agenthifive.catalog.fields import EntryLimits
from agenthifive.connections.bodies import NewApiKey, NewHttp
from agenthifive.connections.entry import read_change, read_http
from agenthifive.connections.model import is_label, visible_line
from agenthifive.connections.service import read_cursor
from agenthifive.errors import AppError
from agenthifive.vault import base64url

LIMITS = EntryLimits()
GLOBS = st.lists(st.sampled_from(["/**", "/items/*", "/v1/**", "/v1", "/v1/v1/x", "/a/b"]), max_size=3)
AUTHS: dict[str, dict[str, Any]] = {
    "bearer": {"apiKey": "s" * 20},
    "header": {"apiKey": "s" * 20, "headerName": "x-key", "headerPrefix": "Token"},
    "query": {"apiKey": "s" * 20, "queryName": "key"},
    "basic": {"username": "ada", "password": "p" * 12},
    "custom": {"headers": [{"name": "x-a", "value": "{A}"}], "secrets": {"A": "s" * 20}},
    "none": {},
}


@given(st.text(max_size=200) | st.binary(max_size=100).map(base64url.encode))
@example(base64url.encode(b"2026-01-01T00:00:00+00:00 "))
@example(base64url.encode(b"2026-01-01T00:00:00 00000000-0000-7000-8000-000000000000"))
def test_a_cursor_is_ours_or_refused(cursor: str) -> None:
    """Text of others never reaches the database; what does was written by us, letter by letter."""
    at, connection_id = None, ""
    with suppress(AppError):
        at, connection_id = read_cursor(cursor)
    if at is None:
        with pytest.raises(AppError, match="invalid_cursor"):
            read_cursor(cursor)
    else:
        text = base64url.decode(cursor).decode()
        assert (datetime.fromisoformat(text.split(" ")[0]), text.split(" ")[1]) == (at, connection_id)


def test_our_own_cursor_comes_back() -> None:
    at, connection_id = datetime(2026, 11, 24, 1, 2, 3, 456789, UTC), "00000000-0000-7000-8000-000000000000"
    assert read_cursor(base64url.encode(f"{at.isoformat()} {connection_id}".encode())) == (at, connection_id)


@given(st.text(), st.integers(1, 200))
def test_a_line_made_visible_is_short_and_hides_nothing(text: str, limit: int) -> None:
    line = visible_line(text, limit)
    assert len(line) <= limit
    assert visible_line(line, limit) == line
    assert not line or is_label(line[:100])


@given(st.integers(946_771_200, 4_102_358_400), st.sampled_from(["Z", "+02:00", "-11:30"]))
def test_an_instant_is_read_as_it_was_meant(seconds: int, zone: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    text = at.replace(tzinfo=None).isoformat() + zone
    body = NewApiKey.model_validate({"service": "x", "expiresAt": text})
    assert body.expires_at == datetime.fromisoformat(text)
    day = NewApiKey.model_validate({"service": "x", "expiresAt": at.date().isoformat()})
    assert day.expires_at == datetime(at.year, at.month, at.day, tzinfo=UTC)


@given(st.text() | st.integers() | st.sampled_from(["20990131", "2099-W05", "2099-13-01", "2099-01-01T25:00:00Z"]))
def test_nothing_else_is_an_instant(value: Any) -> None:
    with pytest.raises(ValidationError):
        NewApiKey.model_validate({"service": "x", "expiresAt": value})


@given(
    st.sampled_from(["https://api.example.com", "https://api.example.com/v1", "https://api.example.com/v1/v1"]),
    st.sampled_from(sorted(AUTHS)),
    st.fixed_dictionaries({}, optional={"paths": GLOBS, "readPosts": GLOBS, "graphqlPaths": GLOBS}),
    st.sampled_from([None, "/me", "/v1/me?a=b", "/v1"]),
)
def test_a_stored_generic_credential_read_once_more_is_the_same(
    catalog: Catalog, base_url: str, auth_type: str, lists: dict[str, Any], probe_path: str | None
) -> None:
    """Replacing one member moves nothing else: neither a path below its prefix nor another secret."""
    probe = {} if probe_path is None else {"probe": {"method": "GET", "path": probe_path}}
    members = {"label": "x", "baseUrl": base_url, "authType": auth_type, **AUTHS[auth_type], **lists, **probe}
    entered = read_http(catalog, NewHttp.model_validate(members), LIMITS)
    again = read_change(entered.credential, {"defaultHeaders": {"accept": "text/plain"}}, LIMITS)
    params = dict(again.fields.params)
    assert params.pop("defaultHeaders") == {"accept": "text/plain"}
    assert params == entered.fields.params
    assert again.fields.payload == entered.fields.payload

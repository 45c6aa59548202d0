"""What every request meets first: old spellings, sizes, foreign pages; and what every answer carries."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.edge.gate import canonical_route
from application import WEB_URL, Place
from edge.conftest import converse

STANDARD = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "x-xss-protection": "1; mode=block",
    "referrer-policy": "strict-origin-when-cross-origin",
    "vary": "Origin",
}


@pytest.mark.parametrize(
    ("method", "path", "routed"),
    [
        ("POST", "/vault/execute", "/v1/vault/execute"),
        ("GET", "/connections", "/v1/connections"),
        ("HEAD", "/connections", "/v1/connections"),
        ("POST", "/connections", "/connections"),
        ("POST", "/connections/start", "/v1/connections/start"),
        ("POST", "/connections/7/revoke", "/v1/connections/7/revoke"),
        ("GET", "/approvals/7", "/v1/approvals/7"),
        ("POST", "/approvals/7/approve", "/v1/approvals/7/approve"),
        ("POST", "/approvals/7/8/approve", "/approvals/7/8/approve"),
        ("POST", "/agents", "/v1/agents"),
        ("DELETE", "/agents", "/agents"),
        ("GET", "/agents/7", "/agents/7"),
        ("GET", "/members", "/members"),
        ("GET", "/v1/v1/connections", "/v1/connections"),
        ("GET", "/v1/v1/connections/", "/v1/connections"),
        ("GET", "/v1/v1/v1/connections", "/v1/v1/v1/connections"),
        ("GET", "/v1/connections/", "/v1/connections"),
        ("GET", "/v1/connections//", "/v1/connections/"),
        ("GET", "/", "/"),
        ("GET", "/v1/vault/llm/openai/models/", "/v1/vault/llm/openai/models/"),
        ("GET", "/v1/v1/vault/llm/openai/models/", "/v1/vault/llm/openai/models/"),
        ("GET", "/health/", "/health"),
    ],
)
def test_only_the_listed_spellings_are_rewritten(method: str, path: str, routed: str) -> None:
    assert canonical_route(path, method) == routed


@given(st.text().map("/".__add__), st.sampled_from(["GET", "POST", "DELETE"]))
def test_any_path_has_one_route(path: str, method: str) -> None:
    assert canonical_route(path, method).startswith("/")


async def test_the_old_llm_path_moves_as_it_was_written(port: int) -> None:
    for path in (b"openai/chat%2Fx?a=%2F", b"openai/%0d%0aset-cookie:%20a=b", b"gemini/models/%E2%82%AC/"):
        said = await converse(
            port, b"POST /v1/llm/proxy/" + path + b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        assert said.startswith(b"HTTP/1.1 308 "), said
        assert b"\r\nlocation: /v1/vault/llm/" + path + b"\r\n" in said
        assert b"\r\nset-cookie" not in said


async def test_every_answer_carries_the_standard_headers_and_a_request_id(place: Place) -> None:
    for method, path in (
        ("GET", "/health"),
        ("GET", "/v1/nope"),
        ("GET", "/v1/agents"),
        ("POST", "/v1/agents/token"),
        ("OPTIONS", "/v1/agents"),
        ("PATCH", "/v1/agents"),
        ("POST", "/v1/vault/execute"),
    ):
        answer = await place.ask(method, path)
        assert STANDARD.items() <= dict(answer.headers).items(), (method, path)
        assert answer.headers["x-request-id"]
        assert "strict-transport-security" not in answer.headers, "http needs none"
        if answer.status_code >= 400:
            assert answer.headers["x-agenthifive-error"] == answer.json()["code"]
            assert answer.headers["cache-control"] == "no-store"


async def test_bodies_are_compact(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    for method, path, body in (
        ("GET", "/v1/agents", None),
        ("POST", "/v1/agents", {"name": ""}),
        ("GET", "/v1/me", None),
        ("POST", "/v1/agents/token", {}),
        ("GET", "/openapi.json", None),
    ):
        text = (await place.ask(method, path, token, body)).text
        outside_strings = "".join(text.replace('\\"', "").split('"')[::2])
        assert not set(outside_strings) & set(" \n\t"), (path, text[:200])


async def test_head_answers_like_get_without_a_body(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    for path in ("/health", "/v1/agents", "/connections"):
        head = await place.ask("HEAD", path, token)
        assert (head.status_code, head.content) == (200, b"")


def preflight(origin: str) -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}


async def test_foreign_pages_get_no_permission(place: Place) -> None:
    own = await place.ask("OPTIONS", "/v1/agents", headers=preflight(WEB_URL))
    assert (own.status_code, own.headers["access-control-allow-origin"]) == (204, WEB_URL)
    assert own.headers["access-control-allow-credentials"] == "true"
    assert "X-AH5-CSRF" in own.headers["access-control-allow-headers"]
    for origin in ("https://evil.test", "null", WEB_URL + ".evil.test", WEB_URL.upper(), "http://localhost:4001"):
        for answer in (
            await place.ask("OPTIONS", "/v1/agents", headers=preflight(origin)),
            await place.ask("GET", "/v1/agents", headers={"origin": origin}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control-")], origin
            assert answer.headers["vary"] == "Origin"


async def test_a_session_key_in_the_query_is_refused_and_logged_nowhere(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    _, token = await place.add_agent()
    for path in (f"/v1/connections?key={token}", f"/v1/connections?access_token={token}",
                 f"/v1/vault/llm/openai/models?token={token}"):  # fmt: skip
        answer = await place.ask("GET", path)
        assert (answer.status_code, answer.headers["x-agenthifive-error"]) == (401, "wrong_credential_type")
        assert token not in answer.text
    assert token not in "".join(capsys.readouterr())


async def test_header_credentials_have_an_order_and_lower_ones_are_ignored(place: Place) -> None:
    _, agent = await place.add_agent()
    pat = await place.add_pat(place.owner_id)
    for headers, status in (
        ({"authorization": f"Bearer {pat}", "x-api-key": agent}, 200),
        ({"authorization": f"bearer {pat}"}, 200),
        ({"authorization": "Basic eDp5", "x-api-key": pat}, 200),
        ({"x-api-key": pat, "x-goog-api-key": agent}, 200),
        ({"x-goog-api-key": pat}, 200),
        ({"authorization": f"Bearer {agent}", "x-api-key": pat}, 403),
        ({"authorization": "Bearer nonsense", "x-api-key": pat}, 401),
        ({"cookie": f"ah5_session={pat}"}, 401),
        ({}, 401),
    ):
        assert (await place.ask("GET", "/v1/agents", headers=headers)).status_code == status, headers


async def test_bodies_of_other_types_encodings_and_forms(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    agent_id, _ = await place.add_agent()
    url = f"{WEB_URL}/v1/agents/{agent_id}/revoke-tokens"
    bearer = {"authorization": f"Bearer {token}"}
    client: httpx.AsyncClient = place.client
    for headers, content, status in (
        ({}, b"", 200),
        ({"content-type": "application/json"}, b"", 200),
        ({"content-type": "application/json; charset=utf-8"}, b"{}", 200),
        ({"content-type": "text/xml"}, b"", 415),
        ({"content-type": "application/x-www-form-urlencoded"}, b"a=b", 415),
        ({}, b"{}", 415),
        ({"content-encoding": "gzip", "content-type": "application/json"}, b"{}", 415),
        ({"content-type": "application/json"}, b'{"a":1,"a":2}', 400),
        ({"content-type": "application/json"}, b"\xef\xbb\xbf{}", 400),
        ({"content-type": "application/json"}, b"x" * 1_100_000, 413),
    ):
        answer = await client.post(url, headers={**bearer, **headers}, content=content)
        assert answer.status_code == status, (headers, answer.text)


async def test_secrets_are_answered_for_nobody_to_keep(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    created = await place.ask("POST", "/v1/agents", token, {"name": "Bot"})
    secret = await place.ask("POST", f"/v1/agents/{created.json()['agent']['id']}/bootstrap-secret", token)
    for answer in (created, secret, await place.ask("GET", "/v1/me", token)):
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")


async def test_after_the_limit_failed_credentials_wait_and_good_ones_do_not(place: Place) -> None:
    token = await place.add_pat(place.owner_id)
    await place.execute("DELETE FROM t_rate_limits", [])
    window = place.app.keeper.limiter._windows
    limits = dict(window)
    try:
        name = next(limit for limit in window if str(limit) == "auth_failures")
        window[name] = type(window[name])(3, 300)
        for headers in ({}, {"authorization": f"Bearer ah5t_{'x' * 43}"}, {"x-api-key": "nonsense"}):
            assert (await place.ask("GET", "/v1/agents", headers=headers)).status_code == 401
        refused = await place.ask("GET", "/v1/agents")
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert int(refused.headers["retry-after"]) == refused.json()["retryAfter"] >= 1
        assert (await place.ask("GET", "/v1/agents", token)).status_code == 200
    finally:
        window.update(limits)
        await place.execute("DELETE FROM t_rate_limits", [])

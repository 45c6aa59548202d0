"""A refusal on the LLM proxy is an error the vendor's client raises by itself."""

import json

import pytest

from agenthifive.broker.llm_errors import render_refusal
from agenthifive.errors import STATUS

BODIES = {
    "anthropic-messages": '{"type":"error","error":{"type":"permission_error","message":"no"}}',
    "openai-chat": '{"error":{"message":"no","type":"permission_error","param":null,"code":"rule_denied"}}',
    "openai-responses": '{"error":{"message":"no","type":"permission_error","param":null,"code":"rule_denied"}}',
    "openrouter": '{"error":{"code":403,"message":"no","metadata":{"code":"rule_denied"}}}',
    "gemini": '{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","details":[]}}',
    "cohere": '{"error":"no","code":"rule_denied"}',
    "raw": '{"error":"no","code":"rule_denied"}',
}


@pytest.mark.parametrize(("dialect", "body"), BODIES.items())
def test_each_format_has_its_shape(dialect: str, body: str) -> None:
    assert render_refusal(dialect, 403, "rule_denied", "no").decode() == body


def test_a_format_without_a_shape_gets_our_own_body() -> None:
    own = {"error": "no", "code": "rule_denied", "auditId": "0b9c"}
    assert json.loads(render_refusal("raw", 403, "rule_denied", "no", own)) == own
    assert "auditId" not in render_refusal("gemini", 403, "rule_denied", "no", own).decode()


NAMES = [
    (400, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    (401, "authentication_error", "authentication_error", "UNAUTHENTICATED"),
    (403, "permission_error", "permission_error", "PERMISSION_DENIED"),
    (404, "not_found_error", "not_found_error", "NOT_FOUND"),
    (409, "invalid_request_error", "conflict_error", "FAILED_PRECONDITION"),
    (413, "request_too_large", "invalid_request_error", "INVALID_ARGUMENT"),
    (422, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
    (429, "rate_limit_error", "rate_limit_error", "RESOURCE_EXHAUSTED"),
    (500, "api_error", "server_error", "INTERNAL"),
    (502, "api_error", "server_error", "INTERNAL"),
    (503, "overloaded_error", "server_error", "UNAVAILABLE"),
    (504, "api_error", "server_error", "DEADLINE_EXCEEDED"),
    (405, "invalid_request_error", "invalid_request_error", "INVALID_ARGUMENT"),
]


@pytest.mark.parametrize(("status", "anthropic", "openai", "gemini"), NAMES)
def test_each_status_has_its_names(status: int, anthropic: str, openai: str, gemini: str) -> None:
    assert json.loads(render_refusal("anthropic-messages", status, "x", "m"))["error"]["type"] == anthropic
    assert json.loads(render_refusal("openai-chat", status, "x", "m"))["error"]["type"] == openai
    assert json.loads(render_refusal("gemini", status, "x", "m"))["error"]["status"] == gemini


def test_every_code_of_ours_can_be_said() -> None:
    for code, status in STATUS.items():
        for dialect in BODIES:
            assert json.loads(render_refusal(dialect, status, code, "m"))

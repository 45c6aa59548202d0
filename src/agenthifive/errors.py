"""Every refusal a caller can see: one exception, one table of codes with their HTTP status.

`AppError` means "cannot continue"; verdicts of the policy are values. One handler (`edge/answers.py`)
turns an `AppError` into an answer. Source: contract/http.md section 3.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

STATUS: Final[Mapping[str, int]] = {
    # general, http.md 3.1
    "malformed_request": 400,
    "invalid_json": 400,
    "invalid_request": 400,
    "unknown_field": 400,
    "invalid_cursor": 400,
    "authentication_required": 401,
    "invalid_token": 401,
    "wrong_credential_type": 401,
    "agent_not_allowed": 403,
    "agent_only": 403,
    "pat_not_allowed": 403,
    "insufficient_scope": 403,
    "insufficient_role": 403,
    "not_a_member": 403,
    "csrf_failed": 403,
    "origin_not_allowed": 403,
    "reauth_required": 403,
    "two_factor_required": 403,
    "frozen": 403,
    "not_found": 404,
    "route_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "self_change": 400,
    "conflict": 409,
    "version_conflict": 409,
    "gone": 410,
    "payload_too_large": 413,
    "uri_too_long": 414,
    "headers_too_large": 431,
    "unsupported_media_type": 415,
    "rate_limited": 429,
    "internal_error": 500,
    "unavailable": 503,
    "shutting_down": 503,
    "key_unavailable": 503,
    "audit_unavailable": 503,
    # agents, http.md 3.2
    "invalid_bootstrap_secret": 401,
    "invalid_public_key": 400,
    "unsupported_grant_type": 400,
    "unsupported_assertion_type": 400,
    "invalid_scope": 400,
    "unsupported_token_type": 400,
    "malformed_assertion": 401,
    "assertion_header_refused": 401,
    "invalid_agent": 401,
    "assertion_key_mismatch": 401,
    "assertion_signature_invalid": 401,
    "assertion_audience": 401,
    "assertion_lifetime": 401,
    "clock_skew": 401,
    "jti_invalid": 401,
    "agent_disabled": 409,  # 401 at the token exchange
    "replay_detected": 401,
    "agent_not_disabled": 409,
    "agent_limit": 409,
    "token_limit": 409,
    # policies and connections, http.md 3.3
    "invalid_policy": 400,
    "provider_mismatch": 400,
    "model_not_supported": 400,
    "unknown_template": 400,
    "policy_exists": 409,
    "would_discard_edits": 409,
    "unknown_service": 400,
    "service_not_singleton": 400,
    "credential_rejected": 400,
    "singleton_exists": 409,
    "account_mismatch": 409,
    "connection_revoked": 409,
    "connection_needs_reauth": 409,
    # broker, http.md 3.4
    "missing_target": 400,
    "invalid_url": 400,
    "invalid_header": 400,
    "invalid_binary_body": 400,
    "upgrade_not_supported": 400,
    "no_healthy_connection": 404,
    "unsupported_llm_provider": 404,
    "no_policy": 403,
    "time_window_closed": 403,
    "allowlist_denied": 403,
    "host_not_bound": 403,
    "constraint_denied": 403,
    "rule_denied": 403,
    "body_not_inspectable": 403,
    "read_only": 403,
    "model_denied": 403,
    "fields_not_available": 403,
    "egress_blocked": 403,
    "redirect_blocked": 403,
    "llm_redirect": 502,
    "response_not_filterable": 403,
    "approval_not_found": 404,
    "approval_required": 403,
    "budget_exceeded": 429,
    "idempotency_in_progress": 409,
    "idempotency_outcome_unknown": 409,
    "idempotency_reply_not_stored": 409,
    "idempotency_key_reused": 422,
    "credential_unreadable": 500,
    "credential_not_injectable": 422,
    "upstream_unreachable": 502,
    "upstream_invalid": 502,
    "response_too_large": 502,
    "upstream_timeout": 504,
    # sign-in, http.md 14 (UPPER_SNAKE on the wire of /api/auth/*)
    "UNAUTHORIZED": 401,
    "INVALID_EMAIL_OR_PASSWORD": 401,
    "ACCOUNT_DISABLED": 403,
    "TOO_MANY_ATTEMPTS": 429,
    "ALREADY_SET_UP": 409,
    "GONE": 410,
    "PASSWORD_TOO_SHORT": 400,
    "PASSWORD_TOO_COMMON": 400,
    "INVALID_EMAIL": 400,
    "INVALID_PASSWORD": 401,
    "ORIGIN_NOT_ALLOWED": 403,
    "INVALID_REQUEST": 400,
    "INVALID_CALLBACK_URL": 400,
    "INVALID_CODE": 401,  # 400 where a set-up is confirmed
    "INVALID_CREDENTIAL": 401,  # 400 where a passkey is added
    "INVALID_TOKEN": 401,  # 400 where a password is reset
    "EMAIL_NOT_VERIFIED": 403,
    "REGISTRATION_CLOSED": 403,
    "EMAIL_DOMAIN_NOT_ALLOWED": 403,
    "TURNSTILE_FAILED": 403,
    "TURNSTILE_UNAVAILABLE": 503,
    "NOT_A_MEMBER": 403,
    "ACCESS_DENIED": 403,
    "WRONG_ACCOUNT": 403,
    "NOT_FOUND": 404,
    "PROVIDER_NOT_FOUND": 404,
    "ALREADY_ENABLED": 409,
    "LAST_SIGN_IN_METHOD": 409,
    "CONFLICT": 409,
}


class AppError(Exception):
    """A refusal with a stable code, a status and advice.

    Shapes:
        message: one or two sentences that already contain the next step (most clients show only this).
        hint: machine-usable next step. detail: snake_case refinement of the code.
        retry_after_s: whole seconds >= 1. fields: at most 20 of {path, message}, no secret values.
        extra: further members of the body, named by the contract.
    Source: contract/http.md section 2.
    """

    __slots__ = ("code", "detail", "extra", "fields", "headers", "hint", "message", "retry_after_s", "status")

    def __init__(
        self,
        code: str,
        message: str,
        *,
        detail: str | None = None,
        hint: str | None = None,
        retry_after_s: int | None = None,
        fields: Sequence[Mapping[str, str]] | None = None,
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.message = message
        self.detail = detail
        self.hint = hint
        self.retry_after_s = retry_after_s
        self.fields = fields
        self.extra = extra
        self.headers = headers
        self.status = status or STATUS[code]

    def body(self) -> dict[str, Any]:
        """The JSON body of the answer. Source: contract/http.md section 2."""
        body: dict[str, Any] = {"error": self.message, "code": self.code}
        if self.detail is not None:
            body["detail"] = self.detail
        if self.hint is not None:
            body["hint"] = self.hint
        if self.retry_after_s is not None:
            body["retryAfter"] = self.retry_after_s
        if self.fields is not None:
            body["fields"] = list(self.fields)
        if self.extra:
            body.update(self.extra)
        return body


def not_found(what: str, list_route: str) -> AppError:
    """The one answer for an unknown, malformed or foreign id."""
    return AppError("not_found", f"No {what} with this id exists in the workspace. List them with GET {list_route}.")

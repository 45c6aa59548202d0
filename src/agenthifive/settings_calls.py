"""The knobs of what agents and callers do: agents, request limits, brokered calls, audit, monitoring.

Each line is the whole truth about one setting, as in `settings_instance.py`.
Source: contract/operations.md section 13, http.md section 16, agents.md section 16, broker.md section 18.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from agenthifive.settings_values import (
    NEW_SECRET,
    CautiousFlag,
    Certificates,
    Directory,
    Flag,
    MetricsToken,
    Number,
    Whole,
    Words,
    knob,
)


def _attempts(default: int, high: int, meaning: str) -> Any:
    return knob(default, meaning, low=1, high=high, production="more than 10 × default warns")


class CallSettings(BaseModel):
    """Agents, limits, calls, audit, monitoring, build. Part of `Settings`; not used alone."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, validate_default=True
    )

    # agents
    agent_token_ttl_seconds: Whole = knob(
        7200,
        "life of an agent token; at most 900 with `SECURITY_LEVEL=high`",
        low=60,
        high=86_400,
        check="TOKEN-TTL",
    )
    agent_max_active_tokens: Whole = knob(50, "tokens of one agent; the oldest ends", low=1, high=1000)
    bootstrap_secret_ttl_hours: Number = knob(
        1.0, "life of an enrolment secret", low=0.05, high=72, production="> 24 warns"
    )
    bootstrap_retry_minutes: Whole = knob(10, "how long a lost enrolment answer can be asked for again", low=0, high=60)
    agent_token_audience: Words = knob(
        (),
        "additional accepted assertion audiences",
        bounds="a comma list",
        example="AGENT_TOKEN_AUDIENCE=https://old.example.com",
    )
    assertion_max_lifetime_seconds: Whole = knob(60, "longest accepted `exp` − `iat`", low=30, high=300)
    agents_may_revoke: Flag = knob(True, "agents may revoke connections they use", bounds="true or false")
    disabled_user_stops_agents: Flag = knob(True, "disabling a user stops their agents", bounds="true or false")
    max_agents_per_workspace: Whole = knob(500, "agents of one workspace", low=1)

    # limits of requests
    rate_limit_bootstrap_per_minute: Whole = _attempts(5, 100_000, "enrolments per address")
    rate_limit_token_per_minute: Whole = _attempts(30, 100_000, "token exchanges per address")
    rate_limit_sign_in_per_minute: Whole = _attempts(10, 100_000, "sign-ins per address")
    rate_limit_links_per_minute: Whole = _attempts(20, 100_000, "one-time links per address")
    rate_limit_auth_failures_per_5_minutes: Whole = _attempts(60, 10_000_000, "answers of 401 per address")
    rate_limit_global_per_15_minutes: Whole = _attempts(5000, 10_000_000, "requests without credential per address")
    rate_limit_principal_per_minute: Whole = _attempts(1200, 10_000_000, "requests per user, PAT or agent")
    sign_in_lock_after: Whole = knob(5, "failures per account in 15 minutes", low=3, high=100)

    # calls
    rule_evaluation_seconds: Number = knob(2.0, "processor time one decision may take", low=0.1, high=10)
    idempotency_ttl_hours: Whole = knob(24, "how long a key answers with the first reply", low=1, high=168)
    max_download_bytes: Whole = knob(104_857_600, "largest download", low=1_048_576, high=10_737_418_240)
    provider_head_timeout_seconds: Whole = knob(60, "wait for the head of a reply", low=1, high=900)
    llm_head_timeout_seconds: Whole = knob(300, "the same for LLM services", low=1, high=900)
    ssrf_allow_private: CautiousFlag = knob(
        False,
        "lifts private, loopback, CGNAT and unique-local for every host",
        bounds="true, 1, yes or on; any other word is off",
        production="SSRF-PRIVATE warns",
    )
    ssrf_allowlist_hosts: str = knob(
        "",
        "lifts the same four for named hosts",
        bounds="a comma list of `host[:port][=cidr[|cidr…]]`",
        example="SSRF_ALLOWLIST_HOSTS=ollama.internal:11434=10.1.2.0/24",
    )
    egress_nat64_prefixes: str = knob(
        "",
        "NAT64 networks whose embedded IPv4 is judged",
        bounds="a comma list of /96 prefixes",
        example="EGRESS_NAT64_PREFIXES=64:ff9b::/96",
    )
    egress_ca_bundle: Certificates | None = knob(
        None,
        "additional roots for outbound TLS",
        bounds="a PEM file with at least one certificate",
        shown="`SSL_CERT_FILE` when set",
        example="EGRESS_CA_BUNDLE=/etc/ssl/private-ca.pem",
    )
    catalog_extra_hosts: str = knob(
        "",
        "further hosts of services",
        bounds="a comma list of `service=scheme://host[:port]`",
        example="CATALOG_EXTRA_HOSTS=gitlab=https://git.example.com",
        production="warns",
    )
    catalog_dir: Directory | None = knob(
        None,
        "further catalog files",
        bounds="an existing directory",
        example="CATALOG_DIR=/etc/agenthifive/catalog",
        production="warns",
    )
    max_connections: Whole = knob(500, "connections of one workspace", low=1, high=100_000)

    # audit, monitoring, build
    audit_write_deadline_ms: Whole = knob(
        2000, "one durable write; beyond: 503 `audit_unavailable`", low=100, high=30_000
    )
    audit_queue_max: Whole = knob(10_000, "records waiting; beyond: 503 `audit_unavailable`", low=10, high=100_000)
    metrics_token: MetricsToken | None = knob(
        None,
        "bearer token of `/metrics`",
        bounds="at least 24 characters",
        example=NEW_SECRET,
        production="unset: no `/metrics`",
        secret=True,
    )
    build_number: str = knob("dev", "shown at `/v1/version`")
    build_date: str = knob("unknown", "shown at `/v1/version`")
    git_sha: str = knob("unknown", "shown at `/v1/version`")
    notify_socket: str | None = knob(None, "readiness notice; set by systemd", bounds="a socket")

"""The knobs of an instance: how it is reached, how it runs, its database and its sessions.

Each line is the whole truth about one setting: type, default, meaning, bounds, and the words of its refusal and of
its row in docs/reference/settings.md. Source: contract/operations.md section 13.
"""

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from agenthifive.settings_values import (
    NEW_SECRET,
    Address,
    Dsn,
    Flag,
    Home,
    Networks,
    Number,
    Origin,
    Origins,
    SessionSecret,
    Whole,
    Words,
    is_loopback_host,
    knob,
    origin_host,
)

OVERRIDABLE: Final = ("DB-TLS", "DB-EXPOSED", "WEB-HTTPS", "BIND-HOST", "ENV-GIT")
"""The start checks ALLOW_INSECURE may name. Source: contract/operations.md section 14, rows marked (R)."""

Mode = Literal["production", "development"]

_DSN_BOUNDS: Final = "libpq connection string (URI or keywords), no driver suffix"
_DSN_EXAMPLE: Final = "postgresql://agenthifive_app:PASSWORD@db1:5432/agenthifive?sslmode=verify-full"


def _derive_mode(above: dict[str, Any]) -> str:
    return "development" if is_loopback_host(origin_host(above["web_url"])) else "production"


def _derive_auto_migrate(above: dict[str, Any]) -> bool:
    return above["database_url"] is None or above["ah5_env"] == "development"


def _same_database(above: dict[str, Any]) -> Any:
    return above["database_url"]


class InstanceSettings(BaseModel):
    """Instance, database, sessions. Part of `Settings`; not used alone."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True, validate_default=True
    )

    # instance
    web_url: Origin = knob(
        "http://localhost:4000",
        "public origin; JWT issuer; base of links and redirect URIs",
        bounds="a bare origin: http(s)://host[:port], lower case, no path, no trailing slash, no default port",
        example="WEB_URL=https://agents.example.com",
        check="OAUTH-REDIRECT",
        production="WEB-HTTPS, OAUTH-REDIRECT",
    )
    ah5_env: Mode = knob(
        _derive_mode,
        "whether the production checks refuse, or only warn",
        bounds="production or development",
        example="AH5_ENV=production",
        shown="`development` when the host of `WEB_URL` is loopback, else `production`",
        check="ENV-MODE",
    )
    agenthifive_home: Home = knob(
        ...,
        "embedded database, secrets.env, FREEZE file",
        bounds="directory, 0700",
        shown="`~/.local/share/agenthifive`",
        example="AGENTHIFIVE_HOME=/var/lib/agenthifive",
    )
    api_port: Whole = knob(4000, "port of the listener", low=1, high=65535)
    api_bind_host: Address = knob(
        "127.0.0.1",
        "address of the listener; `0.0.0.0` only behind a proxy",
        bounds="an IP address",
        check="BIND-HOST",
    )
    api_internal_url: Origin | None = knob(
        None,
        "additional accepted assertion audience",
        bounds="an origin",
        example="API_INTERNAL_URL=http://api.internal:4000",
    )
    api_docs: Literal["public", "signed_in", "off"] = knob(
        "public", "who sees `/docs` and `/openapi.json`", bounds="public, signed_in or off"
    )
    trusted_proxies: Networks = knob(
        (),
        "whose X-Forwarded-For and -Proto are believed",
        bounds="a comma list of CIDR networks",
        example="TRUSTED_PROXIES=172.30.0.0/24",
        check="BIND-HOST",
    )
    cors_origins: Origins = knob(
        (),
        "origins allowed besides `WEB_URL`, without credentials",
        bounds="a comma list of bare origins, no `*`",
        example="CORS_ORIGINS=https://app.example.com",
    )
    max_request_body_bytes: Whole = knob(
        26_214_400, "largest request body on the broker routes", low=65_536, high=268_435_456
    )
    process_max_in_flight: Whole = knob(512, "calls at once in this process; beyond: 503", low=1, high=100_000)
    agent_max_in_flight: Whole = knob(32, "calls at once of one agent; beyond: 429", low=1, high=100_000)
    shutdown_delay_seconds: Whole = knob(5, "serving on after not ready, so that balancers notice", low=0, high=60)
    shutdown_grace_seconds: Whole = knob(30, "what calls in flight get to finish", low=1, high=600)
    security_level: Literal["standard", "high"] = knob(
        "standard",
        "`high`: agent tokens of at most 900 s, `SSRF_ALLOW_PRIVATE` refused, `REQUIRE_TWO_FACTOR` at least `admins`",
        bounds="standard or high",
        check="TOKEN-TTL",
    )
    allow_insecure: Words = knob(
        (),
        "start checks that may fail; each is a WARN at every start",
        bounds="a comma list of " + ", ".join(OVERRIDABLE),
        example="ALLOW_INSECURE=DB-TLS",
    )
    log_level: Literal["debug", "info", "warning", "error"] = knob(
        "info", "lowest level written", bounds="debug, info, warning or error", production="`debug` warns"
    )
    log_format: Literal["json", "console"] | None = knob(
        None, "form of log lines", bounds="json or console", shown="by terminal", example="LOG_FORMAT=json"
    )

    # database
    database_url: Dsn | None = knob(
        None,
        "connection of the app role",
        bounds=_DSN_BOUNDS,
        example=f"DATABASE_URL={_DSN_EXAMPLE}",
        shown="embedded PostgreSQL",
        production="DB-TLS, DB-EXPOSED, DB-PASSWORD",
        secret=True,
    )
    database_migration_url: Dsn | None = knob(
        _same_database,
        "connection of the owner role, for `db upgrade`",
        bounds=_DSN_BOUNDS,
        example=f"DATABASE_MIGRATION_URL={_DSN_EXAMPLE}",
        shown="= `DATABASE_URL`",
        production="DB-TLS, DB-EXPOSED, DB-PASSWORD",
        secret=True,
    )
    database_listen_url: Dsn | None = knob(
        _same_database,
        "connection that listens; past any pooler",
        bounds=_DSN_BOUNDS,
        example=f"DATABASE_LISTEN_URL={_DSN_EXAMPLE}",
        shown="= `DATABASE_URL`",
        production="DB-TLS, DB-EXPOSED, DB-PASSWORD",
        secret=True,
    )
    auto_migrate: Flag = knob(
        _derive_auto_migrate,
        "migrate at start",
        bounds="true or false",
        example="AUTO_MIGRATE=true",
        shown="true when embedded or in development, else false",
    )
    db_pool_min: Whole = knob(2, "connections kept open, per process", low=1, high=500)
    db_pool_max: Whole = knob(20, "connections at most, per process", low=1, high=500)
    db_pool_timeout_ms: Whole = knob(1000, "wait for a connection", low=50, high=60_000)
    db_statement_timeout_ms: Whole = knob(5000, "one statement", low=50, high=60_000)
    db_lock_timeout_ms: Whole = knob(2000, "wait for a lock", low=50, high=60_000)
    db_connect_timeout_seconds: Whole = knob(3, "one attempt to connect", low=1, high=600)
    db_start_timeout_seconds: Whole = knob(60, "retrying to connect at start", low=1, high=600)
    db_prepared_statements: Flag = knob(True, "false behind transaction pooling", bounds="true or false")

    # sessions
    better_auth_secret: SessionSecret | None = knob(
        None,
        "signs session cookies; alias `SESSION_SECRET`",
        bounds="at least 32 characters",
        example=NEW_SECRET,
        check="AUTH-SECRET",
        shown="– (generated by `init`)",
        secret=True,
    )
    session_idle_hours: Number = knob(12.0, "a session ends when unused this long", low=0.1, high=720)
    session_max_days: Whole = knob(7, "a session ends in any case", low=1, high=90)
    password_min_length: Whole = knob(12, "shortest password, in characters", low=8, high=128, production="< 12 warns")

    @field_validator("allow_insecure")
    @classmethod
    def _know_insecure_words(cls, ids: tuple[str, ...]) -> tuple[str, ...]:
        if not set(ids) <= set(OVERRIDABLE):
            raise ValueError("names a check that cannot be overridden")
        return ids

    @field_validator("db_pool_max")
    @classmethod
    def _hold_the_minimum(cls, maximum: int, info: ValidationInfo) -> int:
        if maximum < info.data.get("db_pool_min", maximum):
            raise ValueError("smaller than DB_POOL_MIN")
        return maximum

    @field_validator("database_migration_url", "database_listen_url")
    @classmethod
    def _belong_to_a_database(cls, dsn: Any, info: ValidationInfo) -> Any:
        if dsn is not None and info.data.get("database_url", dsn) is None:
            raise ValueError("set while DATABASE_URL is unset (embedded PostgreSQL)")
        return dsn

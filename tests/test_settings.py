"""Settings: every name has the default and the bounds of the contract, and nothing wrong gets past the start."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from agenthifive.settings import LoadedSettings, Settings, SettingsRefused, list_knobs, load_settings
from agenthifive.settings_later import LATER_NAMES

KEY = "1f" * 31 + "a7"
OTHER_KEY = "2e" * 31 + "b8"
SECRET = "k3Yq8-vN1x_Zb5Rt7Lm0Wp4Sd9Gh2Jc6"

NUMBERS = {  # transcribed from contract/operations.md section 13
    "API_PORT": (4000, 1, 65535),
    "MAX_REQUEST_BODY_BYTES": (26214400, 65536, 268435456),
    "PROCESS_MAX_IN_FLIGHT": (512, 1, 100000),
    "AGENT_MAX_IN_FLIGHT": (32, 1, 100000),
    "SHUTDOWN_DELAY_SECONDS": (5, 0, 60),
    "SHUTDOWN_GRACE_SECONDS": (30, 1, 600),
    "DB_POOL_MAX": (20, 2, 500),
    "DB_POOL_TIMEOUT_MS": (1000, 50, 60000),
    "DB_STATEMENT_TIMEOUT_MS": (5000, 50, 60000),
    "DB_LOCK_TIMEOUT_MS": (2000, 50, 60000),
    "DB_CONNECT_TIMEOUT_SECONDS": (3, 1, 600),
    "DB_START_TIMEOUT_SECONDS": (60, 1, 600),
    "SESSION_MAX_DAYS": (7, 1, 90),
    "PASSWORD_MIN_LENGTH": (12, 8, 128),
    "AGENT_TOKEN_TTL_SECONDS": (7200, 60, 86400),
    "AGENT_MAX_ACTIVE_TOKENS": (50, 1, 1000),
    "BOOTSTRAP_RETRY_MINUTES": (10, 0, 60),
    "ASSERTION_MAX_LIFETIME_SECONDS": (60, 30, 300),
    "RATE_LIMIT_BOOTSTRAP_PER_MINUTE": (5, 1, 100000),
    "RATE_LIMIT_TOKEN_PER_MINUTE": (30, 1, 100000),
    "RATE_LIMIT_SIGN_IN_PER_MINUTE": (10, 1, 100000),
    "RATE_LIMIT_LINKS_PER_MINUTE": (20, 1, 100000),
    "RATE_LIMIT_AUTH_FAILURES_PER_5_MINUTES": (60, 1, 10000000),
    "RATE_LIMIT_GLOBAL_PER_15_MINUTES": (5000, 1, 10000000),
    "RATE_LIMIT_PRINCIPAL_PER_MINUTE": (1200, 1, 10000000),
    "SIGN_IN_LOCK_AFTER": (5, 3, 100),
    "IDEMPOTENCY_TTL_HOURS": (24, 1, 168),
    "MAX_DOWNLOAD_BYTES": (104857600, 1048576, 10737418240),
    "PROVIDER_HEAD_TIMEOUT_SECONDS": (60, 1, 900),
    "LLM_HEAD_TIMEOUT_SECONDS": (300, 1, 900),
    "MAX_CONNECTIONS": (500, 1, 100000),
    "AUDIT_WRITE_DEADLINE_MS": (2000, 100, 30000),
    "AUDIT_QUEUE_MAX": (10000, 10, 100000),
}
FRACTIONS = {
    "SESSION_IDLE_HOURS": (12.0, "0.1", "720", "0.09", "720.1"),
    "BOOTSTRAP_SECRET_TTL_HOURS": (1.0, "0.05", "72", "0.04", "72.01"),
    "RULE_EVALUATION_SECONDS": (2.0, "0.1", "10", "0.09", "10.1"),
}
PLAIN_DEFAULTS = {
    "WEB_URL": "http://localhost:4000",
    "API_BIND_HOST": "127.0.0.1",
    "API_INTERNAL_URL": None,
    "API_DOCS": "public",
    "TRUSTED_PROXIES": (),
    "CORS_ORIGINS": (),
    "SECURITY_LEVEL": "standard",
    "ALLOW_INSECURE": (),
    "LOG_LEVEL": "info",
    "DATABASE_URL": None,
    "DB_POOL_MIN": 2,
    "DB_PREPARED_STATEMENTS": True,
    "ENCRYPTION_KEY_MODE": "env",
    "AGENTS_MAY_REVOKE": True,
    "DISABLED_USER_STOPS_AGENTS": True,
    "MAX_AGENTS_PER_WORKSPACE": 500,
    "SSRF_ALLOW_PRIVATE": False,
    "SSRF_ALLOWLIST_HOSTS": "",
    "METRICS_TOKEN": None,
    "BUILD_NUMBER": "dev",
    "BUILD_DATE": "unknown",
    "GIT_SHA": "unknown",
}


def load(home: Path, **environ: str) -> LoadedSettings:
    return load_settings({"HOME": str(home), **environ}, cwd=home)


def problems(home: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(SettingsRefused) as refused:
        load(home, **environ)
    return refused.value.problems


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = load(tmp_path).settings
    expected = {name: default for name, (default, *_) in {**NUMBERS, **FRACTIONS}.items()} | PLAIN_DEFAULTS
    assert {name: getattr(settings, name.lower()) for name in expected} == expected
    assert settings.agenthifive_home == tmp_path / ".local/share/agenthifive"


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_is_accepted_up_to_its_bounds_and_refused_beyond(name: str, tmp_path: Path) -> None:
    _, low, high = NUMBERS[name]
    for inside in (low, high):
        assert getattr(load(tmp_path, **{name: str(inside)}).settings, name.lower()) == inside
    for outside in (low - 1, high + 1):
        (line,) = problems(tmp_path, **{name: str(outside)})
        assert line.startswith(f"{name}: ")
        assert line.count("; ") == 2


@pytest.mark.parametrize("name", FRACTIONS)
def test_a_fraction_is_accepted_up_to_its_bounds_and_refused_beyond(name: str, tmp_path: Path) -> None:
    _, low, high, below, above = FRACTIONS[name]
    for inside in (low, high):
        assert getattr(load(tmp_path, **{name: inside}).settings, name.lower()) == float(inside)
    for outside in (below, above):
        assert problems(tmp_path, **{name: outside})[0].startswith(f"{name}: {outside} is out of bounds; expected ")


@pytest.mark.parametrize("text", ["", " "])
def test_text_that_is_not_a_number_never_becomes_the_default(text: str, tmp_path: Path) -> None:
    """An empty value is no value; a blank is one, and a wrong one."""
    if text:
        assert problems(tmp_path, API_PORT=text)
    else:
        assert load(tmp_path, API_PORT=text).sources["API_PORT"] == "default"


@pytest.mark.parametrize("text", ["4_000", "0x10", "1e3", "4000.0", "٤٠٠٠", "+4000", "04000", "4000 ", "nan"])
def test_a_whole_number_has_one_spelling(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, API_PORT=text) == ("API_PORT: not a whole number; expected 1–65535; API_PORT=4000",)


@pytest.mark.parametrize("text", ["inf", "nan", "1e3", ".5", "5.", "1_0"])
def test_a_fraction_has_one_spelling(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, SESSION_IDLE_HOURS=text)[0].startswith("SESSION_IDLE_HOURS: not a number")


def test_every_problem_is_reported_in_one_run(tmp_path: Path) -> None:
    lines = problems(
        tmp_path,
        API_PORT="70000",
        WEB_URL="https://example.com/",
        LOG_LEVEL="loud",
        ENCRYPTION_KEY="ab",
        DB_POOL_MIN="30",
        METRICS_TOKEN="short",
        API_DOCS_FILE="/does/not/exist",
        ENCRYPTION_KEY_MODE="aws",
    )
    named = {line.partition(":")[0] for line in lines}
    assert named == {
        "API_PORT", "WEB_URL", "LOG_LEVEL", "ENCRYPTION_KEY", "DB_POOL_MAX", "METRICS_TOKEN", "API_DOCS_FILE",
        "ENCRYPTION_KEY_MODE",
    }  # fmt: skip
    assert len(lines) == 8


def test_a_wrong_key_is_described_by_its_length_only(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, ENCRYPTION_KEY="a" * 62)
    assert line == (
        "ENCRYPTION_KEY: 62 characters; expected 64 hexadecimal characters (32 bytes); "
        "generate one with: openssl rand -hex 32 [ENC-KEY]"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENCRYPTION_KEY", KEY[:-1] + "Z"),
        ("ENCRYPTION_KEY", f"{KEY},canary-planted-secret"),
        ("ENCRYPTION_KEY_PREVIOUS", "canary-planted-secret"),
        ("BETTER_AUTH_SECRET", "canary-planted-secret"),
        ("METRICS_TOKEN", "canary-planted-secre"),
        ("DATABASE_URL", "mysql://u:canary-planted-secret@h/db"),
        ("DATABASE_URL", "postgresql+psycopg://u:canary-planted-secret@h/db"),
        ("API_PORT", "canary-planted-secret"),
        ("LOG_LEVEL", "canary-planted-secret"),
        ("WEB_URL", "https://user:canary-planted-secret@example.com"),
        ("TRUSTED_PROXIES", "canary-planted-secret"),
        ("ALLOW_INSECURE", "canary-planted-secret"),
        ("BETTER_AUTH_SECRET", SECRET + "\x00canary-planted-secret"),
    ],
)
def test_no_refusal_quotes_a_value(name: str, value: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(tmp_path, **{name: value})
    assert value not in str(refused.value)
    assert "canary" not in str(refused.value)
    assert refused.value.__context__ is None or refused.value.__suppress_context__


def test_secrets_are_masked_wherever_settings_are_printed(tmp_path: Path) -> None:
    dsn = "postgresql://agenthifive_app:canary-pass-word@127.0.0.1/db"
    loaded = load(
        tmp_path,
        ENCRYPTION_KEY=f"{KEY}, {OTHER_KEY}",
        ENCRYPTION_KEY_PREVIOUS=OTHER_KEY,
        BETTER_AUTH_SECRET=SECRET,
        METRICS_TOKEN=SECRET + "m",
        DATABASE_URL=dsn,
        DATABASE_LISTEN_URL=dsn + "2",
    )
    settings = loaded.settings
    printed = f"{loaded!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    for secret in (KEY, OTHER_KEY, SECRET, "canary"):
        assert secret not in printed
    assert settings.encryption_key is not None
    assert settings.encryption_key.get_secret_value() == f"{KEY},{OTHER_KEY}"


def test_exactly_the_settings_with_secret_values_are_marked(tmp_path: Path) -> None:
    dsn = "postgresql://u@127.0.0.1/db"
    secret = {knob.name: SECRET for knob in list_knobs() if knob.is_secret and not knob.name.startswith("DATABASE")}
    others = {name.replace("_SECRET", "_ID"): "id" for name in secret if name.endswith("_CLIENT_SECRET")}
    blobs = {name: "vault:v1:YWJj" if name.startswith("VAULT") else "YWJj" for name in secret if "WRAPPED_DEK" in name}
    blobs = {name: blob.replace("YWJj", "YWJk") if name.endswith("PREVIOUS") else blob for name, blob in blobs.items()}
    keys = {"ENCRYPTION_KEY": KEY, "ENCRYPTION_KEY_PREVIOUS": KEY}
    settings = load(
        tmp_path,
        **{**secret, **others, **blobs, **keys, "TURNSTILE_SITE_KEY": "id", "OIDC_ISSUER": "https://id.example.com"},
        DATABASE_URL=dsn,
    ).settings  # fmt: skip
    wrapped = {field.upper() for field in Settings.model_fields if isinstance(getattr(settings, field), SecretStr)}
    assert wrapped == {knob.name for knob in list_knobs() if knob.is_secret}


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValidationError):
        load(tmp_path).settings.api_port = 1


def test_every_setting_says_what_it_means_and_what_is_expected() -> None:
    for knob in list_knobs():
        assert knob.meaning
        assert knob.bounds
        assert knob.example


def test_a_later_setting_is_not_declared() -> None:
    assert not LATER_NAMES & {field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("mode", ["azure-kv", "aws-kms", "gcp-kms", "vault-transit", "env"])
def test_the_five_key_modes_are_known(mode: str, tmp_path: Path) -> None:
    assert load(tmp_path, ENCRYPTION_KEY_MODE=mode).settings.encryption_key_mode == mode


@pytest.mark.parametrize("mode", ["ENV", "file", "aws", "azure_kv"])
def test_no_other_key_mode_is(mode: str, tmp_path: Path) -> None:
    (line,) = problems(tmp_path, ENCRYPTION_KEY_MODE=mode)
    assert line.startswith("ENCRYPTION_KEY_MODE: unknown mode; expected env, azure-kv, aws-kms, gcp-kms, vault-transit")


def test_a_ring_holds_at_most_eight_distinct_keys(tmp_path: Path) -> None:
    keys = [f"{number:02x}" * 31 + "c1" for number in range(9)]
    load(tmp_path, ENCRYPTION_KEY=keys[0], ENCRYPTION_KEY_PREVIOUS=",".join([*keys[:8], keys[0].upper()]))
    (line,) = problems(tmp_path, ENCRYPTION_KEY=keys[0], ENCRYPTION_KEY_PREVIOUS=",".join(keys[1:]))
    assert line.startswith("ENCRYPTION_KEY_PREVIOUS: more than 8 keys")
    assert problems(tmp_path, ENCRYPTION_KEY=",".join(keys))


@pytest.mark.parametrize(
    ("environ", "mode", "migrates", "twins"),
    [
        ({}, "development", True, ("http://127.0.0.1:4000",)),
        ({"WEB_URL": "http://127.0.0.1:4000"}, "development", True, ("http://localhost:4000",)),
        ({"WEB_URL": "http://[::1]:4000"}, "development", True, ()),
        ({"WEB_URL": "http://127.9.9.9"}, "development", True, ()),
        ({"WEB_URL": "https://agents.example.com"}, "production", True, ()),
        ({"WEB_URL": "http://localhost.example.com"}, "production", True, ()),
        ({"AH5_ENV": "production"}, "production", True, ()),
        ({"AH5_ENV": "production", "DATABASE_URL": "host=/run"}, "production", False, ()),
        ({"DATABASE_URL": "host=/run"}, "development", True, ("http://127.0.0.1:4000",)),
        ({"AUTO_MIGRATE": "no"}, "development", False, ("http://127.0.0.1:4000",)),
    ],
)
def test_the_mode_follows_web_url_and_what_depends_on_it(
    environ: dict[str, str], mode: str, migrates: bool, twins: tuple[str, ...], tmp_path: Path
) -> None:
    settings = load(tmp_path, **environ).settings
    assert (settings.ah5_env, settings.auto_migrate, settings.web_origin_twins) == (mode, migrates, twins)
    assert settings.is_production == (mode == "production") != settings.is_development


def test_the_other_connections_default_to_the_first(tmp_path: Path) -> None:
    settings = load(tmp_path, DATABASE_URL="host=/a", DATABASE_LISTEN_URL="host=/b").settings
    assert settings.database_migration_url == settings.database_url == SecretStr("host=/a")
    assert settings.database_listen_url == SecretStr("host=/b")
    assert problems(tmp_path, DATABASE_MIGRATION_URL="host=/a")[0].startswith("DATABASE_MIGRATION_URL: set while")


@pytest.mark.parametrize(
    ("word", "expected", "warns"),
    [("true", True, False), ("YES", True, False), ("On", True, False), ("1", True, False), ("false", False, False),
     ("off", False, False), ("maybe", False, True), ("true ", False, True), ("ture", False, True)],
)  # fmt: skip
def test_ssrf_allow_private_is_on_only_for_the_four_words(
    word: str, expected: bool, warns: bool, tmp_path: Path
) -> None:
    loaded = load(tmp_path, SSRF_ALLOW_PRIVATE=word)
    assert loaded.settings.ssrf_allow_private is expected
    assert bool(loaded.warnings) is warns


@pytest.mark.parametrize("word", ["ture", "2", "enabled", "true "])
def test_any_other_switch_refuses_an_unknown_word(word: str, tmp_path: Path) -> None:
    assert problems(tmp_path, AGENTS_MAY_REVOKE=word)[0].startswith("AGENTS_MAY_REVOKE: neither true nor false")


def test_loading_needs_neither_the_database_driver_nor_the_web_framework() -> None:
    """Start time: whatever only asks for a setting must not pay for the rest."""
    script = (
        "import sys; from agenthifive.settings import load_settings; load_settings({'HOME': '/nowhere'}); "
        "print(*{'psycopg', 'fastapi', 'aiohttp', 'dotenv', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["AUTH_GOOGLE", "AUTH_MICROSOFT", "AUTH_GITHUB", "AUTH_APPLE"])
def test_a_client_of_sign_in_is_an_id_and_a_secret(name: str, tmp_path: Path) -> None:
    pair = {f"{name}_CLIENT_ID": "us", f"{name}_CLIENT_SECRET": "hush"}
    assert load(tmp_path, **pair).settings
    for half, value in pair.items():
        [line] = problems(tmp_path, **{half: value})
        assert line.startswith(f"{name}_CLIENT_SECRET: ")
        assert "hush" not in line


@pytest.mark.parametrize("missing", ["OIDC_ISSUER", "OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"])
def test_the_openid_provider_is_set_whole(missing: str, tmp_path: Path) -> None:
    whole = {"OIDC_ISSUER": "https://id.example.com", "OIDC_CLIENT_ID": "us", "OIDC_CLIENT_SECRET": "hush"}
    assert load(tmp_path, **whole).settings
    assert problems(tmp_path, **{name: value for name, value in whole.items() if name != missing})


@pytest.mark.parametrize(
    "issuer",
    ["http://id.example.com", "id.example.com", "https://", "https://u:p@id.example.com", "https://id.example.com?x=1",
     "https://id.example.com#x", "https://ID.example.com", "javascript:alert(1)"],
)  # fmt: skip
def test_an_issuer_is_a_plain_https_address(issuer: str, tmp_path: Path) -> None:
    client = {"OIDC_CLIENT_ID": "us", "OIDC_CLIENT_SECRET": "hush"}
    assert any(line.startswith("OIDC_ISSUER: not a plain") for line in problems(tmp_path, OIDC_ISSUER=issuer, **client))


@pytest.mark.parametrize(
    "tenant", ["Common", "contoso.onmicrosoft.com", "5F3C1D2E-0000-4000-8000-00000000000A", "../x"]
)
def test_a_tenant_is_a_word_or_an_id(tenant: str, tmp_path: Path) -> None:
    [line] = problems(tmp_path, AUTH_MICROSOFT_TENANT_ID=tenant)
    assert line.startswith("AUTH_MICROSOFT_TENANT_ID: neither")


def test_one_client_for_sign_in_and_connections_is_warned_of(tmp_path: Path) -> None:
    pair = {"AUTH_GOOGLE_CLIENT_ID": "us", "AUTH_GOOGLE_CLIENT_SECRET": "hush"}
    shared = [line for line in load(tmp_path, **pair, GOOGLE_CLIENT_ID="us").warnings if "OAUTH-SEPARATE" in line]
    assert shared == [
        "AUTH_GOOGLE_CLIENT_ID: the same client as GOOGLE_CLIENT_ID; register one apart for sign-in [OAUTH-SEPARATE]"
    ]
    apart = load(tmp_path, **pair, GOOGLE_CLIENT_ID="them").warnings
    assert [line for line in apart if "OAUTH-SEPARATE" in line] == []

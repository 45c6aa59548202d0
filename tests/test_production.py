"""The start checks: production refuses each single defect by id and variable, development says it."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.operations.reference import render_env_example
from agenthifive.production import check_start, list_start_warnings
from agenthifive.settings import OVERRIDABLE, LoadedSettings, SettingsRefused, load_settings

KEY = "5f0c" + "9a3e71d2" * 7 + "b64d"
SECRET = "k3Yq8-vN1x_Zb5Rt7Lm0Wp4Sd9Gh2Jc6"
PASSWORD = "wB7q-Xn2Lr8_vT5kZs0m"
DSN = f"postgresql://agenthifive_app:{PASSWORD}@db1:5432/agenthifive?sslmode=verify-full"
SOUND = {
    "WEB_URL": "https://agents.example.com",
    "ENCRYPTION_KEY": KEY,
    "BETTER_AUTH_SECRET": SECRET,
    "DATABASE_URL": DSN,
    "REQUIRE_TWO_FACTOR": "admins",
}
INDEX = (
    b"DIRC\0\0\0\2\0\0\0\1" + bytes(24) + b"\0\0\x81\xa4" + bytes(12) + bytes(20) + b"\0\4.env\0\0\0\0\0\0" + bytes(20)
)


def load(root: Path, **environ: str) -> LoadedSettings:
    return load_settings({"HOME": str(root / "home"), **environ}, cwd=root)


def found(loaded: LoadedSettings) -> list[tuple[str, str]]:
    return [(problem.id, problem.variable) for problem in check_start(loaded)]


def test_a_sound_production_starts_without_a_word(tmp_path: Path) -> None:
    loaded = load(tmp_path, **SOUND)
    assert loaded.settings.is_production
    assert found(loaded) == []
    assert list_start_warnings(loaded) == ()
    embedded = load(tmp_path, **{**SOUND, "DATABASE_URL": ""})
    assert (found(embedded), list_start_warnings(embedded)) == ([], ())


DEFECTS = [
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": ""}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": "00" * 32}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": "fF" * 32}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": "a7" * 32}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": bytes(range(32)).hex()}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": bytes(range(200, 232)).hex()}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": bytes(range(255, 223, -1)).hex()}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": "0123456789abcdef" * 4}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": "deadbeef" * 8}),
    ("ENC-KEY", "ENCRYPTION_KEY", {"ENCRYPTION_KEY": f"{KEY},{'00' * 32}"}),
    ("ENC-KEY", "ENCRYPTION_KEY_PREVIOUS", {"ENCRYPTION_KEY_PREVIOUS": "00" * 32}),
    ("AUTH-SECRET", "BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": ""}),
    ("AUTH-SECRET", "BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": "dev-only-secret-change-in-production"}),
    ("AUTH-SECRET", "BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": "better-auth-secret-12345678901234567890"}),
    ("AUTH-SECRET", "BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": "ChangeMe" * 4 + "0123456789"}),
    ("AUTH-SECRET", "BETTER_AUTH_SECRET", {"BETTER_AUTH_SECRET": "123456789" * 4}),
    ("DB-TLS", "DATABASE_URL", {"DATABASE_URL": DSN.replace("verify-full", "prefer")}),
    ("DB-TLS", "DATABASE_URL", {"DATABASE_URL": DSN.partition("?")[0]}),
    ("DB-TLS", "DATABASE_MIGRATION_URL", {"DATABASE_MIGRATION_URL": DSN.partition("?")[0]}),
    ("DB-TLS", "DATABASE_LISTEN_URL", {"DATABASE_LISTEN_URL": DSN.partition("?")[0]}),
    ("DB-TLS", "DATABASE_URL", {"DATABASE_URL": DSN.replace(PASSWORD, "p%zz")}),
    ("DB-PASSWORD", "DATABASE_URL", {"DATABASE_URL": DSN.replace(PASSWORD, "dev-password")}),
    ("DB-PASSWORD", "DATABASE_URL", {"DATABASE_URL": DSN.replace(PASSWORD, "agenthifive_app")}),
    ("DB-PASSWORD", "DATABASE_MIGRATION_URL", {"DATABASE_MIGRATION_URL": DSN.replace(PASSWORD, "postgres")}),
    ("DB-EXPOSED", "DATABASE_URL", {"DATABASE_URL": DSN.replace("db1", "8.8.8.8").replace("verify-full", "require")}),
    ("WEB-HTTPS", "WEB_URL", {"WEB_URL": "http://agents.example.com"}),
    ("BIND-HOST", "API_BIND_HOST", {"API_BIND_HOST": "0.0.0.0"}),
    ("BIND-HOST", "API_BIND_HOST", {"API_BIND_HOST": "10.0.0.7"}),
    ("BIND-HOST", "API_BIND_HOST", {"API_BIND_HOST": "::"}),
    ("BIND-HOST", "TRUSTED_PROXIES", {"TRUSTED_PROXIES": "0.0.0.0/0"}),
    ("BIND-HOST", "TRUSTED_PROXIES", {"TRUSTED_PROXIES": "::/0", "API_BIND_HOST": "0.0.0.0"}),
    ("BIND-HOST", "TRUSTED_PROXIES", {"TRUSTED_PROXIES": "0.0.0.0/1,128.0.0.0/1"}),
    ("BIND-HOST", "TRUSTED_PROXIES", {"TRUSTED_PROXIES": "2000::/3"}),
    ("BIND-HOST", "TRUSTED_PROXIES", {"TRUSTED_PROXIES": "::ffff:0:0/96"}),
    ("TOKEN-TTL", "AGENT_TOKEN_TTL_SECONDS", {"SECURITY_LEVEL": "high", "AGENT_TOKEN_TTL_SECONDS": "901"}),
    ("TOKEN-TTL", "AGENT_TOKEN_TTL_SECONDS", {"SECURITY_LEVEL": "high"}),
    ("ENV-MODE", "AH5_ENV", {"AH5_ENV": "development"}),
    (
        "SSRF-PRIVATE",
        "SSRF_ALLOW_PRIVATE",
        {"SECURITY_LEVEL": "high", "AGENT_TOKEN_TTL_SECONDS": "900", "SSRF_ALLOW_PRIVATE": "on"},
    ),
]


@pytest.mark.parametrize(("check", "variable", "defect"), DEFECTS)
def test_a_single_defect_is_refused_by_id_and_variable(
    check: str, variable: str, defect: dict[str, str], tmp_path: Path
) -> None:
    loaded = load(tmp_path, **{**SOUND, **defect})
    assert found(loaded) == [(check, variable)]
    (problem,) = check_start(loaded)
    assert problem.line.startswith(f"{variable}: ")
    assert problem.line.endswith(f"[{check}]")
    assert problem.message.count("; ") >= 2
    for secret in (KEY, SECRET, PASSWORD, "dev-", "p%zz", "deadbeef"):
        assert secret not in problem.line


@pytest.mark.parametrize(
    ("check", "defect"),
    [
        ("ENC-KEY", {"ENCRYPTION_KEY": "ab" * 31}),
        ("AUTH-SECRET", {"BETTER_AUTH_SECRET": "changeme"}),
        ("AUTH-SECRET", {"SESSION_SECRET": SECRET + "x"}),
        ("OAUTH-REDIRECT", {"WEB_URL": "https://agents.example.com/"}),
        ("OAUTH-REDIRECT", {"WEB_URL": "https://agents.example.com/app"}),
        ("TOKEN-TTL", {"AGENT_TOKEN_TTL_SECONDS": "59"}),
        ("TOKEN-TTL", {"AGENT_TOKEN_TTL_SECONDS": "86401"}),
    ],
)
def test_defects_that_are_no_values_are_refused_by_id_while_loading(
    check: str, defect: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsRefused) as refused:
        load(tmp_path, **{**SOUND, **defect})
    (line,) = refused.value.problems
    assert line.endswith(f"[{check}]")


@pytest.mark.parametrize(("check", "variable", "defect"), DEFECTS)
def test_allow_insecure_lets_exactly_the_overridable_ids_pass(
    check: str, variable: str, defect: dict[str, str], tmp_path: Path
) -> None:
    loaded = load(tmp_path, **{**SOUND, **defect, "ALLOW_INSECURE": ",".join(OVERRIDABLE)})
    is_unreadable = "p%zz" in defect.get("DATABASE_URL", "")
    if check in OVERRIDABLE and not is_unreadable:
        assert found(loaded) == []
        assert any(f"{variable}: " in line and f"[{check}]" in line for line in list_start_warnings(loaded))
    else:
        assert found(loaded) == [(check, variable)]


def test_allow_insecure_lets_only_the_named_check_pass(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        **{**SOUND, "WEB_URL": "http://a.example", "API_BIND_HOST": "0.0.0.0", "ALLOW_INSECURE": "WEB-HTTPS"},
    )
    assert found(loaded) == [("BIND-HOST", "API_BIND_HOST")]


def test_the_overridable_ids_are_those_of_the_contract() -> None:
    assert set(OVERRIDABLE) == {"DB-TLS", "DB-EXPOSED", "WEB-HTTPS", "BIND-HOST", "ENV-GIT"}


def test_production_refuses_every_value_of_the_example_file_in_one_run(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(render_env_example())
    loaded = load(tmp_path, AH5_ENV="production")
    assert set(found(loaded)) == {
        ("ENC-KEY", "ENCRYPTION_KEY"),
        ("AUTH-SECRET", "BETTER_AUTH_SECRET"),
        ("DB-PASSWORD", "DATABASE_URL"),
    }


def test_development_accepts_the_example_file_with_one_warning_each(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(render_env_example())
    loaded = load(tmp_path)
    assert loaded.settings.is_development
    assert found(loaded) == []
    warned = [line.split(":")[0] for line in list_start_warnings(loaded)]
    assert sorted(warned) == ["BETTER_AUTH_SECRET", "DATABASE_URL", "ENCRYPTION_KEY"]
    assert loaded.warnings == ()


def test_development_too_needs_its_secrets(tmp_path: Path) -> None:
    """`agenthifive init` makes them; nothing can be sealed or signed without."""
    assert found(load(tmp_path)) == [("ENC-KEY", "ENCRYPTION_KEY"), ("AUTH-SECRET", "BETTER_AUTH_SECRET")]


@pytest.mark.parametrize("place", ["cwd", "beside"])
def test_a_committed_env_file_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(INDEX)
    (tmp_path / ".env").write_text("LOG_LEVEL=info\n")
    (tmp_path / "env").write_text("LOG_LEVEL=info\n")
    given = tmp_path / "env" if place == "beside" else None
    environ = {"HOME": str(tmp_path / "home"), **SOUND}
    loaded = load_settings(environ, given, tmp_path)
    assert found(loaded) == [("ENV-GIT", str(tmp_path / ".env"))]
    assert "git rm --cached .env and rotate every secret in it" in check_start(loaded)[0].line
    allowed = load_settings({**environ, "ALLOW_INSECURE": "ENV-GIT"}, given, tmp_path)
    assert found(allowed) == []
    assert any("[ENV-GIT]" in line for line in list_start_warnings(allowed))


def test_an_env_file_git_does_not_know_is_fine(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(INDEX.replace(b".env", b".ens"))
    (tmp_path / ".env").write_text("LOG_LEVEL=info\n")
    (tmp_path / ".env").chmod(0o600)
    loaded = load(tmp_path, **SOUND)
    assert (found(loaded), list_start_warnings(loaded)) == ([], ())


def test_an_unreadable_index_and_an_open_file_warn(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/index").write_bytes(b"DIRC")
    (tmp_path / ".env").write_text("LOG_LEVEL=info\n")
    (tmp_path / ".env").chmod(0o644)
    loaded = load(tmp_path, **SOUND)
    assert found(loaded) == []
    open_to_others, unreadable = list_start_warnings(loaded)
    assert "others may read it; chmod 600" in open_to_others
    assert "cannot say whether git tracks it" in unreadable


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"SSRF_ALLOW_PRIVATE": "true"}, "SSRF_ALLOW_PRIVATE: agents reach private"),
        ({"CATALOG_EXTRA_HOSTS": "gitlab=https://git.example.com"}, "CATALOG_EXTRA_HOSTS: "),
        ({"CATALOG_DIR": "."}, "CATALOG_DIR: "),
        ({"WEB_URL": "http://localhost:4000", "AH5_ENV": "production"}, "WEB_URL: is http on a loopback host"),
        ({"LOG_LEVEL": "debug"}, "LOG_LEVEL: debug"),
        ({"REQUIRE_TWO_FACTOR": "off"}, "REQUIRE_TWO_FACTOR: off; a password alone opens every account"),
        ({"PASSWORD_MIN_LENGTH": "11"}, "PASSWORD_MIN_LENGTH: below 12"),
        ({"BOOTSTRAP_SECRET_TTL_HOURS": "24.5"}, "BOOTSTRAP_SECRET_TTL_HOURS: above 24"),
        ({"AGENT_TOKEN_TTL_SECONDS": "7201"}, "AGENT_TOKEN_TTL_SECONDS: above 7200"),
        ({"TRUSTED_PROXIES": "10.0.0.0/15"}, "TRUSTED_PROXIES: 10.0.0.0/15 is larger than /16"),
        ({"RATE_LIMIT_TOKEN_PER_MINUTE": "301"}, "RATE_LIMIT_TOKEN_PER_MINUTE: more than 10 times"),
        ({"DATABASE_URL": DSN.replace("verify-full", "require")}, "sslmode=require encrypts but does not authenticate"),
        ({"DATABASE_URL": DSN.replace(PASSWORD, "fifteen-chars-x")}, "the password is shorter than 16"),
    ],
)
def test_a_weaker_choice_starts_with_one_warning(choice: dict[str, str], words: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, **{**SOUND, **choice})
    assert found(loaded) == []
    (line,) = list_start_warnings(loaded)
    assert words in line


def test_values_at_the_edge_do_not_warn(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        **SOUND,
        TRUSTED_PROXIES="10.0.0.0/16,2001:db8::/32",
        API_BIND_HOST="0.0.0.0",
        RATE_LIMIT_TOKEN_PER_MINUTE="300",
        BOOTSTRAP_SECRET_TTL_HOURS="24",
        SECURITY_LEVEL="high",
        AGENT_TOKEN_TTL_SECONDS="900",
    )
    assert (found(loaded), list_start_warnings(loaded)) == ([], ())


@pytest.mark.parametrize(
    ("level", "asked", "rule"),
    [
        ("standard", "off", "off"),
        ("standard", "admins", "admins"),
        ("high", "off", "admins"),
        ("high", "admins", "admins"),
        ("high", "all", "all"),
    ],
)
def test_high_security_asks_admins_for_a_second_factor(level: str, asked: str, rule: str, tmp_path: Path) -> None:
    ttl = {"AGENT_TOKEN_TTL_SECONDS": "900"}
    loaded = load(tmp_path, **{**SOUND, **ttl, "SECURITY_LEVEL": level, "REQUIRE_TWO_FACTOR": asked})
    assert loaded.settings.two_factor_rule == rule
    assert found(loaded) == []
    assert any("REQUIRE_TWO_FACTOR" in line for line in list_start_warnings(loaded)) is (rule == "off")


@given(st.binary(min_size=32, max_size=32).filter(lambda key: len(set(key)) > 20))
def test_a_random_key_is_not_taken_for_an_example(key: bytes) -> None:
    if {right - left for left, right in pairwise(key)} == {1}:
        return
    loaded = load(Path("/nonexistent"), **{**SOUND, "ENCRYPTION_KEY": key.hex()})
    assert found(loaded) == []

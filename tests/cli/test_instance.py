"""`init`, `config`, `healthcheck`, `openapi`: what can be known without a database."""

import json
import stat
from pathlib import Path

import pytest

from agenthifive.secrets_env import GENERATED_NAMES, read_secrets_env
from agenthifive.settings import list_knobs
from cli.server import Script, serving
from cli.stage import KEY, SIGN_IN_SECRET, Cli
from signing_keys import environ

GOOD = {"ENCRYPTION_KEY": KEY, "BETTER_AUTH_SECRET": SIGN_IN_SECRET}
WHOLE = {**GOOD, **environ("cli")}


def test_init_writes_what_is_missing_once(cli: Cli, tmp_path: Path) -> None:
    first, second = cli("init", "--json"), cli("init", "--json")
    path = tmp_path / "home" / "secrets.env"
    assert first.data == {"file": str(path), "created": list(GENERATED_NAMES)}
    assert second.data == {"file": str(path), "created": []}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for secret in read_secrets_env(path.parent).values():
        assert secret not in first.out + first.err


def test_init_in_a_named_place(cli: Cli, tmp_path: Path) -> None:
    done = cli("init", "--home", "elsewhere")
    assert done.code == 0
    assert (tmp_path / "elsewhere" / "secrets.env").exists()
    assert done.out.splitlines()[-1].endswith("Next: agenthifive up")


def test_init_in_a_place_of_somebody_else_is_refused(cli: Cli, tmp_path: Path) -> None:
    place = tmp_path / "home"
    place.mkdir()
    place.chmod(0o777)
    done = cli("init", "--json")
    assert (done.code, done.json["code"]) == (3, "settings_refused")


def test_a_fresh_machine_is_told_what_is_missing(cli: Cli) -> None:
    done = cli("config", "check", "--json")
    assert (done.code, done.json["code"]) == (3, "start_refused")
    assert [line.partition(":")[0] for line in done.json["data"]["problems"]] == list(GOOD)


def test_good_settings(cli: Cli) -> None:
    assert cli("config", "check", **GOOD).out == "The settings are good for development.\n"
    assert cli("config", "check", "--json", **GOOD).data == {"mode": "development"}


def test_production_is_judged_like_a_start(cli: Cli) -> None:
    url = "postgresql://app:app@db.example.com/agenthifive"
    done = cli("config", "check", **GOOD, WEB_URL="http://agents.example.com", DATABASE_URL=url)
    assert done.code == 3
    for check in ("WEB-HTTPS", "DB-TLS", "DB-PASSWORD"):
        assert f"[{check}]" in done.err
    assert "app:app" not in done.err


def test_warnings_are_told_both_ways(cli: Cli) -> None:
    assert "warning: API_PROT is not a setting" in cli("config", "check", **GOOD, API_PROT="1").err
    [warning] = cli("config", "check", "--json", **WHOLE, API_PROT="1").json["warnings"]
    assert "API_PORT" in warning


def test_settings_in_force_with_their_sources_and_without_secrets(cli: Cli) -> None:
    (cli.home / ".env").write_text("API_PORT=4321\nCORS_ORIGINS=https://a.example.com,https://b.example.com\n")
    url = "postgresql://app:hidden-password@localhost/agenthifive"
    done = cli("config", "show", **GOOD, DATABASE_URL=url)
    lines = [line.split("  ") for line in done.out.splitlines()]
    shown = {parts[0]: [part.strip() for part in parts[1:] if part.strip()] for parts in lines}
    assert shown["API_PORT"] == ["4321", str(cli.home / ".env")]
    assert shown["CORS_ORIGINS"][0] == "https://a.example.com,https://b.example.com"
    assert shown["DATABASE_URL"] == ["(set, not shown)", "process environment"]
    assert shown["ENCRYPTION_KEY"] == ["(set, not shown)", "process environment"]
    for secret in (KEY, SIGN_IN_SECRET, "hidden-password"):
        assert secret not in done.out


def test_settings_as_json_can_be_all_of_them(cli: Cli) -> None:
    some = cli("config", "show", "--json").data["settings"]
    assert some == [{"name": "AGENTHIFIVE_HOME", "value": str(cli.home / "home"), "source": "process environment"}]
    every = cli("config", "show", "--json", "--all").data["settings"]
    assert {each["name"] for each in every} == {knob.name for knob in list_knobs()}
    values = {each["name"]: each["value"] for each in every}
    assert (values["SSRF_ALLOW_PRIVATE"], values["TRUSTED_PROXIES"], values["API_PORT"]) == ("false", "", "4000")


def test_an_env_file_can_be_named(cli: Cli) -> None:
    (cli.home / "other.env").write_text("API_PORT=4322\n")
    [_, port] = cli("--env-file", "other.env", "config", "show", "--json").data["settings"]
    assert (port["name"], port["value"], port["source"]) == ("API_PORT", "4322", str(cli.home / "other.env"))
    assert cli("--env-file", "missing.env", "config", "show").code == 3


def test_a_healthy_server_ends_with_0(cli: Cli) -> None:
    with serving(Script(200, b'{"status":"ok"}')) as server:
        port = server.base.rpartition(":")[2]
        done = cli("healthcheck", API_PORT=port)
        assert (done.code, done.out) == (0, f"{server.base}: ok\n")
        assert cli("healthcheck", API_PORT=port, API_BIND_HOST="0.0.0.0").code == 0
        assert cli("healthcheck", "--url", server.base, "--json").data == {"url": server.base, "status": "ok"}
    assert {received.path for received in server.received} == {"/health"}


@pytest.mark.parametrize("body", [b'{"status":"unavailable","error":"Not able.","code":"unavailable"}', b"nginx"])
def test_an_unhealthy_server_ends_with_1(cli: Cli, body: bytes) -> None:
    with serving(Script(503, body)) as server:
        done = cli("healthcheck", "--url", server.base, "--json")
    assert (done.code, done.json["code"]) == (1, "unhealthy")


def test_no_server_ends_with_1(cli: Cli) -> None:
    with serving(Script(200, b"{}")) as server:
        base = server.base
    assert cli("healthcheck", "--url", base).code == 1


def test_the_openapi_document_needs_no_database(cli: Cli) -> None:
    document = json.loads(cli("openapi").out)
    assert document["openapi"] == "3.1.0"
    for path in ("/v1/agents", "/v1/connections", "/v1/policies", "/v1/audit", "/v1/tokens", "/health"):
        assert path in document["paths"]
    assert cli("openapi", "--json").data == document

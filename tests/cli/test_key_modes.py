"""`keys wrap`, `keys rewrap`, what `keys rotate` prints; and `serve` with each key service, in a process of its own."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agenthifive.cli.client import Client
from agenthifive.cli.console import CommandError, Terminal
from agenthifive.cli.demo_instance import _free_port
from agenthifive.cli.key_modes import ManagedMode, plan_rotation, rotate_managed
from agenthifive.key_reading import load_ring
from cli.stage import KEY, Cli, Ground
from vault.kms.services import Cipher
from vault.kms.stage import MODES, Stage, staged

WRAPPING = {"keys/unwrapKey", "keys/wrapKey", "keys/list", "secrets/get"}
UNREACHABLE_DSN = "postgresql://agenthifive_app:a-long-password@127.0.0.1:1/agenthifive"


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """The service of each managed mode in turn, for a person who may wrap."""
    folder = tmp_path / "service"
    folder.mkdir()
    with staged(request.param, folder) as made:
        if request.param == "azure-kv":
            made.fake.permissions = WRAPPING
        yield made


def take(stage: Stage, variables: dict[str, str]) -> dict[str, str]:
    """What a person does with the output: nothing but set the variables."""
    return {**stage.environ(), **variables, "ENCRYPTION_KEY": ""}


def store(stage: Stage, lines: list[str]) -> None:
    """And run the printed commands that put secrets into the vault."""
    for line in lines:
        words = shlex.split(line)
        assert words[:4] == ["az", "keyvault", "secret", "set"]
        given = dict(zip(words[4::2], words[5::2], strict=True))
        name, _, version = given["--tags"].partition("=")
        stage.fake.secrets[given["--name"]] = (given["--value"], {name: version})


def read(out: str) -> tuple[dict[str, str], list[str]]:
    """The variables and the commands of an output."""
    lines = out.splitlines()
    commands = [line for line in lines if line.startswith("az ")]
    return dict(line.split("=", 1) for line in lines if line not in commands), commands


def ring_of(stage: Stage, environ: dict[str, str]) -> tuple[bytes, ...]:
    made = Stage(stage.fake, stage.server, stage.home)
    return load_ring(made.settings(**environ))


def test_wrap_prints_exactly_what_makes_the_same_keys_come_from_the_service(cli: Cli, stage: Stage) -> None:
    older = "a7" * 16 + "b8" * 16
    done = cli("keys", "wrap", "--mode", stage.fake.mode, **stage.fake.settings, ENCRYPTION_KEY=KEY,
               ENCRYPTION_KEY_PREVIOUS=older)  # fmt: skip
    assert done.code == 0, done.err
    variables, commands = read(done.out)
    store(stage, commands)
    assert variables["ENCRYPTION_KEY_MODE"] == stage.fake.mode
    assert ring_of(stage, variables) == (bytes.fromhex(KEY), bytes.fromhex(older))
    assert KEY not in done.out + done.err
    assert "remove ENCRYPTION_KEY" in done.err


def test_wrap_as_json_is_the_same(cli: Cli, stage: Stage) -> None:
    done = cli("keys", "wrap", "--json", "--mode", stage.fake.mode, **stage.fake.settings, ENCRYPTION_KEY=KEY)
    assert done.code == 0, done.out
    (step,) = done.data["steps"]
    for secret in step["secrets"]:
        stage.fake.secrets[secret["name"]] = (secret["value"], secret["tags"])
    assert ring_of(stage, step["variables"]) == (bytes.fromhex(KEY),)


def test_rewrap_keeps_the_key_and_takes_the_newest_version(cli: Cli, stage: Stage) -> None:
    keys = [os.urandom(32), os.urandom(32)]
    stage.ring = stage.fake.ring(keys)
    if stage.fake.mode == "azure-kv":
        stage.fake.add_version("b" * 32)
    elif stage.fake.mode == "vault-transit":
        stage.fake.versions.append(Cipher())
    done = cli("keys", "rewrap", "--mode", stage.fake.mode, **stage.environ())
    assert done.code == 0, done.err
    variables, commands = read(done.out)
    store(stage, commands)
    assert ring_of(stage, variables) == tuple(keys)
    if stage.fake.mode == "azure-kv":
        assert {tags["kek-version"] for _, tags in stage.fake.secrets.values()} == {"b" * 32}
    elif stage.fake.mode == "vault-transit":
        assert variables["VAULT_WRAPPED_DEK"].startswith("vault:v2:")
    else:
        assert {*variables.items()}.isdisjoint((name, value) for name, value in stage.ring.items() if value)


def test_rotation_stages_a_new_key_and_then_makes_it_active(stage: Stage) -> None:
    keys = [os.urandom(32), os.urandom(32)]
    stage.ring = stage.fake.ring(keys)
    first, second = plan_rotation(stage.settings(), ManagedMode(stage.fake.mode))
    for secret in first.secrets:
        stage.fake.secrets[secret.name] = (secret.blob, {"kek-version": secret.version})
    staged_ring, final_ring = ring_of(stage, dict(first.variables)), ring_of(stage, dict(second.variables))
    new = staged_ring[1]
    assert new not in keys
    assert staged_ring == (keys[0], new, keys[1])
    assert final_ring == (new, *keys)


def test_rotation_may_move_from_the_settings_to_a_service(stage: Stage) -> None:
    settings = stage.settings(ENCRYPTION_KEY_MODE="env", ENCRYPTION_KEY=KEY)
    first, second = plan_rotation(settings, ManagedMode(stage.fake.mode))
    for secret in first.secrets:
        stage.fake.secrets[secret.name] = (secret.blob, {"kek-version": secret.version})
    assert ring_of(stage, dict(first.variables))[0] == bytes.fromhex(KEY)
    assert ring_of(stage, dict(second.variables))[1] == bytes.fromhex(KEY)


def test_a_ninth_key_is_refused_before_one_is_made(stage: Stage) -> None:
    stage.ring = stage.fake.ring([os.urandom(32) for _ in range(8)])
    with pytest.raises(CommandError, match="The ring holds 8 keys; with a new one it would be more than 8"):
        plan_rotation(stage.settings(), ManagedMode(stage.fake.mode))
    assert stage.fake.operations == []


def test_rotate_prints_both_steps(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.ring = stage.fake.ring([os.urandom(32)])
    rotate_managed(Terminal(stage.environ(), stage.home), ManagedMode(stage.fake.mode))
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.startswith("#")] == ["# step 1", "# step 2"]
    assert "Several replicas: set step 1" in err


def test_a_person_without_the_right_to_wrap_is_told_so(cli: Cli, stage: Stage) -> None:
    stage.fake.trouble = "denied"
    if stage.fake.mode == "azure-kv":
        stage.fake.permissions = {"keys/list"}
    done = cli("keys", "wrap", "--json", "--mode", stage.fake.mode, **stage.fake.settings, ENCRYPTION_KEY=KEY)
    assert (done.code, done.json["code"]) == (5, "key_service")
    assert "missing" in done.json["error"]
    assert done.json["error"].endswith("; nothing was changed")


def test_what_wrapping_needs_is_named_all_at_once(cli: Cli) -> None:
    done = cli("keys", "wrap", "--json", "--mode", "aws-kms", ENCRYPTION_KEY=KEY)
    assert (done.code, [line.partition(":")[0] for line in done.json["data"]["problems"]]) == (
        3, ["AWS_KMS_KEY_ID", "AWS_REGION"],
    )  # fmt: skip
    assert cli("keys", "wrap", "--mode", "gcp-kms").code == 3
    assert cli("keys", "wrap", "--mode", "env", ENCRYPTION_KEY=KEY).code == 2


def serve(stage: Stage, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """`agenthifive serve`, until it ends; its database is not reachable and its port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        return subprocess.run(
            [sys.executable, "-m", "agenthifive", "serve", "--json", "--port", str(port)],
            env={"PATH": os.environ["PATH"], **stage.fake.environ, **stage.environ(DATABASE_URL=UNREACHABLE_DSN),
                 **environ},
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip


def test_serve_ends_with_4_when_the_service_is_down_and_starts_nothing(stage: Stage, tmp_path: Path) -> None:
    stage.ring = stage.fake.ring([os.urandom(32)])
    folder = tmp_path / "other"
    folder.mkdir()
    with staged(stage.fake.mode, folder) as other:
        closed = other.fake
    closed.ring, stage.fake = stage.fake.ring, closed  # its port is closed
    done = serve(stage, tmp_path, KEY_INIT_TIMEOUT_SECONDS="1")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["code"]) == (4, "key_service"), done.stderr
    assert answer["error"].startswith(f"key mode {closed.mode}: cannot reach ")
    assert answer["error"].endswith("; nothing was started")


def test_serve_ends_with_5_when_it_is_denied(stage: Stage, tmp_path: Path) -> None:
    stage.ring = stage.fake.ring([os.urandom(32)])
    stage.fake.trouble = "denied"
    done = serve(stage, tmp_path)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (5, "key_service"), done.stderr
    assert "missing" in json.loads(done.stdout)["error"]


def test_serve_ends_with_3_for_a_key_of_the_wrong_length(stage: Stage, tmp_path: Path) -> None:
    stage.ring = stage.fake.ring([os.urandom(31)])
    done = serve(stage, tmp_path)
    assert (done.returncode, json.loads(done.stdout)["code"]) == (3, "key_service"), done.stderr
    assert "31 bytes; expected exactly 32" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    ("mode", "missing"),
    [
        ("env", ["ENCRYPTION_KEY"]),
        ("azure-kv", ["AZURE_KEY_VAULT_URI"]),
        ("aws-kms", ["AWS_KMS_KEY_ID", "AWS_REGION", "AWS_KMS_WRAPPED_DEK"]),
        ("gcp-kms", ["GCP_KMS_KEY_NAME", "GCP_KMS_WRAPPED_DEK"]),
        ("vault-transit", ["VAULT_ADDR", "VAULT_TOKEN", "VAULT_WRAPPED_DEK"]),
    ],
)
def test_serve_names_every_missing_variable_of_its_mode(cli: Cli, mode: str, missing: list[str]) -> None:
    done = cli("serve", "--json", ENCRYPTION_KEY_MODE=mode, BETTER_AUTH_SECRET="0123456789abcdef" * 3)
    assert (done.code, done.json["code"]) == (3, "start_refused")
    assert [line.partition(": missing; expected ")[0] for line in done.json["data"]["problems"]] == missing


def test_serve_serves_with_keys_of_the_service(stage: Stage, ground: Ground, tmp_path: Path) -> None:
    stage.ring = stage.fake.ring([os.urandom(32)])
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "agenthifive", "serve", "--json", "--port", str(port)],
        env={"PATH": os.environ["PATH"], **stage.fake.environ, **stage.environ(DATABASE_URL=ground.app_dsn),
             "WEB_URL": f"http://127.0.0.1:{port}"},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["ok"] is True
        assert Client(f"http://127.0.0.1:{port}").get("/health/ready").json()["status"] == "ok"
    finally:
        process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert not (tmp_path / "home" / "secrets.env").exists()

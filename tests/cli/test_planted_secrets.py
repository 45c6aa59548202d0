"""A secret planted in every secret setting is found in nothing that an instance prints, answers or logs.

Source: contract/operations.md section 16 (planted secret), goals.md S10.
"""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from agenthifive.cli.demo_instance import _free_port
from agenthifive.settings import list_knobs
from cli.stage import Cli, Ground
from signing_keys import environ as signing_environ

METRICS_TOKEN = "canary-metrics-token-0123456789abcdef"
COMMANDS = (("config", "show", "--all"), ("config", "check"), ("keys", "status"))
BAD = {"email": "olga@example.com", "password": "not a password of hers"}


def plant(ground: Ground) -> dict[str, str]:
    """A value for every secret setting, each recognisable on its own."""
    found = {knob.name: f"canary-{knob.name.lower()}-0123456789abcdef" for knob in list_knobs() if knob.is_secret}
    for name in [name for name in found if name.startswith("DATABASE_") and name != "DATABASE_URL"]:
        del found[name]
    for name in found:
        if "WRAPPED_DEK" in name:
            found[name] = base64.b64encode(name.encode()).decode()
    wrapped = {"VAULT_WRAPPED_DEK": "vault:v1:Y2FuYXJ5", "VAULT_WRAPPED_DEK_PREVIOUS": "vault:v1:Y2FuYXJ6"}
    keys = {"ENCRYPTION_KEY": "5f3a" * 8 + "91c7" * 8, "ENCRYPTION_KEY_PREVIOUS": "70b2" * 8 + "4e1d" * 8}
    return {**found, **wrapped, **keys, **signing_environ("planted"), "DATABASE_URL": ground.app_dsn,
            "METRICS_TOKEN": METRICS_TOKEN}  # fmt: skip


def needles(planted: Mapping[str, str]) -> dict[str, str]:
    """What must not be found. A key in PEM is looked for by its middle, a connection string by its password."""
    texts = {name: value for name, value in planted.items() if name not in ("DATABASE_URL", "JWT_KID")}
    texts["JWT_PRIVATE_KEY"] = planted["JWT_PRIVATE_KEY"][200:260]
    texts["DATABASE_URL"] = planted["DATABASE_URL"].partition("password=")[2].partition(" ")[0]
    return texts


def companions(planted: Mapping[str, str]) -> dict[str, str]:
    """What the other half of a pair asks for."""
    ids = {name.replace("_SECRET", "_ID"): "an-id" for name in planted if name.endswith("_CLIENT_SECRET")}
    return {**ids, "OIDC_ISSUER": "https://id.example.com", "TURNSTILE_SITE_KEY": "a-site-key", "LOG_LEVEL": "debug"}


def test_a_secret_setting_shows_in_nothing(cli: Cli, ground: Ground, tmp_path: Path) -> None:
    planted, port = plant(ground), _free_port()
    environ = {
        **planted, **companions(planted), "PATH": os.environ["PATH"], "HOME": str(tmp_path),
        "AGENTHIFIVE_HOME": str(tmp_path / "home"), "WEB_URL": f"http://localhost:{port}", "API_PORT": str(port),
    }  # fmt: skip
    missing = {knob.name for knob in list_knobs() if knob.is_secret} - set(planted)
    assert missing == {"DATABASE_MIGRATION_URL", "DATABASE_LISTEN_URL"}, "these are DATABASE_URL here"
    shown = [
        cli(*command, **environ) for command in (("config", "show", "--all"), ("config", "check"), ("keys", "status"))
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "agenthifive", "up", "--json"],
        env=environ, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    answers = []
    try:
        assert json.loads(process.stdout.readline())["ok"] is True
        with httpx.Client(base_url=f"http://localhost:{port}") as client:
            bearer = {"authorization": f"Bearer {METRICS_TOKEN}"}
            answers += [client.get(path, headers=bearer) for path in ("/metrics", "/v1/me", "/openapi.json", "/health")]
            answers += [client.get(path) for path in ("/login", "/api/auth/providers", "/.well-known/jwks.json")]
            answers.append(client.post("/api/auth/sign-in/email", json=BAD))
            answers.append(client.post("/v1/agents", content=b'{"name":"a","name":"b"}'))
    finally:
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert answers[0].status_code == 200, "the metrics were read with the planted token"
    everything = "\n".join(
        [out, err, *(done.out + done.err for done in shown), *(f"{each.headers}{each.text}" for each in answers)]
    )
    assert "AgentHiFive" in everything
    assert [name for name, text in needles(planted).items() if text in everything] == []

"""The generated documents equal what is in the repository and hold every setting."""

from pathlib import Path

import pytest

from agenthifive.operations.reference import render_env_example, render_settings
from agenthifive.settings import list_knobs, load_settings
from agenthifive.settings_sources import parse_env

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "text"), [("docs/reference/settings.md", render_settings()), (".env.example", render_env_example())]
)
def test_the_document_in_the_repository_is_the_generated_one(path: str, text: str) -> None:
    assert (ROOT / path).read_text() == text


def test_each_setting_has_one_row_of_six_cells() -> None:
    rows = [line for line in render_settings().splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == [knob.name for knob in list_knobs()]
    for row in rows:
        assert len(row.replace(r"\|", "").strip("|").split("|")) == 6


@pytest.mark.parametrize(
    "row",
    [
        "| `API_PORT` | `4000` | 1–65535 |  |  | port of the listener |",
        "| `METRICS_TOKEN` | – | at least 24 characters | S | unset: no `/metrics` | bearer token of `/metrics` |",
        "| `AUDIT_QUEUE_MAX` | `10000` | 10–100000 |  |  | records waiting; beyond: 503 `audit_unavailable` |",
        "| `SESSION_IDLE_HOURS` | `12` | 0.1–720 h |  |  | a session ends when unused this long |",
        "| `PASSWORD_MIN_LENGTH` | `12` | 8–128 |  | < 12 warns | shortest password, in characters |",
    ],
)
def test_a_row_says_what_the_contract_says(row: str) -> None:
    assert row in render_settings().splitlines()


def test_the_example_file_sets_only_the_unusable_values() -> None:
    assert parse_env(render_env_example(), Path(".env.example")) == {
        "DATABASE_URL": "postgresql://agenthifive:dev-password@localhost:5432/agenthifive",
        "ENCRYPTION_KEY": "0" * 64,
        "BETTER_AUTH_SECRET": "dev-only-secret-change-in-production",
        "WEB_JWKS_URL": "http://localhost:4000/.well-known/jwks.json",
    }


def test_every_commented_line_is_the_default(tmp_path: Path) -> None:
    """Removing the comment signs must change nothing."""
    lines = [line.removeprefix("# ") for line in render_env_example().splitlines()]
    names = {knob.name for knob in list_knobs()}
    entries = [line for line in lines if line.partition("=")[0] in names and "://agenthifive:" not in line]
    (tmp_path / ".env").write_text("\n".join(entries))
    uncommented = load_settings({"HOME": str(tmp_path)}, cwd=tmp_path).settings
    example = {"encryption_key", "better_auth_secret", "web_jwks_url"}
    assert len(entries) == len(names) - 1
    plain = load_settings({"HOME": str(tmp_path)}, cwd=tmp_path / "elsewhere").settings
    assert uncommented.model_dump(exclude=example) == plain.model_dump(exclude=example)

"""Documents made from the code, so that they cannot say anything else.

    Settings --list_knobs--> docs/reference/settings.md, .env.example

Source: contract/operations.md sections 0 and 13.
"""

import textwrap
from typing import Final

from agenthifive.settings import Knob, list_knobs

_SETTINGS_HEADING: Final = """\
# Settings

Read once at start, from the process environment, else a file named by `NAME_FILE` (one trailing newline is removed),
else the env file (`--env-file`, else `./.env`, else `$AGENTHIFIVE_HOME/.env`), else `$AGENTHIFIVE_HOME/secrets.env`,
else the default. An empty value is no value; `NAME` and `NAME_FILE` in one place are refused. A value that does not
parse or is out of bounds stops the start with exit code 3; every problem is reported at once.

S: secret, masked everywhere. Production: the check that refuses the start, or what warns. This page is generated.

| name | default | unit, bounds | S | production | meaning |
|---|---|---|---|---|---|
"""
_UNITS: Final = {"SECONDS": "s", "MINUTES": "min", "HOURS": "h", "DAYS": "d", "MS": "ms", "BYTES": "bytes"}
_ENV_HEADING: Final = """\
# Copy to .env and edit. The values that are not commented out are examples: development accepts each of them
# with a warning, production refuses the secrets among them. docs/reference/settings.md explains every name.
"""
_EXAMPLE_VALUES: Final = {
    "DATABASE_URL": "postgresql://agenthifive:dev-password@localhost:5432/agenthifive",
    "ENCRYPTION_KEY": "0" * 64,
    "BETTER_AUTH_SECRET": "dev-only-secret-change-in-production",
    "WEB_JWKS_URL": "http://localhost:4000/.well-known/jwks.json",
}


def render_settings() -> str:
    """The Markdown of docs/reference/settings.md: one row for each setting, in the order of their declaration."""
    return _SETTINGS_HEADING + "".join(_row(knob) for knob in list_knobs())


def render_env_example() -> str:
    """The text of .env.example: every setting with its meaning, commented out unless the example is unusable."""
    return _ENV_HEADING + "".join(_entry(knob) for knob in list_knobs())


def _row(knob: Knob) -> str:
    default = knob.default if not knob.has_literal_default else f"`{knob.default}`"
    cells = (f"`{knob.name}`", default, _bounds(knob), "S" if knob.is_secret else "", knob.production, knob.meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _bounds(knob: Knob) -> str:
    """The bounds, numbers with the unit that the name carries."""
    is_amount = knob.bounds[:1].isdigit() and "_PER_" not in knob.name
    unit = _UNITS.get(knob.name.rpartition("_")[2], "") if is_amount else ""
    return f"{knob.bounds} {unit}".strip()


def _entry(knob: Knob) -> str:
    about = textwrap.fill(f"{knob.meaning} ({_bounds(knob)})", 110, initial_indent="# ", subsequent_indent="# ")
    if knob.name in _EXAMPLE_VALUES:
        return f"\n{about}\n{knob.name}={_EXAMPLE_VALUES[knob.name]}\n"
    return f"\n{about}\n# {knob.name}={knob.default if knob.has_literal_default else ''}\n"

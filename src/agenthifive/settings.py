"""The settings of one process and the one way to load them.

    load_settings(environ) --places--> text by name --read--> Settings (frozen) | SettingsRefused (exit 3)

An attribute is the lower-case name of its variable. The knobs themselves are listed in `settings_instance.py`,
`settings_keys.py`, `settings_people.py` and `settings_calls.py`; what no setting can say alone (production, files) is
judged in `production.py`. Settings is a plain pydantic model rather than a `BaseSettings`, which would read the
process environment whenever one is made: the environment comes in as an argument, once. Source:
contract/operations.md sections 0 and 13.
"""

import os
import pwd
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, ValidationError

from agenthifive.settings_calls import CallSettings
from agenthifive.settings_instance import OVERRIDABLE, InstanceSettings
from agenthifive.settings_keys import KeySettings
from agenthifive.settings_later import LATER_NAMES
from agenthifive.settings_people import PeopleSettings
from agenthifive.settings_sources import (
    SECRETS_FILE,
    Findings,
    Found,
    Place,
    SettingsRefused,
    expand_path,
    find_near_misses,
    find_text,
    find_unused,
    read_env_place,
)
from agenthifive.settings_values import is_unknown_flag, loopback_twin

__all__ = [
    "OVERRIDABLE",
    "Knob",
    "LoadedSettings",
    "Settings",
    "SettingsRefused",
    "list_knobs",
    "load_settings",
]

_SECOND_NAMES: Final = {"BETTER_AUTH_SECRET": "SESSION_SECRET", "EGRESS_CA_BUNDLE": "SSL_CERT_FILE"}
_PATHS: Final = frozenset({"agenthifive_home", "egress_ca_bundle", "catalog_dir"})
_DEFAULT_HOME: Final = Path(".local/share/agenthifive")
_OUT_OF_BOUNDS: Final = frozenset({"greater_than_equal", "less_than_equal"})


class Settings(
    CallSettings, PeopleSettings, KeySettings, InstanceSettings
):  # fields come in the order of the parts from right to left
    """The settings of one process: read at start, frozen. Secrets are SecretStr and masked in every print."""

    model_config = ConfigDict(defer_build=False)

    @property
    def is_production(self) -> bool:
        """Whether the production checks apply."""
        return self.ah5_env == "production"

    @property
    def is_development(self) -> bool:
        """Whether example values only warn and the loopback twins of WEB_URL count."""
        return self.ah5_env == "development"

    @property
    def two_factor_rule(self) -> str:
        """Who must have a second factor: off, admins or all. High security knows no `off`."""
        if self.security_level == "high" and self.require_two_factor == "off":
            return "admins"
        return self.require_two_factor

    @property
    def web_origin_twins(self) -> tuple[str, ...]:
        """In development the `localhost`/`127.0.0.1` twin of WEB_URL, otherwise nothing.

        Source: contract/agents.md section 6.1.
        """
        twin = loopback_twin(self.web_url) if self.is_development else None
        return () if twin is None else (twin,)


@dataclass(frozen=True, slots=True)
class Knob:
    """What a setting says about itself.

    Shapes:
        name: the variable. default, bounds, production: as docs/reference/settings.md prints them.
        example: the last part of a refusal line. check: the doctor id a refused value is reported under, or "".
        has_literal_default: whether the default is a text that could be set as it stands.
    """

    name: str
    meaning: str
    default: str
    bounds: str
    example: str
    production: str
    check: str
    is_secret: bool
    has_literal_default: bool


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings and where they came from.

    Shapes:
        sources: variable name -> `process environment`, `file PATH`, path of an env file, or `default`; a second
            name that was used instead follows in brackets.
        warnings: one line each. env_files: the env files that were read, secrets.env included.
    """

    settings: Settings
    sources: Mapping[str, str]
    warnings: tuple[str, ...]
    env_files: tuple[Path, ...]


def list_knobs() -> tuple[Knob, ...]:
    """Every setting of this release, in the order of the reference."""
    knobs = []
    for field, info in Settings.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)  # `knob` declares nothing else
        words = {key: str(value) for key, value in extra.items()}
        knobs.append(
            Knob(
                name=field.upper(),
                meaning=info.description or "",
                default=words["shown"],
                bounds=words["bounds"],
                example=words["example"] or f"{field.upper()}={words['shown']}",
                production=words["production"],
                check=words["check"],
                is_secret=extra["secret"] is True,
                has_literal_default=extra["literal"] is True,
            )
        )
    return tuple(knobs)


def load_settings(environ: Mapping[str, str], env_file: Path | None = None, cwd: Path = Path()) -> LoadedSettings:
    """Read every setting once, from all its places.

    Shapes:
        environ: the process environment. env_file: what `--env-file` named; without it `./.env` counts, else
            `$AGENTHIFIVE_HOME/.env`. cwd: where relative paths start.
    Raises: SettingsRefused with every problem, one line each: `NAME: what is wrong; what is expected; example`.
    Source: contract/operations.md section 0.
    """
    findings = Findings()
    user_home = _user_home(environ)
    places = _find_places(environ, env_file, cwd, user_home, findings)
    found = _find_all(places, cwd, findings)
    values = _texts(found, cwd, user_home, findings)
    settings: Settings | None = None
    try:
        settings = Settings.model_validate(values)
    except ValidationError as refused:
        findings.problems.extend(_lines(refused, found))
    if settings is None or findings.problems:
        raise SettingsRefused(findings.problems)
    sources = {field.upper(): _source(field, found.get(field)) for field in Settings.model_fields}
    findings.warnings.extend(_warn_of_names(places, found))
    paths = tuple(place.path for place in places if place.path is not None)
    return LoadedSettings(settings, sources, tuple(findings.warnings), paths)


def _source(field: str, found: Found | None) -> str:
    if found is None:
        return "default"
    is_own_name = found.variable in {field.upper(), f"{field.upper()}_FILE"}
    return found.source if is_own_name else f"{found.source} ({found.variable})"


def _user_home(environ: Mapping[str, str]) -> Path | None:
    home = environ.get("HOME", "")
    if Path(home).is_absolute():
        return Path(home)
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def _find_places(
    environ: Mapping[str, str], env_file: Path | None, cwd: Path, user_home: Path | None, findings: Findings
) -> tuple[Place, ...]:
    places = [Place("process environment", environ)]
    if env_file is not None:
        candidates = [(cwd / env_file).absolute()]
    else:
        homes = _find_home(places, cwd, user_home)
        candidates = [(cwd / ".env").absolute(), *(home / ".env" for home in homes)]
    for candidate in candidates:
        problems_before = len(findings.problems)
        place = read_env_place(candidate, findings, is_required=env_file is not None)
        if place is not None:
            places.append(place)
        if place is not None or len(findings.problems) > problems_before:
            break
    for home in _find_home(places, cwd, user_home):
        generated = read_env_place(home / SECRETS_FILE, findings, is_required=False)
        if generated is not None:
            places.append(replace(generated, is_generated=True))
    return tuple(places)


def _find_home(places: Sequence[Place], cwd: Path, user_home: Path | None) -> list[Path]:
    """The data directory as far as these places say, in a list that is empty when nobody says."""
    found = find_text("AGENTHIFIVE_HOME", places, cwd, Findings())
    if found is not None:
        return [expand_path(found.text, cwd, user_home)]
    return [] if user_home is None else [user_home / _DEFAULT_HOME]


def _find_all(places: Sequence[Place], cwd: Path, findings: Findings) -> dict[str, Found]:
    found = {}
    for field in Settings.model_fields:
        if field == "better_auth_secret":
            text = _find_session_secret(places, cwd, findings)
        else:
            text = find_text(field.upper(), places, cwd, findings)
        if text is None and field == "egress_ca_bundle":
            text = find_text("SSL_CERT_FILE", places, cwd, findings)
        if text is not None:
            found[field] = text
    return found


def _find_session_secret(places: Sequence[Place], cwd: Path, findings: Findings) -> Found | None:
    """The session secret under either of its names; a generated one counts only when nobody gave one."""
    given = [place for place in places if not place.is_generated]
    first = find_text("BETTER_AUTH_SECRET", given, cwd, findings)
    second = find_text("SESSION_SECRET", given, cwd, findings)
    if first is not None and second is not None and first.text != second.text:
        findings.problems.append(
            "BETTER_AUTH_SECRET: SESSION_SECRET, its other name, is set to a different value; "
            "expected one of them; unset SESSION_SECRET [AUTH-SECRET]"
        )
        return None
    generated = [place for place in places if place.is_generated]
    return first or second or find_text("BETTER_AUTH_SECRET", generated, cwd, findings)


def _texts(found: Mapping[str, Found], cwd: Path, user_home: Path | None, findings: Findings) -> dict[str, str]:
    """The text of each field, paths made absolute."""
    texts = {} if user_home is None else {"agenthifive_home": str(user_home / _DEFAULT_HOME)}
    for field, one in found.items():
        if not one.text.isprintable():
            findings.problems.append(_line(field, one.variable, "holds a character that cannot be printed"))
        elif field in _PATHS:
            texts[field] = str(expand_path(one.text, cwd, user_home))
        else:
            texts[field] = one.text
    return texts


def _warn_of_names(places: Sequence[Place], found: Mapping[str, Found]) -> Iterator[str]:
    flag = found.get("ssrf_allow_private")
    if flag is not None and is_unknown_flag(flag.text):
        yield "SSRF_ALLOW_PRIVATE is neither true nor false; it counts as false"
    yield from find_unused(places, LATER_NAMES)
    known = [*(field.upper() for field in Settings.model_fields), "SESSION_SECRET"]
    yield from find_near_misses(places, known, LATER_NAMES | {"SSL_CERT_FILE"})


def _lines(refused: ValidationError, found: Mapping[str, Found]) -> Iterator[str]:
    """One line for each refused field; no line shows a text that was not proven to be a number."""
    for error in refused.errors(include_url=False):
        field = str(error["loc"][0])
        variable = found[field].variable if field in found else field.upper()
        if error["type"] in _OUT_OF_BOUNDS:
            yield _line(field, variable, f"{error['input']} is out of bounds")
        elif error["type"] == "value_error":
            yield _line(field, variable, str(error["ctx"]["error"]))
        elif error["type"] == "missing":
            yield _line(field, variable, "not set, and this user has no home directory")
        elif error["type"] != "default_factory_not_called":  # follows from another field's problem
            yield _line(field, variable, "unknown word")


def _line(field: str, variable: str, wrong: str) -> str:
    knob = next(knob for knob in list_knobs() if knob.name == field.upper())
    check = f" [{knob.check}]" if knob.check else ""
    return f"{variable}: {wrong}; expected {knob.bounds}; {knob.example}{check}"

"""The secrets an instance makes for itself: `$AGENTHIFIVE_HOME/secrets.env`, written once, only ever added to.

    lock the directory -> read what is there -> append what is missing -> new file, fsync, rename over the old one

Source: contract/operations.md sections 3.3 and 10 (first start).
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from agenthifive.settings_sources import SECRETS_FILE, SettingsRefused, describe_failure, parse_env, read_text_file
from agenthifive.vault.signing import new_rsa_pem
from agenthifive.vault.token_keys import one_line, read_signing_key

SECRET_BYTES: Final = 32
SIGNING_NAMES: Final = ("JWT_PRIVATE_KEY", "JWT_KID")
"""A key and its name, made together: a name alone could come to name another key."""
GENERATED_NAMES: Final = (
    "ENCRYPTION_KEY",
    "BETTER_AUTH_SECRET",
    *SIGNING_NAMES,
    "AGENTHIFIVE_DB_OWNER_PASSWORD",
    "AGENTHIFIVE_DB_APP_PASSWORD",
    "AGENTHIFIVE_DB_ADMIN_PASSWORD",
)
"""Four settings, and the passwords of the embedded cluster's roles, which are no settings."""

_HEADING: Final = (
    "# Made by agenthifive. Whoever reads this file reads every credential in the database: back it up apart.\n"
)
_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def init_secrets(home: Path, random: Callable[[int], bytes], *, has_key_service: bool = False) -> tuple[str, ...]:
    """Write the secrets that are missing; never change one that is there. Returns the names it created.

    Safe against a second process doing the same: one of them writes, the other finds the values there.

    Shapes:
        home: made with mode 0700 when it is missing, tightened to it when it is ours.
        random: so many bytes from the operating system's generator; the signing key is drawn from it too.
        has_key_service: whether the encryption key comes from one, so that none is to lie here.
    Raises: SettingsRefused when the directory is not ours alone or the file cannot be read.
    """
    with _locked_home(home):
        path = home / SECRETS_FILE
        content = _read(path)
        present = parse_env(content, path)
        created = _missing(present, GENERATED_NAMES[1:] if has_key_service else GENERATED_NAMES)
        if created:
            text = content or _HEADING
            text += "" if text.endswith("\n") else "\n"
            made = _new_signing_key() if "JWT_PRIVATE_KEY" in created else {}
            text += "".join(f"{name}={made.get(name) or random(SECRET_BYTES).hex()}\n" for name in created)
            _replace(path, text)
        _close_to_others(path)
    return created


def read_secrets_env(home: Path) -> Mapping[str, str]:
    """Every name and value in secrets.env, settings or not; empty when there is no file.

    Raises: SettingsRefused when the file cannot be read as an env file.
    """
    path = home / SECRETS_FILE
    return MappingProxyType(parse_env(_read(path), path))


def _missing(present: Mapping[str, str], wanted: Sequence[str]) -> tuple[str, ...]:
    missing = [name for name in wanted if not (present.get(name) or present.get(f"{name}_FILE"))]
    if not set(SIGNING_NAMES).issubset(missing):
        missing = [name for name in missing if name not in SIGNING_NAMES]
    return tuple(missing)


def _new_signing_key() -> Mapping[str, str]:
    pem = new_rsa_pem()
    return {"JWT_PRIVATE_KEY": one_line(pem).reveal(), "JWT_KID": read_signing_key(pem).kid}


@contextlib.contextmanager
def _locked_home(home: Path) -> Iterator[None]:
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as problem:
        raise _refusal(home, f"{home} cannot be used ({problem.strerror})") from None
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & _WRITABLE_BY_OTHERS:
            raise _refusal(home, f"{home} belongs to another user, or others may write into it")
        if stat.S_IMODE(status.st_mode) != 0o700:
            os.fchmod(handle, 0o700)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> str:
    try:
        return read_text_file(path)
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as problem:
        raise SettingsRefused(
            [f"{path}: {describe_failure(problem)}; expected an env file; chmod 600 {path}"]
        ) from None


def _close_to_others(path: Path) -> None:
    if path.exists() and stat.S_IMODE(path.stat().st_mode) != 0o600:
        path.chmod(0o600)


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, 0o600)
        file.write(text)
        file.flush()
        os.fsync(handle)
    draft.replace(path)


def _refusal(home: Path, wrong: str) -> SettingsRefused:
    return SettingsRefused(
        [f"AGENTHIFIVE_HOME: {wrong}; expected a directory of this user alone, mode 0700; chmod 700 {home}"]
    )

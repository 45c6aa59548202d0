"""The file that holds ENCRYPTION_KEY, and changing it: as a whole or not at all, the old one kept beside it.

    lock the directory -> read -> keep a copy (.bak-<kid>, 0600) -> new file with the old mode, fsync, rename

Source: contract/operations.md section 1.5, step 2.
"""

import fcntl
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agenthifive.cli.console import CommandError, Exit
from agenthifive.settings import LoadedSettings
from agenthifive.settings_sources import describe_failure, parse_env, read_text_file, replace_entry

_VARIABLE: Final = "ENCRYPTION_KEY"
_PREVIOUS: Final = "ENCRYPTION_KEY_PREVIOUS"
_POINTED: Final = "file "


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Where the key is. Shapes: is_bare: the file holds the value and nothing else (ENCRYPTION_KEY_FILE)."""

    path: Path
    is_bare: bool

    def write(self, keys: Sequence[str], kid: str) -> Path:
        """Replace the keys; the path of the copy of what was there.

        Shapes: keys: hexadecimal, the active one first. kid: names the copy.
        Raises: CommandError; then nothing was changed.
        """
        value = ",".join(keys)
        path = self.path.resolve()
        copy = path.with_name(f"{path.name}.bak-{kid}")
        try:
            handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                content, status = read_text_file(path), path.stat()
                changed = f"{value}\n" if self.is_bare else _change(content, path, value)
                _write(copy, content, 0o600, status)
                draft = path.with_name(f".{path.name}.new")
                _write(draft, changed, stat.S_IMODE(status.st_mode), status)
                draft.replace(path)
                os.fsync(handle)
            finally:
                os.close(handle)
        except (OSError, ValueError) as problem:
            raise CommandError(
                f"{path}: {describe_failure(problem)}; the file was not changed.",
                exit_code=Exit.REFUSED,
                code="key_file",
                hint="The directory must be writable; a file that is mounted alone cannot be replaced.",
            ) from None
        return copy


def find_key_file(loaded: LoadedSettings, given: Path | None, cwd: Path) -> KeyFile:
    """The file to change: the one that was named, or the one the key came from. Raises: CommandError."""
    source = loaded.sources[_VARIABLE]
    place = source.partition(" (")[0]
    is_bare = place.startswith(_POINTED)
    found = Path(place.removeprefix(_POINTED)) if is_bare or place.startswith("/") else None
    wanted = found if given is None else (cwd / given).absolute()
    if wanted is None:
        raise CommandError(
            f"{_VARIABLE} comes from the {source}, which no command can change.",
            exit_code=Exit.REFUSED,
            code="key_file",
            hint="Change it where it is set: the new key, a comma, the old key. Or name the file: --env-file PATH.",
        )
    if wanted != found:
        raise CommandError(
            f"{_VARIABLE} comes from {source}, not from {wanted}.",
            exit_code=Exit.REFUSED,
            code="key_file",
            hint="Name that file, or leave --env-file out.",
        )
    return KeyFile(wanted, is_bare)


def _change(content: str, path: Path, value: str) -> str:
    """The file with all keys in one entry."""
    changed = replace_entry(content, _VARIABLE, value)
    return replace_entry(changed, _PREVIOUS, "") if parse_env(content, path).get(_PREVIOUS) else changed


def _write(path: Path, content: str, mode: int, owner: os.stat_result) -> None:
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(handle, "w", encoding="utf-8") as file:
        os.fchmod(handle, mode)
        if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()) and os.geteuid() == 0:
            os.fchown(handle, owner.st_uid, owner.st_gid)
        file.write(content)
        file.flush()
        os.fsync(handle)

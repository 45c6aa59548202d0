"""Whether git tracks a file, read from the index itself: no git program, no configuration, no hooks run.

    directory upwards -> .git (a directory, or a file naming one) -> index: header, entries, extensions

Source: https://git-scm.com/docs/index-format (versions 2, 3 and 4, SHA-1 and SHA-256 repositories).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_HEADER_BYTES: Final = 12
_STAT_BYTES: Final = 40
_MODE_OFFSET: Final = 24
_FILE_MODES: Final = frozenset({0o100644, 0o100755, 0o100664, 0o120000, 0o160000, 0o040000})
_EXTENDED: Final = 0x4000
_HASH_WIDTHS: Final = (20, 32)
_SPLIT: Final = b"link"


class GitIndexUnreadable(Exception):
    """There is an index, but nothing can be said from it."""


def is_tracked(file: Path) -> bool:
    """Whether the repository around a file holds the file in its index; False outside every repository.

    Raises: GitIndexUnreadable.
    """
    return any(_is_tracked_at(place) for place in {Path(os.path.abspath(file)), file.resolve()})


def read_index_paths(index: bytes) -> tuple[bytes, ...]:
    """The paths of all entries of an index.

    Raises: GitIndexUnreadable for a damaged, unknown or split index.
    """
    for width in _HASH_WIDTHS:
        try:
            return tuple(_entry_paths(index, width))
        except (ValueError, IndexError):
            continue
    raise GitIndexUnreadable("the git index is damaged or of an unknown form")


def _is_tracked_at(file: Path) -> bool:
    for folder in file.parents:
        repository = _repository(folder / ".git")
        if repository is None:
            continue
        try:
            index = (repository / "index").read_bytes()
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise GitIndexUnreadable(f"the git index cannot be read ({problem.strerror})") from None
        return os.fsencode(file.relative_to(folder)) in read_index_paths(index)
    return False


def _repository(marker: Path) -> Path | None:
    """The directory a `.git` stands for: itself, or what a linked worktree's file names."""
    try:
        if marker.is_dir():
            return marker
        kind, _, target = marker.read_text().strip().partition(": ")
    except (OSError, UnicodeDecodeError):
        return None
    return marker.parent / target if kind == "gitdir" else None


def _entry_paths(index: bytes, width: int) -> Iterator[bytes]:
    """Raises: ValueError or IndexError when the bytes do not fit hashes of this width."""
    version, count = int.from_bytes(index[4:8], "big"), int.from_bytes(index[8:12], "big")
    if index[:4] != b"DIRC" or version not in {2, 3, 4}:
        raise ValueError("not an index")
    position, path = _HEADER_BYTES, b""
    for _ in range(count):
        mode = position + _MODE_OFFSET
        if int.from_bytes(index[mode : mode + 4], "big") not in _FILE_MODES:
            raise ValueError("not an entry")
        start, position = position, position + _STAT_BYTES + width
        flags = int.from_bytes(index[position : position + 2], "big")
        position += 4 if version > 2 and flags & _EXTENDED else 2
        if version == 4:
            removed, position = _read_offset(index, position)
            if removed > len(path):
                raise ValueError("not a shared beginning")
            path = path[: len(path) - removed]
        else:
            path = b""
        end = index.index(b"\0", position)
        path += index[position:end]
        position = end + 1 if version == 4 else start + ((end - start) // 8 + 1) * 8
        yield path
    _refuse_split(index, position, width)


def _read_offset(index: bytes, position: int) -> tuple[int, int]:
    """Git's variable width number: seven bits a byte, each continuation adding one."""
    byte = index[position]
    value = byte & 0x7F
    while byte & 0x80:
        position += 1
        byte = index[position]
        value = ((value + 1) << 7) | (byte & 0x7F)
    return value, position + 1


def _refuse_split(index: bytes, position: int, width: int) -> None:
    """A split index keeps entries in another file, so absence here would prove nothing."""
    while position < len(index) - width:
        if index[position : position + 4] == _SPLIT:
            raise GitIndexUnreadable("the git index is split over two files")
        position += 8 + int.from_bytes(index[position + 4 : position + 8], "big")
    if position != len(index) - width:
        raise ValueError("does not end with its checksum")

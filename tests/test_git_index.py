"""Whether git tracks a file, from indexes written here byte by byte after git's format description."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agenthifive.git_index import GitIndexUnreadable, is_tracked, read_index_paths

PATHS = (b".env", b"app/.env", b"app/main.py", b"deep/er/x")


def entry_head(path: bytes, width: int, extended: bool) -> bytes:
    """Times, device, inode, mode, owner, size, object name, flags."""
    flags = min(len(path), 0xFFF) | (0x4000 if extended else 0)
    stat = bytes(24) + (0o100644).to_bytes(4, "big") + bytes(12)
    return stat + bytes(range(width)) + flags.to_bytes(2, "big") + (b"\x20\x00" if extended else b"")


def write_offset(value: int) -> bytes:
    """The number encoding of git's pack offsets."""
    out = [value & 0x7F]
    while value >> 7:
        value = (value >> 7) - 1
        out.insert(0, 0x80 | (value & 0x7F))
    return bytes(out)


def make_index(
    paths: tuple[bytes, ...], version: int = 2, width: int = 20, extension: bytes = b"", extended: bool = False
) -> bytes:
    body = b"DIRC" + version.to_bytes(4, "big") + len(paths).to_bytes(4, "big")
    previous = b""
    for path in paths:
        head = entry_head(path, width, extended)
        if version == 4:
            shared = 0
            while shared < min(len(path), len(previous)) and path[shared] == previous[shared]:
                shared += 1
            body += head + write_offset(len(previous) - shared) + path[shared:] + b"\0"
            previous = path
        else:
            entry = head + path
            body += entry + bytes(8 - len(entry) % 8)
    body += extension
    digest = hashlib.sha1 if width == 20 else hashlib.sha256
    return body + digest(body).digest()


@pytest.mark.parametrize("width", [20, 32])
@pytest.mark.parametrize(("version", "extended"), [(2, False), (3, False), (3, True), (4, False), (4, True)])
def test_every_path_is_read_from_every_version(version: int, width: int, extended: bool) -> None:
    tree = b"TREE" + (5).to_bytes(4, "big") + b"12345"
    index = make_index(PATHS, version, width, tree, extended)
    assert read_index_paths(index) == PATHS


@given(st.lists(st.binary(min_size=1, max_size=300).filter(lambda path: b"\0" not in path), max_size=6))
def test_paths_of_any_length_are_read(paths: list[bytes]) -> None:
    expected = tuple(sorted(set(paths)))
    for version in (2, 4):
        assert read_index_paths(make_index(expected, version)) == expected


@given(st.binary(max_size=200))
def test_a_damaged_index_is_unreadable_and_never_empty(noise: bytes) -> None:
    good = make_index(PATHS)
    for damaged in (noise, good[: len(good) // 2], good[:-21], good[:12] + noise, good + noise + b"x"):
        with pytest.raises(GitIndexUnreadable):
            read_index_paths(damaged)


def test_a_split_index_proves_nothing() -> None:
    with pytest.raises(GitIndexUnreadable, match="split"):
        read_index_paths(make_index((), extension=b"link" + (20).to_bytes(4, "big") + bytes(20)))


def repository(root: Path, paths: tuple[bytes, ...]) -> Path:
    (root / ".git").mkdir(parents=True)
    (root / ".git/index").write_bytes(make_index(paths))
    (root / "app").mkdir()
    return root


def test_a_file_is_found_from_the_root_of_its_repository(tmp_path: Path) -> None:
    root = repository(tmp_path / "r", (b"app/.env",))
    assert is_tracked(root / "app/.env")
    assert is_tracked(root / "app/../app/.env")
    assert not is_tracked(root / ".env")
    assert not is_tracked(tmp_path / ".env")


def test_a_link_counts_for_itself_and_for_its_target(tmp_path: Path) -> None:
    root = repository(tmp_path / "r", (b"secret",))
    (root / "secret").write_text("")
    (tmp_path / ".env").symlink_to(root / "secret")
    assert is_tracked(tmp_path / ".env")
    other = repository(tmp_path / "other", (b".env",))
    (other / ".env").symlink_to(tmp_path / "outside")
    assert is_tracked(other / ".env")


def test_a_linked_worktree_has_its_own_index(tmp_path: Path) -> None:
    main = repository(tmp_path / "main", ())
    state = main / ".git/worktrees/w"
    state.mkdir(parents=True)
    (state / "index").write_bytes(make_index((b".env",)))
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text("gitdir: ../main/.git/worktrees/w\n")
    assert is_tracked(tmp_path / "w/.env")
    assert not is_tracked(main / ".env")


def test_a_repository_without_commits_tracks_nothing(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert not is_tracked(tmp_path / ".env")


def test_an_index_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / ".git/index").mkdir(parents=True)
    with pytest.raises(GitIndexUnreadable, match="cannot be read"):
        is_tracked(tmp_path / ".env")

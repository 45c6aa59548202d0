"""The FREEZE file: what cannot be looked at stops us too. The switch at work is in tests/broker/test_freeze.py."""

from pathlib import Path

from agenthifive.edge.frozen import FreezeScope
from agenthifive.operations.freeze import FILE_NAME, REASON_MAX, read_file, remove_file, write_file


def test_what_was_written_is_read_and_removed_once(tmp_path: Path) -> None:
    home = tmp_path / "not" / "there" / "yet"
    path = write_file(home, "drill")
    found = read_file(path)
    assert found is not None
    assert (found.scope, found.reason, found.by, found.is_file) == (FreezeScope.INSTANCE, "drill", str(path), True)
    assert remove_file(home)
    assert read_file(path) is None
    assert not remove_file(home)


def test_an_empty_file_is_enough(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()
    found = read_file(tmp_path / FILE_NAME)
    assert found is not None
    assert found.reason is None


def test_without_a_home_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert read_file(tmp_path / "nowhere" / FILE_NAME) is None
    assert read_file(tmp_path / "file" / FILE_NAME) is None


def test_what_cannot_be_read_freezes(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    found = read_file(tmp_path / FILE_NAME)
    assert found is not None
    assert found.reason == "the file cannot be read: IsADirectoryError"


def test_a_long_or_strange_reason_is_cut_and_replaced(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"\xff" + b"x" * 10_000)
    found = read_file(tmp_path / FILE_NAME)
    assert found is not None
    assert found.reason == "\ufffd" + "x" * (REASON_MAX - 1)

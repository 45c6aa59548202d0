"""How commands speak: what a terminal, a pipe and a program get to see."""

import json
from pathlib import Path

import pytest

from agenthifive.cli.console import CommandError, Exit, Terminal, framed, os_user, table, tame

HOSTILE = "\x1b]0;pwned\x07 [bold]x[/] :smile: \u202egnp.exe\r"


@pytest.fixture
def terminal() -> Terminal:
    return Terminal({}, Path(), command="audit list")


def test_foreign_text_cannot_steer_the_terminal(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(HOSTILE)
    terminal.show(table(("NAME",), [(HOSTILE,)]))
    terminal.warn(HOSTILE)
    terminal.fail(CommandError(HOSTILE, hint=HOSTILE))
    out, err = capsys.readouterr()
    for character in "\x1b\x07\r\u202e":
        assert character not in out + err
    assert out.count("[bold]x[/] :smile:") == 2


def test_line_feeds_and_tabs_stay() -> None:
    assert tame("a\n\tb") == "a\n\tb"


def test_json_carries_every_text_unchanged(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.is_json = True
    terminal.warn("odd")
    terminal.say("busy")
    terminal.show("for people")
    terminal.finish({"text": HOSTILE})
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {"ok": True, "command": "audit list", "data": {"text": HOSTILE}, "warnings": ["odd"]}


def test_a_failure_for_people(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    refusal = CommandError("No.", exit_code=Exit.INTEGRITY, code="broken", hint="Look.", data={"n": 1}, shows_code=True)
    assert terminal.fail(refusal) == 6
    assert capsys.readouterr() == ("", "error: No.\nhint: Look.\ncode: broken\n")


def test_a_failure_for_programs(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.is_json = True
    assert terminal.fail(CommandError("No.", code="broken", data={"n": 1})) == 1
    expected = {"ok": False, "command": "audit list", "error": "No.", "code": "broken", "hint": "", "data": {"n": 1}}
    assert json.loads(capsys.readouterr().out) == expected


def test_tables_are_aligned_and_end_where_the_text_ends(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show(table(("NAME", "STATE"), [("one", "up"), ("seventeen", None), (3, "down")]))
    assert capsys.readouterr().out == "NAME       STATE\none        up\nseventeen\n3          down\n"


def test_a_framed_secret_stands_alone_on_its_line() -> None:
    secret = "s" * 100
    lines = framed("Password", secret, "Once.").splitlines()
    assert lines[0].startswith("── Password ─")
    assert lines[1:3] == [secret, "Once."]
    assert len({len(line) for line in (lines[0], lines[1], lines[3])}) == 1


def test_the_environment_cannot_change_who_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    assert os_user() == before != "somebody-else"

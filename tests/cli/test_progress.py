"""How far a command is: a line a step where nobody watches, nothing beside a JSON object."""

from pathlib import Path

import pytest

from agenthifive.cli.console import Terminal
from agenthifive.cli.progress import progress

STEPS = (("Dumping", 1, 3), ("Dumping", 3, 3), ("Hashing", 5, 5))


@pytest.mark.parametrize(("is_json", "said"), [(False, "Dumping\nHashing\n"), (True, "")])
def test_each_step_is_said_once(capsys: pytest.CaptureFixture[str], is_json: bool, said: str) -> None:
    with progress(Terminal({}, Path(), is_json=is_json)) as watch:
        for step in STEPS:
            watch(*step)
    assert capsys.readouterr() == ("", said)


def test_a_person_sees_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress(Terminal({}, Path())) as watch:
        for step in STEPS:
            watch(*step)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Dumping" in shown.err
    assert "100%" in shown.err

"""What signals mean to the server."""

import asyncio
import signal
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn

from agenthifive.operations import server
from agenthifive.operations.server import Server


class Told:
    """An application that remembers what it was told."""

    def __init__(self) -> None:
        self.reloads = 0
        self.keys = SimpleNamespace(request_reload=self._reload)
        self.health = SimpleNamespace(is_draining=False)
        self.gate: Any = SimpleNamespace(is_draining=False)
        self.settings = SimpleNamespace(notify_socket=None)

    def _reload(self) -> None:
        self.reloads += 1


@pytest.mark.parametrize(
    ("terminals", "reloads", "drains"),
    [
        pytest.param([False, False], 1, False, id="a service without a terminal"),
        pytest.param([True, True], 1, False, id="in a terminal that is there"),
        pytest.param([True, False], 0, True, id="in a terminal that was closed"),
    ],
)
async def test_a_hang_up_loads_keys_unless_the_terminal_went_away(
    monkeypatch: pytest.MonkeyPatch, terminals: list[bool], reloads: int, drains: bool
) -> None:
    answers = iter(terminals)
    monkeypatch.setattr(server, "has_terminal", lambda: next(answers))
    told: Any = Told()
    serving = Server(uvicorn.Config(told.gate), told, delay_s=0)
    with serving.capture_signals():
        signal.raise_signal(signal.SIGHUP)
    await asyncio.sleep(0)
    assert (told.reloads, told.gate.is_draining, serving.should_exit) == (reloads, drains, drains)

"""The load of the rotation: so many calls a second, whatever happens, to both replicas in turn.

A call to the replica that is killed again and again may break off; every other call must be answered 200.
"""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.account import Agent, Connection, call_body
from bench.kill_load import read_answer
from bench.stage import EXECUTE_PATH

_PATIENCE_S: Final = 30.0


@dataclass(slots=True)
class Outcome:
    """What was answered. Shapes: failed: what the answer was -> how often. cut: calls a killed replica took along."""

    good: int = 0
    cut: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class SteadyLoad:
    """Calls at a steady pace. `ports`: of the replica that stays up, and of the one that is killed."""

    def __init__(
        self, ports: tuple[int, int], agent: Agent, connections: Sequence[Connection], calls_per_s: int
    ) -> None:
        self._ports = ports
        self._agent = agent
        self._connections = itertools.cycle(connections)
        self._pause_s = 1 / calls_per_s
        self._is_over = False
        self.outcome = Outcome()

    def end(self) -> None:
        """Begin no further call."""
        self._is_over = True

    async def run(self) -> None:
        """Call until `end`; every call that began is waited for."""
        loop, due_s = asyncio.get_running_loop(), asyncio.get_running_loop().time()
        calls: set[asyncio.Task[None]] = set()
        for number in itertools.count():
            if self._is_over:
                break
            task = asyncio.create_task(self._call(number))
            calls.add(task)
            task.add_done_callback(calls.discard)
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - loop.time()))
        await asyncio.gather(*calls)

    async def _call(self, number: int) -> None:
        is_mortal = number % 2 == 1
        port = self._ports[1 if is_mortal else 0]
        try:
            status, body = await asyncio.wait_for(self._ask(port, number), _PATIENCE_S)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            if is_mortal and not isinstance(error, TimeoutError):
                self.outcome.cut += 1
            else:
                self.outcome.failed[type(error).__name__] += 1
            return
        if status == 200:
            self.outcome.good += 1
        else:
            self.outcome.failed[f"{status} {body.get('code')}"] += 1

    async def _ask(self, port: int, number: int) -> tuple[int, Any]:
        content = json.dumps(call_body(next(self._connections), f"/v1/r/{number}")).encode()
        head = (
            f"POST {EXECUTE_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
            f"Authorization: Bearer {self._agent.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + content)
            return await read_answer(reader)
        finally:
            writer.close()

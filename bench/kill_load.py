"""The load of the kill test: calls without pause, each for a path of its own, on connections that come back.

What a client saw is kept: which numbers it sent, and what was answered.
"""

import asyncio
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from bench.account import Agent, Connection, call_body
from bench.stage import EXECUTE_PATH

PATH_PREFIX: Final = "/v1/k/"
_RECONNECT_S: Final = 0.02
_PATIENCE_S: Final = 30.0


@dataclass(slots=True)
class Seen:
    """What the clients saw.

    Shapes:
        answered: path -> audit id of the answers 200. refused: `status code` -> how often. refused_ids: audit ids that
        refusals named. unanswered: calls whose connection broke before the answer was whole.
    """

    sent: int = 0
    answered: dict[str, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    refused_ids: list[str] = field(default_factory=list)
    unanswered: int = 0

    def note(self, path: str, status: int, body: Any) -> None:
        """Keep an answer."""
        audit_id = body.get("auditId")
        if status == 200:
            self.answered[path] = str(audit_id)
            return
        self.refused[f"{status} {body.get('code')}"] += 1
        if audit_id is not None:
            self.refused_ids.append(str(audit_id))


class Load:
    """Clients of one agent."""

    def __init__(self, port: int, connection: Connection, agent: Agent) -> None:
        self._port = port
        self._connection = connection
        self._agent = agent
        self._numbers = itertools.count()
        self._is_over = False
        self.seen = Seen()

    def end(self) -> None:
        """Let every client finish the call it is at."""
        self._is_over = True

    async def run(self, clients: int) -> None:
        """Call until `end`."""
        await asyncio.gather(*(self._be_client() for _ in range(clients)))

    async def _be_client(self) -> None:
        while not self._is_over:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(_RECONNECT_S)
                continue
            try:
                while not self._is_over:
                    await self._call(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                self.seen.unanswered += 1
            finally:
                writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = f"{PATH_PREFIX}{next(self._numbers)}"
        content = json.dumps(call_body(self._connection, path)).encode()
        head = (
            f"POST {EXECUTE_PATH} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Authorization: Bearer {self._agent.token}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\n\r\n"
        )
        self.seen.sent += 1
        writer.write(head.encode() + content)
        status, body = await asyncio.wait_for(read_answer(reader), _PATIENCE_S)
        self.seen.note(path, status, body)


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, Any]:
    """Status and JSON of the next answer. Raises: OSError, IncompleteReadError."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = next(line.partition(":")[2] for line in head.splitlines() if line.startswith("content-length:"))
    return int(head.split(" ", 2)[1]), json.loads(await reader.readexactly(int(length)))

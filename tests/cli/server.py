"""A server that answers as it was told, for the client side: it remembers what it received."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Script:
    """One answer."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """One request. Shapes: headers: lower-case names. body: parsed, None without one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


Respond = Callable[[Received], Script]


@dataclass
class Server:
    """A running server."""

    base: str
    received: list[Received] = field(default_factory=list)


@contextmanager
def serving(script: Script | Respond, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server for the length of a block, on a loopback port of the system's choice."""
    respond: Respond = script if callable(script) else lambda _: script
    server = Server("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("content-length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            received = Received(self.command, self.path, headers, json.loads(content) if content else None)
            server.received.append(received)
            told = respond(received)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_GET = do_POST = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    listener.handle_error = lambda *_: None  # type: ignore[method-assign, misc]
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True)
    host = "localhost" if tls is not None else "127.0.0.1"
    server.base = f"{'https' if tls else 'http'}://{host}:{listener.server_address[1]}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        thread.join()
        listener.server_close()

"""The listener: uvicorn with our protocol, and a shutdown that loses nothing.

    signal -> not ready, still serving (balancers notice) -> listener closed -> calls in flight finish
           -> what is left is cut and recorded -> audit queue flushed -> exit      a second signal skips ahead
    SIGHUP -> the keys are read again; when the terminal went away, as SIGTERM

Source: contract/operations.md sections 11 and 12.
"""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from agenthifive.app import Application
from agenthifive.edge.listener import BoundedProtocol

KEEP_ALIVE_S = 65


class Server(uvicorn.Server):
    """uvicorn's server with our order of shutdown."""

    def __init__(self, config: uvicorn.Config, app: Application, delay_s: float) -> None:
        super().__init__(config)
        self._app = app
        self._delay_s = delay_s
        self._signals = 0
        self._had_terminal = has_terminal()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Our handlers while we serve."""
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        previous[signal.SIGHUP] = signal.signal(signal.SIGHUP, self.handle_hang_up)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """First signal: drain. Second: stop at once."""
        self._signals += 1
        if self._signals > 1:
            self.should_exit = self.force_exit = True
            return
        self._app.health.is_draining = True
        notify("STOPPING=1", self._app.settings.notify_socket)
        if self._delay_s:
            asyncio.get_running_loop().call_soon_threadsafe(self._drain_later)
        else:
            self._begin_exit()

    def handle_hang_up(self, sig: int, frame: FrameType | None) -> None:
        """Load the keys of the settings again; calls go on. When the terminal we ran in is gone: drain."""
        if self._had_terminal and not has_terminal():
            self.handle_exit(sig, frame)
        else:
            asyncio.get_running_loop().call_soon_threadsafe(self._app.keys.request_reload)

    def _drain_later(self) -> None:
        asyncio.get_running_loop().call_later(self._delay_s, self._begin_exit)

    def _begin_exit(self) -> None:
        self._app.gate.is_draining = True
        self.should_exit = True


async def serve(app: Application, on_ready: Callable[[Application], object]) -> None:
    """Serve until a signal comes. The application is started before the port opens, and stopped after it closed.

    Raises: OSError when the port is taken; whatever `Application.start` raises.
    """
    settings = app.settings
    family = socket.AF_INET6 if ":" in settings.api_bind_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.api_bind_host, settings.api_port))  # taken early, opened last
    async with app.running():
        config = uvicorn.Config(
            app.gate,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=settings.shutdown_grace_seconds,
        )
        delay_s = 0 if settings.is_development else settings.shutdown_delay_seconds
        calm_collector()
        server = Server(config, app, delay_s)
        on_ready(app)
        notify("READY=1", settings.notify_socket)
        await server.serve([listener])


def has_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def calm_collector() -> None:
    """What was built at start stays: keep it out of every later collection, and collect a call's garbage in bulk.

    A brokered call makes no reference cycles; its objects are freed when the last name goes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def notify(state: str, address: str | None) -> None:
    """Tell systemd, when it listens (setting NOTIFY_SOCKET)."""
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode("ascii"), "\0" + address[1:] if address.startswith("@") else address)

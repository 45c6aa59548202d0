"""nginx in two parts: a stand-in provider with static documents, and the baseline, a reverse proxy in front of it.

    /v1/document.json    1 KiB of JSON, as list routes answer
    /v1/large.bin        100 MiB, a file with holes

Each is a master and one worker of its own, so that their CPU can be told apart.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.programs import free_port, program, running

DOCUMENT_PATH: Final = "/v1/document.json"
LARGE_PATH: Final = "/v1/large.bin"
DOCUMENT_BYTES: Final = 1024
LARGE_BYTES: Final = 100 * 1024 * 1024

_PROVIDER: Final = """
    default_type application/json;
    types {{ application/json json; application/octet-stream bin; }}
    open_file_cache max=16 inactive=1h;
    server {{
        listen localhost:{port} backlog=1024;
        root {folder}/documents;
    }}
"""
_PROXY: Final = """
    upstream provider {{ server localhost:{provider_port}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen localhost:{port} backlog=1024;
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer put-in-by-the-proxy";
        }}
    }}
"""
_FRAME: Final = """
daemon off;
{user}
worker_processes 1;
pid {folder}/{name}.pid;
error_log {folder}/{name}.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 100000000;
    keepalive_timeout 1h;
    client_body_temp_path {folder}/{name}-body;
    proxy_temp_path {folder}/{name}-proxy;
    fastcgi_temp_path {folder}/{name}-fastcgi;
    uwsgi_temp_path {folder}/{name}-uwsgi;
    scgi_temp_path {folder}/{name}-scgi;
{http}}}
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A running nginx."""

    port: int
    pid: int

    @property
    def origin(self) -> str:
        """Where it is."""
        return f"http://localhost:{self.port}"


@contextlib.contextmanager
def running_provider(folder: Path) -> Iterator[Server]:
    """The stand-in provider, for the length of a block. Raises: BenchError."""
    documents = folder / "documents" / "v1"
    documents.mkdir(parents=True)
    (documents / Path(DOCUMENT_PATH).name).write_text(make_document(DOCUMENT_BYTES))
    with (documents / Path(LARGE_PATH).name).open("wb") as large:
        large.truncate(LARGE_BYTES)
    with _running(folder, "provider", _PROVIDER) as server:
        yield server


@contextlib.contextmanager
def running_proxy(folder: Path, provider: Server) -> Iterator[Server]:
    """The baseline, for the length of a block. Raises: BenchError."""
    with _running(folder, "proxy", _PROXY, provider_port=provider.port) as server:
        yield server


def make_document(size_bytes: int) -> str:
    """A list as providers answer it, padded to this size."""
    items: list[dict[str, Any]] = []
    while True:
        number = len(items)
        item = {"id": f"rec_{number:05d}", "name": f"Weekly report {number}", "done": number % 3 == 0, "rank": number}
        if len(_pack([*items, item], 0)) > size_bytes:
            break
        items.append(item)
    return _pack(items, size_bytes - len(_pack(items, 0)))


def _pack(items: list[dict[str, Any]], padding: int) -> str:
    return json.dumps({"object": "list", "data": items, "note": "." * padding}, separators=(",", ":"))


@contextlib.contextmanager
def _running(folder: Path, name: str, http: str, **values: int) -> Iterator[Server]:
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # the worker must be able to read a folder of root
    text = _FRAME.format(folder=folder, name=name, user=user, http=http.format(port=port, folder=folder, **values))
    configuration, log = folder / f"{name}.conf", folder / f"{name}.log"
    configuration.write_text(text)
    with running([program("nginx"), "-e", str(log), "-c", str(configuration)], port, log) as process:
        yield Server(port, process.pid)

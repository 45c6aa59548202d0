"""A large download through the broker: how much memory the server takes for it at its peak."""

import http.client
import json
from typing import Final

from bench.account import call_body
from bench.client import bearer
from bench.figures import Figures
from bench.log_table import count_rows
from bench.nginx import LARGE_BYTES, LARGE_PATH
from bench.processes import forget_peak, memory_mib, peak_memory_mib
from bench.stage import EXECUTE_PATH, Stage

_PIECE_BYTES: Final = 1024 * 1024
_TIMEOUT_S: Final = 300.0


def measure_download(stage: Stage) -> Figures:
    """One download, read as fast as it comes."""
    pid, rows_before = stage.instance.pid, count_rows(stage.instance)
    before_mib = memory_mib(pid)
    forget_peak(pid)
    received, usage = stage.meter.measure(lambda: _download(stage))
    return Figures(
        p50_ms=usage.wall_s * 1000,
        server_s=usage.server_s * 1000,
        postgres_s=usage.postgres_s * 1000,
        rss_mib=memory_mib(pid),
        rows=float(count_rows(stage.instance) - rows_before),
        errors=int(received != LARGE_BYTES),
        others_share=usage.others_share,
        growth_mib=peak_memory_mib(pid) - before_mib,
    )


def _download(stage: Stage) -> int:
    """How many bytes came."""
    connection = http.client.HTTPConnection("127.0.0.1", stage.instance.port, timeout=_TIMEOUT_S)
    body = json.dumps(call_body(stage.documents, LARGE_PATH, download=True))
    headers = {**bearer(stage.lean.token), "content-type": "application/json"}
    try:
        connection.request("POST", EXECUTE_PATH, body, headers)
        response = connection.getresponse()
        received = 0
        while piece := response.read(_PIECE_BYTES):
            received += len(piece)
        return received if response.status == 200 else 0
    finally:
        connection.close()

"""One run of wrk: a closed loop of so many connections, each asking again when it is answered."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.failures import BenchError
from bench.programs import program

_SCRIPT: Final = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw."""

    requests: int
    rps: float
    p50_ms: float
    p99_ms: float
    errors: int


def run_wrk(url: str, connections: int, seconds: float, bodies: Path | None = None, token: str | None = None) -> Load:
    """Load a URL.

    Shapes:
        bodies: a file with one JSON body a line; None: GET.
    Raises: BenchError.
    """
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"]
    command += [] if token is None else ["-H", f"Authorization: Bearer {token}"]
    command += ["-s", str(_SCRIPT), url, "--", *([] if bodies is None else [str(bodies)])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    if not lines:
        raise BenchError(f"wrk failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return read_load(lines[-1])


def read_load(line: str) -> Load:
    """The line that wrk.lua prints."""
    told = json.loads(line)
    return Load(
        told["requests"],
        told["requests"] / (told["duration_us"] / 1e6),
        told["p50_us"] / 1000,
        told["p99_us"] / 1000,
        told["errors"],
    )

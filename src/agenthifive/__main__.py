"""The entry of the command line, and the only reader of the process environment."""

import io
import os
import sys
from pathlib import Path

from agenthifive.cli.main import run


def main() -> None:
    """Run the command line with this process's arguments and environment."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that lacks a letter still gets the line
    sys.exit(run(sys.argv[1:], dict(os.environ), Path.cwd()))


if __name__ == "__main__":
    main()

"""`python -m bench.seal_speed`: what sealing and opening one record costs, and that no IV repeats.

    python -m bench.seal_speed [--seals 1000000]

Exit 1 when an IV occurred twice. It stops by itself.
"""

import argparse
import json
import os
import sys
import time
from typing import Final

from agenthifive.ids import new_id
from agenthifive.vault.keyring import Keyring

_PLAINTEXT: Final = json.dumps({"accessToken": "t" * 150, "refreshToken": "r" * 60}).encode()
_TABLE, _COLUMN = "t_connections", "encrypted_tokens"


def main() -> int:
    """Run it; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.seal_speed", description="Time sealing and opening.")
    parser.add_argument("--seals", type=int, default=1_000_000, help="records (default: 1000000)")
    seals = parser.parse_args().seals
    ring, row_id, workspace_id = Keyring.of([os.urandom(32)]), new_id(), new_id()
    place = (_TABLE, _COLUMN, row_id, workspace_id)
    started = time.process_time()
    texts = [ring.seal(_PLAINTEXT, *place).text for _ in range(seals)]
    seal_s = time.process_time() - started
    started = time.process_time()
    for text in texts:
        ring.open(text, *place)
    open_s = time.process_time() - started
    ivs = {text.partition('"iv":"')[2][:16] for text in texts}
    figures = {
        "records": seals,
        "plaintextBytes": len(_PLAINTEXT),
        "sealMicroseconds": round(seal_s / seals * 1e6, 2),
        "openMicroseconds": round(open_s / seals * 1e6, 2),
        "repeatedIvs": seals - len(ivs),
    }
    print(json.dumps(figures, indent=2))
    return 1 if figures["repeatedIvs"] else 0


if __name__ == "__main__":
    sys.exit(main())

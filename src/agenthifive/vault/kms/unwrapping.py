"""The keys of a start: each wrapped key is unwrapped once; a service that does not answer is asked again for a while.

    blobs --unwrap, retried while Unreachable--> 32 bytes each      all of it within one deadline, hanging or not

Source: contract/operations.md section 1.4 "Call pattern".
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from agenthifive.vault.envelope import KEY_BYTES
from agenthifive.vault.hashing import constant_time_equal
from agenthifive.vault.kms.model import KeyService, KeyServiceError, KeyServiceRefused, KeyServiceUnreachable, NewKey

FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0

Clock = Callable[[], float]
Pause = Callable[[float], None]


def unwrap_all(
    service: KeyService,
    blobs: Sequence[str],
    timeout_s: float,
    clock: Clock = time.monotonic,
    pause: Pause = time.sleep,
) -> tuple[bytes, ...]:
    """The data keys of some wrapped keys, in their order.

    The work runs in a thread of its own, so that a client that hangs cannot hold the start beyond its time.

    Units: timeout_s: seconds for all of them together.
    Raises: KeyServiceError.
    """
    outcome: list[tuple[bytes, ...] | KeyServiceError] = []

    def work() -> None:
        try:
            outcome.append(tuple(_patiently(service, blob, deadline, clock, pause) for blob in blobs))
        except KeyServiceError as failure:
            outcome.append(failure)

    deadline = clock() + timeout_s
    worker = threading.Thread(target=work, name="key-service", daemon=True)
    worker.start()
    worker.join(timeout_s)
    if not outcome:
        what = f"no answer within {timeout_s:g} s" if worker.is_alive() else "its client failed"
        raise KeyServiceUnreachable(f"cannot reach {service.describe()} ({what})")
    (result,) = outcome
    if isinstance(result, KeyServiceError):
        raise result
    return result


def generate(service: KeyService) -> NewKey:
    """A new data key, proven to come back out of its wrapped form. Raises: KeyServiceError."""
    made = service.generate()
    _require_length(service, made.material)
    _prove(service, made.material, made.blob)
    return made


def wrap(service: KeyService, key: bytes) -> str:
    """The wrapped form of a data key, proven to give it back. Raises: KeyServiceError."""
    blob = service.wrap(key)
    _prove(service, key, blob)
    return blob


def rewrap(service: KeyService, blob: str) -> str:
    """The data key of a blob in a new wrapped form, proven to hold the same key. Raises: KeyServiceError."""
    key = service.unwrap(blob)
    _require_length(service, key)
    fresh = service.rewrap(blob)
    _prove(service, key, fresh)
    return fresh


def _patiently(service: KeyService, blob: str, deadline: float, clock: Clock, pause: Pause) -> bytes:
    wait_s = FIRST_PAUSE_S
    while True:
        try:
            key = service.unwrap(blob)
        except KeyServiceUnreachable:
            if clock() + wait_s >= deadline:
                raise
            pause(wait_s)
            wait_s = min(2 * wait_s, LONGEST_PAUSE_S)
        else:
            _require_length(service, key)
            return key


def _require_length(service: KeyService, key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise KeyServiceRefused(f"{service.describe()} holds a key of {len(key)} bytes; expected exactly {KEY_BYTES}")


def _prove(service: KeyService, key: bytes, blob: str) -> None:
    if not constant_time_equal(service.unwrap(blob), key):
        raise KeyServiceRefused(f"{service.describe()} does not give back the key it wrapped; do not use it")

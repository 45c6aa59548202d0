"""What every key service can do, and the four ways it can fail to.

    wrapped key (blob) --unwrap--> data key, 32 bytes        Unreachable   tried again until the start's time is up
    data key           --wrap----> blob                      Denied        a right is missing: named, never retried
                                                             Refused       anything else: said, never retried

Source: contract/operations.md section 1.4.
"""

from dataclasses import dataclass, field
from typing import Protocol


class KeyServiceError(Exception):
    """A key service did not do what it was asked. The words name the service and never hold a key or a token."""


class KeyServiceUnreachable(KeyServiceError):
    """It did not answer, or not in a way that says anything about the key. Trying again may help."""


class KeyServiceDenied(KeyServiceError):
    """It knows us and says no, or does not believe who we are. The words name the missing permission."""


class KeyServiceRefused(KeyServiceError):
    """It will never give this key: wrong blob, disabled key, wrong length, a reply that is none of its own."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh data key and its wrapped form."""

    material: bytes = field(repr=False)
    blob: str


class KeyService(Protocol):
    """One key at one service. Every method may raise KeyServiceError.

    Making one reaches nothing; the first method does.
    """

    def wrap(self, key: bytes) -> str:
        """The wrapped form of a data key, under the newest version of the service's key."""

    def unwrap(self, blob: str) -> bytes:
        """The data key in a wrapped form, whatever its length. Exactly one request that names the blob."""

    def rewrap(self, blob: str) -> str:
        """The same data key under the newest version of the service's key."""

    def generate(self) -> NewKey:
        """A new data key of 32 bytes, drawn by the service where it can."""

    def describe(self) -> str:
        """Which key where, for messages."""

"""Plaintext that cannot be shown by accident.

Logs, tracebacks, f-strings, serialisers and debuggers see `***`; the value comes out through `reveal()`
only, and a house test lists the files that may call it.
"""

from typing import Final, Generic, Never, TypeVar, final

from agenthifive.vault.hashing import constant_time_equal

MASK: Final = "***"

Plaintext = TypeVar("Plaintext", str, bytes)


@final
class Secret(Generic[Plaintext]):
    """A credential, key or token in memory: `Secret[str]` or `Secret[bytes]`.

    Equality takes the same time for equal lengths wherever the difference is. A secret has no hash and
    can be neither copied nor pickled, so it does not spread into sets, caches or other processes.
    """

    __slots__ = ("__plaintext",)

    def __init__(self, plaintext: Plaintext) -> None:
        self.__plaintext: Plaintext = plaintext

    def reveal(self) -> Plaintext:
        """The plaintext. The only way to it."""
        return self.__plaintext

    def __repr__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        mine, theirs = self.__plaintext, other.reveal()
        return isinstance(mine, str) is isinstance(theirs, str) and constant_time_equal(mine, theirs)

    def __hash__(self) -> Never:
        raise TypeError("a secret has no hash")

    def __reduce_ex__(self, protocol: object) -> Never:
        raise TypeError("a secret cannot be copied or pickled")

    def __getstate__(self) -> Never:
        raise TypeError("a secret cannot be copied or pickled")

"""Sign-ins that wait for a second factor: what the browser carries of them, sealed.

    first factor proven --open--> `ah5_pending` (who, by what, a number) + a row that counts tries and is spent once

Neither alone is worth anything: the row names no proof, and the cookie of a spent row is dead. What was proven with a
password holds only while that password is in force. Source: contract/http.md sections 8 and 14.3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from agenthifive.db.database import Connection
from agenthifive.ids import new_id
from agenthifive.people import factor_store
from agenthifive.people.factor_store import Holder
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.hashing import sha256_hex

if TYPE_CHECKING:
    from agenthifive.people.entrance import Proof

PENDING_TTL_S: Final = 300
TRIES_MAX: Final = 5
_PURPOSE: Final = "pending"


@dataclass(frozen=True, slots=True)
class Pending:
    """A half-finished sign-in, as its cookie tells it. Shapes: password_print: hash of the password's hash."""

    id: str
    user_id: str
    method: str
    factors: Sequence[str]
    password_print: str | None
    is_kept: bool

    def holds_for(self, account: Holder) -> bool:
        """Whether what was proven is still true of the account."""
        return self.password_print is None or self.password_print == _print_of(account.password_hash)


class PendingSignIns:
    """Opens and reads half-finished sign-ins."""

    def __init__(self, seal: BrowserSeal) -> None:
        self._seal = seal

    async def open(self, connection: Connection, user_id: str, proof: "Proof", now_s: float) -> str | None:
        """The cookie of a new one; None when the account is disabled, gone, or its password changed."""
        pending_id = new_id()
        if not await factor_store.insert_pending(connection, pending_id, user_id, proof.password_hash, PENDING_TTL_S):
            return None
        values = {
            "id": pending_id,
            "user": user_id,
            "method": proof.method,
            "factors": list(proof.factors),
            "password": _print_of(proof.password_hash),
            "isKept": proof.is_kept,
        }
        return self._seal.seal(_PURPOSE, values, now_s + PENDING_TTL_S)

    def read(self, cookie: str | None, now_s: float) -> Pending | None:
        """What a cookie tells; None when it is not ours or over. Whether it was spent, only its row knows."""
        values = None if cookie is None else self._seal.open(_PURPOSE, cookie, now_s)
        if values is None:
            return None
        return Pending(
            values["id"], values["user"], values["method"], values["factors"], values["password"], values["isKept"]
        )

    async def find(self, connection: Connection, cookie: str | None, now_s: float) -> Pending | None:
        """A half-finished sign-in that can be completed. Changes nothing."""
        pending = self.read(cookie, now_s)
        if pending is None or not await factor_store.is_pending(connection, pending.id, TRIES_MAX):
            return None
        return pending


def _print_of(password_hash: str | None) -> str | None:
    return None if password_hash is None else sha256_hex(password_hash)

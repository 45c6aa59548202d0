"""The last step of every way in: whoever has proven to be somebody gets a session, or is asked for a second factor.

    password, social account, passkey, invitation --admit--> SignedIn (a session)
                                                         --> SecondFactorNeeded (a sealed `ah5_pending`, no session)

No other place opens a session, so no way in can forget a rule. Source: contract/http.md sections 8 and 14.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from agenthifive.db.unit import Unit
from agenthifive.people import factor_store, store
from agenthifive.people.accounts import sign_as
from agenthifive.people.model import User
from agenthifive.people.pending import PendingSignIns
from agenthifive.people.sessions import Sessions
from agenthifive.words import AuditAction


@dataclass(frozen=True, slots=True)
class Proof:
    """How somebody proved who they are.

    Shapes:
        method: how audit rows name the way in: `password`, `google`, `passkey`, `invitation`.
        factors: what was proven: one or more of `password`, `social`, `passkey`, `totp`, `recovery_code`.
        password_hash: the hash a password was compared with; the session opens only while it is still in force.
        is_kept: whether the browser is to keep the session when it closes.
    """

    method: str
    factors: Sequence[str]
    password_hash: str | None = None
    is_kept: bool = True

    @property
    def is_two_factor(self) -> bool:
        """Whether nothing more is to be asked; a passkey is a device and the person who unlocked it."""
        return len(self.factors) > 1 or "passkey" in self.factors

    def __repr__(self) -> str:
        return f"Proof({self.method!r}, {self.factors!r})"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Somebody who just signed in, and the value of their session cookie."""

    user: User
    cookie: str
    is_kept: bool = True

    def __repr__(self) -> str:
        return f"SignedIn({self.user.id})"


@dataclass(frozen=True, slots=True)
class SecondFactorNeeded:
    """A sign-in that is half done.

    Shapes: methods: what can complete it, e.g. `totp`, `passkey`. pending: the value of the `ah5_pending` cookie.
    """

    methods: Sequence[str]
    pending: str

    def __repr__(self) -> str:
        return f"SecondFactorNeeded({self.methods!r})"


class Entrance:
    """Opens sessions for those who have proven who they are."""

    def __init__(self, sessions: Sessions, pendings: PendingSignIns) -> None:
        self._sessions = sessions
        self._pendings = pendings

    async def admit(self, unit: Unit, user_id: str, proof: Proof) -> SignedIn | SecondFactorNeeded | None:
        """Let a person in; None when the account is disabled, gone, or its password changed meanwhile."""
        connection = await unit.begin()
        methods = [] if proof.is_two_factor else await factor_store.list_methods(connection, user_id)
        if not methods:
            return await self.open(unit, user_id, proof)
        pending = await self._pendings.open(connection, user_id, proof, time.time())
        return None if pending is None else SecondFactorNeeded(methods, pending)

    async def open(self, unit: Unit, user_id: str, proof: Proof) -> SignedIn | None:
        """Open the session and record it; None when the account is disabled, gone, or its password changed."""
        opened = await self._sessions.open(unit, user_id, proof.factors, proof.password_hash)
        user = await store.find_user(await unit.begin(), user_id)
        if opened is None or user is None:
            return None
        sign_as(unit, user.id, opened.workspace_id)
        unit.record(AuditAction.USER_SIGNED_IN, {"method": proof.method, "factors": list(proof.factors)})
        return SignedIn(user, opened.cookie, proof.is_kept)

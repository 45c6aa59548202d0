"""Passkeys: adding one, proving to hold one, and keeping the list.

    options -> challenge in a sealed `ah5_flow` -> (browser) -> credential -> challenge spent, then verified

A challenge is used up by the first answer to it, right or wrong, and only in the browser that asked for it.
Source: contract/http.md section 14.3.
"""

import time
from dataclasses import dataclass
from typing import Any, Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.ids import is_id, new_id
from agenthifive.people import factor_store, passkey_store
from agenthifive.people.model import Passkey
from agenthifive.people.passkey_store import KnownPasskey
from agenthifive.people.webauthn import CHALLENGE_TTL_S, RelyingParty, Unproven, Wire, credential_id_of
from agenthifive.vault import base64url
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import AuditAction

PASSKEYS_MAX: Final = 20
_ADD: Final = "passkey added"
_PROVE: Final = "passkey proven"


@dataclass(frozen=True, slots=True)
class Options:
    """What a browser needs to ask its authenticator. Shapes: flow: the value of the `ah5_flow` cookie."""

    members: dict[str, Any]
    flow: str

    def __repr__(self) -> str:
        return "Options()"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an assertion came to. Shapes: user_id: whose passkey it names, also when it proves nothing."""

    user_id: str | None
    is_proven: bool


class Passkeys:
    """Adds, proves and removes passkeys."""

    def __init__(self, party: RelyingParty, seal: BrowserSeal) -> None:
        self._party = party
        self._seal = seal
        self.is_usable = party.is_usable

    async def creation_options(self, connection: Connection, user_id: str) -> Options:
        """What makes a passkey for this person. Raises: AppError (401 UNAUTHORIZED)."""
        account = await factor_store.find_account(connection, user_id)
        if account is None:
            raise AppError("UNAUTHORIZED", "This account no longer exists. Sign in with another one.")
        known = await passkey_store.list_credentials(connection, user_id)
        challenge = new_token("")
        members = self._party.creation_options(base64url.decode(challenge), user_id, account.email, account.name, known)
        return Options(members, self._flow(_ADD, challenge, user_id))

    async def add(self, unit: Unit, user_id: str, flow: str | None, credential: Wire, name: str) -> Passkey:
        """Keep the passkey that was made. Raises: AppError (400 INVALID_CREDENTIAL, 409 CONFLICT)."""
        challenge = await self._spend(unit, _ADD, flow, user_id)
        try:
            if challenge is None:
                raise Unproven("no challenge of ours")
            new = self._party.verify_registration(challenge, credential)
        except Unproven:
            raise AppError(
                "INVALID_CREDENTIAL",
                "The browser's answer does not verify. Start adding the passkey again.",
                status=400,
            ) from None
        connection = await unit.begin()
        await passkey_store.lock_user(connection, user_id)
        added = await passkey_store.insert(connection, new_id(), user_id, name, new, PASSKEYS_MAX)
        if added is None:
            raise AppError(
                "CONFLICT",
                f"This passkey is registered already, or you have {PASSKEYS_MAX}. Remove one you do not use.",
            )
        unit.record(AuditAction.PASSKEY_ADDED, {"passkeyId": added.id, "name": added.name})
        return added

    async def request_options(self, connection: Connection, user_id: str | None) -> Options:
        """What asks for a passkey.

        The passkeys of somebody are named only to a browser that holds a proof of being them; to everybody else the
        options are alike, and the browser offers what it finds.
        """
        known = [] if user_id is None else await passkey_store.list_credentials(connection, user_id)
        challenge = new_token("")
        members = self._party.request_options(base64url.decode(challenge), known)
        return Options(members, self._flow(_PROVE, challenge, None))

    async def prove(self, unit: Unit, flow: str | None, credential: Wire) -> Answer:
        """Whether a browser holds a passkey. What it proves is in force with the unit."""
        passkey = await self._find(await unit.begin(), credential)
        user_id = None if passkey is None else passkey.user_id
        challenge = await self._spend(unit, _PROVE, flow, None)
        if passkey is None or challenge is None:
            return Answer(user_id, is_proven=False)
        try:
            sign_count = self._party.verify_assertion(challenge, passkey, credential)
        except Unproven:
            return Answer(user_id, is_proven=False)
        connection = await unit.begin()
        await factor_store.hold_account(connection, passkey.user_id)
        return Answer(user_id, await passkey_store.note_use(connection, passkey.id, sign_count))

    async def list_passkeys(self, connection: Connection, user_id: str) -> list[Passkey]:
        """The passkeys of a person, oldest first."""
        return await passkey_store.list_passkeys(connection, user_id)

    async def rename(self, unit: Unit, user_id: str, passkey_id: str, name: str) -> Passkey:
        """Give a passkey another name. Raises: AppError (404)."""
        renamed = None
        if is_id(passkey_id):
            renamed = await passkey_store.rename(await unit.begin(), user_id, passkey_id, name)
        if renamed is None:
            raise _unknown()
        return renamed

    async def remove(self, unit: Unit, user_id: str, passkey_id: str) -> None:
        """Remove a passkey. Raises: AppError (404, 409 LAST_SIGN_IN_METHOD)."""
        connection = await unit.begin()
        await passkey_store.lock_user(connection, user_id)
        name = await passkey_store.delete(connection, user_id, passkey_id) if is_id(passkey_id) else None
        if name is None:
            raise _unknown()
        if not await passkey_store.has_way_in(connection, user_id):
            raise AppError(
                "LAST_SIGN_IN_METHOD",
                "You could not sign in any more without this passkey. Set a password or add another passkey first.",
            )
        unit.record(AuditAction.PASSKEY_REMOVED, {"passkeyId": passkey_id, "name": name})

    def _flow(self, purpose: str, challenge: str, user_id: str | None) -> str:
        return self._seal.seal(purpose, {"challenge": challenge, "user": user_id}, time.time() + CHALLENGE_TTL_S)

    async def _spend(self, unit: Unit, purpose: str, flow: str | None, user_id: str | None) -> bytes | None:
        """The challenge of a flow, used up whatever comes of it; None when it is not ours, over, or was used."""
        values = None if flow is None else self._seal.open(purpose, flow, time.time())
        if values is None or values["user"] != user_id:
            return None
        is_first = await passkey_store.spend_challenge(await unit.begin(), sha256_hex(values["challenge"]))
        await unit.finish()
        return base64url.decode(values["challenge"]) if is_first else None

    async def _find(self, connection: Connection, credential: Wire) -> KnownPasskey | None:
        try:
            return await passkey_store.find(connection, credential_id_of(credential))
        except (ValueError, LookupError, TypeError):
            return None


def _unknown() -> AppError:
    return AppError("NOT_FOUND", "You have no passkey with this id. List them with GET /api/auth/passkeys.")

"""Sign-in of a program by a code: the program shows it, a person enters it, the program gets a token.

    start --> device code (the program keeps it), user code (a person types it)
    decide --> approved with workspace, scopes and days, or denied; once
    poll --> pending, denied, or the token: made at the first poll after the approval, so its text is never stored

Source: contract/http.md section 14.4; RFC 8628.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.people import device_store
from agenthifive.people.accounts import sign_as
from agenthifive.people.device_store import FoundLogin
from agenthifive.people.model import Owner
from agenthifive.people.tokens import IssuedToken, NewToken, Tokens
from agenthifive.vault.hashing import hkdf, hmac_sha256, new_token, sha256_hex
from agenthifive.words import AuditAction, AuditDecision, Role, Scope

TTL_S: Final = 600
INTERVAL_S: Final = 5
STEP_S: Final = 5
INTERVAL_MAX_S: Final = 60
LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"  # no vowels: no words; nothing that is read as another letter
_CODE_LENGTH: Final = 8
_TRIES: Final = 5
_KEY_PURPOSE: Final = b"agenthifive device user code v1"
_VIA: Final = "device"


@dataclass(frozen=True, slots=True)
class StartedLogin:
    """What a program that wants to sign in is told, once."""

    device_code: str
    user_code: str

    def __repr__(self) -> str:
        return "StartedLogin()"


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person lets a program do in their name. Units: days."""

    workspace_id: str
    scopes: Sequence[Scope]
    days: int


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Nobody decided yet. Units: interval_s: how long to wait before the next poll."""

    interval_s: int


class DeviceLogins:
    """Starts, decides and completes sign-ins by code.

    User codes are short, so they are stored under an HMAC: who reads the database cannot try them all.
    """

    def __init__(self, secret: bytes, tokens: Tokens) -> None:
        """`secret`: of BETTER_AUTH_SECRET."""
        self._code_key = hkdf(secret, purpose=_KEY_PURPOSE)
        self._tokens = tokens

    async def start(self, unit: Unit, client_name: str) -> StartedLogin:
        """A request of a program, and its two codes."""
        connection = await unit.begin()
        for _ in range(_TRIES):
            started = StartedLogin(new_token(""), "".join(secrets.choice(LETTERS) for _ in range(_CODE_LENGTH)))
            is_stored = await device_store.insert(
                connection,
                device_code_hash=sha256_hex(started.device_code),
                user_code_hash=self._hash(started.user_code),
                client_name=client_name,
                ip=unit.signature.ip,
                user_agent=unit.signature.user_agent,
                interval_s=INTERVAL_S,
                ttl_s=TTL_S,
            )
            if is_stored:
                return started
        raise AppError("unavailable", "No code could be made right now. Try again shortly.", retry_after_s=2)

    async def find(self, connection: Connection, user_code: str) -> FoundLogin:
        """The request of a code that waits for a decision. Raises: AppError (404, 409, 410)."""
        code = read_user_code(user_code)
        found = None if code is None else await device_store.find(connection, self._hash(code))
        if found is None:
            raise AppError("NOT_FOUND", "No program asks with this code. Compare it with what the program shows.")
        if found.is_expired:
            raise AppError("GONE", "This code has expired. Let the program ask for another one.")
        if found.is_approved is not None:
            raise AppError("CONFLICT", "This code was decided already. Let the program ask for another one.")
        return found

    async def decide(self, unit: Unit, user_id: str, user_code: str, approval: Approval | None) -> None:
        """Approve, or deny without an approval; the first decision counts. Raises: AppError (404, 409, 410)."""
        connection = await unit.begin()
        found = await self.find(connection, user_code)
        is_decided = await device_store.decide(
            connection,
            self._hash(read_user_code(user_code) or ""),
            is_approved=approval is not None,
            user_id=user_id,
            workspace_id=None if approval is None else approval.workspace_id,
            scopes=None if approval is None else [scope.value for scope in approval.scopes],
            days=None if approval is None else approval.days,
        )
        if not is_decided:
            raise AppError("CONFLICT", "This code was decided already. Let the program ask for another one.")
        metadata = {"clientName": found.client_name, "scopes": [] if approval is None else list(approval.scopes)}
        if approval is None:
            unit.record(AuditAction.DEVICE_LOGIN_DENIED, metadata, decision=AuditDecision.DENIED)
        else:
            unit.record(AuditAction.DEVICE_LOGIN_APPROVED, metadata, workspace_id=approval.workspace_id)

    async def poll(self, unit: Unit, device_code: str) -> IssuedToken | StillWaiting:
        """The token, to exactly one poll after the approval.

        Raises: AppError (403 ACCESS_DENIED, insufficient_role, 409 token_limit, 410 GONE).
        """
        connection, code_hash = await unit.begin(), sha256_hex(device_code)
        approved = await device_store.deliver(connection, code_hash)
        if approved is not None:
            if approved.role is None:
                raise _denied("The person who approved it is no member of the workspace any more.")
            sign_as(unit, approved.user_id, approved.workspace_id)
            owner = Owner(approved.user_id, approved.workspace_id)
            new = NewToken(approved.client_name, [Scope(word) for word in approved.scopes], approved.days)
            return await self._tokens.create(unit, owner, Role(approved.role), new, via=_VIA)
        polled = await device_store.note_poll(connection, code_hash, STEP_S, INTERVAL_MAX_S)
        if polled is None:
            raise AppError("GONE", "This code has expired, was used, or never was. Start again.")
        is_approved, interval_s = polled
        if is_approved is False:
            raise _denied("A person denied this request.")
        return StillWaiting(interval_s)

    def _hash(self, user_code: str) -> str:
        return hmac_sha256(self._code_key, user_code.encode("ascii")).hex()


def read_user_code(text: str) -> str | None:
    """The letters of a code as a person may write it; None when they are none."""
    code = text.strip().upper().replace("-", "").replace(" ", "")
    return code if len(code) == _CODE_LENGTH and set(code) <= set(LETTERS) else None


def shown(user_code: str) -> str:
    """A code as people read it: two groups of four."""
    half = _CODE_LENGTH // 2
    return f"{user_code[:half]}-{user_code[half:]}"


def _denied(why: str) -> AppError:
    return AppError("ACCESS_DENIED", f"{why} Start again to ask once more.", extra={"status": "denied"})

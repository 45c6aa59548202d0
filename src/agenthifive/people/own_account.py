"""What people do with their own account while they are signed in: password, name, sessions.

Source: contract/http.md section 14.1 (change-password, user, list-sessions, revoke-session).
"""

from functools import partial
from typing import Final

from agenthifive.db.unit import Unit
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.notify import texts
from agenthifive.notify.mail import Mailer
from agenthifive.people import account_store, session_store, store
from agenthifive.people.accounts import check_new_password
from agenthifive.people.model import RunningSession, User
from agenthifive.people.passwords import Passwords
from agenthifive.people.sessions import Sessions
from agenthifive.people.sign_in import SignIn
from agenthifive.people.sign_up import FORGOTTEN_PATH
from agenthifive.words import AuditAction

SECURITY_PATH: Final = "/dashboard/security"


class OwnAccount:
    """The verbs of somebody's own account."""

    def __init__(self, web_url: str, passwords: Passwords, sessions: Sessions, sign_in: SignIn, mailer: Mailer) -> None:
        self._web_url = web_url
        self._passwords = passwords
        self._sessions = sessions
        self._sign_in = sign_in
        self._mailer = mailer

    async def change_password(self, unit: Unit, user_id: str, session_id: str, current: str, new: str) -> None:
        """Give the account another password; every session but this one ends.

        Raises: AppError (400 of the new password, 401 INVALID_PASSWORD or UNAUTHORIZED, 429 TOO_MANY_ATTEMPTS, 503).
        """
        user = await store.find_user(await unit.begin(), user_id)
        if user is None:
            raise _ended()
        check_new_password(new, self._passwords.min_length, user)
        compared_hash = await self._sign_in.confirm_password(unit, user_id, current)
        password_hash = await self._passwords.hash(new)
        connection = await unit.begin()
        if not await account_store.replace_password(connection, user_id, password_hash, compared_hash):
            raise AppError("INVALID_PASSWORD", "The password has just been changed elsewhere. Use the new one.")
        ended = await session_store.delete_all(connection, user_id, session_id)
        await self._sign_in.forget_tries(unit, user, at_the_door=False)
        unit.record(AuditAction.PASSWORD_CHANGED, {"sessionsEnded": ended})
        mail = texts.password_changed(user.email, self._web_url + FORGOTTEN_PATH)
        unit.after_commit(partial(self._mailer.post, mail))

    async def tell_of_way_in(self, unit: Unit, user_id: str, method: str) -> None:
        """Write to a person that their account can be signed in to in another way, once that is in force.

        Shapes: method: as in "a passkey".
        """
        user = await store.find_user(await unit.begin(), user_id)
        if user is not None:
            mail = texts.sign_in_method_added(user.email, method, self._web_url + SECURITY_PATH)
            unit.after_commit(partial(self._mailer.post, mail))

    async def update(self, unit: Unit, user_id: str, name: str | None, image: str | None) -> User:
        """Change how the person is shown; None leaves a part as it is, an empty image takes it away.

        Raises: AppError (401 UNAUTHORIZED).
        """
        fields = [word for word, value in (("name", name), ("image", image)) if value is not None]
        connection = await unit.begin()
        if not fields:
            user = await store.find_user(connection, user_id)
        else:
            user = await account_store.update_profile(
                connection, user_id, name=name, image=image or None, has_image=image is not None
            )
        if user is None:
            raise _ended()
        if fields:
            unit.record(AuditAction.USER_UPDATED, {"fields": fields})
        return user

    async def list_sessions(self, unit: Unit, user_id: str) -> list[RunningSession]:
        """The sessions of a person that are in force, the one used last at the head."""
        return await session_store.list_running(await unit.begin(), user_id, self._sessions.idle_s)

    async def revoke_session(self, unit: Unit, user_id: str, session_id: str) -> None:
        """End one session. Raises: AppError (404 NOT_FOUND)."""
        if not is_id(session_id) or not await session_store.delete_one(await unit.begin(), user_id, session_id):
            raise AppError("NOT_FOUND", "You have no session with this id. List them with GET /api/auth/list-sessions.")
        unit.record(AuditAction.SESSION_REVOKED, {"sessions": 1})

    async def revoke_others(self, unit: Unit, user_id: str, session_id: str) -> None:
        """End every session but this one."""
        ended = await session_store.delete_all(await unit.begin(), user_id, session_id)
        if ended:
            unit.record(AuditAction.SESSION_REVOKED, {"sessions": ended, "all": True})


def _ended() -> AppError:
    return AppError("UNAUTHORIZED", "This session has ended. Sign in again.")

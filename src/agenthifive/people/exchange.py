"""From session to JWT, for clients that cannot send cookies everywhere; and back, from JWT to the person.

    cookie -> live session -> workspace (asked for, the session's, or the person's own) -> JWT of five minutes
    JWT -> verified claims -> session, user and membership as they are now -> Caller

Source: contract/http.md section 13.
"""

from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError
from agenthifive.ids import is_id
from agenthifive.jwt.model import UserClaims
from agenthifive.jwt.service import IssuedUserToken, SignedTokens
from agenthifive.people import session_store, store
from agenthifive.people.accounts import Accounts, sign_as
from agenthifive.people.model import LiveSession, Membership
from agenthifive.people.sessions import Sessions


class SessionTokens:
    """Makes tokens from sessions."""

    def __init__(self, sessions: Sessions, signed_tokens: SignedTokens, accounts: Accounts) -> None:
        self._sessions = sessions
        self._signed_tokens = signed_tokens
        self._accounts = accounts

    async def exchange(self, unit: Unit, cookie: str | None, workspace_id: str | None) -> IssuedUserToken:
        """A token of the cookie's session.

        Shapes: workspace_id: where it is to act; None for where the session acts.
        Raises: AppError (401 UNAUTHORIZED, 403 ACCOUNT_DISABLED, NOT_A_MEMBER, 503).
        """
        session = None if cookie is None else await self._sessions.find(cookie)
        if session is None:
            if cookie is not None and await self._sessions.is_of_disabled(cookie):
                raise AppError("ACCOUNT_DISABLED", "This account is disabled. Ask an administrator of this instance.")
            raise AppError("UNAUTHORIZED", "There is no session. Sign in, then repeat with the session cookie.")
        place = await self._find_place(unit, session, workspace_id)
        if place is None:
            raise AppError("NOT_A_MEMBER", "You do not belong to this workspace. Pick one of GET /v1/workspaces.")
        return await self._signed_tokens.issue_user(
            UserClaims(
                session.user.id,
                place.id,
                session.id,
                place.role,
                session.user.platform_role,
                int(session.auth_time.timestamp()),
            )
        )

    async def caller_by_jwt(self, text: str) -> Caller | None:
        """The person behind a token; None when it is not good. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        claims = await self._signed_tokens.read_user(text)
        return None if claims is None else await self._sessions.caller_by_claims(claims)

    async def _find_place(self, unit: Unit, session: LiveSession, wanted_id: str | None) -> Membership | None:
        workspace_id = session.workspace_id if wanted_id is None else wanted_id
        if workspace_id is None:
            return await self._find_home(unit, session)
        if not is_id(workspace_id):
            return None
        return await store.find_membership(await unit.begin(), session.user.id, workspace_id)

    async def _find_home(self, unit: Unit, session: LiveSession) -> Membership | None:
        """The workspace joined first; a person without any gets one where people may register themselves."""
        connection = await unit.begin()
        user = session.user
        if user.email_verified_at is not None:
            sign_as(unit, user.id, None)
            await self._accounts.ensure_workspace(unit, user)
        memberships = await store.list_memberships(connection, user.id)
        if not memberships:
            return None
        await session_store.select_workspace(connection, session.id, memberships[0].id)
        return memberships[0]

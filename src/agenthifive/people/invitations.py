"""Invitations: a link for one address, good for a week and once.

    create -> link by mail, its hash in the database -> preview -> accept: the link is spent, the member is added

Whoever holds the link and has no account makes one, bound to the invited address; whoever has one accepts signed in
with it. The link is worth what whoever invited may still do at that moment. Source: contract/http.md sections 14.1,
15.2 and 15.13.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.db.unit import Unit
from agenthifive.edge.callers import Caller
from agenthifive.errors import AppError, not_found
from agenthifive.ids import is_id, new_id
from agenthifive.notify import texts
from agenthifive.notify.mail import Mailer
from agenthifive.people import invitation_store, store, workspace_store
from agenthifive.people.accounts import new_user, read_person, sign_as
from agenthifive.people.entrance import Entrance, Proof, SecondFactorNeeded, SignedIn
from agenthifive.people.model import Email, LiveSession, Membership, read_email
from agenthifive.people.passwords import Passwords
from agenthifive.people.registration import CLOSED, Registration
from agenthifive.people.workspace_model import Invitation, OpenInvitation
from agenthifive.people.workspaces import check_appointment, enter
from agenthifive.vault.hashing import new_token, sha256_hex
from agenthifive.words import AuditAction, Role

INVITATIONS_ROUTE: Final = "/v1/workspaces/current/invitations"
_PATH: Final = "/invite"


@dataclass(frozen=True, slots=True)
class Issued:
    """An invitation with its link.

    Shapes: delivered: whether a mail is on its way; without one the link must be handed over by hand.
    """

    invitation: Invitation
    link: str
    delivered: bool
    warnings: Sequence[str]

    def __repr__(self) -> str:
        return f"Issued({self.invitation!r})"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the holder of a link sends. Shapes: name, password: of an account to be; session: of one that exists."""

    token: str
    name: str | None
    password: str | None
    session: LiveSession | None

    def __repr__(self) -> str:
        return "Acceptance()"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The workspace somebody joined; `entry` when they made their account with the link."""

    workspace: Membership
    entry: SignedIn | SecondFactorNeeded | None


class Invitations:
    """Issues and accepts invitations."""

    def __init__(
        self, web_url: str, registration: Registration, passwords: Passwords, entrance: Entrance, mailer: Mailer
    ) -> None:
        self._web_url = web_url
        self._registration = registration
        self._passwords = passwords
        self._entrance = entrance
        self._mailer = mailer

    async def create(self, unit: Unit, caller: Caller, email: str, role: Role) -> Issued:
        """Invite an address. Raises: AppError (400 of the address, 403, 409 when it is a member or invited)."""
        address = read_email(email)
        if address is None:
            advice = "must be an e-mail address such as adam@example.com"
            raise AppError("invalid_request", f"email {advice}.", fields=[{"path": "email", "message": advice}])
        connection, workspace, own = await enter(unit, caller, Role.ADMIN)
        check_appointment(own, role)
        if await invitation_store.has_member(connection, caller.workspace_id, address):
            raise AppError("conflict", f"{address.text} is a member of this workspace already.", detail="member")
        token = new_token("")
        invitation = await invitation_store.insert(
            connection,
            invitation_id=new_id(),
            workspace_id=caller.workspace_id,
            email=address,
            role=role.value,
            token_hash=sha256_hex(token),
            invited_by=str(caller.user_id),
        )
        if invitation is None:
            raise AppError(
                "conflict",
                f"{address.text} is invited already. Send the link again, or take the invitation back first.",
                detail="pending",
            )
        _record(unit, AuditAction.INVITATION_CREATED, invitation)
        return await self._send(unit, caller, workspace, invitation, token)

    async def invites(self, connection: Connection, token: str, email: Email) -> bool:
        """Whether a link is for this address and can be used. Changes nothing."""
        invitation = await invitation_store.find_open(connection, sha256_hex(token))
        return invitation is not None and invitation.email_key == email.key

    async def awaits(self, connection: Connection, email: Email) -> bool:
        """Whether an invitation to this address can be used."""
        return await invitation_store.is_awaited(connection, email)

    async def list_open(self, connection: Connection, caller: Caller) -> list[Invitation]:
        """The invitations of the workspace that nobody has used."""
        return await invitation_store.list_open(connection, caller.workspace_id)

    async def resend(self, unit: Unit, caller: Caller, invitation_id: str) -> Issued:
        """Send another link; the old one is dead, and the caller stands behind the new one.

        Raises: AppError (403, 404, 410 when the invitation was used).
        """
        connection, workspace = await self._hold(unit, caller, invitation_id)
        token = new_token("")
        invitation = await invitation_store.renew(
            connection, caller.workspace_id, invitation_id, sha256_hex(token), str(caller.user_id)
        )
        if invitation is None:
            raise _used()
        _record(unit, AuditAction.INVITATION_RESENT, invitation)
        return await self._send(unit, caller, workspace, invitation, token)

    async def delete(self, unit: Unit, caller: Caller, invitation_id: str) -> None:
        """Take an invitation back. Raises: AppError (403, 404, 410 when it was used)."""
        connection, _ = await self._hold(unit, caller, invitation_id)
        gone = await invitation_store.delete(connection, caller.workspace_id, invitation_id)
        if gone is None:
            raise _used()
        email, role = gone
        metadata = {"invitationId": invitation_id, "email": email, "role": role}
        unit.record(AuditAction.INVITATION_REVOKED, metadata)

    async def find(self, connection: Connection, token: str) -> OpenInvitation:
        """What a link invites to. Changes nothing. Raises: AppError (410)."""
        invitation = await invitation_store.find_open(connection, sha256_hex(token))
        if invitation is None:
            raise _gone()
        return invitation

    async def accept(self, unit: Unit, acceptance: Acceptance) -> Accepted:
        """Use a link. Raises: AppError (400 of the texts, 401, 403, 409, 410, 503)."""
        invitation = await self.find(await unit.begin(), acceptance.token)
        if acceptance.session is not None:
            return await self._join(unit, invitation, acceptance.token, acceptance.session)
        return await self._register(unit, invitation, acceptance)

    async def _join(self, unit: Unit, invitation: OpenInvitation, token: str, session: LiveSession) -> Accepted:
        """Accept as somebody who is signed in; the session goes to the new workspace."""
        address = read_email(session.user.email)
        if address is None or address.key != invitation.email_key:
            raise AppError(
                "WRONG_ACCOUNT",
                f"This invitation is for {invitation.email}. Sign in with that account, or sign out to create it.",
            )
        connection = await self._spend(unit, invitation, token)
        sign_as(unit, session.user.id, invitation.workspace_id)
        workspace = await self._add(unit, connection, invitation, session.user.id)
        await workspace_store.select(connection, session.id, session.user.id, invitation.workspace_id)
        return Accepted(workspace, None)

    async def _register(self, unit: Unit, invitation: OpenInvitation, acceptance: Acceptance) -> Accepted:
        """Accept as somebody new: the link proves the address, so the account is verified at once."""
        if invitation.has_account:
            raise _sign_in_first(invitation)
        self._registration.check(Email(invitation.email, invitation.email_key), is_invited=True)
        person = read_person(
            invitation.email, acceptance.name or "", acceptance.password or "", self._passwords.min_length
        )
        await unit.release()  # nobody waits for a connection while a password is hashed
        password_hash = await self._passwords.hash(acceptance.password or "")
        connection = await self._spend(unit, invitation, acceptance.token)
        user = await store.insert_user(connection, new_user(person, password_hash, is_superadmin=False))
        if user is None:
            raise _sign_in_first(invitation)
        sign_as(unit, user.id, invitation.workspace_id)
        unit.record(AuditAction.USER_REGISTERED, {"method": "invitation", "email": user.email})
        workspace = await self._add(unit, connection, invitation, user.id)
        entry = await self._entrance.admit(unit, user.id, Proof("invitation", ["password"], password_hash))
        return Accepted(workspace, entry)

    async def _spend(self, unit: Unit, invitation: OpenInvitation, token: str) -> Connection:
        """Use the link, whatever comes of it in this transaction. Raises: AppError (410)."""
        connection = await unit.begin()
        await workspace_store.hold(connection, invitation.workspace_id)
        if not await invitation_store.spend(connection, sha256_hex(token)):
            raise _gone()
        return connection

    async def _add(self, unit: Unit, connection: Connection, invitation: OpenInvitation, user_id: str) -> Membership:
        role = Role(invitation.role)
        if not await workspace_store.insert_member(connection, invitation.workspace_id, user_id, role):
            raise AppError("CONFLICT", "You belong to this workspace already. There is nothing to accept.")
        metadata = {"invitationId": invitation.id, "email": invitation.email, "role": role}
        unit.record(AuditAction.INVITATION_ACCEPTED, metadata)
        unit.record(AuditAction.MEMBER_ADDED, {"userId": user_id, "role": role})
        membership = await store.find_membership(connection, user_id, invitation.workspace_id)
        assert membership is not None  # added above, in this transaction
        return membership

    async def _hold(self, unit: Unit, caller: Caller, invitation_id: str) -> tuple[Connection, str]:
        """Lock the workspace; the caller may deal with this invitation. Raises: AppError (403, 404, 410)."""
        connection, workspace, own = await enter(unit, caller, Role.ADMIN)
        found = None
        if is_id(invitation_id):
            found = await invitation_store.find_role(connection, caller.workspace_id, invitation_id)
        if found is None:
            raise not_found("invitation", INVITATIONS_ROUTE)
        role, is_used = found
        if is_used:
            raise _used()
        check_appointment(own, Role(role))
        return connection, workspace

    async def _send(self, unit: Unit, caller: Caller, workspace: str, invitation: Invitation, token: str) -> Issued:
        link = f"{self._web_url}{_PATH}?token={token}"
        inviter = await store.find_user(await unit.begin(), str(caller.user_id))
        name = "A member" if inviter is None else inviter.name
        mail = texts.invitation(invitation.email, workspace, name, invitation.role, link)
        unit.after_commit(partial(self._mailer.post, mail))
        warnings = []
        if self._registration.rule == CLOSED:
            warnings.append(
                "Registration is closed on this instance (REGISTRATION=closed): only somebody who has an account here "
                "can accept. Set REGISTRATION=invite to let invited people create one."
            )
        return Issued(invitation, link, self._mailer.delivers, warnings)


def _record(unit: Unit, action: AuditAction, invitation: Invitation) -> None:
    metadata = {"invitationId": invitation.id, "email": invitation.email, "role": invitation.role}
    unit.record(action, metadata)


def _used() -> AppError:
    return AppError("gone", "This invitation was accepted. The person is in the list of members.")


def _gone() -> AppError:
    return AppError(
        "GONE", "This invitation was used, taken back, has expired or is unknown. Ask for a new one where it came from."
    )


def _sign_in_first(invitation: OpenInvitation) -> AppError:
    return AppError(
        "UNAUTHORIZED", f"{invitation.email} has an account here. Sign in with it, then open the invitation again."
    )

"""Signing in with an account elsewhere, and linking such accounts to the one here.

    start  -> the provider's address, a sealed flow for this browser
    finish -> the flow spent -> the provider's proof -> known account: admit
                                                     -> nobody's: register, when the rule of the instance lets in
                                                     -> link: the signed-in person, address verified on both sides

An e-mail address alone opens nothing: one that belongs to somebody here is refused, whoever vouches for it.
Source: contract/http.md section 14.2.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from agenthifive.audit.flood import FloodGate
from agenthifive.db.unit import Unit
from agenthifive.edge.context import limit_key
from agenthifive.errors import AppError
from agenthifive.ids import is_id, new_id
from agenthifive.people import flows, social_store, store
from agenthifive.people.accounts import Accounts, Person, new_user, sign_as
from agenthifive.people.entrance import Entrance, Proof, SecondFactorNeeded, SignedIn
from agenthifive.people.flows import Flow, Link
from agenthifive.people.model import LiveSession
from agenthifive.people.oidc import Provider
from agenthifive.people.providers import Identity, Proven, ProviderFailed
from agenthifive.people.registration import Registration
from agenthifive.people.sessions import Sessions
from agenthifive.people.social_store import LinkedAccount, NewAccount
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.hashing import constant_time_equal, sha256_hex
from agenthifive.vault.keyring import Keyring, SealedText
from agenthifive.words import AuditAction, AuditDecision

_RETRY_S: Final = 10
log = structlog.get_logger(__name__)


class SocialRefused(Exception):
    """The browser is not let in. `code` is one of the words of contract/http.md section 14.2."""

    def __init__(self, code: str, user_id: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.user_id = user_id


@dataclass(frozen=True, slots=True)
class Reply:
    """What the browser brought back from a provider."""

    state: str | None = field(repr=False)
    code: str | None = field(repr=False)
    iss: str | None
    is_error: bool


@dataclass(frozen=True, slots=True)
class Started:
    """Where the browser goes now, and the sealed flow it takes along."""

    url: str
    flow: str

    def __repr__(self) -> str:
        return "Started()"


@dataclass(frozen=True, slots=True)
class Landed:
    """Where the browser goes in the end.

    Shapes: admitted: None when an account was linked. newly_linked_to: whose account got another way in.
    """

    callback_url: str
    admitted: SignedIn | SecondFactorNeeded | None
    newly_linked_to: str | None = None


class Social:
    """Sign-in with accounts elsewhere.

    Shapes: providers: those that are set up, by id, in the order they are offered.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        sessions: Sessions,
        entrance: Entrance,
        registration: Registration,
        accounts: Accounts,
        keyring: Keyring,
        seal: BrowserSeal,
        flood: FloodGate,
    ) -> None:
        self._providers = providers
        self._sessions = sessions
        self._entrance = entrance
        self._registration = registration
        self._accounts = accounts
        self._keyring = keyring
        self._seal = seal
        self._flood = flood

    @property
    def offers(self) -> Sequence[Mapping[str, str]]:
        """Which providers are set up, as the sign-in page names them."""
        return [{"id": provider.id, "name": provider.name} for provider in self._providers.values()]

    async def start(self, provider_id: str, callback_url: str, link: Link | None, now_s: float) -> Started:
        """Begin a sign-in, or the linking of an account.

        Shapes: callback_url: a path of ours (redirects.py).
        Raises: AppError (404 PROVIDER_NOT_FOUND, 503 unavailable).
        """
        provider = self._providers.get(provider_id)
        if provider is None:
            raise AppError(
                "PROVIDER_NOT_FOUND", "This provider is not set up here. GET /api/auth/providers lists them."
            )
        flow = flows.begin(provider_id, callback_url, link)
        try:
            url = await provider.authorization_url(flow)
        except ProviderFailed as failure:
            _log(provider_id, failure)
            raise AppError(
                "unavailable", f"{provider.name} cannot be reached at the moment. Try again.", retry_after_s=_RETRY_S
            ) from None
        return Started(url, flows.seal(self._seal, flow, now_s))

    async def finish(
        self, unit: Unit, provider_id: str, reply: Reply, sealed: str | None, cookie: str | None, now_s: float
    ) -> Landed:
        """End a flow: it is used up whatever comes of it, once the browser has shown that it is its own.

        Shapes: sealed, cookie: the values of the flow's and the session's cookie.
        Raises: SocialRefused; the unit must then be released.
        """
        flow, provider = flows.unseal(self._seal, sealed, now_s), self._providers.get(provider_id)
        if flow is None or provider is None or flow.provider != provider_id:
            raise SocialRefused("state_mismatch")
        if reply.state is None or not constant_time_equal(reply.state, flow.state):
            raise SocialRefused("state_mismatch")
        await self._find_starter(flow, cookie)
        if not await flows.spend(await unit.begin(), flow):
            raise SocialRefused("state_mismatch")
        await unit.finish()  # in force before the provider is asked, and nobody waits for a connection meanwhile
        try:
            await provider.check_issuer(reply.iss)
            if reply.is_error or not reply.code:
                raise ProviderFailed("refused")
            proven = await provider.prove(flow, reply.code)
        except ProviderFailed as failure:
            _log(provider_id, failure)
            raise SocialRefused("provider_error") from None
        starter = await self._find_starter(flow, cookie)
        if starter is not None:
            is_new = await self._link(unit, provider_id, proven, starter)
            return Landed(flow.callback_url, None, starter.user.id if is_new else None)
        try:
            return Landed(flow.callback_url, await self._sign_in(unit, provider_id, proven))
        except SocialRefused as refusal:
            await unit.release()
            await self._note_failure(unit, refusal, proven.identity)
            raise

    async def list_accounts(self, unit: Unit, user_id: str) -> Sequence[LinkedAccount]:
        """The accounts elsewhere that somebody can sign in with, the oldest first."""
        return await social_store.list_of(await unit.begin(), user_id)

    async def unlink(self, unit: Unit, user_id: str, account_id: str) -> None:
        """Take an account away, unless nothing else is left to sign in with.

        Raises: AppError (404 NOT_FOUND, 409 LAST_SIGN_IN_METHOD).
        """
        connection = await unit.begin()
        await social_store.lock_user(connection, user_id)
        provider = await social_store.get_provider(connection, user_id, account_id) if is_id(account_id) else None
        if provider is None:
            raise AppError("NOT_FOUND", "No account with this id is linked. GET /api/auth/list-accounts lists them.")
        if not await social_store.count_other_methods(connection, user_id, account_id, list(self._providers)):
            raise AppError(
                "LAST_SIGN_IN_METHOD",
                "This is your only way to sign in. Set a password or link another account first.",
            )
        await social_store.delete(connection, user_id, account_id)
        unit.record(AuditAction.SOCIAL_UNLINKED, {"provider": provider})

    async def _find_starter(self, flow: Flow, cookie: str | None) -> LiveSession | None:
        """The session that began to link an account; None for a sign-in. Raises: SocialRefused."""
        if flow.link is None:
            return None
        session = None if cookie is None else await self._sessions.find(cookie)
        if session is None or Link(session.user.id, session.id) != flow.link:
            raise SocialRefused("state_mismatch")
        return session

    async def _sign_in(self, unit: Unit, provider_id: str, proven: Proven) -> SignedIn | SecondFactorNeeded:
        connection, identity = await unit.begin(), proven.identity
        known = await social_store.find(connection, identity.issuer, identity.subject)
        if known is None:
            await store.lock_first_user(connection)  # two flows of one new person at once make one person
            known = await social_store.find(connection, identity.issuer, identity.subject)
        if known is None:
            user_id = await self._register(unit, provider_id, proven)
        else:
            user_id = known.user_id
            await social_store.note_use(connection, known.id, identity.email, self._sealed(known.id, proven))
        admitted = await self._entrance.admit(unit, user_id, Proof(provider_id, ["social"]))
        if admitted is None:
            raise SocialRefused("account_disabled", user_id)
        return admitted

    async def _register(self, unit: Unit, provider_id: str, proven: Proven) -> str:
        """Give somebody new an account, as the rule of the instance allows. Raises: SocialRefused."""
        connection, identity = await unit.begin(), proven.identity
        email = identity.email
        if email is not None and await social_store.find_holder(connection, email) is not None:
            raise SocialRefused("account_exists")
        if email is None or not identity.is_email_verified:
            raise SocialRefused("email_not_verified")
        if not await store.has_users(connection):  # the first person comes by the set-up link
            raise SocialRefused("registration_closed")
        try:
            self._registration.check(email)
        except AppError:
            raise SocialRefused("registration_closed") from None
        person = Person(email, identity.name or email.text.partition("@")[0], None)
        user = await store.insert_user(connection, new_user(person, None, is_superadmin=False))
        if user is None:
            raise SocialRefused("account_exists")
        await social_store.insert(connection, self._new_account(user.id, provider_id, proven))
        sign_as(unit, user.id, None)
        account = await self._accounts.ensure_workspace(unit, user)
        if account is not None:
            sign_as(unit, user.id, account.workspace_id)
        unit.record(AuditAction.USER_REGISTERED, {"method": provider_id, "email": user.email})
        return user.id

    async def _link(self, unit: Unit, provider_id: str, proven: Proven, starter: LiveSession) -> bool:
        """Link an account to the person who is signed in; false when it was. Raises: SocialRefused."""
        connection, identity = await unit.begin(), proven.identity
        known = await social_store.find(connection, identity.issuer, identity.subject)
        if known is not None:
            if known.user_id != starter.user.id:
                raise SocialRefused("account_exists")
            await social_store.note_use(connection, known.id, identity.email, self._sealed(known.id, proven))
            return False
        if identity.email is None or not identity.is_email_verified:
            raise SocialRefused("email_not_verified")
        holder = await social_store.find_holder(connection, identity.email)
        if holder is None or not holder.is_verified:
            raise SocialRefused("email_not_verified")
        if holder.user_id != starter.user.id:
            raise SocialRefused("account_exists")
        if not await social_store.insert(connection, self._new_account(starter.user.id, provider_id, proven)):
            raise SocialRefused("account_exists")
        sign_as(unit, starter.user.id, starter.workspace_id)
        unit.record(AuditAction.SOCIAL_LINKED, {"provider": provider_id})
        return True

    async def _note_failure(self, unit: Unit, refusal: SocialRefused, identity: Identity) -> None:
        """Record a refused sign-in at instance level, under the flood rule, and commit it."""
        count = self._flood.admit(limit_key(unit.signature.ip or ""), AuditAction.USER_SIGN_IN_FAILED, time.time())
        if not count:
            return
        email_hash = sha256_hex("" if identity.email is None else identity.email.key)
        metadata: dict[str, str | int] = {"reason": refusal.code, "emailSha256": email_hash}
        if refusal.user_id is not None:
            metadata["userId"] = refusal.user_id
        if count > 1:
            metadata["count"] = count
        unit.record(AuditAction.USER_SIGN_IN_FAILED, metadata, decision=AuditDecision.DENIED)
        await unit.finish()

    def _new_account(self, user_id: str, provider_id: str, proven: Proven) -> NewAccount:
        account_id, identity = new_id(), proven.identity
        tokens = self._sealed(account_id, proven)
        return NewAccount(account_id, user_id, identity.issuer, identity.subject, provider_id, identity.email, tokens)

    def _sealed(self, account_id: str, proven: Proven) -> SealedText:
        return self._keyring.seal(proven.tokens, social_store.TABLE, social_store.SEALED, account_id, None)


def _log(provider_id: str, failure: ProviderFailed) -> None:
    log.warning("social_sign_in_failed", provider=provider_id, reason=failure.reason)

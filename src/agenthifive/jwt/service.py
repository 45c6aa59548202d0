"""Issues and verifies the tokens of people and agents.

    form -> typ -> kid -> algorithm of that key -> signature -> issuer, audience, times -> the claims of the kind

The first check that fails answers the same as all others: nobody. What a token says is no more than whom to look up;
session, membership and agent are read live by those who know them. Source: contract/http.md section 13, agents.md
section 8.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from agenthifive.ids import new_id
from agenthifive.jwt.keys import KeySet, VerifyingKeys
from agenthifive.jwt.model import (
    AGENT_TYPE,
    USER_TTL_S,
    USER_TYPE,
    AgentClaims,
    UserClaims,
    are_common_members_good,
    common_members,
    read_agent_claims,
    read_user_claims,
)
from agenthifive.vault.compact import Compact, NotCompact, read_compact, write_compact

_REMEMBERED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class IssuedUserToken:
    """A fresh token of a person, told once. Units: expires_at_s: seconds since 1970."""

    text: str
    expires_at_s: int

    def __repr__(self) -> str:
        return f"IssuedUserToken(expires_at_s={self.expires_at_s})"


class SignedTokens:
    """The tokens of one installation."""

    def __init__(
        self, issuer: str, keys: KeySet, verifying: VerifyingKeys, clock: Callable[[], float] = time.time
    ) -> None:
        """`issuer`: WEB_URL. `clock`: seconds since 1970."""
        self._issuer = issuer
        self.keys = keys
        self._verifying = verifying
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[str, int]] = OrderedDict()

    async def issue_user(self, claims: UserClaims) -> IssuedUserToken:
        """A token for five minutes. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        now_s = int(self._clock())
        text = await self._issue(USER_TYPE, claims.members(), now_s, USER_TTL_S)
        return IssuedUserToken(text, now_s + USER_TTL_S)

    async def issue_agent(self, claims: AgentClaims, now_s: float, ttl_s: int) -> str:
        """An access token. Units: now_s: seconds since 1970. Raises: AppError (503), psycopg.Error, PoolTimeout."""
        return await self._issue(AGENT_TYPE, claims.members(), int(now_s), ttl_s)

    async def read_user(self, text: str) -> UserClaims | None:
        """Whom a person's token is for; None when it is not good.

        Raises: AppError (503), psycopg.Error, PoolTimeout.
        """
        token = await self._verified(text, USER_TYPE)
        return None if token is None else read_user_claims(token.claims)

    async def is_agent_token(self, text: str) -> bool:
        """Whether an agent's token is signed by a key in force, meant for us and in time; its row says the rest.

        A signature that was good stays good: it is looked at once, then only whether its key is still accepted.

        Raises: AppError (503), psycopg.Error, PoolTimeout.
        """
        digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._remembered.get(digest)
        if known is not None:
            kid, exp = known
            if exp > self._clock() and await self._verifying.find(kid) is not None:
                return True
            self._remembered.pop(digest, None)
        token = await self._verified(text, AGENT_TYPE)
        if token is None or read_agent_claims(token.claims) is None:
            return False
        self._remembered[digest] = (token.kid, token.claims["exp"])
        if len(self._remembered) > _REMEMBERED_MAX:
            self._remembered.popitem(last=False)
        return True

    async def _issue(self, typ: str, members: Mapping[str, Any], now_s: int, ttl_s: int) -> str:
        key = await self.keys.signer()
        return write_compact(key, typ, {**common_members(self._issuer, new_id(), now_s, ttl_s), **members})

    async def _verified(self, text: str, typ: str) -> Compact | None:
        try:
            token = read_compact(text)
        except NotCompact:
            return None
        if token.typ != typ:
            return None
        key = await self._verifying.find(token.kid)
        if key is None or key.alg != token.alg or not key.verifies(token.signature, token.signed):
            return None
        return token if are_common_members_good(token.claims, self._issuer, self._clock()) else None

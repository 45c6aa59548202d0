"""A good signature is looked at once; time and key are looked at with each use."""

import time

from agenthifive.ids import new_id
from agenthifive.jwt import service
from agenthifive.jwt.model import AgentClaims, UserClaims
from agenthifive.jwt.service import SignedTokens
from agenthifive.vault.signing import VerifyingKey, load_public_jwk
from agenthifive.vault.token_keys import SigningKey
from signing_keys import signing_key

KEY = signing_key("a")
ISSUER = "https://ah5.example.com"
CLAIMS = AgentClaims(new_id(), new_id(), ("vault:execute",))


class Keys:
    """A key set with one key, which can be taken away."""

    def __init__(self) -> None:
        self.is_there = True
        self.loaded = 0

    async def signer(self) -> SigningKey:
        return KEY

    async def find(self, kid: str) -> VerifyingKey | None:
        self.loaded += 1
        return load_public_jwk(KEY.jwk) if self.is_there and kid == KEY.kid else None


class Stage:
    def __init__(self) -> None:
        self.keys, self.now_s = Keys(), time.time()
        self.tokens = SignedTokens(ISSUER, self.keys, self.keys, lambda: self.now_s)  # type: ignore[arg-type]

    async def issue(self, ttl_s: int = 60) -> str:
        return await self.tokens.issue_agent(CLAIMS, self.now_s, ttl_s)


async def test_a_token_ends_when_its_time_is_over_however_often_it_was_seen() -> None:
    stage = Stage()
    token = await stage.issue(ttl_s=60)
    assert await stage.tokens.is_agent_token(token)
    assert await stage.tokens.is_agent_token(token)
    stage.now_s += 66
    assert not await stage.tokens.is_agent_token(token)
    assert not stage.tokens._remembered


async def test_a_token_ends_with_its_key_however_often_it_was_seen() -> None:
    stage = Stage()
    token = await stage.issue()
    assert await stage.tokens.is_agent_token(token)
    stage.keys.is_there = False
    assert not await stage.tokens.is_agent_token(token)
    stage.keys.is_there = True
    assert await stage.tokens.is_agent_token(token)


async def test_what_is_not_good_is_not_remembered() -> None:
    stage = Stage()
    token = await stage.issue()
    for spoilt in (token[:-4] + "AAAA", "a.b.c", "", token + "\ud800"):
        assert not await stage.tokens.is_agent_token(spoilt)
    assert not stage.tokens._remembered


async def test_only_so_many_are_remembered() -> None:
    stage = Stage()
    for number in range(service._REMEMBERED_MAX):
        stage.tokens._remembered[b"%d" % number] = (KEY.kid, 0)
    token = await stage.issue()
    assert await stage.tokens.is_agent_token(token)
    assert len(stage.tokens._remembered) == service._REMEMBERED_MAX
    assert await stage.tokens.is_agent_token(token)


async def test_a_token_is_shown_to_nobody_by_accident() -> None:
    stage = Stage()
    issued = await stage.tokens.issue_user(UserClaims(new_id(), new_id(), new_id(), "owner", "user", 1))
    assert issued.text not in repr(issued)

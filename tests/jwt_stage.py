"""People with sessions and agents with keys in a whole application, and the tokens they obtain."""

import time
from dataclasses import dataclass
from typing import Any

import httpx

from agenthifive.agents.model import JWT_TOKEN_TYPE
from agenthifive.agents.tokens import ASSERTION_TYPE
from agenthifive.ids import new_id
from application import WEB_URL, Place
from signing_keys import forge, signing_key

EXCHANGE = "/api/auth/token"
JWKS = "/.well-known/jwks.json"
WIDE_LIMITS = {
    "RATE_LIMIT_SESSION_JWT_PER_MINUTE": "100000",
    "RATE_LIMIT_TOKEN_PER_MINUTE": "100000",
    "RATE_LIMIT_BOOTSTRAP_PER_MINUTE": "100000",
}


async def sign_in(place: Place, user_id: str) -> str:
    """The session cookie of somebody who just signed in."""
    async with place.app.unit() as unit:
        opened = await place.app.keeper.people.sessions.open(unit, user_id, ["password"])
    assert opened is not None
    return f"ah5_session={opened.cookie}"


async def exchange(place: Place, cookie: str | None, body: object = None, **headers: str) -> httpx.Response:
    """The answer to a session that asks for a JWT."""
    sent = {"cookie": cookie, **headers} if cookie is not None else headers
    return await place.ask("POST", EXCHANGE, body=body, headers=sent)


async def user_jwt(place: Place, cookie: str, body: object = None) -> str:
    """A JWT of a session."""
    answer = await exchange(place, cookie, body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


async def csrf(place: Place, cookie: str) -> dict[str, str]:
    """The headers with which a page of this session changes something."""
    answer = await place.ask("GET", "/api/auth/csrf", headers={"cookie": cookie})
    return {"cookie": cookie, "x-ah5-csrf": answer.json()["token"]}


@dataclass
class Bot:
    """An enrolled agent with its own key."""

    place: Place
    id: str

    async def trade(self, place: Place | None = None, **parameters: Any) -> httpx.Response:
        """The answer to a fresh assertion."""
        now_s = int(time.time())
        claims = {"iss": self.id, "sub": self.id, "aud": WEB_URL, "iat": now_s, "exp": now_s + 30, "jti": new_id()}
        body = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": forge({"alg": "ES256"}, claims, signing_key("bot", "EC")),
            **parameters,
        }
        return await (place or self.place).ask("POST", "/v1/agents/token", body=body)

    async def jwt(self, place: Place | None = None, **parameters: Any) -> str:
        """An access token in JWT form."""
        answer = await self.trade(place, requested_token_type=JWT_TOKEN_TYPE, **parameters)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


async def enrol(place: Place) -> Bot:
    """An agent of the owner."""
    owner = await place.add_pat(place.owner_id)
    created = await place.ask("POST", "/v1/agents", owner, {"name": "Bot"})
    secret = created.json()["bootstrapSecret"]
    key = {"bootstrapSecret": secret, "publicKey": dict(signing_key("bot", "EC").jwk)}
    enrolled = await place.ask("POST", "/v1/agents/bootstrap", body=key)
    assert enrolled.status_code == 200, enrolled.text
    return Bot(place, created.json()["agent"]["id"])

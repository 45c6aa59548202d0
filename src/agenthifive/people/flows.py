"""A sign-in that leads through another site, bound to the browser that began it.

    begin -> Flow, sealed into the cookie `ah5_flow` -> the provider -> back with the state -> spend, once

What the browser carries it can neither read nor change. That a flow is over is remembered in the database: a reply
that is sent again finds it spent. Source: contract/http.md sections 8 and 14.2, RFC 7636, goals.md S6.
"""

import hashlib
from dataclasses import asdict, dataclass
from typing import Final

from agenthifive.db.database import Connection
from agenthifive.people import flow_store
from agenthifive.people.browser import FLOW_TTL_S
from agenthifive.vault import base64url
from agenthifive.vault.browser_seal import BrowserSeal
from agenthifive.vault.hashing import new_token

_PURPOSE: Final = "social"


@dataclass(frozen=True, slots=True)
class Link:
    """The signed-in person, and their session, an account is to be linked for."""

    user_id: str
    session_id: str


@dataclass(frozen=True, slots=True)
class Flow:
    """What belongs to one way through a provider. Shapes: verifier: of PKCE. link: None for a sign-in."""

    provider: str
    callback_url: str
    state: str
    nonce: str
    verifier: str
    link: Link | None = None

    @property
    def challenge(self) -> str:
        """What the provider learns of the verifier: its SHA-256. Source: RFC 7636 section 4.2."""
        return base64url.encode(hashlib.sha256(self.verifier.encode("ascii")).digest())

    def __repr__(self) -> str:
        return f"Flow({self.provider!r})"


def begin(provider: str, callback_url: str, link: Link | None) -> Flow:
    """A fresh flow: nobody can guess its state, nonce and verifier."""
    return Flow(provider, callback_url, new_token(""), new_token(""), new_token(""), link)


def seal(seal_for: BrowserSeal, flow: Flow, now_s: float) -> str:
    """The value of the cookie."""
    return seal_for.seal(_PURPOSE, asdict(flow), now_s + FLOW_TTL_S)


def unseal(seal_for: BrowserSeal, text: str | None, now_s: float) -> Flow | None:
    """The flow of a cookie; None when there is none of ours, or it is over."""
    values = None if text is None else seal_for.open(_PURPOSE, text, now_s)
    if values is None:
        return None
    link = values.pop("link")
    return Flow(**values, link=None if link is None else Link(**link))


async def spend(connection: Connection, flow: Flow) -> bool:
    """Use a flow up; false when that was done before. Remembered longer than its cookie could last."""
    return await flow_store.spend(connection, flow.state, 2 * FLOW_TTL_S)

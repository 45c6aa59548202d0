"""One-time things, made fresh, and the request that uses one. Source: contract/goals.md S6."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from bench.account import PASSWORD
from bench.assertions import AgentKey, token_request
from bench.rotation_stage import Site

Body = Mapping[str, Any]
_DEVICE_CODE: Final = "/api/auth/device-code"


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind. `make` makes a fresh one and returns what makes the bodies that use it at `path`."""

    name: str
    path: str
    make: Callable[[], Callable[[], Body]]


def list_things(site: Site) -> Sequence[Thing]:
    """Every kind that a request over HTTP can use."""
    account, client, numbers = site.account, site.survivor.client, itertools.count()

    def assertion() -> Callable[[], Body]:
        body = token_request(site.agent.key, site.agent.id, site.survivor.base)
        return lambda: body

    def bootstrap_secret() -> Callable[[], Body]:
        secret = account.post("/v1/agents", {"name": f"Agent {next(numbers)}"})["bootstrapSecret"]
        return lambda: {"bootstrapSecret": secret, "publicKey": AgentKey.generate().public_jwk()}

    def password_link() -> Callable[[], Body]:
        person = {"email": f"adam{next(numbers)}@example.com", "name": "Adam"}
        token = _token(account.administer("/v1/admin/users", person)["setPasswordUrl"])
        return lambda: {"token": token, "newPassword": PASSWORD}

    def invitation() -> Callable[[], Body]:
        wanted = {"email": f"vera{next(numbers)}@example.com", "role": "viewer"}
        token = _token(account.administer("/v1/workspaces/current/invitations", wanted)["inviteUrl"])
        return lambda: {"token": token, "name": "Vera", "password": PASSWORD}

    def device_code() -> Callable[[], Body]:
        started = client.post(_DEVICE_CODE, {}).body
        account.administer(f"{_DEVICE_CODE}/decision", {"userCode": started["userCode"], "approve": True})
        return lambda: {"deviceCode": started["deviceCode"]}

    return (
        Thing("assertion", "/v1/agents/token", assertion),
        Thing("bootstrap secret", "/v1/agents/bootstrap", bootstrap_secret),
        Thing("password link", "/api/auth/reset-password", password_link),
        Thing("invitation", "/api/auth/invitations/accept", invitation),
        Thing("device code", f"{_DEVICE_CODE}/poll", device_code),
    )


def _token(link: str) -> str:
    return parse_qs(urlsplit(link).query)["token"][0]

"""A claim that is missing, of another type or meant for others makes a token nobody's."""

from typing import Any

import pytest

from agenthifive.ids import new_id
from agenthifive.jwt.model import (
    AgentClaims,
    UserClaims,
    are_common_members_good,
    common_members,
    read_agent_claims,
    read_user_claims,
)

NOW = 1_800_000_000
ISSUER = "https://ah5.example.com"
USER = UserClaims(new_id(), new_id(), new_id(), "owner", "user", NOW - 60)
AGENT = AgentClaims(new_id(), new_id(), ("vault:execute",))


def spoilt(members: dict[str, Any], name: str, value: object) -> dict[str, Any]:
    return {key: held for key, held in {**members, name: value}.items() if held is not ...}


def test_what_is_written_is_read() -> None:
    assert read_user_claims(USER.members()) == USER
    assert read_agent_claims(AGENT.members()) == AGENT
    assert are_common_members_good(common_members(ISSUER, new_id(), NOW, 300), ISSUER, NOW)


COMMON = [
    *[(name, ...) for name in ("iss", "aud", "jti", "iat", "nbf", "exp")],
    ("iss", "https://evil.test"),
    ("iss", f"{ISSUER}/"),
    ("iss", [ISSUER]),
    ("aud", "web"),
    ("aud", ["api"]),
    ("aud", "api "),
    ("jti", ""),
    ("jti", 1),
    ("exp", NOW - 10),
    ("exp", NOW - 5),
    ("exp", str(NOW + 300)),
    ("exp", NOW + 300.5),
    ("exp", True),
    ("exp", 2**53),
    ("exp", -1),
    ("exp", NOW),
    ("nbf", NOW + 6),
    ("nbf", None),
    ("iat", NOW + 6),
    ("iat", "now"),
]


@pytest.mark.parametrize(("name", "value"), COMMON)
def test_a_token_of_others_or_of_another_time_is_refused(name: str, value: object) -> None:
    members = spoilt(common_members(ISSUER, new_id(), NOW, 300), name, value)
    if (name, value) == ("exp", NOW):  # in time, but its time had not begun
        members["iat"] = NOW
    assert not are_common_members_good(members, ISSUER, NOW)


@pytest.mark.parametrize("drift_s", [-4, 304])
def test_clocks_may_differ_by_five_seconds(drift_s: int) -> None:
    assert are_common_members_good(common_members(ISSUER, new_id(), NOW, 300), ISSUER, NOW + drift_s)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, ...) for name in ("sub", "wid", "sid", "roles", "scp", "platformRole", "auth_time")],
        ("sub", "olga"),
        ("sub", ["x"]),
        ("wid", None),
        ("sid", 1),
        ("roles", "owner"),
        ("roles", []),
        ("roles", [1]),
        ("roles", {"owner": True}),
        ("scp", []),
        ("scp", "*"),
        ("scp", ["vault:execute"]),
        ("platformRole", 1),
        ("auth_time", "1"),
        ("auth_time", 1.5),
    ],
)
def test_a_spoilt_claim_of_a_person_is_refused(name: str, value: object) -> None:
    assert read_user_claims(spoilt(USER.members(), name, value)) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, ...) for name in ("sub", "agentId", "client_id", "wid", "roles", "scp")],
        ("sub", AGENT.agent_id),
        ("sub", f"agent:{USER.user_id}"),
        ("agentId", USER.user_id),
        ("client_id", USER.user_id),
        ("wid", "w"),
        ("roles", ["owner"]),
        ("scp", "vault:execute"),
        ("scp", []),
        ("scp", [None]),
    ],
)
def test_a_spoilt_claim_of_an_agent_is_refused(name: str, value: object) -> None:
    assert read_agent_claims(spoilt(AGENT.members(), name, value)) is None


def test_a_person_is_no_agent_and_an_agent_no_person() -> None:
    assert read_agent_claims(USER.members()) is None
    assert read_user_claims(AGENT.members()) is None

"""Flows that lead through another site: contract/http.md section 8, RFC 7636, goals.md S6."""

import asyncio

import pytest

from agenthifive.people import flows
from agenthifive.people.flows import Flow, Link
from agenthifive.people.jobs import sweep_ended
from agenthifive.vault.browser_seal import BrowserSeal
from people.stage import SECRET, Stage

SEAL = BrowserSeal(SECRET)


@pytest.mark.parametrize("link", [None, Link("user", "session")])
def test_a_flow_comes_back_as_it_went(link: Link | None) -> None:
    flow = flows.begin("oidc", "/dashboard", link)
    assert flows.unseal(SEAL, flows.seal(SEAL, flow, 1000.0), 1899.0) == flow
    assert flows.unseal(SEAL, flows.seal(SEAL, flow, 1000.0), 1900.0) is None


def test_the_longest_path_fits_the_cookie() -> None:
    flow = flows.begin("microsoft", "/" + "a" * 1023, Link("u" * 36, "s" * 36))
    assert len(flows.seal(SEAL, flow, 0.0)) < 4000


@pytest.mark.parametrize("text", [None, "", "x", "é", "A" * 100])
def test_what_we_did_not_seal_is_no_flow(text: str | None) -> None:
    assert flows.unseal(SEAL, text, 0.0) is None


def test_what_another_secret_or_purpose_sealed_is_no_flow() -> None:
    flow = flows.begin("oidc", "/", None)
    other = BrowserSeal(b"another secret of the tests, long enough")
    assert flows.unseal(SEAL, flows.seal(other, flow, 0.0), 1.0) is None
    assert flows.unseal(SEAL, SEAL.seal("passkey", {"link": None}, 9.0), 1.0) is None


def test_the_challenge_is_the_one_of_the_standard() -> None:
    """Source: RFC 7636 appendix B."""
    flow = Flow("oidc", "/", "s", "n", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert flow.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_nothing_secret_is_shown() -> None:
    flow = flows.begin("oidc", "/", None)
    assert repr(flow) == "Flow('oidc')"


async def test_a_flow_is_spent_once(stage: Stage) -> None:
    flow = flows.begin("oidc", "/", None)

    async def spend() -> bool:
        async with stage.unit() as unit:
            return await flows.spend(await unit.begin(), flow)

    assert sorted(await asyncio.gather(*(spend() for _ in range(50)))) == [False] * 49 + [True]
    async with stage.unit() as unit:
        assert await flows.spend(await unit.begin(), flows.begin("oidc", "/", None))


async def test_a_spent_flow_is_forgotten_after_its_cookie(stage: Stage) -> None:
    await stage.fetch("DELETE FROM t_spent_flows")
    for _ in range(2):
        async with stage.unit() as unit:
            await flows.spend(await unit.begin(), flows.begin("oidc", "/", None))
    [(seconds,)] = await stage.fetch(
        "UPDATE t_spent_flows SET expires_at = now() - interval '1 second' WHERE flow_hash ="
        " (SELECT min(flow_hash) FROM t_spent_flows)"
        " RETURNING (SELECT extract(epoch FROM max(expires_at) - now())::int FROM t_spent_flows)"
    )
    assert seconds > 900
    async with stage.unit() as unit:
        await sweep_ended(await unit.begin(), 3600)
    assert await stage.fetch("SELECT count(*) FROM t_spent_flows") == [(1,)]

"""Second factors in the whole application, limits included: contract http.md acceptance 30 and section 16."""

from collections.abc import AsyncIterator

import httpx
import pyotp
import pytest
import pytest_asyncio

from application import WEB_URL, Place, run_application
from databases import fresh_database

EMAIL, PASSWORD = "olga@example.com", "orchid-lantern-gravel-77"


@pytest_asyncio.fixture(scope="module")
async def place(worker_id: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    with fresh_database(f"factors_{worker_id}") as made:
        home = tmp_path_factory.mktemp("home")
        async with run_application(made.app_dsn, home, has_owner=False, SECURITY_LEVEL="high") as running:
            yield running


def at_a_browser(place: Place) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app=place.app.gate, client=("203.0.113.7", 40000))
    return httpx.AsyncClient(transport=transport, base_url=WEB_URL, timeout=30)


async def test_from_the_demand_to_the_last_try(place: Place) -> None:
    """High security demands a factor of the first person; an app is set up; ten wrong codes are all there are."""
    async with place.app.unit() as unit:
        await place.app.keeper.people.accounts.create_user(unit, EMAIL, "Olga", PASSWORD)
    sign_in = {"email": EMAIL, "password": PASSWORD}
    async with at_a_browser(place) as olga, at_a_browser(place) as again:
        assert (await olga.post("/api/auth/sign-in/email", json=sign_in)).status_code == 200
        refused = await olga.get("/v1/agents")
        assert (refused.status_code, refused.json()["code"]) == (403, "two_factor_required")
        app = pyotp.TOTP((await olga.post("/api/auth/totp/setup", json={})).json()["secret"])
        confirmed = await olga.post("/api/auth/totp/confirm", json={"code": app.now()})
        codes = confirmed.json()["recoveryCodes"]
        assert (await olga.get("/v1/agents")).status_code == 200
        for tried in range(10):
            if tried % 5 == 0:
                half = await again.post("/api/auth/sign-in/email", json=sign_in)
                assert half.json() == {"twoFactorRequired": True, "methods": ["totp"]}
            wrong = await again.post("/api/auth/totp/verify", json={"recoveryCode": "aaaa-aaaa-aaaa-aaaa"})
            assert (wrong.status_code, wrong.json()["code"]) == (401, "INVALID_CODE")
        await again.post("/api/auth/sign-in/email", json=sign_in)
        late = await again.post("/api/auth/totp/verify", json={"recoveryCode": codes[0]})
        assert (late.status_code, late.json()["code"]) == (429, "RATE_LIMITED")
        assert late.json()["limit"] == {"name": "second_factor", "max": 10, "windowSeconds": 900}
        assert (await again.get("/v1/agents")).status_code == 401
        assert (await olga.get("/v1/agents")).status_code == 200, "whoever is signed in goes on"
    rows = await place.execute("SELECT count(*) FROM t_recovery_codes WHERE used_at IS NOT NULL", [])
    assert rows == [(0,)]

"""A process and its keys: loading others while it serves, refusing bad ones, counting seals, noticing damage."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from structlog.testing import capture_logs

from agenthifive.operations import key_duty
from agenthifive.operations import key_store as store
from agenthifive.operations.key_duty import KeyDuty
from agenthifive.operations.key_figures import KeyFigures
from agenthifive.operations.reencryption import Pace
from agenthifive.vault.canary import KeyRefused
from agenthifive.vault.keyring import WORN_SEALS, Keyring
from application import run_application
from databases import fresh_database
from operations.key_ground import NEW, NEW_KID, OLD, OLD_KID, OTHER, OTHER_KID, KeyGround


@asynccontextmanager
async def serving(
    keys: KeyGround, *materials: bytes, read: Callable[[], Keyring] | None = None
) -> AsyncIterator[KeyDuty]:
    """A process that holds these keys."""
    duty = KeyDuty(keys.database, keys.unit, Keyring.of(materials), read, mode="env", pace=Pace(50, 0))
    await duty.start()
    try:
        yield duty
    finally:
        await duty.close()


async def look(keys: KeyGround, duty: KeyDuty) -> None:
    """The regular round, now."""
    async with keys.unit() as unit:
        await duty.watch(unit)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that other tasks do."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def left(keys: KeyGround, kid: str) -> int:
    async with keys.database.transaction() as link:
        return (await store.totals(link)).get(kid, 0)


async def test_loading_a_new_key_activates_it_and_re_encrypts_while_the_process_goes_on(keys: KeyGround) -> None:
    for _ in range(5):
        await keys.add_credential(Keyring.of([OLD]))
    forgotten = []
    async with serving(keys, OLD, read=lambda: Keyring.of([NEW, OLD])) as duty:
        duty.on_loaded = lambda: forgotten.append(duty.keyring.active_kid)
        await duty.reload()
        assert duty.keyring.kids == (NEW_KID, OLD_KID)
        assert forgotten == [NEW_KID]
        async with asyncio.timeout(10):
            while await left(keys, OLD_KID):
                await asyncio.sleep(0.01)
    actions = [(action, metadata.get("kid")) for action, _, metadata in await keys.audited()]
    assert actions[:2] == [("encryption_key_activated", OLD_KID), ("encryption_key_activated", NEW_KID)]


def _fail() -> Keyring:
    raise ValueError("ENCRYPTION_KEY: 62 characters; expected 64")


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        pytest.param(_fail, "ENCRYPTION_KEY: 62 characters; expected 64", id="unreadable settings"),
        pytest.param(lambda: Keyring.of([NEW]), f"sealed under kid {OLD_KID}", id="without the key in use"),
        pytest.param(None, "without a way to read its keys", id="no way to read"),
    ],
)
async def test_a_bad_reload_keeps_the_keys_and_says_why(
    keys: KeyGround, read: Callable[[], Keyring] | None, problem: str
) -> None:
    await keys.add_credential(Keyring.of([OLD]))
    async with serving(keys, OLD, read=read) as duty:
        with capture_logs() as logs:
            await duty.reload()
        assert [line["event"] for line in logs if problem in str(line.get("problem"))] == ["keys_not_loaded"]
        assert duty.keyring.kids == (OLD_KID,)
        assert duty.keyring.fault is None
        [(told,)] = await keys.ask("SELECT problem FROM t_key_replicas")
        assert problem in told
    assert [action for action, _, _ in await keys.audited()] == ["encryption_key_activated"]
    assert await keys.ask("SELECT kid, state FROM t_key_canaries") == [(OLD_KID, "active")]


async def test_a_new_key_seals_only_when_every_replica_can_open_it(
    keys: KeyGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_duty, "_PATIENCE_S", 0.0)
    wanted = Keyring.of([OLD])
    async with (
        serving(keys, OLD, read=lambda: Keyring.of([NEW, OLD])) as first,
        serving(keys, OLD, read=lambda: wanted) as second,
    ):
        await first.reload()
        assert (first.keyring.active_kid, set(first.keyring.kids)) == (OLD_KID, {OLD_KID, NEW_KID})
        [(told,)] = await keys.ask("SELECT problem FROM t_key_replicas WHERE problem IS NOT NULL")
        assert "1 lack it" in told
        wanted = Keyring.of([OLD, NEW])
        await second.reload()
        assert second.keyring.active_kid == OLD_KID
        await look(keys, first)
        await until(lambda: first.keyring.active_kid == NEW_KID)
        sealed = first.keyring.seal(b"x", "t", "c", "1", None)
        assert second.keyring.open(sealed.text, "t", "c", "1", None).reveal() == b"x"


async def test_a_key_that_left_the_settings_serves_calls_in_flight(
    keys: KeyGround, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(keys, NEW, OLD, read=lambda: Keyring.of([NEW])) as duty:
        carried = Keyring.of([OLD]).seal(b"x", "t", "c", "1", None)
        await duty.reload()
        assert duty.keyring.open(carried.text, "t", "c", "1", None).reveal() == b"x"
        monkeypatch.setattr(key_duty, "LINGER_S", 0.0)
        await duty.reload()
        await until(lambda: duty.keyring.kids == (NEW_KID,))


async def test_every_process_follows_a_request_through_the_database(tmp_path: Path, worker_id: str) -> None:
    with fresh_database(f"request_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path) as place:
            async with place.app.database.transaction() as link:
                request = await store.announce(link)
            async with asyncio.timeout(10):
                while await place.execute("SELECT 1 FROM t_key_replicas WHERE request >= %s", [request]) == []:
                    await asyncio.sleep(0.01)


async def test_seals_of_all_processes_add_up(keys: KeyGround) -> None:
    async with serving(keys, OLD) as first, serving(keys, OLD) as second:
        for duty, seals in ((first, 3), (second, 4)):
            for _ in range(seals):
                duty.keyring.seal(b"x", "t", "c", "1", None)
        for duty in (first, second, first):
            await look(keys, duty)
        [(written,)] = await keys.ask("SELECT seal_count FROM t_key_canaries")
        assert written == 3 + 4 + 1  # and the canary
        assert first.keyring.sealed_count == second.keyring.sealed_count == written
        first.keyring.seal(b"x", "t", "c", "1", None)
    assert await keys.ask("SELECT seal_count FROM t_key_canaries") == [(written + 1,)]
    assert await keys.ask("SELECT 1 FROM t_key_replicas") == []


async def test_a_worn_key_is_warned_about_once_and_measured(keys: KeyGround) -> None:
    async with serving(keys, OLD) as duty:
        await keys.ask("UPDATE t_key_canaries SET seal_count = %s", WORN_SEALS)
        with capture_logs() as logs:
            for _ in range(3):
                await look(keys, duty)
        assert [line["kid"] for line in logs if line["event"] == "key_worn"] == [OLD_KID]
        registry = CollectorRegistry()
        registry.register(KeyFigures(duty))
        assert f'agenthifive_key_seals_total{{kid="{OLD_KID}"}} 2.147483649e+09'.encode() in generate_latest(registry)


async def test_records_are_measured_by_key(keys: KeyGround) -> None:
    await keys.add_credential(Keyring.of([OLD]), text="{}")
    async with serving(keys, NEW, OLD) as duty:
        await keys.add_credential(duty.keyring)
        await look(keys, duty)
        registry = CollectorRegistry()
        registry.register(KeyFigures(duty))
        text = generate_latest(registry).decode()
    assert f'agenthifive_sealed_records{{kid="{OLD_KID}"}} 1.0' in text
    assert f'agenthifive_sealed_records{{kid="{NEW_KID}"}} 1.0' in text
    assert "agenthifive_reencryption_remaining 1.0" in text


async def test_damage_is_noticed_and_its_end_too(keys: KeyGround) -> None:
    async with serving(keys, OLD) as duty:
        row_id = await keys.add_credential(Keyring.of([OTHER]))
        await look(keys, duty)
        assert OTHER_KID in str(duty.keyring.fault)
        async with keys.database.transaction() as link:
            assert not await duty.is_good(link)
        await keys.ask("DELETE FROM t_connections WHERE id = %s", row_id)
        async with keys.database.transaction() as link:
            assert await duty.is_good(link)
        assert duty.keyring.fault is None


async def test_a_refused_start_leaves_no_replica_behind(keys: KeyGround) -> None:
    await keys.add_credential(Keyring.of([OTHER]))
    with pytest.raises(KeyRefused):
        async with serving(keys, OLD):
            pass
    assert await keys.ask("SELECT 1 FROM t_key_replicas") == []


async def test_without_good_keys_calls_are_refused_health_is_red_and_liveness_is_not(
    tmp_path: Path, worker_id: str
) -> None:
    with fresh_database(f"duty_{worker_id}") as made:
        async with run_application(made.app_dsn, tmp_path) as place:
            _, token = await place.add_agent()
            await place.execute("UPDATE t_key_canaries SET envelope = 'not ours'", [])
            async with place.app.unit() as unit:
                await place.app.keys.watch(unit)
            call = {"model": "B", "service": "openai", "method": "GET", "url": "https://api.openai.com/v1/models"}
            refused = await place.ask("POST", "/v1/vault/execute", token, call)
            assert (refused.status_code, refused.json()["code"]) == (503, "key_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            place.app.health._checked_at = -10.0
            for path, status in (("/health", 503), ("/health/ready", 503), ("/health/live", 200)):
                assert (await place.ask("GET", path)).status_code == status
            assert (await place.ask("GET", "/health/ready")).json()["checks"]["keys"] == "fail"

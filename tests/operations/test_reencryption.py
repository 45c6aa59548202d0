"""Re-encryption: everything moves to the active key, what cannot be opened stays and is named, nobody is disturbed."""

import asyncio

import psycopg
import pytest

from agenthifive.operations import key_store as store
from agenthifive.operations.key_check import put_in_force
from agenthifive.operations.key_status import read_status
from agenthifive.operations.reencryption import Pace, Reencryptor, Run
from agenthifive.vault.envelope import seal
from agenthifive.vault.keyring import Keyring
from operations.key_ground import NEW, NEW_KID, OLD, OLD_KID, KeyGround

FAST = Pace(batch_rows=7, rows_per_s=0)


async def rotated(keys: KeyGround) -> Keyring:
    """The new key in force, the old one beside it."""
    ring = Keyring.of([NEW, OLD])
    for materials in ([OLD], [NEW, OLD]):
        async with keys.unit() as unit:
            await put_in_force(unit, Keyring.of(materials), "env")
    return ring


def job(keys: KeyGround, ring: Keyring, pace: Pace = FAST) -> Reencryptor:
    return Reencryptor(keys.database, keys.unit, ring, pace)


async def totals(keys: KeyGround) -> dict[str, int]:
    async with keys.database.transaction() as link:
        return dict(await store.totals(link))


async def test_every_column_ends_under_the_active_key_with_the_same_secrets(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    ids = [await keys.add_credential(old, f'{{"n":{number}}}'.encode()) for number in range(20)]
    for _ in range(9):
        await keys.add_reply(old)
        await keys.add_ticket(old)
    run = await job(keys, ring).run()
    assert run is not None
    assert (run.done, run.total, run.unreadable) == (38, 38, set())
    assert await totals(keys) == {NEW_KID: 38}
    only_new = Keyring.of([NEW])
    for number, row_id in enumerate(ids):
        [(text, workspace_id)] = await keys.ask(
            "SELECT encrypted_tokens, workspace_id::text FROM t_connections WHERE id = %s", row_id
        )
        opened = only_new.open(text, "t_connections", "encrypted_tokens", row_id, workspace_id)
        assert opened.reveal() == f'{{"n":{number}}}'.encode()
    assert (await keys.audited())[2:] == [
        ("key_reencryption_started", "allowed", {"kids": [OLD_KID], "records": 38}),
        ("key_reencryption_completed", "allowed", {"kids": [OLD_KID], "records": 38}),
    ]


async def test_nothing_to_do_leaves_no_trace(keys: KeyGround) -> None:
    ring = await rotated(keys)
    await keys.add_credential(ring)
    before = await keys.audited()
    run = await job(keys, ring).run()
    assert run == Run(0, [], is_complete=True)
    assert await keys.audited() == before


async def test_version_1_is_rewritten_as_version_2(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    text = seal(b"{}", old.keys[0], b"", bytes(12)).replace('"v":2', '"v":1').replace(f'"kid":"{OLD_KID}",', "")
    row_id = await keys.add_credential(old, text=text)
    unnamed = await keys.add_credential(old, text=text)
    await keys.ask("UPDATE t_connections SET encrypted_tokens_kid = 'v1' WHERE id = %s", row_id)
    await keys.ask("UPDATE t_connections SET encrypted_tokens_kid = NULL WHERE id = %s", unnamed)
    assert await totals(keys) == {"v1": 2}
    await job(keys, ring).run()
    assert await totals(keys) == {NEW_KID: 2}
    [(text,)] = await keys.ask("SELECT encrypted_tokens FROM t_connections WHERE id = %s", row_id)
    assert text.startswith('{"v":2,')


async def test_an_unreadable_record_is_left_counted_listed_and_recorded_once(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    for _ in range(10):
        await keys.add_credential(old)
    damaged = await keys.add_credential(old, text='{"v":2}')
    run = await job(keys, ring).run()
    assert run is not None
    assert run.unreadable == {f"t_connections.encrypted_tokens {damaged}"}
    assert await totals(keys) == {NEW_KID: 10, OLD_KID: 1}
    assert await keys.ask("SELECT encrypted_tokens FROM t_connections WHERE id = %s", damaged) == [('{"v":2}',)]
    members = {"table": "t_connections", "column": "encrypted_tokens", "rowId": damaged, "kid": OLD_KID}
    assert ("key_reencryption_record_failed", "error", members) in await keys.audited()
    assert "key_reencryption_completed" not in [action for action, _, _ in await keys.audited()]
    async with keys.database.transaction() as link:
        status = await read_status(link, ring, "env")
    assert status.wire()["job"] | {"startedAt": ""} == {
        "state": "idle", "done": 10, "total": 11, "failed": 1, "startedAt": "",
    }  # fmt: skip
    assert status.job is not None
    assert [each["id"] for each in status.job.unreadable] == [damaged]


async def test_only_one_worker_at_a_time(keys: KeyGround) -> None:
    ring = await rotated(keys)
    await keys.add_credential(Keyring.of([OLD]))
    with psycopg.connect(keys.admin_dsn) as other:
        other.execute(store.HOLD, store.REENCRYPTION_LOCK)
        async with keys.database.transaction() as link:
            assert (await read_status(link, ring, "env")).job_state == "running"
        assert await job(keys, ring).run() is None
    assert await totals(keys) == {OLD_KID: 1}
    async with keys.database.transaction() as link:
        assert (await read_status(link, ring, "env")).job_state == "stalled"


async def test_a_row_somebody_holds_is_waited_for_without_holding_up_the_others(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    held = await keys.add_credential(old)
    for _ in range(20):
        await keys.add_credential(old)
    seen = asyncio.Event()
    with psycopg.connect(keys.admin_dsn) as other:
        other.execute("SELECT FROM t_connections WHERE id = %s FOR UPDATE", [held])

        def note(run: Run) -> None:
            if run.done == 20:
                seen.set()

        work = asyncio.create_task(job(keys, ring).run(note))
        await seen.wait()
        assert not work.done()
    await work
    assert await totals(keys) == {NEW_KID: 21}


async def test_what_is_killed_between_two_batches_goes_on_where_it_was(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    for _ in range(30):
        await keys.add_credential(old)

    def die(run: Run) -> None:
        if run.done >= 14:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await job(keys, ring).run(die)
    assert (await totals(keys))[OLD_KID] == 16
    run = await job(keys, ring).run()
    assert run is not None
    assert run.done == 16
    assert await totals(keys) == {NEW_KID: 30}


async def test_it_ends_when_another_key_becomes_the_active_one(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    for _ in range(30):
        await keys.add_credential(old)
    await keys.ask("UPDATE t_key_canaries SET state = 'previous'")
    run = await job(keys, ring).run()
    assert run is not None
    assert run.done == 0
    assert await totals(keys) == {OLD_KID: 30}


async def test_replicas_hear_of_changed_credentials_but_not_of_resealed_ones(keys: KeyGround) -> None:
    ring, old = await rotated(keys), Keyring.of([OLD])
    row_id = await keys.add_credential(old)

    async def counter() -> int:
        [(n,)] = await keys.ask("SELECT n FROM t_changes WHERE workspace_id = %s", keys.workspace_id)
        return int(n)

    before = await counter()
    await job(keys, ring).run()
    assert await totals(keys) == {NEW_KID: 1}
    assert await counter() == before
    async with keys.database.transaction() as link:
        assert await store.enter_batch(link, NEW_KID)
        await link.execute("UPDATE t_connections SET label = 'other' WHERE id = %s", [row_id])
        await link.execute(
            "UPDATE t_connections SET encrypted_tokens = NULL, encrypted_tokens_kid = NULL WHERE id = %s", [row_id]
        )
    assert await counter() == before + 2


async def test_it_keeps_its_pace(keys: KeyGround, monkeypatch: pytest.MonkeyPatch) -> None:
    ring, old, waits = await rotated(keys), Keyring.of([OLD]), []
    for _ in range(30):
        await keys.add_credential(old)

    async def note(delay_s: float) -> None:
        waits.append(delay_s)

    monkeypatch.setattr("agenthifive.operations.reencryption.asyncio.sleep", note)
    await job(keys, ring, Pace(batch_rows=10, rows_per_s=2)).run()
    paced = [wait for wait in waits if wait > 1]
    assert len(paced) == 3
    assert all(4 < wait <= 5 for wait in paced)

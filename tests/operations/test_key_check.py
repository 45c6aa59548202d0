"""The start: every line of the table of operations.md section 1.3, and nothing is written by a refused one."""

import pytest

from agenthifive.operations.key_check import check_ring, is_ring_good, put_in_force
from agenthifive.vault.canary import KeyRefused
from agenthifive.vault.envelope import seal
from agenthifive.vault.keyring import Keyring
from operations.key_ground import NEW, NEW_KID, OLD, OLD_KID, OTHER, OTHER_KID, KeyGround

STATES = "SELECT kid, state FROM t_key_canaries ORDER BY created_at, kid"


async def start(keys: KeyGround, *materials: bytes) -> bool:
    async with keys.unit() as unit:
        return await put_in_force(unit, Keyring.of(materials), "env")


async def test_the_first_key_of_an_empty_database_is_written_down(keys: KeyGround) -> None:
    assert await start(keys, OLD) is True
    assert await keys.ask(STATES) == [(OLD_KID, "active")]
    assert await keys.audited() == [("encryption_key_activated", "allowed", {"kid": OLD_KID, "mode": "env"})]


async def test_a_known_key_goes_on_without_a_word(keys: KeyGround) -> None:
    await start(keys, OLD)
    assert await start(keys, OLD) is False
    assert len(await keys.audited()) == 1


async def test_a_new_key_with_the_old_one_beside_it_is_a_rotation(keys: KeyGround) -> None:
    await start(keys, OLD)
    await keys.add_credential(Keyring.of([OLD]))
    assert await start(keys, NEW, OLD) is True
    assert dict(await keys.ask(STATES)) == {OLD_KID: "previous", NEW_KID: "active"}


async def test_going_back_to_an_earlier_key_makes_it_active_again(keys: KeyGround) -> None:
    await start(keys, OLD)
    await start(keys, NEW, OLD)
    assert await start(keys, OLD, NEW) is True
    assert dict(await keys.ask(STATES)) == {OLD_KID: "active", NEW_KID: "previous"}


@pytest.mark.parametrize("where", ["credential", "reply", "ticket"])
async def test_the_new_key_alone_is_refused_by_kid_and_variable(keys: KeyGround, where: str) -> None:
    await start(keys, OLD)
    add = {"credential": keys.add_credential, "reply": keys.add_reply, "ticket": keys.add_ticket}[where]
    for _ in range(3):
        await add(Keyring.of([OLD]))
    with pytest.raises(KeyRefused) as refusal:
        await start(keys, NEW)
    assert str(refusal.value) == (
        f"ENCRYPTION_KEY (kid {NEW_KID}) cannot open 3 records sealed under kid {OLD_KID}. Put the key with kid "
        f"{OLD_KID} into ENCRYPTION_KEY_PREVIOUS (comma list) or restore the old ENCRYPTION_KEY."
    )
    assert await keys.ask(STATES) == [(OLD_KID, "active")]


async def test_one_missing_key_among_several_is_named(keys: KeyGround) -> None:
    await keys.add_credential(Keyring.of([OLD]))
    await keys.add_credential(Keyring.of([OTHER]))
    with pytest.raises(KeyRefused, match=f"cannot open 1 records sealed under kid {OTHER_KID}"):
        await start(keys, NEW, OLD)


@pytest.mark.parametrize("kid", [OLD_KID, NEW_KID], ids=["previous", "active"])
async def test_a_damaged_canary_of_any_key_of_the_ring_is_refused(keys: KeyGround, kid: str) -> None:
    await start(keys, OLD)
    await start(keys, NEW, OLD)
    await keys.ask("UPDATE t_key_canaries SET envelope = left(envelope, -4) WHERE kid = %s", kid)
    with pytest.raises(KeyRefused, match=f"^canary for kid {kid} is damaged$"):
        await start(keys, NEW, OLD)


async def test_records_without_a_kid_need_a_key_that_opens_them(keys: KeyGround) -> None:
    ring = Keyring.of([OLD])
    members = seal(b"{}", ring.keys[0], b"", bytes(12)).replace('"v":2', '"v":1').replace(f'"kid":"{OLD_KID}",', "")
    row_id = await keys.add_credential(ring, text=members)
    await keys.ask("UPDATE t_connections SET encrypted_tokens_kid = 'v1' WHERE id = %s", row_id)
    with pytest.raises(KeyRefused, match="sealed without a kid"):
        await start(keys, NEW)
    assert await start(keys, NEW, OLD) is True


async def test_a_refusal_names_the_variables_of_the_mode(keys: KeyGround) -> None:
    """An operator of a key service has no ENCRYPTION_KEY to correct."""
    await keys.add_credential(Keyring.of([OLD]))
    async with keys.database.transaction(read_only=True) as link:
        with pytest.raises(KeyRefused, match="into AWS_KMS_WRAPPED_DEK_PREVIOUS") as refused:
            await check_ring(link, Keyring.of([NEW]), "aws-kms")
    assert "ENCRYPTION_KEY" not in str(refused.value)


async def test_looking_changes_nothing(keys: KeyGround) -> None:
    async with keys.database.transaction(read_only=True) as link:
        assert await check_ring(link, Keyring.of([OLD])) is False
    assert await keys.ask(STATES) == []


async def test_health_needs_the_canary_of_the_active_key_and_no_fault(keys: KeyGround) -> None:
    ring = Keyring.of([OLD])
    async with keys.database.transaction() as link:
        assert not await is_ring_good(link, ring)
    await start(keys, OLD)
    async with keys.database.transaction() as link:
        assert await is_ring_good(link, ring)
        ring.fault = "found wrong"
        assert not await is_ring_good(link, ring)

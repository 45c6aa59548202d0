"""The canary tells whether a key is the key."""

import os

from agenthifive.vault.canary import opens_canary, seal_canary
from agenthifive.vault.envelope import Key
from agenthifive.vault.keyring import Keyring

OLD, NEW = os.urandom(32), os.urandom(32)


def test_a_canary_opens_with_its_own_key_under_its_own_name_only() -> None:
    ring = Keyring.of([NEW, OLD])
    canary = seal_canary(ring)
    assert opens_canary(ring, canary, Key(NEW).kid)
    assert not opens_canary(ring, canary, Key(OLD).kid)
    assert not opens_canary(Keyring.of([OLD]), canary, Key(NEW).kid)
    assert not opens_canary(ring, "not ours", Key(NEW).kid)
    assert not opens_canary(ring, canary[:-9], Key(NEW).kid)

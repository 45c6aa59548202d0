"""The five key modes: one request for each wrapped key at start, none later, and a clear word about every failure."""

import base64
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from agenthifive.key_reading import EXTRAS, load_ring, make_service, read_keyring
from agenthifive.settings import load_settings
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable
from vault.kms.stage import MODES, Hurry, Stage, staged

UNWRAPS = {"azure-kv": "unwrapkey", "aws-kms": "Decrypt", "gcp-kms": "decrypt", "vault-transit": "decrypt"}
PERMISSIONS = {
    "azure-kv": "keys/unwrapKey",
    "aws-kms": "kms:Decrypt",
    "gcp-kms": "cloudkms.cryptoKeyVersions.useToDecrypt",
    "vault-transit": "`update` on transit/decrypt/agenthifive",
}
MODULES = {"azure-kv": "azure.identity", "aws-kms": "boto3", "gcp-kms": "google.auth", "vault-transit": "hvac"}


@pytest.fixture(params=MODES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """The service of each managed mode in turn, with a ring of one key."""
    with staged(request.param, tmp_path) as made:
        made.ring = made.fake.ring([os.urandom(32)])
        yield made


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> Hurry:
    """Waiting for a service takes no time."""
    made = Hurry()
    monkeypatch.setattr("agenthifive.vault.kms.unwrapping.unwrap_all", made.unwrap_all)
    return made


def test_the_keys_of_the_mode_env_stand_in_the_settings(tmp_path: Path) -> None:
    keys = [os.urandom(32) for _ in range(3)]
    old = ",".join(key.hex() for key in keys[1:])
    environ = {"HOME": str(tmp_path), "ENCRYPTION_KEY": keys[0].hex(), "ENCRYPTION_KEY_PREVIOUS": old}
    assert load_ring(load_settings(environ, cwd=tmp_path).settings) == tuple(keys)


def test_each_wrapped_key_is_unwrapped_once_the_active_one_first(stage: Stage) -> None:
    keys = [os.urandom(32) for _ in range(3)]
    stage.ring = stage.fake.ring(keys)
    assert load_ring(stage.settings()) == tuple(keys)
    assert stage.fake.operations.count(UNWRAPS[stage.fake.mode]) == 3


def test_a_key_wrapped_twice_is_one_key_of_the_ring(stage: Stage) -> None:
    key = os.urandom(32)
    stage.ring = stage.fake.ring([key, key])
    assert len(read_keyring(stage.settings()).keys) == 1


def test_a_service_that_is_down_is_asked_until_the_time_is_up(stage: Stage, hurry: Hurry, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with staged(stage.fake.mode, folder) as other:  # whose ports are closed when it has ended
        closed = other.settings(**stage.ring)
        environ = dict(other.fake.environ)
    identity = {name: value for name, value in stage.fake.environ.items() if name.startswith(("IDENTITY", "GCE"))}
    with mock.patch.dict(os.environ, {**environ, **identity}), pytest.raises(KeyServiceUnreachable) as refused:
        load_ring(closed)
    assert str(refused.value).startswith(f"key mode {stage.fake.mode}: cannot reach ")
    assert len(hurry.pauses_s) > 5
    assert 20 < sum(hurry.pauses_s) < 30
    assert stage.fake.operations == []


def test_a_service_that_is_busy_is_asked_again_until_it_answers(stage: Stage, hurry: Hurry) -> None:
    def on_pause(number: int) -> None:
        stage.fake.trouble = "busy" if number < 3 else ""

    stage.fake.trouble, hurry.on_pause = "busy", on_pause
    (key,) = load_ring(stage.settings())
    assert len(key) == 32
    assert hurry.pauses_s == [0.2, 0.4, 0.8]
    assert stage.fake.operations.count(UNWRAPS[stage.fake.mode]) == 4


def test_a_service_that_stays_busy_ends_the_start(stage: Stage, hurry: Hurry) -> None:
    stage.fake.trouble = "busy"
    with pytest.raises(KeyServiceUnreachable, match=f"^key mode {stage.fake.mode}: cannot reach "):
        load_ring(stage.settings())
    assert stage.fake.operations.count(UNWRAPS[stage.fake.mode]) == len(hurry.pauses_s) + 1
    assert max(hurry.pauses_s) == 5.0


def test_nothing_of_a_key_or_token_is_logged_at_any_level(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client libraries write whole replies when they are asked to debug."""
    make_service(stage.settings(), stage.fake.mode)  # so that the library has set up its logging
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "google")  # which keeps its lines from the root unless it is told
    monkeypatch.setattr(logging.getLogger("google"), "propagate", True)
    (key,) = load_ring(stage.settings())
    spellings = [
        key.hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode().rstrip("="),
        repr(key)[2:-1],
    ]
    secrets = [*spellings, getattr(stage.fake, "token", key.hex())]
    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    assert [secret for secret in secrets if secret in said] == []


def test_whoever_only_wants_a_ring_gets_one_kind_of_failure(stage: Stage) -> None:
    """Loading keys again keeps the ring it has and says why."""
    stage.fake.trouble = "denied"
    with pytest.raises(ValueError, match=f"^key mode {stage.fake.mode}: .*denies it"):
        read_keyring(stage.settings())


def test_a_service_that_hangs_cannot_hold_the_start(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever timeouts a client library keeps."""
    released = threading.Event()
    monkeypatch.setattr("agenthifive.vault.kms.unwrapping._patiently", lambda *_: released.wait())
    with pytest.raises(KeyServiceUnreachable, match="no answer within 1 s"):
        load_ring(stage.settings(KEY_INIT_TIMEOUT_SECONDS="1"))
    released.set()


def test_a_denial_names_the_missing_permission_and_is_not_retried(stage: Stage) -> None:
    stage.fake.trouble = "denied"
    with pytest.raises(KeyServiceDenied) as refused:
        load_ring(stage.settings())
    assert PERMISSIONS[stage.fake.mode] in str(refused.value)
    assert stage.fake.operations.count(UNWRAPS[stage.fake.mode]) == 1


@pytest.mark.parametrize("trouble", ["disabled", "gone", "garbage", "empty"])
def test_what_trying_again_cannot_mend_is_refused_at_once(stage: Stage, trouble: str) -> None:
    stage.fake.trouble = trouble
    with pytest.raises(KeyServiceRefused) as refused:
        load_ring(stage.settings())
    words = {"garbage": "no reply of", "empty": "no reply of", "gone": "no such key", "disabled": "disabled"}
    if stage.fake.mode == "vault-transit":
        words["disabled"] = "min_decryption_version"  # its keys know no other state
    assert words[trouble] in str(refused.value)
    assert stage.fake.operations.count(UNWRAPS[stage.fake.mode]) == 1


@pytest.mark.parametrize("size", [16, 31, 33, 48])
def test_a_key_of_the_wrong_length_is_refused(stage: Stage, size: int) -> None:
    stage.ring = stage.fake.ring([os.urandom(size)])
    with pytest.raises(KeyServiceRefused, match=f"holds a key of {size} bytes; expected exactly 32"):
        load_ring(stage.settings())


def test_production_refuses_an_example_value_behind_a_service_too(stage: Stage) -> None:
    stage.ring = stage.fake.ring([bytes(32)])
    load_ring(stage.settings())
    with pytest.raises(KeyServiceRefused, match="holds an example value"):
        load_ring(stage.settings(AH5_ENV="production"))


def test_a_blob_of_another_key_is_refused(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    with staged(stage.fake.mode, folder) as other:
        foreign = other.fake.ring([os.urandom(32)])
        stage.fake.secrets = getattr(other.fake, "secrets", None)
    stage.ring = foreign
    with pytest.raises(KeyServiceRefused, match=r"was (not )?made with"):
        load_ring(stage.settings())


def test_a_missing_client_library_says_what_to_install(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    mode = stage.fake.mode
    monkeypatch.delitem(sys.modules, f"agenthifive.vault.kms.{mode.replace('-', '_')}", raising=False)
    monkeypatch.setitem(sys.modules, MODULES[mode], None)
    with pytest.raises(KeyServiceRefused, match=re.escape(f"pip install 'agenthifive[{EXTRAS[mode]}]'")) as refused:
        load_ring(stage.settings())
    assert str(refused.value).startswith(f"key mode {mode}: ")
    assert stage.fake.operations == []


def test_nothing_that_is_said_holds_a_key_or_a_token(stage: Stage, hurry: Hurry) -> None:
    secrets = [text for text in (*stage.ring.values(), getattr(stage.fake, "token", "")) if len(text) > 30]
    for trouble in ("denied", "disabled", "gone", "garbage", "empty", "busy"):
        stage.fake.trouble = trouble
        with pytest.raises((KeyServiceRefused, KeyServiceDenied, KeyServiceUnreachable)) as refused:
            load_ring(stage.settings())
        assert [secret for secret in secrets if secret in repr(refused.value)] == []

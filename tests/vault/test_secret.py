"""A secret shows itself to nobody who does not ask for it by name."""

import copy
import dataclasses
import json
import logging
import pickle
import traceback

import msgspec
import pytest

from agenthifive.vault.secret import Secret

PLAIN = "ya29.canary-4711"


@dataclasses.dataclass(frozen=True)
class Holder:
    credential: Secret[str]


def test_reveal_gives_the_plaintext_in_its_own_type() -> None:
    assert Secret(PLAIN).reveal() == PLAIN
    assert Secret(b"\x00\xff").reveal() == b"\x00\xff"


@pytest.mark.parametrize("secret", [Secret(PLAIN), Secret(PLAIN.encode())])
def test_every_text_form_is_a_mask(secret: Secret) -> None:
    forms = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>40}",
        f"{secret!a}",
        f"{secret} {[secret]!r}",
    ]
    assert forms[:5] == ["***"] * 5
    assert not any("canary" in form for form in forms)
    assert "canary" not in repr(Holder(secret)) + repr([secret]) + repr({"a": secret})


def test_a_log_line_and_a_traceback_hold_the_mask(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret(PLAIN)
    logging.getLogger("t").error("token %s", secret)
    assert caplog.messages == ["token ***"]
    try:
        raise ValueError(secret)
    except ValueError as error:
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(report.format()).replace(f"PLAIN = {PLAIN!r}", "")
    assert "***" in text
    assert "canary" not in text


def test_it_can_be_neither_pickled_nor_copied() -> None:
    secret = Secret(PLAIN)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    for attempt in (copy.copy, copy.deepcopy, secret.__class__.__getstate__):
        with pytest.raises(TypeError):
            attempt(secret)
    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(secret))


def test_no_serialiser_writes_it() -> None:
    for write in (json.dumps, msgspec.json.encode, msgspec.msgpack.encode):
        with pytest.raises(TypeError):
            write(Secret(PLAIN))
    assert not hasattr(Secret(PLAIN), "__dict__")


def test_equality_compares_values_of_one_type_and_nothing_else() -> None:
    assert Secret(PLAIN) == Secret(PLAIN)
    assert Secret("é\ud800") == Secret("é\ud800")
    assert Secret(PLAIN) != Secret(PLAIN + "x")
    assert Secret("a") != Secret(b"a")
    assert Secret(PLAIN) != PLAIN


def test_it_has_no_hash_so_it_cannot_become_a_cache_key() -> None:
    with pytest.raises(TypeError):
        hash(Secret(PLAIN))

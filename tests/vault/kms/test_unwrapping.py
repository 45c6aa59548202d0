"""Loading and making wrapped keys: retries within one deadline, and nothing is handed out unproven."""

from collections.abc import Callable

import pytest

from agenthifive.vault.kms import unwrapping
from agenthifive.vault.kms.model import KeyServiceDenied, KeyServiceRefused, KeyServiceUnreachable, NewKey
from vault.kms.stage import Hurry

KEY = bytes(range(100, 132))


class Scripted:
    """A service that does what the test says."""

    def __init__(self, unwrap: Callable[[str], bytes], wrap: str = "blob") -> None:
        self._unwrap = unwrap
        self._wrap = wrap
        self.asked: list[str] = []

    def unwrap(self, blob: str) -> bytes:
        self.asked.append(blob)
        return self._unwrap(blob)

    def wrap(self, key: bytes) -> str:
        return self._wrap

    def rewrap(self, blob: str) -> str:
        return self._wrap

    def generate(self) -> NewKey:
        return NewKey(KEY, self._wrap)

    def describe(self) -> str:
        return "the service"


def down(blob: str) -> bytes:
    raise KeyServiceUnreachable("cannot reach the service")


def test_pauses_double_up_to_five_seconds_and_stop_before_the_deadline() -> None:
    hurry, service = Hurry(), Scripted(down)
    with pytest.raises(KeyServiceUnreachable):
        hurry.unwrap_all(service, ["a", "b"], 30)
    assert hurry.pauses_s == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
    assert service.asked == ["a"] * 10


def test_all_keys_share_one_deadline() -> None:
    hurry, first = Hurry(), [True]

    def unwrap(blob: str) -> bytes:
        if blob == "a" and hurry.now_s > 3:
            return KEY
        return down(blob)

    service = Scripted(unwrap)
    with pytest.raises(KeyServiceUnreachable):
        hurry.unwrap_all(service, ["a", "b"], 10)
    assert first
    assert hurry.now_s < 10


def test_a_denial_is_final() -> None:
    def denied(blob: str) -> bytes:
        raise KeyServiceDenied("no")

    hurry, service = Hurry(), Scripted(denied)
    with pytest.raises(KeyServiceDenied):
        hurry.unwrap_all(service, ["a"], 30)
    assert (service.asked, hurry.pauses_s) == (["a"], [])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_client_that_breaks_ends_the_start_too() -> None:
    def broken(blob: str) -> bytes:
        raise RuntimeError("a defect")

    with pytest.raises(KeyServiceUnreachable, match="its client failed"):
        unwrapping.unwrap_all(Scripted(broken), ["a"], 30)


@pytest.mark.parametrize(
    "make", [lambda s: unwrapping.wrap(s, KEY), unwrapping.generate, lambda s: unwrapping.rewrap(s, "old")]
)
def test_a_wrapped_key_that_does_not_come_back_is_not_handed_out(make: Callable[[Scripted], object]) -> None:
    wrong = Scripted(lambda blob: KEY if blob == "old" else KEY[::-1])
    with pytest.raises(KeyServiceRefused, match="does not give back the key it wrapped"):
        make(wrong)
    assert make(Scripted(lambda _: KEY)) in ("blob", NewKey(KEY, "blob"))


def test_a_service_that_draws_a_short_key_is_refused() -> None:
    class Short(Scripted):
        def generate(self) -> NewKey:
            return NewKey(KEY[:16], "blob")

    with pytest.raises(KeyServiceRefused, match="16 bytes; expected exactly 32"):
        unwrapping.generate(Short(lambda _: KEY))


def test_a_new_key_does_not_show_itself() -> None:
    assert repr(NewKey(KEY, "blob")) == "NewKey(blob='blob')"

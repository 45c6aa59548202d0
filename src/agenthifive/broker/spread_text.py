"""The response rules over a series of JSON values in which texts go on from one value to the next.

    value -> pieces taken out -> field rules and redaction of the rest -> what of each text is decided put back
          -> a text ends      -> its rest, in this value or in one of our own before it

Source: contract/broker.md section 10.3 "text spread over LLM events".
"""

from dataclasses import dataclass
from typing import Any, Final

from agenthifive.broker import client_json
from agenthifive.broker.filters import Filters
from agenthifive.broker.llm_text import (
    NOTHING,
    WHOLE,
    Channel,
    Path,
    carry,
    forget_tokens,
    has_whole_texts,
    read_spread,
)
from agenthifive.broker.scrub import SecretScrubber
from agenthifive.policy.held_text import HeldText
from agenthifive.policy.replies import NotFilterable

CHANNELS_MAX: Final = 256
_FRAMES_MAX: Final = 16
_FRAME_BYTES_MAX: Final = 4096
_TOKENS: Final = b"logprobs"
_NUMBER: Final = "sequence_number"
_PADDING: Final = "obfuscation"  # hides the length of a text; it does not fit what is left of it
_NUMBER_MAX: Final = 999_999  # longer numbers are looked into


@dataclass(frozen=True, slots=True)
class Shown:
    """What stands for one value.

    Shapes:
        is_same: the value as it came, so that its bytes may pass as they are. name: of an event of ours for the rest of
        a text, where its kind has names: its `type`.
    """

    value: Any
    is_same: bool
    name: str | None = None


class _Open:
    """A text that goes on. Secrets are looked for in the text as well: what is held moves borders into them."""

    __slots__ = ("_held", "_scrub", "has_ended", "like")

    def __init__(self, held: HeldText, secrets: SecretScrubber) -> None:
        self._held = held
        self._scrub = secrets.stream()
        self.like: dict[str, Any] = {}
        self.has_ended = False

    def feed(self, text: str) -> str:
        self.has_ended = False  # some servers say of every event that it is the last
        decided = self._held.feed(text)
        return _decoded(self._scrub.feed(_encoded(decided))) if decided else ""

    def finish(self) -> str:
        self.has_ended = True
        return _decoded(self._scrub.feed(_encoded(self._held.finish())) + self._scrub.finish())


class SpreadText:
    """Filters the values of one stream in their order."""

    __slots__ = ("_added", "_filters", "_frames", "_next_number", "_open", "_redacts", "_secrets")

    def __init__(self, filters: Filters, secrets: SecretScrubber) -> None:
        self._filters = filters
        self._redacts = filters.redacts
        self._secrets = secrets
        self._open: dict[Channel, _Open] = {}
        self._frames: dict[bytes, bytes] = {}  # events without their texts -> what is left of them
        self._added = 0  # events of our own, by which the numbers of those after them move on
        self._next_number: int | None = None

    def take(self, value: Any, *, is_strict: bool = True) -> list[Shown]:
        """What stands for this value: itself, filtered, after the rests of texts that end with it.

        Shapes:
            is_strict: it was strict JSON; otherwise it is never passed as it came.
        Raises: NotFilterable.
        """
        spread = read_spread(value) if self._redacts else NOTHING
        for piece in spread.pieces:
            _put(value, piece.path, piece.text, "")
        is_same = is_strict and not (spread.pieces and value.pop(_PADDING, None))
        if not is_strict:
            value = client_json.without_halves(value)
        number = _number_of(value)
        if number is not None:
            self._next_number = number
        texts: dict[Channel, list[tuple[Path, str]]] = {}
        for piece in spread.pieces:
            channel = self._channel(piece.channel, is_json=piece.is_json)
            channel.like = value
            decided = channel.feed(piece.text)
            is_same = is_same and decided == piece.text
            texts.setdefault(piece.channel, []).append((piece.path, decided))
        shown: list[Shown] = []
        for name, channel in list(self._open.items()) if spread.ends else ():
            if not channel.has_ended and any(name[:length] in spread.ends for length in range(len(name) + 1)):
                rest = channel.finish()
                if name[0] == WHOLE:
                    del self._open[name]
                if rest and name in texts:
                    path, decided = texts[name].pop()
                    texts[name].append((path, decided + rest))
                    is_same = False
                elif rest:
                    shown.append(self._rest(channel.like, name, rest))
        shown.append(self._shown(value, [text for several in texts.values() for text in several], is_same=is_same))
        if self._next_number is not None:
            self._next_number += 1
        return shown

    def finish(self) -> list[Shown]:
        """The series has ended: the rests of all texts. Raises: NotFilterable."""
        rests = [
            (name, channel.like, channel.finish()) for name, channel in self._open.items() if not channel.has_ended
        ]
        return [self._rest(like, name, rest) for name, like, rest in rests if rest]

    def _channel(self, name: Channel, *, is_json: bool) -> _Open:
        channel = self._open.get(name)
        if channel is None:
            if len(self._open) == CHANNELS_MAX:
                self._forget_one()
            channel = self._open[name] = _Open(HeldText(self._redacts, is_json=is_json), self._secrets)
        return channel

    def _forget_one(self) -> None:
        """Make room for another text. Raises: NotFilterable, when none has ended."""
        ended = next((name for name, channel in self._open.items() if channel.has_ended), None)
        if ended is None:
            raise NotFilterable("unparsable")
        del self._open[ended]

    def _rest(self, like: dict[str, Any], name: Channel, rest: str) -> Shown:
        event, path = carry(like, name)
        if _NUMBER in event:
            event[_NUMBER] = self._next_number
        shown = self._shown(event, [(path, rest)], is_same=False)
        self._added += 1
        kind = shown.value.get("type") if isinstance(shown.value, dict) else None
        is_name = isinstance(kind, str) and kind.isprintable()
        return Shown(shown.value, is_same=False, name=kind if is_name else None)

    def _shown(self, value: Any, texts: list[tuple[Path, str]], *, is_same: bool) -> Shown:
        shown = self._filter_frame(value) if texts else self._filter(value)
        is_same = is_same and shown == value
        for path, text in texts:
            _put(shown, path, "", text)  # where a field rule has taken the place away, the text is gone with it
        number = _number_of(shown)
        if self._added and number is not None:
            shown = {**shown, _NUMBER: number + self._added}
            is_same = False
        return Shown(shown, is_same)

    def _filter(self, value: Any) -> Any:
        if self._redacts and _TOKENS in client_json.dumps(value):
            value = forget_tokens(value)
        return self._filters.json(value)

    def _filter_frame(self, value: dict[str, Any]) -> Any:
        """An event without its texts: one of thousands that are alike but for their number, so it is judged once."""
        number = _number_of(value)
        has_number = number is not None and number <= _NUMBER_MAX
        frame = client_json.dumps({**value, _NUMBER: 0} if has_number else value)
        if len(frame) > _FRAME_BYTES_MAX:
            return self._filter(value)
        shown = self._frames.get(frame)
        if shown is None:
            if len(self._frames) == _FRAMES_MAX:
                self._frames.clear()
            shown = self._frames[frame] = client_json.dumps(self._filter(client_json.loads(frame)[0]))
        filtered, _ = client_json.loads(shown)
        if has_number and _number_of(filtered) is not None:
            filtered[_NUMBER] = number
        return filtered


def _number_of(event: Any) -> int | None:
    """The number of an event in its stream, where it has one."""
    number = event.get(_NUMBER) if isinstance(event, dict) else None
    return number if isinstance(number, int) else None


def filter_value(value: Any, is_strict: bool, filters: Filters, secrets: SecretScrubber) -> Any:
    """A whole JSON reply as it may be seen; a list of stream events is filtered as a stream. Raises: NotFilterable."""
    value = value if is_strict else client_json.without_halves(value)
    if not filters.redacts:
        return filters.json(value)
    if filters.inbound is None:
        spread = SpreadText(filters, secrets)
        if isinstance(value, list) and any(read_spread(inner).pieces for inner in value):
            shown = [each for inner in value for each in spread.take(inner)] + spread.finish()
            return [each.value for each in shown]
        if has_whole_texts(value):
            return spread.take(value)[-1].value
    return filters.json(forget_tokens(value))


def _put(value: Any, path: Path, old: str, new: str) -> None:
    """Write `new` where `path` leads to `old`."""
    for step in path[:-1]:
        value = _at(value, step)
    if _at(value, path[-1]) == old:
        value[path[-1]] = new


def _at(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[step] if isinstance(value, list) and isinstance(step, int) and step < len(value) else None


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")

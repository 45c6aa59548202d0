"""The two limits that are counted in memory, by each process for itself: per principal and per address.

A sliding window counter: the hits of this window and, by the share of it that still counts, of the one before.
They bound floods; what must be exact is counted in PostgreSQL (ratelimit.py).
Source: contract/http.md section 16, the rows marked with a tilde.
"""

from collections.abc import Mapping

from agenthifive.operations.ratelimit import Window, over_limit
from agenthifive.words import RateLimit


class Tally:
    """Counts hits by limit and key; a limit without a window is not counted."""

    def __init__(self, windows: Mapping[RateLimit, Window]) -> None:
        self._counters = {limit: _Counter(window) for limit, window in windows.items()}

    def take(self, limit: RateLimit, key: str, now_s: float) -> None:
        """Count a hit. Raises: AppError (429 rate_limited)."""
        counter = self._counters.get(limit)
        if counter is not None and (retry_after_s := counter.take(key, now_s)):
            raise over_limit(limit, counter.window, retry_after_s)


class _Counter:
    __slots__ = ("_before", "_hits", "_slot", "window")

    def __init__(self, window: Window) -> None:
        self.window = window
        self._slot = -1
        self._hits: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def take(self, key: str, now_s: float) -> int:
        """0 when the hit is within the limit, else the seconds after which a hit may be."""
        slot, into_s = divmod(now_s, self.window.seconds)
        if slot != self._slot:
            self._before = self._hits if slot == self._slot + 1 else {}
            self._hits, self._slot = {}, int(slot)
        hits = self._hits.get(key, 0)
        left_s = self.window.seconds - into_s
        before = self._before.get(key, 0)
        if hits + before * left_s / self.window.seconds >= self.window.hits:
            return self._wait(hits, before, left_s)
        self._hits[key] = hits + 1
        return 0

    def _wait(self, hits: int, before: int, left_s: float) -> int:
        room = self.window.hits - hits
        if before and room > 0:  # the share of the window before shrinks until there is room
            return max(1, int(left_s - room * self.window.seconds / before) + 1)
        return max(1, int(left_s) + 1)

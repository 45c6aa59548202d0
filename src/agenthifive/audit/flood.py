"""The flood rule: refusals an attacker can provoke are written at most 60 times a minute per source and action.

Further ones are merged into one row with a count. Source: contract/audit.md section 3 (flood rule).
"""

from typing import Final

ROWS_PER_MINUTE: Final = 60
_SOURCES_MAX: Final = 20_000


class FloodGate:
    """Decides whether a row is written now, and how many earlier ones it stands for."""

    def __init__(self) -> None:
        self._minutes: dict[tuple[str, str], list[int]] = {}

    def admit(self, source: str, action: str, now_s: float) -> int:
        """0: merge this one. n: write a row that stands for n refusals (n > 1 ends a run of merged ones)."""
        minute = int(now_s // 60)
        key = (source, action)
        state = self._minutes.get(key)
        if state is None or state[0] != minute:
            merged = 0 if state is None else state[2]
            if len(self._minutes) >= _SOURCES_MAX:
                self._minutes.clear()
            self._minutes[key] = [minute, 1, 0]
            return merged + 1
        if state[1] < ROWS_PER_MINUTE:
            state[1] += 1
            return 1
        state[2] += 1
        return 0

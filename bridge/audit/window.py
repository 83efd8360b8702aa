"""A window of time over a log: where in the log it begins, and what of it the log covers at all."""

from dataclasses import dataclass
from pathlib import Path

from bridge.audit.chronology import BACKWARDS_MS, time_of
from bridge.audit.reader import LogReader
from bridge.errors import EvidenceUnavailable


@dataclass(frozen=True, slots=True)
class Window:
    """From `since` on, before `until` (ms since the epoch)."""

    since: int
    until: int

    def __contains__(self, time_ms: object) -> bool:
        return isinstance(time_ms, int) and self.since <= time_ms < self.until


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a log has of a window: all before the entry `start` lies before it; times of the first and last entry."""

    folder: Path
    start: int
    first_ms: int
    last_ms: int


def coverage(reader: LogReader, window: Window) -> Coverage | None:
    """None for a log without an entry. EvidenceUnavailable when an entry is none."""
    size = reader.size()
    if not size:
        return None
    return Coverage(reader.folder, _start(reader, size, window.since), _time(reader, 0), _time(reader, size - 1))


def _start(reader: LogReader, size: int, since: int) -> int:
    """Times go back by `BACKWARDS_MS` at most: what lies before an entry that is older by so much is older, too."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if _time(reader, middle) < since - BACKWARDS_MS:
            low = middle + 1
        else:
            high = middle
    return low


def _time(reader: LogReader, index: int) -> int:
    time_ms = time_of(reader.at(index).entry.get("time"))
    if time_ms is None:
        raise EvidenceUnavailable(f"entry {index} is none that a bridge writes: see `log verify`")
    return time_ms

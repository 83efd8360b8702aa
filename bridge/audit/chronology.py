"""What the entries tell of themselves: counters without a hole, clocks, heartbeats, starts and stops."""

from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from bridge.model.times import parse_rfc3339

BACKWARDS_MS = 65_000
"""An entry's time is that of its request, which may have taken a minute (server.deadline_ms) until it was written."""
SILENCE_MS = 150_000
"""Heartbeats come each minute; two of them missing is silence."""
MAX_DEPTH = 200
"""Half as much can come through a door; what is deeper, some readers cannot follow."""
_HEAD = itemgetter("v", "kind", "id", "instance", "epoch", "iseq", "time")
_TYPES = [int, str, str, str, int, int, str]
time_of = lru_cache(maxsize=1)(parse_rfc3339)
"""An entry's time in ms: who looks at an entry after another one need not read it again."""


def decoded(data: bytes) -> dict[str, Any] | None:
    """What an entry's bytes say; None when that is not an object, or so deep that no request can have been."""
    try:
        entry = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    # The brackets bound the depth from above.
    if not isinstance(entry, dict) or (data.count(b"{") + data.count(b"[") > MAX_DEPTH and _is_deep(entry)):
        return None
    return entry


def _is_deep(entry: dict[str, Any]) -> bool:
    level: list[Any] = [entry]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
    return bool(level)


def _is_entry(entry: dict[str, Any]) -> bool:
    try:
        return [type(value) for value in _HEAD(entry)] == _TYPES
    except KeyError:
        return False


@dataclass(slots=True)
class _Run:
    """One epoch of one instance."""

    epoch: int
    iseq: int = -1
    time_ms: int = 0
    beats: bool = False
    stopped: bool = False


@dataclass(slots=True)
class Chronology:
    """Takes the entries in the order of their indexes."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _runs: dict[str, _Run] = field(default_factory=dict)
    _latest_ms: int = 0

    def take(self, index: int, entry: dict[str, Any] | None) -> None:
        """Notes what is wrong with the entry at `index` (None: not even an object), seen after all before it."""
        time_ms = time_of(entry["time"]) if entry is not None and _is_entry(entry) else None
        if entry is None or time_ms is None:
            self.problems.append(f"entry {index}: not an entry of this bridge")
            return
        self._count(index, entry, time_ms)
        if time_ms < self._latest_ms - BACKWARDS_MS:
            self.problems.append(f"entry {index}: its time {entry['time']} lies before that of earlier entries")
        self._latest_ms = max(self._latest_ms, time_ms)
        if entry["kind"] == "gap":
            self.notes.append(f"entry {index}: {entry.get('denied')} denials unrecorded since {entry.get('from')}")

    def finish(self, now_ms: int | None = None) -> None:
        """After the last entry; with `now_ms`, a run that goes on must have been heard of."""
        for instance, run in self._runs.items():
            if now_ms is not None and not run.stopped and run.beats and now_ms - run.time_ms > SILENCE_MS:
                self.notes.append(f"{instance} epoch {run.epoch}: silent for {(now_ms - run.time_ms) // 1000} s")

    def _count(self, index: int, entry: dict[str, Any], time_ms: int) -> None:
        instance, epoch, iseq = entry["instance"], entry["epoch"], entry["iseq"]
        run = self._runs.get(instance)
        if run is None or epoch != run.epoch:
            if run is not None:
                self._ended(index, instance, run, epoch)
            run = self._runs[instance] = _Run(epoch)
        elif run.beats and time_ms - run.time_ms > SILENCE_MS:
            silent = (time_ms - run.time_ms) // 1000
            self.problems.append(f"entry {index}: {instance} was silent for {silent} s before it, without a heartbeat")
        if iseq != run.iseq + 1:
            self.problems.append(f"entry {index}: {instance} epoch {epoch} goes from iseq {run.iseq} to {iseq}")
        run.iseq, run.time_ms = iseq, max(run.time_ms, time_ms)
        run.beats = run.beats or entry["kind"] in ("start", "heartbeat")
        run.stopped = entry["kind"] == "stop"

    def _ended(self, index: int, instance: str, run: _Run, epoch: int) -> None:
        if epoch < run.epoch:
            self.problems.append(f"entry {index}: {instance} goes back from epoch {run.epoch} to {epoch}")
        elif epoch > run.epoch + 1:
            self.notes.append(f"entry {index}: {instance} has no entries of epochs {run.epoch + 1} to {epoch - 1}")
        if run.beats and not run.stopped:
            self.notes.append(f"{instance} epoch {run.epoch}: ended without a stop entry")

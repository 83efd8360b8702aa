"""Bounds how many requests are decided at once; what is beyond is denied at once and summed up in the log."""

import asyncio
from collections import Counter
from typing import Any

from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Journal, Record

SUMMARY_INTERVAL_S = 1.0
MAX_NAMED = 64


class Admission:
    """`max_in_flight` places; no queue, since a late answer is a denial anyway.

    Searches take seconds where decisions take milliseconds, so they get half of the places at most.
    """

    def __init__(self, max_in_flight: int, journal: Journal) -> None:
        self._max = max_in_flight
        self._journal = journal
        self._refused: Counter[tuple[str, str]] = Counter()
        self._since_ms = 0
        self.in_flight = 0
        self._searches = 0

    def enter(self) -> bool:
        """Takes a place; when False, `refuse` must be called, otherwise `leave` later."""
        if self.in_flight >= self._max:
            return False
        self.in_flight += 1
        return True

    def leave(self) -> None:
        self.in_flight -= 1

    def enter_search(self) -> bool:
        """The same for a search; `leave_search` later."""
        if self._searches >= max(1, self._max // 2) or not self.enter():
            return False
        self._searches += 1
        return True

    def leave_search(self) -> None:
        self._searches -= 1
        self.leave()

    def refuse(self, caller: str, door: str, denied: int) -> None:
        """Counts so many denials `overloaded` for the summary entry that follows within a second."""
        if not self._refused:
            self._since_ms = now_ms()
        self._refused[caller, door] += denied

    async def summarize_forever(self) -> None:
        """One entry a second while there is something to tell."""
        while True:
            await asyncio.sleep(SUMMARY_INTERVAL_S)
            self.summarize()

    def summarize(self) -> None:
        """Hands the denials since the last summary to the log as one entry."""
        if not self._refused:
            return
        refused, self._refused = self._refused, Counter()
        until = now_ms()
        entry: dict[str, Any] = {
            "v": 1,
            "kind": "overloaded",
            "id": uuid7(until),
            "time": rfc3339(until),
            "from": rfc3339(self._since_ms),
            "to": rfc3339(until),
            "denied": refused.total(),
            "callers": [{"caller": c, "door": d, "denied": n} for (c, d), n in refused.most_common(MAX_NAMED)],
            "outcome": "deny",
            "reply": {"outcome": "deny", "code": "overloaded"},
        }
        self._journal.append_quietly(Record(entry), denials=refused.total())

"""Who reads the log is on record, too: one entry a second for what was read in it."""

import asyncio
from collections import Counter

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Journal, Record

INTERVAL_S = 1.0
MAX_NAMED = 64
OTHERS = "(others)"
log = structlog.get_logger(__name__)


class Accesses:
    """Counts readings by (caller, door, what was read) until the next entry."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read: Counter[tuple[str, str, str]] = Counter()
        self._since_ms = 0

    def note(self, caller: str, door: str, what: str) -> None:
        """One reading; beyond `MAX_NAMED` different ones only who read and how often is told."""
        if not self._read:
            self._since_ms = now_ms()
        self._add((caller, door, what), 1)

    async def tell_forever(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.tell()

    async def tell(self) -> None:
        """Hands over what was read since the last entry; kept for the next one when it cannot be written."""
        if not self._read:
            return
        read, self._read = self._read, Counter()
        at, since = now_ms(), self._since_ms
        entry = {
            "v": 1,
            "kind": "access",
            "id": uuid7(at),
            "time": rfc3339(at),
            "from": rfc3339(since),
            "to": rfc3339(at),
            "accesses": [
                {"caller": c, "door": d, "read": what, "count": n} for (c, d, what), n in sorted(read.items())
            ],
        }
        try:
            await self._journal.append(Record(entry))
        except EvidenceUnavailable as error:
            newer, self._read, self._since_ms = self._read, read, since
            for key, count in newer.items():
                self._add(key, count)
            log.error("access_not_told", reason=str(error))

    def _add(self, key: tuple[str, str, str], count: int) -> None:
        if key not in self._read and len(self._read) >= MAX_NAMED:
            key = (*key[:2], OTHERS)
        self._read[key] += count

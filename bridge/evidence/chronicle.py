"""What the log tells of the bridge itself, so that silence shows: start, heartbeats, stop, and every change."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
import structlog

from bridge.errors import EvidenceUnavailable
from bridge.evidence.changes import config_changes, parted, policy_changes
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.tally import Tally
from bridge.ports import Receipt, Record

INTERVAL_S = 60.0
log = structlog.get_logger(__name__)


class Log(Protocol):
    """The journal, as far as it is needed here."""

    @property
    def last_iseq(self) -> int: ...

    def append(self, *records: Record) -> asyncio.Future[Receipt]: ...
    def take_peak(self) -> int: ...
    async def recall(self, name: str) -> bytes | None: ...


class Chronicle:
    """`state` tells now's policies, configuration and key; `primary`: this worker writes changes, for all of them."""

    def __init__(
        self,
        journal: Log,
        tally: Tally,
        state: Callable[[], Mapping[str, Mapping[str, Any]]],
        checkpoint: Callable[[], Mapping[str, Any] | None],
        *,
        primary: bool,
    ) -> None:
        self._journal, self._tally = journal, tally
        self._state, self._checkpoint, self._primary = state, checkpoint, primary
        self._comparing = asyncio.Lock()

    async def start(self, about: Mapping[str, Any]) -> None:
        """The first entry of this run. EvidenceUnavailable when it cannot be written."""
        await self._journal.append(Record({**self._head("start"), **about}))

    async def changed(self) -> None:
        """Writes what has changed since the log last told of it. Never raises: the next heartbeat comes back to it."""
        if not self._primary:
            return
        try:
            async with self._comparing:
                await self._compare()
        except EvidenceUnavailable as error:
            log.error("change_not_told", reason=str(error))

    async def _compare(self) -> None:
        for kind, after in self._state().items():
            known = await self._journal.recall(kind)
            before: dict[str, Any] = orjson.loads(known) if known else {}
            if before == after:
                continue
            entries = self._entries(kind, before, after)
            records = [Record(entry) for entry in entries]
            records[-1] = Record(entries[-1], state=(kind, orjson.dumps(after, option=orjson.OPT_SORT_KEYS)))
            await self._journal.append(*records)

    async def run(self) -> None:
        """A heartbeat each minute, until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.beat()

    async def beat(self) -> None:
        """One heartbeat; what stands in it is counted anew afterwards. Never raises."""
        try:
            await self.changed()
            await self._tell("heartbeat")
        except EvidenceUnavailable as error:
            log.error("heartbeat_lost", reason=str(error))

    async def stop(self) -> None:
        """The last entry of this run."""
        try:
            await self._tell("stop")
        except EvidenceUnavailable as error:
            log.error("heartbeat_lost", reason=str(error))

    async def _tell(self, kind: str) -> None:
        """The counts since the last time. EvidenceUnavailable: they are kept for the next one."""
        counts = self._counts()
        try:
            await self._journal.append(Record({**self._head(kind), **counts}))
        except EvidenceUnavailable:
            self._tally.put_back(counts["outcomes"], counts["refused"])
            raise

    def _head(self, kind: str) -> dict[str, Any]:
        at = now_ms()
        return {"v": 1, "kind": kind, "id": uuid7(at), "time": rfc3339(at)}

    def _counts(self) -> dict[str, Any]:
        outcomes, refused = self._tally.take()
        counts: dict[str, Any] = {
            "outcomes": outcomes,
            "refused": refused,
            "last_iseq": self._journal.last_iseq,
            "queue_peak": self._journal.take_peak(),
        }
        if (policy := self._state().get("policy")) is not None:
            counts["policy"] = policy["policy"]
        if (checkpoint := self._checkpoint()) is not None:
            counts["checkpoint"] = checkpoint
        return counts

    def _entries(self, kind: str, before: dict[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
        head = self._head(kind)
        if kind == "key":
            return [{**head, **after, **({"previous": before["vkey"]} if before else {})}]
        if kind == "config":
            entries = parted(head, config_changes(before, after))
        else:
            known = {"previous": before["policy"]} if before else {}
            about = {**{name: after[name] for name in ("policy", "brought_by", "archive")}, **known}
            entries = parted({**head, **about}, policy_changes(before, after))
        return [{**entry, "id": uuid7(now_ms())} for entry in entries]

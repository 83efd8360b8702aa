"""Group commit with one writer: all who arrive during one sync share the next one. No timer."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.metrics import Metrics
from bridge.ports import FinishFailed, Receipt, Record

MAX_PENDING = 20_000
ANSWERS = ("decision", "evaluation", "search")
"""Kinds of entries by which a caller is answered."""
RECOVER_S = (0.2, 0.5, 1.0, 2.0, 5.0)
log = structlog.get_logger(__name__)


class Store(Protocol):
    """What the journal writes to. Every method may block, and may raise EvidenceUnavailable; `commit` FinishFailed."""

    def open(self) -> None: ...
    def reopen(self) -> None: ...
    def commit(self, records: Sequence[Record]) -> list[Receipt]: ...
    def holds(self, ids: Sequence[str]) -> set[str]: ...
    def recall(self, name: str) -> bytes | None: ...
    def close(self) -> None: ...

    @property
    def last_iseq(self) -> int: ...


@dataclass(slots=True)
class _Waiting:
    records: tuple[Record, ...]
    done: asyncio.Future[Receipt]


class GroupCommitJournal:
    """After a fault the writer stops: nothing is acknowledged until a fresh handle has written the `gap` entry."""

    def __init__(self, store: Store, origin: str, metrics: Metrics) -> None:
        self.origin = origin
        self._store, self._metrics = store, metrics
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidence")
        self._pending: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None
        self._peak = 0
        self._fault: str | None = None
        self._fault_since_ms = 0
        self._denied = 0
        self._doubtful: list[Record] = []
        self._owed: dict[str, Record] = {}  # decision id -> its `overruled` entry that was lost
        self._tried: tuple[dict[str, Any], int, dict[str, Record]] | None = None
        """A gap whose commit failed, with what it told: it may be there all the same."""

    @property
    def fault(self) -> str | None:
        """Why nothing is acknowledged now; None when the log is written."""
        return self._fault

    @property
    def last_iseq(self) -> int:
        """The counter of the last entry that this worker wrote; -1 before the first."""
        return self._store.last_iseq

    def take_peak(self) -> int:
        """How many requests waited for the disk at most, since this was last asked."""
        peak, self._peak = self._peak, len(self._pending)
        return peak

    async def recall(self, name: str) -> bytes | None:
        """What the log knows under this name."""
        value: bytes | None = await self._in_thread(self._store.recall, name)
        return value

    async def start(self) -> None:
        """Opens the log. EvidenceUnavailable when it cannot be opened."""
        await self._in_thread(self._store.open)
        self._pump = asyncio.create_task(self._write_forever(), name="evidence-writer")

    def append(self, *records: Record) -> asyncio.Future[Receipt]:
        done: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if self._fault is not None:
            done.set_exception(EvidenceUnavailable(self._fault))
        elif len(self._pending) >= MAX_PENDING:
            done.set_exception(EvidenceUnavailable("too many entries wait for the disk"))
        else:
            self._pending.append(_Waiting(records, done))
            self._peak = max(self._peak, len(self._pending))
            self._wake.set()
        return done

    def append_quietly(self, record: Record, *, denials: int) -> None:
        def note_loss(done: asyncio.Future[Receipt]) -> None:
            if not done.cancelled() and done.exception() is not None:
                kind, decided = record.entry["kind"], record.entry.get("decision_id")
                if kind == "overruled":
                    self._owed[record.entry["decision_id"]] = record
                self.denied_unrecorded(denials)
                log.error("denied_unrecorded", kind=kind, denials=denials, decision_id=decided)

        self.append(record).add_done_callback(note_loss)

    def denied_unrecorded(self, count: int = 1) -> None:
        if self._denied == 0 and self._fault is None:
            self._fault_since_ms = now_ms()
        self._denied += count
        self._wake.set()
        self._metrics.denied_unrecorded(count)

    async def close(self) -> None:
        """Writes what is pending, then closes the log."""
        while self._pending and self._fault is None:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.005)
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._denied:
            log.error("denied_unrecorded_at_stop", denied=self._denied, since=rfc3339(self._fault_since_ms))
        await self._in_thread(self._store.close)
        self._thread.shutdown()

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch, self._pending = self._pending, []
                await self._write(batch)
            if self._denied:
                try:
                    await self._tell_gap()
                except Exception as error:  # noqa: BLE001 - as in _write
                    await self._stop_and_recover([], [], error)

    async def _write(self, batch: list[_Waiting]) -> None:
        records = [record for waiting in batch for record in waiting.records]
        commit = asyncio.ensure_future(self._in_thread(self._store.commit, records))
        try:
            with self._metrics.timed("sync"):
                receipts = await asyncio.shield(commit)
            if len(receipts) != len(records):
                raise EvidenceUnavailable("not every entry was acknowledged")
            self._metrics.batch(len(records))
        except asyncio.CancelledError:
            try:
                self._acknowledge(batch, await commit)
            except Exception as error:  # noqa: BLE001 - as below
                self._refuse(batch, str(error))
            raise
        except FinishFailed as failed:
            self._leave_out(failed, batch)
            return
        except Exception as error:  # noqa: BLE001 - whatever went wrong, nothing may be taken as written
            await self._stop_and_recover(batch, records, error)
            return
        self._acknowledge(batch, receipts)

    def _acknowledge(self, batch: list[_Waiting], receipts: list[Receipt]) -> None:
        position = 0
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_result(receipts[position])
            position += len(waiting.records)

    def _refuse(self, batch: list[_Waiting], reason: str) -> None:
        for waiting in batch:
            if not waiting.done.done():
                waiting.done.set_exception(EvidenceUnavailable(reason))

    def _leave_out(self, failed: FinishFailed, batch: list[_Waiting]) -> None:
        """Refuses what was handed over with the record at fault; the rest of the batch is written next."""
        log.error("finish_defect", kind=failed.record.entry["kind"], exc_info=failed)
        ours = [waiting for waiting in batch if any(record is failed.record for record in waiting.records)]
        self._refuse(ours, f"defect: {type(failed.__cause__).__name__}")
        self._pending[:0] = [waiting for waiting in batch if waiting not in ours]

    async def _stop_and_recover(self, batch: list[_Waiting], records: list[Record], error: Exception) -> None:
        self._fault = str(error) or type(error).__name__
        if self._denied == 0:
            self._fault_since_ms = now_ms()
        self._doubtful.extend(records)
        log.error("evidence_writer_stopped", reason=self._fault, entries=len(records))
        waiting, self._pending = [*batch, *self._pending], []
        self._refuse(waiting, self._fault)
        for attempt in range(1_000_000_000):
            await asyncio.sleep(RECOVER_S[min(attempt, len(RECOVER_S) - 1)])
            try:
                await self._in_thread(self._store.reopen)
                await self._tell_gap()
            except Exception as again:  # noqa: BLE001 - as in _write
                self._fault = str(again) or type(again).__name__
                continue
            self._fault = None
            log.warning("evidence_writer_recovered", attempts=attempt + 1)
            return

    async def _tell_gap(self) -> None:
        """The first entry after a recovery; then the entries that a failed commit left behind all the same."""
        tried, owed = self._tried, dict(self._owed)
        ids = [*owed, *(r.entry["id"] for r in (*self._doubtful, *owed.values()))]
        survived = await self._in_thread(self._store.holds, [*ids, tried[0]["id"]] if tried else ids)
        if tried and tried[0]["id"] in survived:  # with all that was written beside it
            self._told(*tried)
            owed = dict(self._owed)
        until = now_ms()
        gap = self._gap(self._denied, until)
        overruled = [r for decided, r in owed.items() if decided in survived and r.entry["id"] not in survived]
        left = [r.entry for r in self._doubtful if _answers(r.entry) and r.entry["id"] in survived]
        # What is owed was answered otherwise, and says how.
        overruled.extend(Record(_overruled(entry, until)) for entry in left if entry["id"] not in owed)
        self._tried = gap, until, owed
        await self._in_thread(self._store.commit, [Record(gap), *overruled])
        self._told(gap, until, owed)

    def _told(self, gap: dict[str, Any], until: int, owed: dict[str, Record]) -> None:
        self._denied -= gap["denied"]
        self._owed = {decided: r for decided, r in self._owed.items() if decided not in owed}
        self._doubtful, self._tried = [], None
        self._fault_since_ms = until

    def _gap(self, denied: int, until: int) -> dict[str, Any]:
        return {
            "v": 1,
            "kind": "gap",
            "id": uuid7(until),
            "time": rfc3339(until),
            "from": rfc3339(self._fault_since_ms),
            "to": rfc3339(until),
            "denied": denied,
            "reply": {"outcome": "deny", "code": "evidence_unavailable"},
            "exceptions": [{"path": "fail_closed", "code": "evidence_unavailable", "message": self._fault or ""}],
        }

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _kept_apart, function, *arguments)


def _kept_apart(function: Any, *arguments: Any) -> Any:
    """What a future cannot carry (StopIteration), or takes for its own end (CancelledError), is a fault too."""
    try:
        return function(*arguments)
    except (StopIteration, asyncio.CancelledError) as error:
        raise EvidenceUnavailable(f"defect: {type(error).__name__}") from error


def _answers(entry: dict[str, Any]) -> bool:
    """Whether a caller was answered by this entry, and not only by one that it goes on from."""
    return entry["kind"] in ANSWERS and "decision_id" not in entry


def _overruled(entry: dict[str, Any], at: int) -> dict[str, Any]:
    """The commit reported a failure, so the caller was denied; yet the entry is in the log."""
    return {
        "v": 1,
        "kind": "overruled",
        "id": uuid7(at),
        "time": rfc3339(at),
        "decision_id": entry["id"],
        "outcome": "deny",
        "reply": {"outcome": "deny", "code": "evidence_unavailable"},
    }

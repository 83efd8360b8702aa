"""What an entry costs on the decision path: interleaved runs in this process, each part beside the floor below it."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.answers import Answer
from bridge.evidence.journal import GroupCommitJournal, Store
from bridge.evidence.store import SqliteStore
from bridge.model.entry import canonical
from bridge.model.times import now_ms
from bridge.ops.metrics import Metrics
from bridge.pdp.record import Recorder
from bridge.ports import Receipt, Record

AT_ONCE = 16
RAW, WHOLE = "write and sync alone", "record, journal on SQLite"
Prepare = Callable[[Answer], Callable[[], Sequence[Record]]]
"""What is done beforehand for one answer, and what is done while the clock runs."""


@dataclass(frozen=True, slots=True)
class Run:
    """CPU time of this process and wall time of one slice, in us an entry."""

    cpu_us: float
    wall_us: float


@dataclass(frozen=True, slots=True)
class Part:
    """A store, and what is handed to it."""

    store: Store
    answers: list[Answer]
    prepare: Prepare


class BareFile:
    """A Store that writes ready bytes to a file and syncs them: no SQLite, no JSON, no hash."""

    def __init__(self, path: Path) -> None:
        self._path, self._handle = path, -1
        self.last_iseq = -1

    def open(self) -> None:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def reopen(self) -> None:
        raise OSError("a run with a fault measures nothing")

    def commit(self, records: Sequence[Record]) -> list[Receipt]:
        os.write(self._handle, b"".join(record.input or b"" for record in records))
        os.fdatasync(self._handle)
        return [Receipt(0, b"", {})] * len(records)

    def holds(self, ids: Sequence[str]) -> set[str]:
        return set()

    def recall(self, name: str) -> bytes | None:
        return None

    def close(self) -> None:
        os.close(self._handle)


def measure(scratch: Path, one: list[Answer], five: list[Answer], rounds: int, entries: int) -> dict[str, list[Run]]:
    """One Run for each part and round. `one`, `five`: answers about so many scopes."""
    parts = {
        "journal on a bare file, synced": Part(BareFile(scratch / "bare"), one, _ready_bytes),
        "journal on SQLite": Part(SqliteStore(scratch / "ready", "bench/0"), one, _ready),
        WHOLE: Part(SqliteStore(scratch / "whole", "bench/0"), one, _recorded),
        "the same, five scopes": Part(SqliteStore(scratch / "five", "bench/0"), five, _recorded),
    }
    return uvloop.run(_measure(parts, scratch / "raw", rounds, entries))


async def _measure(parts: dict[str, Part], raw: Path, rounds: int, entries: int) -> dict[str, list[Run]]:
    runs: dict[str, list[Run]] = {RAW: [], **{name: [] for name in parts}}
    draw, metrics = random.Random(3), Metrics()
    journals = {name: GroupCommitJournal(part.store, "bench", metrics) for name, part in parts.items()}
    for journal in journals.values():
        await journal.start()
    try:
        for turn in range(rounds + 1):
            found = {RAW: _sync_alone(raw, parts["journal on SQLite"].answers, entries)}
            for name in sorted(parts, key=lambda name: (list(parts).index(name) + turn) % len(parts)):
                answers = [draw.choice(parts[name].answers).again(draw, now_ms()) for _ in range(entries)]
                found[name] = await _slice(journals[name], [parts[name].prepare(answer) for answer in answers])
            for name, run in found.items() if turn else ():  # the first round warms up
                runs[name].append(run)
    finally:
        for journal in journals.values():
            await journal.close()
    return runs


async def _slice(journal: GroupCommitJournal, work: list[Callable[[], Sequence[Record]]]) -> Run:
    jobs = iter(work)

    async def client() -> None:
        for job in jobs:
            await journal.append(*job())

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    return Run(cpu / len(work) * 1e6, wall / len(work) * 1e6)


def _sync_alone(path: Path, answers: list[Answer], entries: int) -> Run:
    """The disk, with nothing around it: 16 entries, one sync, and again."""
    data = b"".join(_bytes(answer) for answer in answers[:AT_ONCE])
    with path.open("ab", buffering=0) as file:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(entries // AT_ONCE):
            file.write(data)
            os.fdatasync(file.fileno())
        cpu, wall = time.process_time() - cpu, time.perf_counter() - began
    return Run(cpu / entries * 1e6, wall / entries * 1e6)


def _bytes(answer: Answer) -> bytes:
    return canonical(_records(answer)[0].entry)


def _records(answer: Answer) -> Sequence[Record]:
    return Recorder().record(answer.decision, answer.facts)[1]


def _ready_bytes(answer: Answer) -> Callable[[], Sequence[Record]]:
    record = Record({}, _bytes(answer))
    return lambda: (record,)


def _ready(answer: Answer) -> Callable[[], Sequence[Record]]:
    records = _records(answer)
    return lambda: records


def _recorded(answer: Answer) -> Callable[[], Sequence[Record]]:
    return lambda: _records(answer)

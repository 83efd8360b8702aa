"""How far the published checkpoint is behind the log, and what publishing costs an entry."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import uvloop

from bench.answers import Answer, repeat
from bridge.evidence import keys
from bridge.evidence.journal import GroupCommitJournal
from bridge.evidence.publication import INTERVAL_S, Publication
from bridge.evidence.publish import Publisher, last_checkpoint
from bridge.evidence.store import SqliteStore
from bridge.model.times import now_ms
from bridge.ops.metrics import Metrics
from bridge.pdp.record import Recorder
from bridge.ports import Record

RATE = 2000
TICK_S = 0.01
LOOK_S = 0.02
AT_MOST_S = 60.0


@dataclass(frozen=True, slots=True)
class Lag:
    """From when an entry is durable to when the published checkpoint covers it, in s; and entries/s as they came."""

    most: float
    median: float
    per_s: float
    cpu_us: float


def lag(folder: Path, answers: list[Answer], seconds: float) -> Lag:
    """2,000 entries/s through a journal, whose log is published by the same process as in a bridge of one worker."""
    records = list(itertools.islice(_records(answers), int(RATE * seconds)))
    return uvloop.run(_lag(folder, records))


async def _lag(folder: Path, records: Sequence[Record]) -> Lag:
    metrics, signer = Metrics(), keys.load_or_make(folder, "", "bench.example/lag", now_ms())
    journal = GroupCommitJournal(SqliteStore(folder, "bench/0"), signer.name, metrics)
    publication = Publication(Publisher(folder, signer), metrics)
    await journal.start()
    await publication.start()
    durable = [0.0] * len(records)
    seen: list[tuple[float, int]] = []
    background = [asyncio.create_task(publication.run()), asyncio.create_task(_watch(folder, seen))]
    began, cpu = time.monotonic(), time.process_time()
    try:
        written: list[asyncio.Future[None]] = []
        for start in range(0, len(records), int(RATE * TICK_S)):
            await asyncio.sleep(max(0.0, began + start / RATE - time.monotonic()))
            written.extend(_write(journal, record, durable) for record in records[start : start + int(RATE * TICK_S)])
        await asyncio.gather(*written)
        per_s = len(records) / (time.monotonic() - began)
        async with asyncio.timeout(AT_MOST_S):
            while not seen or seen[-1][1] < len(records):  # noqa: ASYNC110 - it is a file that is watched
                await asyncio.sleep(LOOK_S)
        cpu = time.process_time() - cpu
    finally:
        for task in background:
            task.cancel()
        await journal.close()
        await publication.close()
    lags = _lags(durable, seen)
    return Lag(max(lags), statistics.median(lags), per_s, cpu / len(records) * 1e6)


def _write(journal: GroupCommitJournal, record: Record, durable: list[float]) -> "asyncio.Future[None]":
    async def write() -> None:
        receipt = await journal.append(record)
        durable[receipt.index] = time.monotonic()

    return asyncio.ensure_future(write())


async def _watch(folder: Path, seen: list[tuple[float, int]]) -> None:
    """As a reader of the published files sees it."""
    while True:
        found = last_checkpoint(folder)
        if found is not None and (not seen or found["size"] > seen[-1][1]):
            seen.append((time.monotonic(), found["size"]))
        await asyncio.sleep(LOOK_S)


def _lags(durable: list[float], seen: list[tuple[float, int]]) -> list[float]:
    lags, looks = [], iter(seen)
    at, size = next(looks)
    for index, since in enumerate(durable):
        while size <= index:
            at, size = next(looks)
        lags.append(at - since)
    return lags


def cost(folder: Path, answers: list[Answer], steps: int, each: int) -> list[float]:
    """CPU us an entry of `steps` steps of the publisher, with `each` new entries every time."""
    store, signer = SqliteStore(folder, "bench/0"), keys.load_or_make(folder, "", "bench.example/cost", now_ms())
    publisher, records, costs = Publisher(folder, signer), _records(answers), []
    store.open()
    publisher.open()
    try:
        for _ in range(steps):
            store.commit(list(itertools.islice(records, each)))
            cpu = time.thread_time()
            if (note := publisher.integrate()) is not None:
                publisher.publish(note)
            costs.append((time.thread_time() - cpu) / each * 1e6)
    finally:
        publisher.close()
        store.close()
    return costs


def _records(answers: list[Answer]) -> Iterator[Record]:
    for one in repeat(answers, 4, now_ms(), 1000 / RATE):
        yield from Recorder().record(one.decision, one.facts)[1]


PER_STEP = int(RATE * INTERVAL_S)
"""Entries that a step of the publisher meets at 2,000 a second."""

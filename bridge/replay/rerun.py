"""Decides a range of the log again: read, put into chunks by the engine that answers, and told in the log's order."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from bridge.audit.chronology import decoded
from bridge.audit.reader import Found, LogReader
from bridge.errors import EngineFault
from bridge.ports import Engine
from bridge.replay.again import Again, decide_again
from bridge.replay.recorded import KINDS, NotReplayable, Reason, Records, Replayable

WINDOW, WINDOW_BYTES = 2048, 32 * 1024 * 1024
"""Entries that are looked at together, and bytes of their documents: results come in the log's order."""
CHUNK, CHUNK_BYTES = 64, 1024 * 1024
"""Documents in one query, and their bytes: a package that fails costs all of them a second one."""
AT_ONCE = 4


class Engines(Protocol):
    """Which engine decides again what the set with a digest decided."""

    async def get(self, digest: str) -> Engine | NotReplayable: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Rerun:
    """One entry that answers a question, what it took to decide it (None: that is not there), and what came of it."""

    index: int
    id: str
    recorded: Replayable | None
    now: Again | NotReplayable


async def rerun(reader: LogReader, engines: Engines, found: Iterable[Found]) -> AsyncIterator[Rerun]:
    """One for each entry among `found` that is a decision, an evaluation or a search, in their order."""
    slots = asyncio.Semaphore(AT_ONCE)
    try:
        for window in _windows(Records(reader), iter(found)):
            done = {n.index: n for n in window.known}
            for digest, recorded in window.by_set.items():
                done.update({one.index: one for one in await _of_set(engines, digest, recorded, slots)})
            for index in sorted(done):
                yield done[index]
    finally:
        await engines.close()


@dataclass(slots=True)
class _Window:
    """`known`: what needs no decision."""

    by_set: dict[str, list[Replayable]] = field(default_factory=lambda: defaultdict(list))
    known: list[Rerun] = field(default_factory=list)
    size: int = 0

    def add(self, index: int, entry_id: str, read: Replayable | NotReplayable) -> None:
        if isinstance(read, NotReplayable):
            self.known.append(Rerun(index, entry_id, None, read))
            return
        self.by_set[read.digest].append(read)
        self.size += read.size


def _windows(records: Records, found: Iterator[Found]) -> Iterator[_Window]:
    read = ((one, decoded(one.data) or {}) for one in found)  # what is no entry at all, `log verify` tells of
    wanted = ((one, str(entry.get("id"))) for one, entry in read if entry.get("kind") in KINDS)
    while some := list(islice(wanted, WINDOW)):
        window = _Window()
        for one, entry_id in some:
            window.add(one.index, entry_id, records.read(one))
            if window.size > WINDOW_BYTES:
                yield window
                window = _Window()
        yield window


async def _of_set(engines: Engines, digest: str, recorded: list[Replayable], slots: asyncio.Semaphore) -> list[Rerun]:
    engine = await engines.get(digest)
    if isinstance(engine, NotReplayable):
        return [_told(one, engine) for one in recorded]
    parts = [_chunk(engine, chunk, slots) for chunk in _chunks(recorded)]
    return [one for some in await asyncio.gather(*parts) for one in some]


async def _chunk(engine: Engine, chunk: list[Replayable], slots: asyncio.Semaphore) -> list[Rerun]:
    async with slots:
        try:
            again = await decide_again(engine, chunk)
        except EngineFault as fault:
            return [_told(one, NotReplayable(Reason.ENGINE, str(fault))) for one in chunk]
    return [_told(one, now) for one, now in zip(chunk, again, strict=True)]


def _chunks(recorded: list[Replayable]) -> Iterator[list[Replayable]]:
    chunk, size = list[Replayable](), 0
    for one in recorded:
        if chunk and (len(chunk) == CHUNK or size + one.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += one.size
    yield chunk


def _told(one: Replayable, now: Again | NotReplayable) -> Rerun:
    return Rerun(one.index, str(one.entry.get("id")), one, now)

"""Replays a range of the log: each entry by the set that decided it, as it is kept beside the log."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

from bridge.audit.chronology import decoded
from bridge.audit.reader import Found, LogReader
from bridge.errors import EngineFault
from bridge.model.policy import PolicySet
from bridge.ports import Engine
from bridge.replay.again import decide_again
from bridge.replay.compare import Difference, differences
from bridge.replay.engines import Engines
from bridge.replay.recorded import KINDS, NotReplayable, Reason, Records, Replayable

WINDOW, WINDOW_BYTES = 2048, 32 * 1024 * 1024
"""Entries that are looked at together, and bytes of their documents: results come in the log's order."""
CHUNK, CHUNK_BYTES = 64, 1024 * 1024
"""Documents in one query, and their bytes: a package that fails costs all of them a second one."""
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one entry."""

    index: int
    id: str
    state: Literal["same", "different", "not_replayable"]
    reason: NotReplayable | None = None
    differences: tuple[Difference, ...] = ()


class Replay:
    """`restore`: the set with a digest, or SetNotKept. `make`: an engine that has not started."""

    def __init__(self, reader: LogReader, restore: Callable[[str], PolicySet], make: Callable[[], Engine]) -> None:
        self._records = Records(reader)
        self._engines = Engines(restore, make)
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, found: Iterable[Found]) -> AsyncIterator[Result]:
        """A result for each entry among `found` that is a decision, an evaluation or a search, in their order."""
        try:
            for window in self._windows(iter(found)):
                results = {n.index: n for n in window.results}
                for digest, recorded in window.by_set.items():
                    results.update({one.index: one for one in await self._of_set(digest, recorded)})
                for index in sorted(results):
                    yield results[index]
        finally:
            await self._engines.close()

    def _windows(self, found: Iterator[Found]) -> Iterator["_Window"]:
        read = ((one, decoded(one.data) or {}) for one in found)  # what is no entry at all, `log verify` tells of
        wanted = ((one, str(entry.get("id"))) for one, entry in read if entry.get("kind") in KINDS)
        while some := list(islice(wanted, WINDOW)):
            window = _Window()
            for one, entry_id in some:
                window.add(one.index, entry_id, self._records.read(one))
                if window.size > WINDOW_BYTES:
                    yield window
                    window = _Window()
            yield window

    async def _of_set(self, digest: str, recorded: list[Replayable]) -> list[Result]:
        engine = await self._engines.get(digest)
        if isinstance(engine, NotReplayable):
            return [_not(one, engine) for one in recorded]
        parts = [self._chunk(engine, chunk) for chunk in _chunks(recorded)]
        return [result for some in await asyncio.gather(*parts) for result in some]

    async def _chunk(self, engine: Engine, chunk: list[Replayable]) -> list[Result]:
        async with self._slots:
            try:
                again = await decide_again(engine, chunk)
            except EngineFault as fault:
                return [_not(one, NotReplayable(Reason.ENGINE, str(fault))) for one in chunk]
        results = list[Result]()
        for one, now in zip(chunk, again, strict=True):
            if isinstance(now, NotReplayable):
                results.append(_not(one, now))
                continue
            found = tuple(differences(one.entry, one.rules, now.entry))
            results.append(Result(one.index, one.entry["id"], "different" if found else "same", None, found))
        return results


@dataclass(slots=True)
class _Window:
    """`results`: what is known without deciding anything."""

    by_set: dict[str, list[Replayable]] = field(default_factory=lambda: defaultdict(list))
    results: list[Result] = field(default_factory=list)
    size: int = 0

    def add(self, index: int, entry_id: str, read: Replayable | NotReplayable) -> None:
        if isinstance(read, NotReplayable):
            self.results.append(Result(index, entry_id, "not_replayable", read))
            return
        self.by_set[read.digest].append(read)
        self.size += read.size


def _chunks(recorded: list[Replayable]) -> Iterator[list[Replayable]]:
    chunk, size = list[Replayable](), 0
    for one in recorded:
        if chunk and (len(chunk) == CHUNK or size + one.size > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(one)
        size += one.size
    yield chunk


def _not(one: Replayable, why: NotReplayable) -> Result:
    return Result(one.index, one.entry["id"], "not_replayable", why)

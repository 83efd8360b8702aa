"""Which engine decides again: one of our own for each policy set that is kept, or one with a candidate for all."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from bridge.errors import EngineFault, SetNotKept
from bridge.model.policy import PolicySet
from bridge.ports import Engine
from bridge.replay.recorded import NotReplayable, Reason

RUNNING = 3
"""Most ranges have one set or two."""


class KeptSets:
    """An engine for each set, the last few of them running."""

    def __init__(self, restore: Callable[[str], PolicySet], make: Callable[[], Engine]) -> None:
        self._restore, self._make = restore, make
        self._running: OrderedDict[str, Engine] = OrderedDict()
        self._refused: dict[str, NotReplayable] = {}

    async def get(self, digest: str) -> Engine | NotReplayable:
        """The one that answers with the set of this digest, or why there is none."""
        if digest in self._refused:
            return self._refused[digest]
        if digest in self._running:
            self._running.move_to_end(digest)
            return self._running[digest]
        engine = self._make()
        try:
            await engine.start(await asyncio.to_thread(self._restore, digest))
        except (SetNotKept, EngineFault) as fault:
            await engine.close()
            self._refused[digest] = NotReplayable(_why(fault), str(fault))
            return self._refused[digest]
        self._running[digest] = engine
        if len(self._running) > RUNNING:
            _, oldest = self._running.popitem(last=False)
            await oldest.close()
        return engine

    async def close(self) -> None:
        while self._running:
            await self._running.popitem()[1].close()


class Candidate:
    """The engine with a set that has not decided yet, whichever set did."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, digest: str) -> Engine:
        return self._engine

    async def close(self) -> None:
        await self._engine.close()


def _why(fault: SetNotKept | EngineFault) -> Reason:
    if isinstance(fault, SetNotKept):
        return Reason.ARCHIVE_MISSING if fault.missing else Reason.ARCHIVE_DAMAGED
    return Reason.ENGINE

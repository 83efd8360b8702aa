"""Replays a range of the log: each entry by the set that decided it, as it is kept beside the log."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from bridge.audit.reader import Found, LogReader
from bridge.model.policy import PolicySet
from bridge.ports import Engine
from bridge.replay.again import Again
from bridge.replay.compare import Difference, differences
from bridge.replay.engines import KeptSets
from bridge.replay.recorded import NOT_OURS, NotReplayable, Replayable, unreadable
from bridge.replay.rerun import rerun


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
        self._reader, self._engines = reader, KeptSets(restore, make)

    async def __call__(self, found: Iterable[Found]) -> AsyncIterator[Result]:
        """A result for each entry among `found` that is a decision, an evaluation or a search, in their order."""
        async for one in rerun(self._reader, self._engines, found):
            if isinstance(one.now, Again) and one.recorded is not None:
                yield _compared(one.recorded, one.now)
            elif isinstance(one.now, NotReplayable):
                yield Result(one.index, one.id, "not_replayable", one.now)


def _compared(recorded: Replayable, now: Again) -> Result:
    index, name = recorded.index, str(recorded.entry.get("id"))
    try:
        differing = tuple(differences(recorded.entry, recorded.rules, now.entry))
    except NOT_OURS as error:
        return Result(index, name, "not_replayable", unreadable(error))
    return Result(index, name, "different" if differing else "same", None, differing)

"""Replays a log in process, and tells what came of it."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from bridge.audit.reader import LogReader
from bridge.cli.log.replay import restoring
from bridge.config.settings import EngineSection
from bridge.model.policy import PolicySet
from bridge.policy.opa import find_opa
from bridge.registry import ENGINES
from bridge.replay.replay import Replay, Result


async def play(evidence: Path, restore: Callable[[str], PolicySet] | None = None) -> list[Result]:
    """A result for each decision, evaluation and search in this evidence folder."""
    opa = find_opa()
    with closing(LogReader(evidence)) as reader:
        again = Replay(reader, restore or restoring(evidence, opa), lambda: ENGINES["managed"](EngineSection(), opa))
        return [result async for result in again(reader.walk())]


def counted(results: Iterable[Result]) -> dict[str, int]:
    """How many have which state, or reason."""
    return dict(Counter(r.state if r.reason is None else str(r.reason.reason) for r in results))


def archive_of(evidence: Path) -> Path:
    """The one policy set that is kept."""
    (found,) = (evidence / "policies").glob("*.tar.gz")
    return found

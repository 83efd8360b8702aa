"""How often each rule spoke in a window, from the query tables alone: no entry is read."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.audit.window import Window

_SELECT = (
    "SELECT r.package, r.code, r.effect, count(*), max(d.time_ms) "
    "FROM decision d JOIN decision_rule r ON r.idx = d.idx "
    "WHERE d.time_ms >= ? AND d.time_ms < ? GROUP BY r.package, r.code, r.effect"
)

Rule = tuple[str, str]
"""Package and code."""


@dataclass(slots=True)
class Spoken:
    """`effects`: allow, deny, require, … -> in how many entries."""

    effects: dict[str, int] = field(default_factory=dict)
    last_ms: int = 0


def spoken_in(reader: LogReader, window: Window, spoken: dict[Rule, Spoken]) -> None:
    """Adds what the log has of the window to `spoken`."""
    with Queries(reader).tables() as index:
        for package, code, effect, count, last_ms in index.execute(_SELECT, (window.since, window.until)):
            one = spoken.setdefault((package, code), Spoken())
            one.effects[effect] = one.effects.get(effect, 0) + count
            one.last_ms = max(one.last_ms, last_ms)


def together(all_of: Iterable[Spoken]) -> Spoken:
    """What several rules said, as one."""
    total = Spoken()
    for one in all_of:
        for effect, count in one.effects.items():
            total.effects[effect] = total.effects.get(effect, 0) + count
        total.last_ms = max(total.last_ms, one.last_ms)
    return total

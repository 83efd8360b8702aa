"""Counts since the last heartbeat: what was decided, and whose calls were refused."""

from collections import Counter
from collections.abc import Mapping

MAX_NAMES = 64
UNKNOWN = "(unknown)"


class Tally:
    """Names come from the configuration, so there are few; what is beyond `MAX_NAMES` is counted as unknown."""

    def __init__(self) -> None:
        self._outcomes: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def decided(self, outcome: str) -> None:
        self._outcomes[outcome] += 1

    def refused(self, caller: str | None, count: int = 1) -> None:
        """A call that was refused before anything was decided; None: nobody that is known."""
        name = caller or UNKNOWN
        self._refused[name if name in self._refused or len(self._refused) < MAX_NAMES else UNKNOWN] += count

    def take(self) -> tuple[dict[str, int], dict[str, int]]:
        """(outcome -> how many, caller -> how many refused), and begins anew."""
        taken = dict(self._outcomes), dict(self._refused)
        self._outcomes.clear()
        self._refused.clear()
        return taken

    def put_back(self, outcomes: Mapping[str, int], refused: Mapping[str, int]) -> None:
        """What was taken and could not be told."""
        self._outcomes.update(outcomes)
        for name, count in refused.items():
            self.refused(name, count)

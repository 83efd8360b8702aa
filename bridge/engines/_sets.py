"""The policy sets whose answers may be used: the one in force and those just before it."""

import math
import time
from collections.abc import Mapping

from bridge.model.policy import PolicySet

KEPT = 8


class AcceptedSets:
    """Keeps the last few sets, newest last; queries still in flight answer with an older one.

    `replaced_s`: how long a set is accepted after another has taken its place.
    """

    def __init__(self, replaced_s: float = math.inf) -> None:
        self._sets: dict[str, PolicySet] = {}
        self._until: dict[str, float] = {}
        self._replaced_s = replaced_s

    @property
    def all(self) -> Mapping[str, PolicySet]:
        now = time.monotonic()
        return {digest: one for digest, one in self._sets.items() if now < self._until.get(digest, math.inf)}

    def newest(self) -> PolicySet:
        """The set in force; KeyError before the first one."""
        return self._sets[next(reversed(self._sets))]

    def accept(self, policy_set: PolicySet) -> None:
        if self._sets:
            self._until.setdefault(self.newest().digest, time.monotonic() + self._replaced_s)
        self._sets.pop(policy_set.digest, None)
        self._until.pop(policy_set.digest, None)
        self._sets[policy_set.digest] = policy_set
        for digest in list(self._sets)[:-KEPT]:
            del self._sets[digest]
            self._until.pop(digest, None)

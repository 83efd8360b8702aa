"""The policy sets whose answers may be used: the one in force and those just before it."""

from collections.abc import Mapping

from bridge.model.policy import PolicySet

KEPT = 8


class AcceptedSets:
    """Keeps the last few sets, newest last; queries still in flight answer with an older one."""

    def __init__(self) -> None:
        self._sets: dict[str, PolicySet] = {}

    @property
    def all(self) -> Mapping[str, PolicySet]:
        return self._sets

    def newest(self) -> PolicySet:
        """The set in force; KeyError before the first one."""
        return self._sets[next(reversed(self._sets))]

    def accept(self, policy_set: PolicySet) -> None:
        self._sets.pop(policy_set.digest, None)
        self._sets[policy_set.digest] = policy_set
        for digest in list(self._sets)[:-KEPT]:
            del self._sets[digest]

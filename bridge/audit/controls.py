"""Controls that policies name, with what stands behind each: packages, tests, cases, and rules that spoke in a log."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.audit.exceptions import Key, Taken, taken_in
from bridge.audit.reader import LogReader
from bridge.audit.spoken import Rule, Spoken, spoken_in, together
from bridge.audit.window import Window
from bridge.model.policy import PolicySet
from bridge.model.times import rfc3339
from bridge.policy.controls import Control, Named, catalogues, recognised


@dataclass(frozen=True, slots=True)
class Evidence:
    """Which rules spoke, and which exceptions were taken, in the logs that were read."""

    spoken: dict[Rule, Spoken] = field(default_factory=dict)
    taken: dict[Key, Taken] = field(default_factory=dict)

    def read(self, reader: LogReader, window: Window) -> None:
        """Adds what a log has of the window. EvidenceUnavailable as the reader's."""
        spoken_in(reader, window, self.spoken)
        taken_in(reader, window, self.taken)

    def of(self, whole: set[str], codes: set[Rule]) -> dict[str, Any]:
        """Of all rules of the packages `whole`, and of those in `codes`; an entry in which two spoke counts twice."""
        total = together(one for rule, one in self.spoken.items() if rule[0] in whole or rule in codes)
        taken = [one for key, one in self.taken.items() if key[0] in whole or key[:2] in codes]
        return {
            "spoke": dict(sorted(total.effects.items())),
            "last": rfc3339(total.last_ms) if total.effects else None,
            "exceptions_taken": sum(one.recorded for one in taken),
            "exceptions_dropped": sum(one.dropped.total() for one in taken),
        }


@dataclass(frozen=True, slots=True)
class Behind:
    """What was run. `tests`: package -> files that mention it; `results`: file -> whether each of its tests passed.

    `cases`: package -> which of the cases touch it; `expected`: whether each case was answered as expected.
    """

    tests: Mapping[str, Sequence[str]]
    results: Mapping[str, Sequence[bool]]
    cases: Mapping[str, set[int]]
    expected: Sequence[bool]

    def of(self, packages: Iterable[str]) -> dict[str, Any]:
        """Of these packages together: a file, or a case, that is about two of them counts once."""
        names = list(packages)
        files = sorted({file for name in names for file in self.tests.get(name, ())})
        passed = [result for file in files for result in self.results.get(file, ())]
        cases = [self.expected[n] for n in {n for name in names for n in self.cases.get(name, ())}]
        return {
            "tests": {"files": files, "passed": sum(passed), "failed": len(passed) - sum(passed)},
            "cases": {"as_expected": sum(cases), "otherwise": len(cases) - sum(cases)},
        }


def report(named: Iterable[Named], behind: Behind, evidence: Evidence | None) -> Iterator[dict[str, Any]]:
    """One object for each control: by catalogue those that are named and those that are not, then what is in none.

    No `evidence`: no log was read.
    """
    places: dict[Control, list[Named]] = {}
    for one in named:
        places.setdefault(recognised(one.text), []).append(one)
    for catalogue in catalogues():
        for name, title in catalogue.controls.items():
            own = sorted((c for c in places if (c.catalogue, c.listed) == (catalogue.name, name)), key=lambda c: c.id)
            for control in own:
                told = {"id": control.id, "catalogue": catalogue.name, "title": title}
                yield {"record": "control", **told, **_told(places[control], behind, evidence)}
            if not own:
                yield {"record": "unnamed", "id": name, "catalogue": catalogue.name, "title": title}
    for control in sorted((c for c in places if c.catalogue is None), key=lambda c: c.id):
        hint = {} if control.hint is None else {"hint": control.hint}
        yield {"record": "unrecognised", "id": control.id, **hint, **_told(places[control], behind, evidence)}


def packages_of(policy_set: PolicySet, behind: Behind) -> list[dict[str, Any]]:
    """One object for each package of the set."""
    return [
        {
            "record": "package",
            "package": name,
            "file": one.file,
            "row": one.row,
            "owner": one.owner,
            "risk": one.risk,
            "controls": list(one.controls),
            **behind.of([name]),
        }
        for name, one in sorted(policy_set.packages.items())
    ]


def _told(places: Sequence[Named], behind: Behind, evidence: Evidence | None) -> dict[str, Any]:
    whole = {one.package for one in places if one.code is None}
    codes = {(one.package, one.code) for one in places if one.code is not None}
    rows = [{"package": one.package, "code": one.code, "file": one.file, "row": one.row} for one in places]
    found = {} if evidence is None else {"evidence": evidence.of(whole, codes)}
    return {"places": rows, **behind.of(dict.fromkeys(one.package for one in places)), **found}

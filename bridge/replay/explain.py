"""What decided a recorded decision: its rules with their text, which lines of them held, and what they looked at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.errors import PolicyRefused
from bridge.model.policy import GATE, Package, PolicySet, resource_package
from bridge.model.verdict import FIELDS
from bridge.pdp.tuples import RULES
from bridge.policy.index import RESERVED
from bridge.policy.trace import Mark, Path_, Place, Trace, TracedRule, trace
from bridge.replay.recorded import Recorded, RecordedTuples, Replayable

MAX_TRACED = 32
"""Packages that are evaluated line by line; the others of a decision are told without."""
_CLOSING = ("}", ")", "]")


@dataclass(frozen=True, slots=True)
class Line:
    """A row of a policy file; `mark` None: it was not reached."""

    row: int
    text: str
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A value of the input that a rule looked at; `there` False: the input has none."""

    path: Path_
    there: bool
    value: Any = None


@dataclass(frozen=True, slots=True)
class Explained:
    """One rule. `code`: of its annotations, if it has one. `spoke`: it held. `data`: what of the set's data it read."""

    name: str
    code: str | None
    row: int
    spoke: bool
    lines: tuple[Line, ...]
    looked_at: tuple[LookedAt, ...]
    data: tuple[Path_, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What one package came to, for `scope` (None: the gate) or for item `item` of other tuples.

    `package` None: the set has none that answers. `rules` are those of the contract, `helpers` all others that they
    called in the same file. `trouble`: why no line is marked, or what failed.
    """

    scope: str | None
    item: int | None
    package: Package | None
    rules: tuple[Explained, ...] = ()
    helpers: tuple[Explained, ...] = ()
    trouble: str | None = None


class Explainer:
    """`policy_set` is the one that decided, `modules` the text of its files."""

    def __init__(self, opa: Path, policy_set: PolicySet, modules: Mapping[str, bytes]) -> None:
        self._opa, self._policy_set = opa, policy_set
        self._texts = {name: content.decode("utf-8", "replace").split("\n") for name, content in modules.items()}

    def __call__(self, recorded: Replayable, only: str | None = None) -> Iterator[Part]:
        """Each package that was asked; with `only`, that of this scope alone."""
        wanted = _asked(recorded, self._policy_set)
        for number, (part, document) in enumerate(one for one in wanted if only in (None, one[0].scope)):
            if part.package is None or document is None:
                yield part
            elif number >= MAX_TRACED:
                yield Part(part.scope, part.item, part.package, trouble=f"only {MAX_TRACED} packages are looked into")
            else:
                yield self._looked_into(part, part.package, document)

    def _looked_into(self, part: Part, package: Package, document: Mapping[str, Any]) -> Part:
        asked = FIELDS if part.item is None else RULES
        try:
            traced = trace(self._opa, self._policy_set.bundle, package.name, asked, document)
        except PolicyRefused as refused:
            return Part(part.scope, part.item, package, trouble=str(refused))
        rules = self._rules(package, traced, document)
        contract = tuple(rule for rule in rules if rule.name in asked)
        helpers = tuple(rule for rule in rules if rule.name not in asked)
        return Part(part.scope, part.item, package, contract, helpers, traced.error)

    def _rules(self, package: Package, traced: Trace, document: Mapping[str, Any]) -> list[Explained]:
        codes = {row: code for code, row in package.rows.items()}
        own = sorted((r for r in traced.rules.values() if r.place[0] == package.file), key=lambda rule: rule.place)
        whole: list[TracedRule] = []
        for rule in own:
            if self._row(rule.place).startswith(_CLOSING) and whole:  # an `else`: a branch of the rule before it
                before = whole.pop()
                held, looked_at = before.held or rule.held, before.looked_at | rule.looked_at
                needs = before.needs | rule.needs
                rule = replace(before, held=held, looked_at=looked_at, needs=needs)  # noqa: PLW2901 - one rule in two parts
            whole.append(rule)
        return [self._explained(rule, codes.get(rule.place[1]), traced, document) for rule in whole]

    def _row(self, place: Place) -> str:
        text = self._texts.get(place[0], [])
        return text[place[1] - 1] if 0 < place[1] <= len(text) else ""

    def _explained(self, rule: TracedRule, code: str | None, traced: Trace, document: Mapping[str, Any]) -> Explained:
        file, first = rule.place
        text = self._texts.get(file, [])
        rows = range(first, _last(text, first) + 1) if first <= len(text) else range(0)
        head: dict[int, Mark] = {first: "held" if rule.held else "failed"}  # also where it held by an `else`
        lines = tuple(Line(row, text[row - 1], head.get(row) or traced.lines.get((file, row))) for row in rows)
        looked_at = tuple(_looked_at(document, path) for path in _widest(rule.looked_at))
        data = tuple(_widest({path for path in rule.needs if path[0] not in RESERVED}))
        return Explained(rule.name, code, first, rule.held, lines, looked_at, data)


def _asked(recorded: Replayable, policy_set: PolicySet) -> Iterator[tuple[Part, Mapping[str, Any] | None]]:
    if isinstance(recorded, RecordedTuples):
        yield from _tuples(recorded, policy_set)
        return
    at_gate: Recorded = recorded if recorded.gate is None else recorded.gate
    packages = policy_set.packages
    yield Part(None, None, packages.get(GATE)), at_gate.question.document
    for scope in recorded.question.scopes:
        name = policy_set.package_for(scope)
        inner = {} if scope in policy_set.scopes else {"scope": scope}
        yield Part(scope, None, None if name is None else packages[name]), {**recorded.question.document, **inner}


def _tuples(recorded: RecordedTuples, policy_set: PolicySet) -> Iterator[tuple[Part, Mapping[str, Any] | None]]:
    for number, document in recorded.documents.items():
        name = "" if document is None else resource_package(str(document["resource"]["type"]))
        yield Part(None, number, policy_set.packages.get(name)), document


def _last(text: Sequence[str], first: int) -> int:
    """The last row of the rule that begins at `first`: what is indented, empty or a closing bracket belongs to it."""
    last = first
    for row in range(first + 1, len(text) + 1):
        line = text[row - 1]
        if line[:1].strip() and not line.startswith(_CLOSING):
            break
        if line.strip():
            last = row
    return last


def _widest(paths: set[Path_]) -> list[Path_]:
    """Without those that lie within another one, since its value shows theirs."""
    return [path for path in sorted(paths, key=str) if not any(path[:n] in paths for n in range(1, len(path)))]


def _looked_at(document: Any, path: Path_) -> LookedAt:
    value = document
    for step in path:
        place = range(len(value)) if isinstance(value, list) else value if isinstance(value, dict) else ()
        if step not in place:
            return LookedAt(path, there=False)
        value = value[step]
    return LookedAt(path, there=True, value=value)

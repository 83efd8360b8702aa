"""What OPA did with one package on one document, from its own trace: which lines held, and what each rule looked at."""

import json
import resource
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bridge.errors import PolicyRefused

Mark = Literal["held", "failed", "some"]
"""Of a line: it held, it failed, or (where it was tried for several values) it held for some of them."""
Place = tuple[str, int]
"""A file of the bundle, and a row."""
Path_ = tuple[str | int, ...]
_FLAGS = ("--explain", "full", "--disable-indexing", "--disable-early-exit", "--format", "json", "--stdin-input")
MAX_TRACE_BYTES = 64 * 1024 * 1024
"""Each event of a trace repeats all local variables: a loop over a thousand values may have gigabytes to tell."""
MAX_MEMORY_BYTES = 1536 * 1024 * 1024
TRACE_S = 30.0


@dataclass(slots=True)
class TracedRule:
    """A rule that was tried. `held`: for at least one value.

    `looked_at` and `needs`: paths into the input and below `data`, where rules stand too, also those of its helpers.
    """

    name: str
    place: Place
    held: bool = False
    looked_at: set[Path_] = field(default_factory=set)
    needs: set[Path_] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Trace:
    """`lines`: what became of each that was reached. `error`: what OPA said where it gave no value."""

    rules: Mapping[Place, TracedRule]
    lines: Mapping[Place, Mark]
    error: str | None = None


@dataclass(slots=True)
class _Frame:
    """One body under evaluation: a rule's, or (`rule` of the one around it) that of a comprehension, every or not."""

    rule: TracedRule | None
    own: bool


def trace(opa: Path, bundle: bytes, package: str, rules: Sequence[str], document: Mapping[str, Any]) -> Trace:
    """The `rules` of `package` (as Rego spells it, without `data`) on `document`. PolicyRefused: OPA gives no trace.

    Every rule is tried, also where an index would have told OPA that it cannot hold, so that it can be seen why.
    """
    query = f"{{k: v | some k in {json.dumps(list(rules))}; v := data.{package}[k]}}"
    with tempfile.TemporaryDirectory(prefix="issuance-trace-") as scratch:
        file = Path(scratch) / "bundle.tar.gz"
        file.write_bytes(bundle)
        told = _asked([str(opa), "eval", "--bundle", str(file), *_FLAGS, query], json.dumps(document).encode(), package)
    try:
        errors = told.get("errors") or []
        error = "; ".join(str(one.get("message", one)) for one in errors) or None
        return _read(told.get("explanation") or [], error)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise PolicyRefused([f"OPA gives no trace of {package}: {fault}"]) from fault


def _asked(command: Sequence[str], stdin: bytes, package: str) -> Any:
    """What OPA prints, within its bounds of time, memory and size."""
    with tempfile.TemporaryFile() as out:
        try:
            done = subprocess.run(
                command,
                input=stdin,
                stdout=out,
                stderr=subprocess.PIPE,
                env={},
                timeout=TRACE_S,
                preexec_fn=_bounded,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise PolicyRefused([f"OPA gives no trace of {package} within {TRACE_S:.0f} s"]) from None
        except (OSError, subprocess.SubprocessError) as error:
            raise PolicyRefused([f"OPA gives no trace of {package}: {error}"]) from error
        if out.tell() >= MAX_TRACE_BYTES:
            raise PolicyRefused([f"the trace of {package} is larger than {MAX_TRACE_BYTES} bytes"])
        out.seek(0)
        try:
            return json.load(out)
        except ValueError as fault:
            text = done.stderr.decode(errors="replace").strip().partition("\n")[0][:500] or str(fault)
            raise PolicyRefused([f"OPA gives no trace of {package}: {text}"]) from fault


def _bounded() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_TRACE_BYTES, MAX_TRACE_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))


def _read(events: Iterable[Mapping[str, Any]], error: str | None) -> Trace:
    reading = _Reading()
    for event in events:
        reading.take(event)
    return Trace(reading.rules, reading.lines(), error)


class _Reading:
    def __init__(self) -> None:
        self.rules: dict[Place, TracedRule] = {}
        self._frames: dict[int, _Frame] = {}
        self._tried: dict[Place, dict[tuple[bool, int, bool], list[int]]] = defaultdict(dict)

    def take(self, event: Mapping[str, Any]) -> None:
        at, node, frame = event["Location"], event["Node"], event["QueryID"]
        place = str(at["file"]).removeprefix("/"), int(at["row"])
        if event["Op"] == "Enter":
            self._enter(place, node, frame, event["ParentID"])
        elif event["Op"] == "Exit" and isinstance(node, dict):
            self.rules[place].held = True
        elif event["Op"] in ("Eval", "Fail") and isinstance(node, dict):
            self._expression(place, node, frame, failed=event["Op"] == "Fail")

    def _enter(self, place: Place, node: Any, frame: int, parent: int) -> None:
        if isinstance(node, dict) and "head" in node:
            name = str(node["head"].get("name") or node["head"]["ref"][0]["value"])
            rule = self.rules.setdefault(place, TracedRule(name, place))
            self._frames[frame] = _Frame(rule, own=True)
        elif frame not in self._frames:
            around = self._frames.get(parent)
            self._frames[frame] = _Frame(around.rule if around else None, own=False)

    def _expression(self, place: Place, node: Mapping[str, Any], frame: int, *, failed: bool) -> None:
        inside = self._frames.get(frame)
        if inside is None or inside.rule is None:
            return
        counts = self._tried[place].setdefault((inside.own, node["index"], bool(node.get("generated"))), [0, 0])
        counts[int(failed)] += 1
        if not failed:
            for root, path in _refs(node):
                if path:
                    (inside.rule.looked_at if root == "input" else inside.rule.needs).add(path)

    def lines(self) -> dict[Place, Mark]:
        """What stands in a `not` or a comprehension counts for its line only where nothing around it does.

        The line of a rule's head holds when the rule did.
        """
        self._pass_on()
        found: dict[Place, Mark] = {}
        for place, tried in self._tried.items():
            own = [counts for (is_own, *_), counts in tried.items() if is_own] or list(tried.values())
            found[place] = _mark(own)
        for place, rule in self.rules.items():
            found[place] = "held" if rule.held else "failed"
        return found

    def _pass_on(self) -> None:
        """What a helper looked at is what its callers looked at, also where its value was remembered."""
        named: dict[str, list[TracedRule]] = defaultdict(list)
        for rule in self.rules.values():
            named[rule.name].append(rule)
        changed = True
        while changed:
            changed = False
            for rule in self.rules.values():
                helpers = [one for path in rule.needs for name in path[-3:] for one in named.get(str(name), ())]
                before = len(rule.looked_at), len(rule.needs)
                rule.looked_at.update(*(one.looked_at for one in helpers))
                rule.needs.update(*(one.needs for one in helpers))
                changed = changed or before != (len(rule.looked_at), len(rule.needs))


def _mark(tried: Sequence[Sequence[int]]) -> Mark:
    if any(fails and fails >= evals for evals, fails in tried):
        return "failed"
    return "some" if any(fails for _, fails in tried) else "held"


def _refs(node: Any) -> Iterable[tuple[str, Path_]]:
    """Every reference into input and data, as far as it is constant: `input.scopes[_]` is `input.scopes`."""
    if isinstance(node, list):
        for item in node:
            yield from _refs(item)
    elif isinstance(node, dict):
        value = node.get("value")
        if node.get("type") == "ref" and isinstance(value, list) and value[0].get("value") in ("input", "data"):
            path: list[str | int] = []
            for term in value[1:]:
                if term.get("type") not in ("string", "number"):
                    break
                path.append(term["value"])
            yield str(value[0]["value"]), tuple(path)
        for item in node.values():
            if isinstance(item, (list, dict)):
                yield from _refs(item)

"""What an entry says and what is decided now: the same? The words of the engine's messages may be others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.entry import canonical
from bridge.model.mask import MASKED
from bridge.model.personal import SALT

ASKED = ("id", "time", "door", "caller")
"""What the document says as well."""
ANSWER = (*ASKED, "outcome", "granted_scopes", "limit", "require", "claims", "crit", "findings", "reply")
TUPLES = ("outcome", "decisions")
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """`member` of the entry, with a slash and the scope for that of one scope; None: it is not there."""

    member: str
    recorded: Any
    now: Any


def differences(recorded: Entry, rules: Sequence[Entry], now: Entry) -> list[Difference]:
    """Between an entry with all its `rules`, and one that was made now. What either had no room for is not compared."""
    gone = {*recorded.get("shortened", ()), *now.get("shortened", ())}
    then = {**recorded, "rules": rules}
    return [*_members(then, now, gone), *_asked(then, now, gone), *_lists(then, now)]


def _members(then: Entry, now: Entry, gone: set[str]) -> Iterator[Difference]:
    for member in TUPLES if "decisions" in then else ANSWER:
        if member == "claims" and "claims" in gone and not (member in then and member in now):
            continue
        was, got = (_shown(member, entry.get(member), gone) for entry in (then, now))
        if canonical(was) != canonical(got):
            yield Difference(member, was, got)
    scopes = then.get("scopes", {}), now.get("scopes", {})
    for scope in sorted(scopes[0].keys() | scopes[1].keys()):
        was, got = (_answer(of.get(scope), gone) for of in scopes)
        if canonical(was) != canonical(got):
            yield Difference(f"scopes/{scope}", was, got)


def _asked(then: Entry, now: Entry, gone: set[str]) -> Iterator[Difference]:
    """What the entry shows of its document is what stands there, except where it is masked."""
    was, got = then["request"], {name: value for name, value in now["request"].items() if name != SALT}
    if not gone & {"request", "names"} and not _fits(was, got):
        yield Difference("request", was, got)


def _fits(shown: Any, value: Any) -> bool:
    if shown == MASKED:
        return True
    if isinstance(shown, dict) and isinstance(value, dict):
        return shown.keys() == value.keys() and all(_fits(shown[name], value[name]) for name in shown)
    if isinstance(shown, list) and isinstance(value, list):
        return len(shown) == len(value) and all(map(_fits, shown, value))
    return canonical(shown) == canonical(value)


def _shown(member: str, value: Any, gone: set[str]) -> Any:
    """Without titles and contexts where one of both had no room for them."""
    if member == "findings" and "titles" in gone:
        return [_without("title", one) for one in value]
    if member == "decisions" and "context" in gone:
        return [_without("context", one) for one in value]
    return value


def _answer(answer: Any, gone: set[str]) -> Any:
    if not isinstance(answer, dict) or "findings" not in answer:
        return answer
    return {**answer, "findings": _shown("findings", answer["findings"], gone)}


def _lists(then: Entry, now: Entry) -> Iterator[Difference]:
    """Rules that spoke and exception paths, as sets: each that only one of both has."""
    for member in ("rules", "exceptions"):
        was, got = ({canonical(_without("message", one)): one for one in entry[member]} for entry in (then, now))
        for key in sorted(was.keys() ^ got.keys()):
            yield Difference(member, was.get(key), got.get(key))


def _without(member: str, one: Entry) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != member}

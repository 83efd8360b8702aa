"""What an entry says and what is decided now: the same? The words of the engine's messages may be others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bridge.model.entry import canonical

ANSWER = ("outcome", "granted_scopes", "limit", "require", "claims", "crit", "findings", "reply")
TUPLES = ("outcome", "decisions")
Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """`member` of the entry, with a slash and the scope for that of one scope; None: it is not there."""

    member: str
    recorded: Any
    now: Any


def differences(recorded: Entry, rules: Sequence[Entry], now: Entry) -> list[Difference]:
    """Between an entry with all its `rules`, and one that was made now. What either left out is not compared."""
    gone = {*recorded.get("shortened", ()), *now.get("shortened", ())}
    then = {**recorded, "rules": rules}
    return [*_members(then, now, gone), *_lists(then, now)]


def _members(then: Entry, now: Entry, gone: set[str]) -> Iterator[Difference]:
    for member in TUPLES if "decisions" in then else ANSWER:
        if member not in gone:
            was, got = (_shown(entry.get(member), gone) for entry in (then, now))
            if canonical(was) != canonical(got):
                yield Difference(member, was, got)
    scopes = then.get("scopes", {}), now.get("scopes", {})
    for scope in sorted(scopes[0].keys() | scopes[1].keys()):
        was, got = (_shown(of.get(scope), gone) for of in scopes)
        if canonical(was) != canonical(got):
            yield Difference(f"scopes/{scope}", was, got)


def _shown(value: Any, gone: set[str]) -> Any:
    """Without titles and contexts where one of both had no room for them."""
    without = {"title"} if "titles" in gone else {"context"} if "context" in gone else set[str]()
    if isinstance(value, list):
        return [_shown(item, gone) for item in value]
    if isinstance(value, dict) and without:
        return {name: _shown(item, gone) for name, item in value.items() if name not in without}
    return value


def _lists(then: Entry, now: Entry) -> Iterator[Difference]:
    """Rules that spoke and exception paths, as sets: each that only one of both has."""
    for member in ("rules", "exceptions"):
        was, got = ({canonical(_without_words(one)): one for one in entry[member]} for entry in (then, now))
        for key in sorted(was.keys() ^ got.keys()):
            yield Difference(member, was.get(key), got.get(key))


def _without_words(one: Entry) -> dict[str, Any]:
    return {name: value for name, value in one.items() if name != "message"}

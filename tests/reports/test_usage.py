"""Counting: whatever the order and wherever a log ends, a request counts once; what is not shown is never guessed."""

import contextlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audit import usage as usage_module
from bridge.audit.asked import Unknown
from bridge.audit.chronology import BACKWARDS_MS
from bridge.audit.exceptions import Key, Taken, taken_in
from bridge.audit.narrowest import MAX_SPELLED, covers, narrowest, never_asked
from bridge.audit.usage import OTHERS, ClientUse, Usage, Use
from bridge.audit.window import Window, coverage
from bridge.errors import EvidenceUnavailable
from bridge.evidence.store import SqliteStore
from bridge.model.commitment import Disclosure, as_value
from bridge.model.registry import RegisteredClient
from bridge.model.times import rfc3339, uuid7
from bridge.ports import Record
from tests.support.evidence import reading

START_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z
EVER = Window(0, 10**15)
SHOP = ("as", "shop")


def decision(n: int, scopes: dict[str, str], **members: Any) -> dict[str, Any]:
    """The n-th decision, a second after the one before: each scope with its outcome."""
    granted = sorted(scope for scope, outcome in scopes.items() if outcome == "allow")
    waiting = "conditional" in scopes.values()
    at = START_MS + n * 1000
    entry = {
        "v": 1,
        "kind": "decision",
        "id": uuid7(at),
        "time": rfc3339(at),
        "request": {"issuer": "as", "client": {"id": "shop"}, "grant_type": "client_credentials"},
        "outcome": "conditional" if waiting else "allow" if granted or not scopes else "deny",
        "granted_scopes": granted,
        "scopes": {scope: {"outcome": outcome, "findings": []} for scope, outcome in scopes.items()},
        "findings": [],
        "limit": {},
        "rules": [],
        "exceptions": [],
    }
    return {**entry, **members}


def other(n: int, kind: str, **members: Any) -> dict[str, Any]:
    at = START_MS + n * 1000
    return {"v": 1, "kind": kind, "id": uuid7(at), "time": rfc3339(at), **members}


def write(folder: Path, entries: Iterable[dict[str, Any] | Record]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(SqliteStore(folder, "test/0")) as store:
        store.open()
        store.commit([one if isinstance(one, Record) else Record(one) for one in entries])
    return folder


def read(*folders: Path, window: Window = EVER) -> Usage:
    found = Usage(window)
    for folder in folders:
        with reading(folder) as reader:
            found.read(reader)
    return found


@st.composite
def requests(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Entries, request by request: some are batches, whose documents repeat scopes; some are overruled."""
    found: list[list[dict[str, Any]]] = []
    outcomes = st.sampled_from(["allow", "deny", "conditional"])
    for number in range(draw(st.integers(1, 6))):
        client = draw(st.sampled_from(["shop", "batch"]))
        documents = draw(
            st.lists(st.dictionaries(st.sampled_from("abc"), outcomes, max_size=3), min_size=1, max_size=3)
        )
        of: dict[str, Any] = {"batch": {"id": f"b{number}", "items": [0]}} if len(documents) > 1 else {}
        request = {"issuer": "as", "client": {"id": client}, "grant_type": draw(st.sampled_from(["x", "y"]))}
        found.append([decision(0, scopes, request=request, **of) for scopes in documents])
    return found


def expected(all_of: Sequence[Sequence[dict[str, Any]]], overruled: set[str]) -> dict[tuple[str, str], list[int]]:
    """(client, scope) -> asked, granted, waiting; said as plainly as can be."""
    found: dict[tuple[str, str], list[int]] = {}
    for documents in all_of:
        best: dict[tuple[str, str], int] = {}
        for entry in documents:
            for scope, answer in entry["scopes"].items():
                denied = entry["id"] in overruled or entry["outcome"] == "deny"
                rank = 0 if denied else 2 if scope in entry["granted_scopes"] else answer["outcome"] == "conditional"
                key = (entry["request"]["client"]["id"], scope)
                best[key] = max(best.get(key, 0), rank)
        for key, rank in best.items():
            counts = found.setdefault(key, [0, 0, 0])
            counts[0] += 1
            counts[1] += rank == 2
            counts[2] += rank == 1
    return found


def counted(found: Usage) -> dict[tuple[str, str], list[int]]:
    return {
        (name, scope): [use.asked, use.granted, use.waiting]
        for (_, name), client in found.clients.items()
        for scope, use in client.scopes.items()
    }


@settings(max_examples=25, deadline=None)
@given(requests(), st.data())
def test_each_request_counts_once(all_of: list[list[dict[str, Any]]], data: st.DataObject) -> None:
    together = [entry for documents in all_of for entry in documents]
    overruled = data.draw(st.sets(st.sampled_from([entry["id"] for entry in together])))
    about = [other(1, "overruled", decision_id=one) for one in sorted(overruled)]
    # The documents of one batch lie anywhere among others; a log may end between two requests.
    mixed = data.draw(st.permutations(together))
    cut = data.draw(st.integers(0, len(all_of)))
    first, second = ([entry for documents in part for entry in documents] for part in (all_of[:cut], all_of[cut:]))
    with tempfile.TemporaryDirectory() as scratch:
        one = read(write(Path(scratch, "one"), [*mixed, *about]))
        two = read(write(Path(scratch, "a"), [*first, *about]), write(Path(scratch, "b"), [*second, *about]))
    assert counted(one) == expected(all_of, overruled) == counted(two)
    assert sum(client.requests for client in one.clients.values()) == len(all_of)
    assert {name: (c.requests, c.granted, c.grant_types) for name, c in one.clients.items()} == {
        name: (c.requests, c.granted, c.grant_types) for name, c in two.clients.items()
    }


def test_what_is_remembered_of_open_requests_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_OPEN_BATCHES", "_REMEMBERED", "_MOST_ALIKE", "MAX_NAMES", "MAX_CLIENTS"):
        monkeypatch.setattr(usage_module, name, 2)
    decided = [decision(n, {f"s{n}": "allow"}, batch={"id": f"b{n}", "items": [0]}) for n in range(6)]
    asked_by = [{**one["request"], "client": {"id": f"c{n}"}} for n, one in enumerate(decided)]
    many = [{**one, "request": request} for one, request in zip(decided, asked_by, strict=True)]
    report = other(9, "issued", decision_id=decided[0]["id"], scopes=["s0"], audience=[], violations=[])
    one = read(write(tmp_path / "one", [*decided, report])).clients[SHOP]
    assert {name: use.asked for name, use in one.scopes.items()} == {"s0": 1, "s1": 1, "(others)": 4}
    assert (one.scopes["s0"].issued, one.reports) == (1, 1)  # its decision is looked up again
    clients = read(write(tmp_path / "many", many)).clients
    assert {name: use.requests for name, use in clients.items()} == {
        ("as", "c0"): 1,
        ("as", "c1"): 1,
        ("(others)", "(others)"): 4,
    }


def test_a_client_that_is_not_shown_is_told_as_hidden(tmp_path: Path) -> None:
    kept = Disclosure("/request/client/id", b"s" * 16, b'"shop"')
    committed = {"issuer": "as", "client": {"id": as_value(kept.commitment)}, "grant_type": "x"}
    hidden: list[Any] = [
        {"issuer": "as", "client": "***", "grant_type": "x"},
        {"issuer": "as", "client": {"id": "***"}, "grant_type": "x"},
        {"issuer": "***", "client": {"id": "shop"}, "grant_type": "x"},
        {"issuer": "as", "client": as_value(kept.commitment), "grant_type": "x"},
    ]
    entries: list[Any] = [decision(n, {"a": "allow"}, request=request) for n, request in enumerate(hidden)]
    entries.append(decision(5, {"a": "allow"}, request={"issuer": "as", "grant_type": "x"}))
    shown, erased = decision(6, {"a": "allow"}, request=committed), decision(7, {"a": "allow"}, request=committed)
    entries.append(Record(shown, disclosures=(kept,)))
    entries.append(Record(erased, disclosures=(Disclosure(kept.path, b"", b""),)))
    reports = [
        other(8, "issued", decision_id=one, scopes=["a"], audience=[], violations=[]) for one in (erased["id"], "none")
    ]
    cut = {"issuer": "as", "client": {"id": "x" * 64}, "grant_type": "x"}
    entries.append(decision(9, {"a": "allow"}, request=cut, shortened=["request", "names"]))
    found = read(write(tmp_path, [*entries, *reports]))
    assert found.unattributed == {Unknown.HIDDEN: 6, Unknown.ABSENT: 1}
    assert found.reports_unattributed == 2
    assert counted(found) == {("shop", "a"): [1, 1, 0]}  # the one whose commitment is not erased


def test_tuples_are_no_issuance_and_gaps_are_told(tmp_path: Path) -> None:
    tuples = {"tuples": [{"action": {"name": "a"}}]}
    entries = [
        other(0, "evaluation", request=tuples, decisions=[{"outcome": "allow"}], outcome="allow"),
        other(1, "gap", denied=3),
        other(2, "overloaded", count=4),
        decision(3, {}),
    ]
    found = read(write(tmp_path, entries))
    assert (found.unrecorded, counted(found), found.clients[SHOP].granted) == (7, {}, 1)


def test_only_the_window_counts(tmp_path: Path) -> None:
    folder = write(tmp_path, [decision(n, {"a": "allow"}) for n in range(6)])
    found = read(folder, window=Window(START_MS + 2000, START_MS + 4000))
    assert (found.entries, found.clients[SHOP].last_ms) == (2, START_MS + 3000)


def test_an_entry_that_is_none_is_named(tmp_path: Path) -> None:
    broken = decision(1, {"a": "allow"})
    del broken["granted_scopes"]
    with pytest.raises(EvidenceUnavailable, match="entry 1 is none that a bridge writes"):
        read(write(tmp_path, [decision(0, {}), broken]))


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(-BACKWARDS_MS, 3 * BACKWARDS_MS), min_size=1, max_size=30), st.integers(0, 30 * BACKWARDS_MS)
)
def test_a_window_begins_before_all_that_is_in_it(steps: list[int], since: int) -> None:
    times, latest = list[int](), START_MS
    for step in steps:  # no entry is older than any before it by more than BACKWARDS_MS
        times.append(latest + step)
        latest = max(latest, times[-1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(Path(scratch), ({**other(n, "start"), "time": rfc3339(at)} for n, at in enumerate(times)))
        with reading(folder) as reader:
            found = coverage(reader, Window(START_MS + since, START_MS + since + 1))
    assert found is not None
    assert (found.first_ms, found.last_ms) == (times[0], times[-1])
    assert all(at < START_MS + since for at in times[: found.start])


def test_an_exception_is_used_where_a_grant_rests_on_it(tmp_path: Path) -> None:
    package = 'issuance.scope["a"]'
    waived = {"path": "waiver", "package": package, "code": "w", "id": "EX-1"}
    rests = {"a": {"outcome": "allow", "findings": [{"code": "w"}]}}
    denied = {"a": {"outcome": "deny", "findings": [{"code": "no"}]}}
    gate = {"path": "break_glass", "package": "issuance.gate", "code": "g", "id": "BG-1"}
    granted = {"scopes": rests, "exceptions": [waived]}
    overruled = {**decision(2, {"a": "allow"}), **granted}
    entries = [
        {**decision(0, {"a": "allow"}), **granted},
        {**decision(1, {"a": "deny"}), **granted, "scopes": denied},
        overruled,
        other(3, "overruled", decision_id=overruled["id"]),
        decision(4, {"a": "allow"}, exceptions=[gate], findings=[{"code": "g"}]),
        {**decision(5, {"a": "deny"}), **granted, "granted_scopes": ["b"], "scopes": {**denied, "b": rests["a"]}},
        decision(6, {"a": "deny"}, exceptions=[{"path": "fail_closed", "code": "deadline", "message": "late"}]),
    ]
    taken: dict[Key, Taken] = {}
    with reading(write(tmp_path, entries)) as reader:
        taken_in(reader, EVER, taken)
    counts = {key: (one.recorded, one.used, dict(one.clients)) for key, one in taken.items()}
    assert counts == {(package, "w", "EX-1"): (4, 1, {SHOP: 1}), ("issuance.gate", "g", "BG-1"): (1, 1, {SHOP: 1})}
    with reading(tmp_path) as reader:  # a second log adds to the first
        taken_in(reader, Window(START_MS, START_MS + 1000), taken)
    assert (taken[package, "w", "EX-1"].used, taken[package, "w", "EX-1"].last_ms) == (2, START_MS)


def test_a_batch_with_one_grant_for_nobody_in_particular_leaves_the_audience_open(tmp_path: Path) -> None:
    batch = {"batch": {"id": uuid7(START_MS), "size": 2}}
    entries = [decision(0, {"a": "allow"}, limit={"audience": ["api"]}, **batch), decision(1, {"b": "allow"}, **batch)]
    seen = Usage(EVER)
    with reading(write(tmp_path, entries)) as reader:
        seen.read(reader)
    assert (seen.clients[SHOP].requests, seen.clients[SHOP].anywhere) == (1, 1)


def test_an_exception_of_a_prefix_is_used_by_scopes_below_it_alone(tmp_path: Path) -> None:
    package = 'issuance.scope_prefix["t:"]'
    waived = {"path": "waiver", "package": package, "code": "w", "id": "EX-1"}
    answer = {"outcome": "allow", "findings": [{"code": "w"}]}
    granted = [
        {**decision(number, {scope: "allow"}), "scopes": {scope: answer}, "exceptions": [waived]}
        for number, scope in enumerate(["t:a", "other"])
    ]
    taken: dict[Key, Taken] = {}
    with reading(write(tmp_path, granted)) as reader:
        taken_in(reader, EVER, taken)
    assert [(one.recorded, one.used) for one in taken.values()] == [(2, 1)]


_names = st.sampled_from(["read", "pay", "t:a", "t:b", "t:*", "t:a:*", "x"])


@given(st.lists(_names, unique=True), st.dictionaries(_names, st.builds(Use, st.just(1), *[st.integers(0, 1)] * 2)))
def test_the_narrowest_serves_what_was_served_and_nothing_new(registered: list[str], table: dict[str, Use]) -> None:
    known = RegisteredClient(scopes=tuple(registered))
    found = narrowest({"scopes": registered}, known, ClientUse(scopes=table))
    assert found is not None
    served = [name for name, use in table.items() if use.granted or use.waiting]
    for scope in served:
        assert any(covers(one, scope) for one in found["scopes"]) == any(covers(one, scope) for one in registered)
    assert set(found["scopes"]) <= set(served)
    assert all(any(covers(one, scope) for one in registered) for scope in found["scopes"])


def test_the_narrowest_keeps_what_cannot_be_spelled_out() -> None:
    many = {f"t:{n}": Use(1, 1) for n in range(MAX_SPELLED + 1)}
    known = RegisteredClient(("x",), ("t:*", "read", "pay"), ("api", "other"))
    raw = {"owner": "o", "scopes": ["t:*", "read", "pay"], "audience": ["api", "other"], "grant_types": ["x"]}
    use = ClientUse(scopes={**many, "pay": Use(1, 0, 1), "read": Use(3)}, grant_types={"x": Use(1, 1)}, anywhere=1)
    assert narrowest(raw, known, use) == {**raw, "scopes": ["t:*", "pay"]}
    assert narrowest(raw, known, ClientUse(scopes={"t:1": Use(1, 1)}, audience={"api": Use(1, 1)})) == {
        "owner": "o",
        "scopes": ["t:1"],
        "audience": ["api"],
        "grant_types": [],
    }
    assert narrowest(True, known, use) is None
    assert narrowest(raw, known, ClientUse(scopes={"read": Use(1, 1)}, hidden=1)) == raw
    assert never_asked(known.scopes, {"read": Use(1), OTHERS: Use(9)}) == []
    assert never_asked(known.scopes, {"read": Use(0, 0, 0, 5), "t:1": Use(1)}) == ["read", "pay"]

"""The register and its tree: who delegated what to whom, by the log alone, however often it is looked at."""

import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.audit.database import SameEntries
from bridge.audit.delegations import DEPTH, MOST, Tree
from bridge.audit.register import opened
from bridge.audit.report import Report
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE, REGISTER
from bridge.evidence.keys import token_digest
from bridge.evidence.store import SqliteStore
from bridge.model.commitment import Disclosure, as_value
from bridge.model.ended import Effect, Name, What
from bridge.model.entry import canonical
from bridge.model.issued import TokenDigest
from bridge.model.times import rfc3339, uuid7
from bridge.pdp.lifecycle import Order, Orders
from bridge.ports import Record
from tests.support.evidence import reading

ISSUER = "https://as.example"
TABLES = ("delegation", "chained", "hidden", "registered", "ended", "seen")
KEY = TokenDigest(b"k" * 32)


def decision(at: int, client: str, subject: str, *, hidden: bool = False, **members: Any) -> Record:
    """A decision that grants `read`, unless `members` say otherwise."""
    who: Any = {"type": "user", "id": subject}
    kept: tuple[Disclosure, ...] = ()
    if hidden:
        kept = (Disclosure("/request/subject/id", b"s" * 16, canonical(subject)),)
        who = {"type": "user", "id": as_value(kept[0].commitment)}
    own = ("outcome", "granted_scopes")
    asked = {name: value for name, value in members.items() if name not in own}
    entry = {
        "v": 1,
        "kind": "decision",
        "id": uuid7(at),
        "time": rfc3339(at),
        "request": {"issuer": ISSUER, "client": {"id": client}, "subject": who, **asked},
        "outcome": "allow",
        "granted_scopes": ["read"],
        **{name: members[name] for name in own if name in members},
    }
    return Record(entry, disclosures=kept)


def about(record: Record, at: int, kind: str, **members: Any) -> Record:
    head = {"v": 1, "kind": kind, "id": uuid7(at), "time": rfc3339(at), "decision_id": record.entry["id"]}
    return Record({**head, **members})


@contextlib.contextmanager
def written(folder: Path, records: list[Record]) -> Iterator[SqliteStore]:
    with contextlib.closing(SqliteStore(folder, "test/0")) as store:
        store.open()
        if records:
            store.commit(records)
        yield store


def tree(folder: Path, what: What, *ids: str, digest: TokenDigest = KEY) -> dict[str, Any]:
    with reading(folder) as reader, opened(reader) as register:
        return Tree(register, lambda name: name.digest(digest)).of(Name(what, ISSUER, ids))


def delegations(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["client"], one["subject"]["id"]) for one in told["delegations"]]


def test_the_tree_of_a_client(tmp_path: Path) -> None:
    first = decision(1000, "app", "alice", session={"id": "s1"}, grant={"id": "g1"})
    second = decision(2000, "app", "alice", session={"id": "s2"}, granted_scopes=["read", "write"])
    records = [
        first,
        second,
        decision(2500, "app", "alice", session={"id": "s3"}, outcome="deny", granted_scopes=[]),
        decision(3000, "app", "bob", hidden=True),
        decision(4000, "other", "alice"),
        about(first, 5000, "issued", exp=1_800_000_000, jti_digest="j", scopes=[]),
    ]
    with written(tmp_path, records):
        told = tree(tmp_path, What.CLIENT, "app")
    assert delegations(told) == [("app", "alice"), ("app", "bob")]
    alice = told["delegations"][0]
    assert alice["scopes"] == ["read", "write"]
    assert (alice["sessions"], alice["grants"]) == (["s1", "s2"], ["g1"])
    assert (alice["granted"], alice["minted"], alice["live_until"]) == (2, 1, rfc3339(1_800_000_000_000))
    assert (alice["first"], alice["last"]) == (rfc3339(1000), rfc3339(2000))
    assert delegations(tree(tmp_path, What.SUBJECT, "alice")) == [("app", "alice"), ("other", "alice")]
    assert delegations(tree(tmp_path, What.SUBJECT, "bob")) == [("app", "bob")]
    assert delegations(tree(tmp_path, What.SESSION, "s2")) == [("app", "alice")]
    assert delegations(tree(tmp_path, What.GRANT, "g1")) == [("app", "alice")]
    assert delegations(tree(tmp_path, What.DELEGATION, "app", "bob")) == [("app", "bob")]
    assert b"bob" not in (tmp_path / REGISTER).read_bytes()


def test_exchanged_tokens_hang_below_those_that_they_were_exchanged_for(tmp_path: Path) -> None:
    of_app = {"sub": "alice", "client_id": "app", "iss": ISSUER}
    of_gateway = {"sub": "alice", "client_id": "gateway", "iss": ISSUER, "act": {"sub": "gateway"}}
    records = [
        decision(1000, "app", "alice"),
        decision(2000, "gateway", "alice", subject_token=of_app, actor={"type": "client", "id": "gateway"}),
        decision(3000, "worker", "alice", subject_token=of_gateway),
        decision(4000, "stranger", "alice", subject_token={**of_app, "iss": "https://elsewhere.example"}),
        decision(5000, "late", "carol", subject_token={"sub": "carol", "client_id": "x", "act": {"sub": "app"}}),
        decision(6000, "app", "alice", subject_token={"sub": "alice", "client_id": "worker"}),  # round in a circle
    ]
    with written(tmp_path, records):
        told = tree(tmp_path, What.CLIENT, "app")
    (alice,) = told["delegations"]
    (gateway,) = alice["exchanged"]
    (worker,) = gateway["exchanged"]
    assert (gateway["client"], gateway["actors"], worker["client"]) == ("gateway", ["gateway"], "worker")
    assert "exchanged" not in worker
    assert [(one["client"], one["subject"]["id"]) for one in told["exchanged"]] == [("late", "carol")]


def test_a_token_that_an_actor_got_for_somebody_hangs_below_what_that_one_lets_the_actor_do(tmp_path: Path) -> None:
    token = {"sub": "alice", "act": {"sub": "app"}}
    with written(tmp_path, [decision(1000, "app", "alice"), decision(2000, "api", "alice", subject_token=token)]):
        (found,) = tree(tmp_path, What.DELEGATION, "app", "alice")["delegations"]
    assert [one["client"] for one in found["exchanged"]] == ["api"]


def test_a_tree_that_is_cut_says_so_and_one_that_is_not_does_not(tmp_path: Path) -> None:
    chain = [
        decision(number, f"c{number}", "alice", subject_token={"sub": "alice", "client_id": f"c{number - 1}"})
        for number in range(1, DEPTH + 2)
    ]
    with written(tmp_path, [decision(0, "c0", "alice"), *chain[:-1]]) as store:
        assert "more" not in tree(tmp_path, What.DELEGATION, "c0", "alice")
        store.commit([chain[-1], *(decision(100, "app", f"user-{number}") for number in range(MOST))])
        assert tree(tmp_path, What.DELEGATION, "c0", "alice")["more"] is True
        assert "more" not in tree(tmp_path, What.CLIENT, "app")
        store.commit([decision(100, "app", "one more")])
        assert tree(tmp_path, What.CLIENT, "app")["more"] is True


def test_a_client_of_many_whose_tokens_are_exchanged_often_is_told_at_once(tmp_path: Path) -> None:
    """Not once through all exchanges for each of its delegations."""
    many = [decision(1000, "app", f"user-{number}") for number in range(MOST)]
    token = {"client_id": "app", "iss": ISSUER}
    many += [
        decision(2000, "api", f"user-{number}", subject_token={**token, "sub": f"user-{number}"})
        for number in range(MOST)
    ]
    many += [
        decision(2000, "api", f"other-{number}", subject_token={**token, "sub": f"other-{number}"})
        for number in range(MOST * 2)
    ]
    with written(tmp_path, many):
        tree(tmp_path, What.CLIENT, "nobody")
        before = time.process_time()
        told = tree(tmp_path, What.CLIENT, "app")
        assert time.process_time() - before < 4
        # Endings that come at once have a tree each, and most have nothing to do with any exchange.
        before = time.process_time()
        for number in range(20):
            assert tree(tmp_path, What.SUBJECT, f"nobody-{number}")["exchanged"] == []
        assert time.process_time() - before < 1
    assert (len(told["delegations"]), told["more"]) == (MOST, True)


def test_what_was_denied_after_all_was_not_granted(tmp_path: Path) -> None:
    for hidden in (False, True):
        folder = tmp_path / str(hidden)
        first = decision(1000, "app", "alice", hidden=hidden)
        with written(folder, [first]) as store:
            assert delegations(tree(folder, What.CLIENT, "app")) == [("app", "alice")]
            store.commit([about(first, 2000, "overruled", outcome="deny")])
            assert delegations(tree(folder, What.CLIENT, "app")) == []


def test_what_ended_is_shown_and_what_began_anew_is_not(tmp_path: Path) -> None:
    with written(tmp_path, [decision(1000, "app", "alice")]) as store:
        digest = token_digest(tmp_path)
        orders = Orders(digest)
        (receipt,) = store.commit(
            [orders.record(Order(Name(What.SUBJECT, ISSUER, ("alice",)), Effect.ENDED, "why", "ops"))]
        )
        told = tree(tmp_path, What.CLIENT, "app", digest=digest)
        assert "ended" not in told
        assert told["delegations"][0]["ended"]["index"] == receipt.index
        assert tree(tmp_path, What.SUBJECT, "alice", digest=digest)["ended"]["what"] == "subject"
        store.commit([orders.record(Order(Name(What.SUBJECT, ISSUER, ("alice",)), Effect.REINSTATED, "why", "ops"))])
        assert "ended" not in tree(tmp_path, What.CLIENT, "app", digest=digest)["delegations"][0]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("DELETE FROM about WHERE member = 'ended_digest'", "entry 1: what it ends is not looked up"),
        ("UPDATE about SET value = 'x' WHERE member = 'ended_digest'", "entry 1: what it ends is not looked up"),
        ("INSERT INTO about VALUES ('ended_digest', 'x', 'revocation', 0)", "2 endings are looked up"),
    ],
)
def test_log_verify_tells_when_the_writer_would_not_find_an_ending(
    tmp_path: Path, statement: str, expected: str
) -> None:
    order = Orders(KEY).record(Order(Name(What.CLIENT, ISSUER, ("app",)), Effect.ENDED, "why", "ops"))
    with written(tmp_path, [decision(1000, "app", "alice"), order]):
        pass
    assert looked_at(tmp_path) == []
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db, db:
        db.execute(statement)
    assert any(expected in problem for problem in looked_at(tmp_path))


def looked_at(folder: Path) -> list[str]:
    report = Report()
    with reading(folder) as reader:
        SameEntries(reader, None, report).finish()
    return report.problems


_ids = st.sampled_from(["a", "b", "c"])
_tokens = st.fixed_dictionaries(
    {"sub": _ids}, optional={"client_id": _ids, "act": st.fixed_dictionaries({"sub": _ids})}
)
_members = st.fixed_dictionaries(
    {},
    optional={
        "session": st.fixed_dictionaries({"id": _ids}),
        "grant": st.one_of(st.just({}), st.fixed_dictionaries({"id": _ids}), st.just({"started": 1})),
        "actor": st.fixed_dictionaries({"type": st.just("client"), "id": _ids}),
        "subject_token": st.one_of(_tokens, st.just({})),
        "granted_scopes": st.lists(_ids, unique=True),
        "outcome": st.sampled_from(["allow", "deny", "conditional"]),
        "hidden": st.booleans(),
    },
)
_made = st.lists(
    st.one_of(
        st.tuples(st.just("decision"), _ids, _ids, _members),
        st.tuples(st.sampled_from(["issued", "overruled"]), st.integers(0, 9), st.integers(1, 2**60), st.just(None)),
        st.tuples(st.sampled_from(list(Effect)), _ids, st.just(None), st.just(None)),
    ),
    max_size=12,
)


@given(_made, st.data())
@settings(max_examples=40)
def test_it_is_the_same_made_at_one_go_or_bit_by_bit(made: list[Any], data: st.DataObject) -> None:
    records: list[Record] = []
    orders = Orders(KEY)
    for at, (kind, one, other, members) in enumerate(made):
        if kind == "decision":
            records.append(decision(at, one, other, **members))
        elif kind in list(Effect):
            records.append(orders.record(Order(Name(What.CLIENT, ISSUER, (one,)), Effect(kind), "why", "ops")))
        elif decisions := [r for r in records if r.entry["kind"] == "decision"]:
            about_it = {"exp": other, "jti_digest": "j"} if kind == "issued" else {"outcome": "deny"}
            records.append(about(decisions[one % len(decisions)], at, kind, **about_it))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with written(folder, []) as store:
            for record in records:
                store.commit([record])
                if data.draw(st.booleans()):
                    tree(folder, What.CLIENT, "a")
            bit_by_bit = [tree(folder, What.CLIENT, "a"), tree(folder, What.SUBJECT, "b"), dumped(folder)]
            (folder / REGISTER).unlink()
            assert [tree(folder, What.CLIENT, "a"), tree(folder, What.SUBJECT, "b"), dumped(folder)] == bit_by_bit


def dumped(folder: Path) -> list[Any]:
    with contextlib.closing(sqlite3.connect(folder / REGISTER)) as db:
        return [db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES]


def spoil(path: Path, how: str) -> None:
    """Makes of the tables no database, one with damage inside, or one of an earlier version."""
    if how == "older":
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 0")
            db.execute("ALTER TABLE delegation DROP COLUMN minted")
        return
    found = bytearray(path.read_bytes())
    begin = 0 if how == "none" else 8192
    found[begin:] = b"\xff" * (len(found) - begin)
    path.write_bytes(found)


@pytest.mark.parametrize("how", ["none", "damaged", "older"])
def test_tables_that_are_damaged_or_of_another_version_are_made_anew(tmp_path: Path, how: str) -> None:
    with written(tmp_path, [decision(1000, "app", f"user-{number}") for number in range(500)]):
        whole = tree(tmp_path, What.CLIENT, "app")
        spoil(tmp_path / REGISTER, how)
        with contextlib.suppress(EvidenceUnavailable):
            assert tree(tmp_path, What.CLIENT, "app") == whole
        assert tree(tmp_path, What.CLIENT, "app") == whole
        with contextlib.closing(sqlite3.connect(tmp_path / REGISTER)) as db:
            assert db.execute("SELECT sum(granted) FROM delegation").fetchone() == (500,)


def test_the_log_itself_is_not_touched(tmp_path: Path) -> None:
    with written(tmp_path, [decision(1000, "app", "alice")]):
        pass
    before = (tmp_path / DATABASE).read_bytes()
    tree(tmp_path, What.CLIENT, "app")
    assert (tmp_path / DATABASE).read_bytes() == before

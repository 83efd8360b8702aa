"""Records that are finished inside the writer's transaction: what they see, and whom they can harm."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE
from bridge.evidence.journal import GroupCommitJournal
from bridge.evidence.rows import MAX_FOUND
from bridge.evidence.store import SqliteStore
from bridge.model.times import uuid7
from bridge.ops.metrics import Metrics
from bridge.ports import Finish, FinishFailed, Lookup, Receipt, Record
from tests.support.evidence import all_found, entries

TIME = "2026-01-01T00:00:00.000Z"


def record(n: int, kind: str = "decision", finish: Finish | None = None, **members: Any) -> Record:
    return Record({"v": 1, "kind": kind, "id": uuid7(1_000 + n), "time": TIME, "n": n, **members}, finish=finish)


def about(n: int, decision_id: str = "d", **members: Any) -> Record:
    return record(n, "issued", decision_id=decision_id, **members)


def counting(n: int, decision_id: str = "d") -> Record:
    """Writes down how many `issued` entries about the decision stand before it."""
    plain = about(n, decision_id)

    def finish(log: Lookup) -> dict[str, Any]:
        return {**plain.entry, "before": len(log.about("issued", "decision_id", decision_id))}

    return Record(plain.entry, finish=finish)


def failing(n: int, error: BaseException) -> Record:
    def finish(log: Lookup) -> dict[str, Any]:
        raise error

    return record(n, "issued", finish)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with contextlib.closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        yield store


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[GroupCommitJournal]:
    journal = GroupCommitJournal(SqliteStore(tmp_path, "test/0"), "origin", Metrics())
    with structlog.testing.capture_logs():
        await journal.start()
        yield journal
        await journal.close()


def test_it_sees_what_stands_before_it_in_its_own_batch_too(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([counting(0)])
    store.commit([counting(1), record(2), counting(3, "other"), counting(4)])
    assert [entry.get("before") for entry in entries(tmp_path)] == [0, 1, None, 0, 2]
    assert [entry["iseq"] for entry in entries(tmp_path)] == list(range(5))


def test_it_sees_what_another_writer_wrote(store: SqliteStore, tmp_path: Path) -> None:
    with contextlib.closing(SqliteStore(tmp_path, "test/1")) as other:
        other.open()
        other.commit([about(0), about(1)])
        store.commit([counting(2)])
        other.commit([counting(3)])
    assert [entry.get("before") for entry in entries(tmp_path)] == [None, None, 2, 3]


def test_entries_are_found_by_id_decision_and_token(store: SqliteStore) -> None:
    seen: dict[str, Any] = {}
    decision = record(0)
    issued = about(1, decision.entry["id"], jti_digest="j")

    def finish(log: Lookup) -> dict[str, Any]:
        seen["entry"] = log.entry(decision.entry["id"])
        seen["none"] = log.entry("nowhere")
        seen["found"] = log.about("issued", "decision_id", decision.entry["id"])
        seen["token"] = log.about("issued", "jti_digest", "j")
        seen["nothing"] = [
            *log.about("overruled", "decision_id", decision.entry["id"]),
            *log.about("issued", "decision_id", "j"),
            *log.about("issued", "jti_digest", decision.entry["id"]),
        ]
        return last.entry

    last = record(2)
    receipts = store.commit([decision, issued, Record(last.entry, finish=finish)])
    for found, receipt in ((seen["entry"], receipts[0]), (seen["found"][0], receipts[1])):
        assert (found.index, found.leaf_hash) == (receipt.index, receipt.leaf_hash)
        assert receipt.entry.items() <= found.entry.items()
    assert (seen["found"], seen["none"], seen["nothing"]) == (seen["token"], None, [])


def test_what_is_looked_up_is_bounded(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([about(n) for n in range(MAX_FOUND + 10)])
    store.commit([counting(500)])
    assert entries(tmp_path)[-1]["before"] == MAX_FOUND


def test_the_receipt_of_another_entry_writes_nothing(store: SqliteStore, tmp_path: Path) -> None:
    (first,) = store.commit([about(0)])

    def finish(log: Lookup) -> Receipt:
        return log.about("issued", "decision_id", "d")[0]

    before, again, after = store.commit([record(1), record(2, "issued", finish), record(3)])
    assert (again.index, again.leaf_hash, again.entry["id"]) == (0, first.leaf_hash, first.entry["id"])
    assert (before.index, after.index) == (1, 2)
    assert [(entry["iseq"], entry["kind"]) for entry in entries(tmp_path)] == [
        (0, "issued"),
        (1, "decision"),
        (2, "decision"),
    ]


def test_one_that_raises_is_named_and_nothing_is_written(store: SqliteStore, tmp_path: Path) -> None:
    bad = failing(1, ValueError("no"))
    with pytest.raises(FinishFailed) as raised:
        store.commit([about(0), bad, about(2)])
    assert raised.value.record is bad
    store.commit([about(0), about(2)])
    assert [(found.index, found.entry["iseq"]) for found in all_found(tmp_path)] == [(0, 0), (1, 1)]
    with contextlib.closing(sqlite3.connect(tmp_path / DATABASE)) as db:
        assert db.execute("SELECT count(*) FROM about").fetchone() == (2,)


def test_an_entry_that_no_bundle_can_hold_is_left_out(store: SqliteStore, tmp_path: Path) -> None:
    """Or nothing after it would ever be published."""
    large = record(1, what="x" * 65_536)
    with pytest.raises(FinishFailed) as raised:
        store.commit([record(0), large])
    assert raised.value.record is large
    store.commit([record(0)])
    assert [found.entry["n"] for found in all_found(tmp_path)] == [0]


def test_a_failing_disk_is_not_the_records_fault(store: SqliteStore) -> None:
    with pytest.raises(EvidenceUnavailable, match="disk"):
        store.commit([about(0), failing(1, sqlite3.OperationalError("disk I/O error"))])


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(), KeyError(), EvidenceUnavailable("mine")])
async def test_one_that_raises_fails_alone(journal: GroupCommitJournal, tmp_path: Path, error: Exception) -> None:
    make: list[Callable[[], asyncio.Future[Receipt]]] = [
        lambda: journal.append(record(0)),
        lambda: journal.append(failing(1, error)),
        lambda: journal.append(counting(2)),
        lambda: journal.append(record(3), failing(4, error), record(5)),
        lambda: journal.append(counting(6), record(7)),
    ]
    done = await asyncio.gather(*(one() for one in make), return_exceptions=True)
    assert [type(one) for one in done] == [Receipt, EvidenceUnavailable, Receipt, EvidenceUnavailable, Receipt]
    assert type(error).__name__ in str(done[1])
    assert journal.fault is None
    # What is handed over as one is written as one, or not.
    assert [entry["n"] for entry in entries(tmp_path)] == [0, 2, 6, 7]
    assert [entry.get("before") for entry in entries(tmp_path)] == [None, 0, 1, None]


async def test_many_that_raise_harm_nobody(journal: GroupCommitJournal, tmp_path: Path) -> None:
    done = await asyncio.gather(
        *(journal.append(failing(n, ValueError()) if n % 2 else record(n)) for n in range(40)), return_exceptions=True
    )
    assert [isinstance(one, Receipt) for one in done] == [n % 2 == 0 for n in range(40)]
    assert [entry["n"] for entry in entries(tmp_path)] == list(range(0, 40, 2))

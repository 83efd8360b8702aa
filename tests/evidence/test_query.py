"""The reader: what was just written is found, the query tables are only derived, and every filter filters."""

import hashlib
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.audit import filter as filter_module
from bridge.audit.filter import Filter
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import DATABASE, INDEX
from bridge.evidence.store import SqliteStore
from bridge.model.times import parse_rfc3339, uuid7
from bridge.ports import Record
from tests.support.rights import unprivileged


def decision(n: int, **members: Any) -> Record:
    entry: dict[str, Any] = {
        "v": 1,
        "kind": "decision",
        "id": uuid7(n),
        "time": f"2026-03-{n + 1:02}T00:00:00.000Z",
        "outcome": "allow",
        "request": {"client": {"id": "shop"}, "subject": {"type": "user", "id": "nina"}},
        "scopes": {"read": {"outcome": "allow", "findings": []}},
        "rules": [
            {"package": "issuance.gate", "code": "known", "effect": "allow", "owner": "Platform <p@example.com>"}
        ],
        "exceptions": [],
    }
    return Record({**entry, **members})


def write(folder: Path, *records: Record) -> None:
    store = SqliteStore(folder, "test/0")
    store.open()
    store.commit(records)
    store.close()


def found(folder: Path, **wanted: Any) -> list[int]:
    reader = LogReader(folder)
    try:
        return [one.index for one in Queries(reader).query(Filter(**wanted))]
    finally:
        reader.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    waiver = {"path": "waiver", "id": "EX-1", "package": "p", "code": "c"}
    both = {"read": {"outcome": "allow", "findings": []}, "pay": {"outcome": "deny", "findings": []}}
    write(
        tmp_path,
        decision(0),
        decision(1, outcome="deny", request={"client": {"id": "batch"}}, exceptions=[waiver]),
        decision(2, scopes=both, rules=[{"package": 'issuance.scope["pay"]', "code": "no", "effect": "deny"}]),
    )
    return tmp_path


FILTERS: list[tuple[dict[str, Any], list[int]]] = [
    ({}, [2, 1, 0]),
    ({"client": "shop"}, [2, 0]),
    ({"client": "sho"}, []),
    ({"subject": "nina"}, [2, 0]),
    ({"outcome": "deny"}, [1]),
    ({"scope": "pay"}, [2]),
    ({"scope": "pay", "outcome": "allow"}, []),
    ({"scope": "pay", "outcome": "deny"}, [2]),
    ({"scope": "read", "client": "batch"}, [1]),
    ({"rule": "known"}, [1, 0]),
    ({"rule": "issuance.gate/known"}, [1, 0]),
    ({"rule": 'issuance.scope["pay"]/no'}, [2]),
    ({"owner": "platform"}, [1, 0]),
    ({"owner": "%"}, []),
    ({"owner": "_"}, []),
    ({"exception": "waiver"}, [1]),
    ({"exception": "EX-1"}, [1]),
    ({"exception": "any"}, [1]),
    ({"exception": "break_glass"}, []),
    ({"since": parse_rfc3339("2026-03-02T00:00:00Z")}, [2, 1]),
    ({"until": parse_rfc3339("2026-03-02T00:00:00Z")}, [0]),
    ({"since": parse_rfc3339("2026-03-02T00:00:00Z"), "until": parse_rfc3339("2026-03-03T00:00:00Z")}, [1]),
    ({"scope": "read", "client": "shop", "rule": "known", "owner": "p@", "since": 0, "until": 2**53}, [0]),
    ({"subject": "nina", "scope": "pay", "since": 0, "until": 1}, []),
    ({"limit": 1}, [2]),
    ({"client": "' OR 1=1 --"}, []),
]


@pytest.mark.parametrize(("wanted", "indexes"), FILTERS, ids=[str(wanted) for wanted, _ in FILTERS])
@pytest.mark.parametrize("few", [0, 2, filter_module.FEW])
def test_each_filter(
    folder: Path, wanted: dict[str, Any], indexes: list[int], few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a condition drives the search or is looked up for each entry, the answer is the same."""
    monkeypatch.setattr(filter_module, "FEW", few)
    assert found(folder, **wanted) == indexes


def test_what_was_just_written_is_found(folder: Path) -> None:
    assert found(folder, client="late") == []
    write(folder, decision(3, request={"client": {"id": "late"}}))
    assert found(folder, client="late") == [3]


def test_dropped_query_tables_are_made_again(folder: Path) -> None:
    before = found(folder, scope="read")
    (folder / INDEX).unlink()
    assert found(folder, scope="read") == before


def test_tables_of_another_log_are_not_believed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    write(other, *(decision(n, request={"client": {"id": "other"}}) for n in range(5)))
    assert found(other, client="other") == [4, 3, 2, 1, 0]
    shutil.copy(other / INDEX, folder / INDEX)
    assert found(folder, client="other") == []
    assert found(folder, client="shop") == [2, 0]


def test_a_broken_index_file_does_not_hide_the_log(folder: Path) -> None:
    (folder / INDEX).write_bytes(b"not a database" * 1000)
    assert found(folder, client="shop") == [2, 0]


def test_the_reader_never_writes_to_the_log(folder: Path) -> None:
    before = (folder / DATABASE).read_bytes()
    reader = LogReader(folder)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.db.execute("DELETE FROM entry")
    reader.close()
    found(folder)
    assert (folder / DATABASE).read_bytes() == before


def test_showing_a_decision_shows_what_follows_from_it(folder: Path) -> None:
    reader = LogReader(folder)
    (one,) = Queries(reader).show("1")
    reader.close()
    overruled = {"v": 1, "kind": "overruled", "id": uuid7(9), "time": "2026-03-09T00:00:00.000Z"}
    write(folder, Record({**overruled, "decision_id": one.entry["id"], "outcome": "deny"}))
    reader = LogReader(folder)
    assert [f.entry["kind"] for f in Queries(reader).show(one.entry["id"])] == ["decision", "overruled"]
    assert [(f.index, f.overruled) for f in Queries(reader).query(Filter())] == [
        (3, False),
        (2, False),
        (1, True),
        (0, False),
    ]
    assert (folder / INDEX).stat().st_mode & 0o077 == 0
    reader.close()


def with_document(n: int, data: bytes) -> Record:
    digest = hashlib.sha256(data).digest()
    return Record({**decision(n).entry, "input_digest": digest.hex()}, data, digest)


def test_a_document_is_found_by_its_digest_however_new_it_is(folder: Path) -> None:
    first, second, none = (hashlib.sha256(data).hexdigest() for data in (b"first", b"second", b"none"))
    write(folder, with_document(3, b"first"))
    with closing(LogReader(folder)) as reader:
        queries = Queries(reader)
        assert [(one.index, reader.document(one)) for one in queries.show(first)] == [(3, b"first")]
        assert queries.show(second) == []
        write(folder, decision(4), with_document(5, b"second"), with_document(6, b"first"))
        assert [(one.index, reader.document(one)) for one in queries.show(second)] == [(5, b"second")]
        assert [(one.index, reader.document(one)) for one in queries.show(first)] == [(3, b"first"), (6, b"first")]
        assert queries.show(none) == []
        assert reader.document(reader.at(4)) is None
        assert (queries.same_document([5]), queries.same_document([6, 4])) == ([5], [3, 4, 6])


def test_a_document_under_another_entry_is_not_taken_for_its_own(folder: Path) -> None:
    write(folder, with_document(3, b"first"), with_document(4, b"second"))
    with sqlite3.connect(folder / DATABASE) as db:
        for change in ("idx = -1 WHERE idx = 3", "idx = 3 WHERE idx = 4", "idx = 4 WHERE idx = -1"):
            db.execute(f"UPDATE input SET {change}")
    db.close()
    with closing(LogReader(folder)) as reader:
        assert [reader.document(reader.at(index)) for index in (3, 4)] == [None, None]


def test_no_log_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match="there is no log in"):
        LogReader(tmp_path)


def test_a_log_that_may_be_read_and_not_written_is_read() -> None:
    """A copy on a medium for auditors: SQLite alone would want to write beside it."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, decision(0), decision(1))
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        with unprivileged():
            assert found(folder) == [1, 0]
        folder.chmod(0o700)


def test_a_folder_that_may_not_be_entered_is_a_clear_error() -> None:
    with tempfile.TemporaryDirectory() as place:
        write(Path(place), decision(0))
        Path(place).chmod(0)
        with unprivileged(), pytest.raises(EvidenceUnavailable, match="Permission denied"):
            LogReader(Path(place))
        Path(place).chmod(0o700)


def test_a_folder_is_a_path_and_not_an_address(tmp_path: Path) -> None:
    folder = tmp_path / "a?b#c%41"
    write(folder, decision(0))
    assert found(folder) == [0]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{}", b"[]", b'"x"', b"\xff", b'{"id": "i", "kind": "k", "time": 5, "request": 1}']
)
def test_an_entry_that_was_changed_beyond_reading_is_named(folder: Path, data: bytes) -> None:
    with sqlite3.connect(folder / DATABASE) as db:
        db.execute("UPDATE entry SET bytes = ? WHERE idx = 1", (data,))
    db.close()
    with pytest.raises(EvidenceUnavailable, match=r"entry 1 .*is none that a bridge writes"):
        found(folder)

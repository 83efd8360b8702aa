"""The store: exact bytes, dense indexes, epochs; several writers on one log."""

import base64
import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.audit.reader import LogReader
from bridge.errors import EvidenceLocked, EvidenceUnavailable
from bridge.evidence import schema
from bridge.evidence.files import DATABASE, LAYOUT
from bridge.evidence.store import SqliteStore, owned
from bridge.model.times import uuid7
from bridge.ports import Record


def record(n: int = 0, **members: object) -> Record:
    return Record({"v": 1, "kind": "decision", "id": uuid7(1_000 + n), "time": "2026-01-01T00:00:00.000Z", **members})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "evidence", "test/0")
    store.open()
    yield store
    store.close()


def rows(folder: Path) -> list[tuple[int, int, bytes, bytes]]:
    with sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True) as db:
        found = db.execute("SELECT idx, iseq, bytes, leaf_hash FROM entry ORDER BY idx").fetchall()
    db.close()
    return found


def test_the_stored_bytes_are_sorted_json_and_what_is_hashed(store: SqliteStore, tmp_path: Path) -> None:
    (receipt,) = store.commit([record(z=1, a={"c": 1, "b": "é"})])
    ((index, iseq, data, leaf),) = rows(tmp_path / "evidence")
    assert (index, iseq) == (0, 0) == (receipt.index, 0)
    assert leaf == receipt.leaf_hash == hashlib.sha256(b"\x00" + data).digest()
    entry = json.loads(data)
    assert data == json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    assert (entry["instance"], entry["epoch"], entry["iseq"]) == ("test/0", 1, 0)


def test_every_opening_is_one_epoch_more_and_iseq_begins_anew(tmp_path: Path) -> None:
    for epoch in (1, 2, 3):
        store = SqliteStore(tmp_path, "test/0")
        store.open()
        store.commit([record(), record()])
        assert store.epoch == epoch
        store.close()
    entries = [json.loads(data) for _, _, data, _ in rows(tmp_path)]
    assert [(e["epoch"], e["iseq"]) for e in entries] == [(n, i) for n in (1, 2, 3) for i in (0, 1)]


def test_a_batch_that_fails_leaves_nothing_and_no_hole(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([record()])
    with pytest.raises(TypeError):
        store.commit([record(), Record({"id": "x", "kind": "decision", "bad": object()})])
    store.commit([record()])
    assert [(index, iseq) for index, iseq, _, _ in rows(tmp_path / "evidence")] == [(0, 0), (1, 1)]


def test_each_document_lies_under_the_index_of_its_entry(store: SqliteStore, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"{}").digest()
    one = Record(record().entry, b"{}", digest)
    store.commit([one, record(1), one])
    store.commit([one])
    with sqlite3.connect(tmp_path / "evidence" / DATABASE) as db:
        found = db.execute("SELECT idx, digest, bytes FROM input ORDER BY idx").fetchall()
        indexes = db.execute(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'input'"
        ).fetchone()
    db.close()
    assert found == [(index, digest, b"{}") for index in (0, 2, 3)]
    assert indexes == (0,)  # it would be written to at every entry, at another place each time


@pytest.mark.parametrize("layout", [0, LAYOUT + 1])
def test_a_log_of_another_version_is_neither_written_nor_read(store: SqliteStore, tmp_path: Path, layout: int) -> None:
    folder = tmp_path / "evidence"
    store.commit([record()])
    store.close()
    with sqlite3.connect(folder / DATABASE) as db:
        db.execute(f"PRAGMA user_version = {layout}")
    db.close()
    before = (folder / DATABASE).read_bytes()
    for use in (SqliteStore(folder, "test/0").open, lambda: LogReader(folder)):
        with pytest.raises(EvidenceUnavailable, match=f"layout {layout}.* layout {LAYOUT}"):
            use()
    assert (folder / DATABASE).read_bytes() == before


def test_tables_are_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TABLES", f"{schema._TABLES} CREATE TABLE entry (again);")
    with pytest.raises(EvidenceUnavailable, match="already exists"):
        SqliteStore(tmp_path, "test/0").open()
    monkeypatch.undo()
    store = SqliteStore(tmp_path, "test/0")
    store.open()
    store.commit([record()])
    store.close()
    assert len(rows(tmp_path)) == 1


def test_a_fresh_handle_goes_on_in_the_same_epoch(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([record()])
    store.reopen()
    store.commit([record()])
    entries = [json.loads(data) for _, _, data, _ in rows(tmp_path / "evidence")]
    assert [(e["epoch"], e["iseq"]) for e in entries] == [(1, 0), (1, 1)]


def test_a_log_that_cannot_be_opened_says_where(tmp_path: Path) -> None:
    (tmp_path / "evidence").write_text("a file, not a folder")
    with pytest.raises(EvidenceUnavailable, match="evidence"):
        SqliteStore(tmp_path / "evidence", "test/0").open()


def test_a_file_that_is_no_database_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"not a database" * 1000)
    with pytest.raises(EvidenceUnavailable):
        SqliteStore(tmp_path, "test/0").open()
    assert (tmp_path / DATABASE).read_bytes() == b"not a database" * 1000


def test_one_bridge_at_a_time_owns_the_folder(tmp_path: Path) -> None:
    with owned(tmp_path), pytest.raises(EvidenceLocked, match="another bridge"), owned(tmp_path):
        pass
    with owned(tmp_path):
        pass


def test_only_the_owner_may_read_the_files(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([record()])
    folder = tmp_path / "evidence"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.name: file.stat().st_mode & 0o077 for file in folder.iterdir()} == {
        file.name: 0 for file in folder.iterdir()
    }


WRITER = """
import sys
from pathlib import Path
from bridge.evidence.store import SqliteStore
from bridge.model.times import uuid7
from bridge.ports import Record
store = SqliteStore(Path(sys.argv[1]), f"test/{sys.argv[2]}")
store.open()
for n in range(40):
    store.commit([Record({"id": uuid7(n), "kind": "decision"}), Record({"id": uuid7(n), "kind": "decision"})])
store.close()
"""


def test_several_processes_share_one_dense_log(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), str(n)]) for n in range(3)]
    assert [writer.wait(timeout=30) for writer in writers] == [0, 0, 0]
    found = rows(tmp_path)
    assert [index for index, _, _, _ in found] == list(range(3 * 80))
    by_instance: dict[str, list[int]] = {}
    for _, iseq, data, leaf in found:
        assert leaf == hashlib.sha256(b"\x00" + data).digest()
        by_instance.setdefault(json.loads(data)["instance"], []).append(iseq)
    assert by_instance == {f"test/{n}": list(range(80)) for n in range(3)}


def test_what_a_foreign_tool_computes_is_the_leaf_hash(store: SqliteStore, tmp_path: Path) -> None:
    """RFC 6962, section 2.1, with the vector for one byte."""
    assert base64.b16encode(hashlib.sha256(b"\x00").digest()).lower().startswith(b"6e340b9cffb37a98")
    (receipt,) = store.commit([record()])
    ((_, _, data, _),) = rows(tmp_path / "evidence")
    assert hashlib.sha256(bytes([0, *data])).digest() == receipt.leaf_hash


@pytest.mark.parametrize("lost", ["", "-wal", "-shm"])
def test_nothing_is_acknowledged_that_went_to_a_file_without_a_name(
    store: SqliteStore, tmp_path: Path, lost: str
) -> None:
    """SQLite goes on writing to a file that was removed."""
    file = tmp_path / "evidence" / f"{DATABASE}{lost}"
    store.commit([record()])
    (aside := tmp_path / "aside").hardlink_to(file)
    file.unlink()
    with pytest.raises(EvidenceUnavailable, match="removed"):
        store.commit([record(1)])
    if lost == "":
        with pytest.raises(EvidenceUnavailable, match="removed"):
            store.reopen()
        assert not file.exists()
        aside.rename(file)
    store.reopen()
    store.commit([record(2)])
    found = [(index, iseq) for index, iseq, _, _ in rows(tmp_path / "evidence")]
    assert found in ([(n, n) for n in range(2)], [(n, n) for n in range(3)])


def test_a_log_that_was_replaced_is_not_written_to(store: SqliteStore, tmp_path: Path) -> None:
    store.commit([record()])
    other = tmp_path / "other"
    another = SqliteStore(other, "test/0")
    another.open()
    another.close()
    (other / DATABASE).replace(tmp_path / "evidence" / DATABASE)
    with pytest.raises(EvidenceUnavailable, match="replaced"):
        store.commit([record(1)])
    for _ in range(2):
        with pytest.raises(EvidenceUnavailable, match="replaced"):
            store.reopen()

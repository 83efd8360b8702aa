"""The side table as an auditor reads it: who is behind a commitment, what is gone, what was tampered with."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from bridge.audit.disclosed import Disclosures, check_disclosed, disclosures, holders, open_entry, revealed, written
from bridge.audit.filter import Filter
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.audit.report import Report
from bridge.errors import EvidenceInvalid
from bridge.evidence.erase import erase
from bridge.evidence.files import DATABASE, INDEX
from bridge.evidence.store import SqliteStore
from bridge.model.entry import canonical
from bridge.model.mask import parse_pointer
from bridge.model.personal import Personal
from bridge.model.times import uuid7
from bridge.ports import Record
from tests.support.evidence import reading


def decision(n: int, personal: tuple[str, ...], **request: Any) -> Record:
    """As the bridge writes it, of this request, with these members personal."""
    asked = {"client": {"id": "shop"}, "subject": {"type": "user", "id": f"nina-{n}"}, "scopes": ["read"], **request}
    entry: dict[str, Any] = {
        "v": 1,
        "kind": "decision",
        "id": uuid7(n),
        "time": f"2026-03-{n + 1:02}T00:00:00.000Z",
        "outcome": "allow",
        "request": asked,
        "granted_scopes": ["read"],
        "scopes": {"read": {"outcome": "allow", "findings": []}},
        "claims": {},
        "limit": {},
        "rules": [],
        "exceptions": [],
    }
    hiding = Personal(tuple(map(parse_pointer, personal))).hiding(asked)
    entry = hiding.mentions(hiding.places(entry))
    return Record(entry, disclosures=hiding.disclosures([entry])[0])


def write(folder: Path, *records: Record) -> None:
    with closing(SqliteStore(folder, "test/0")) as store:
        store.open()
        store.commit(records)


PROPERTIES = {"email": "n@example.test", "more": [{"phone": "0123"}, {"phone": "4567"}]}
WHOLE = json.dumps({"type": "user", "id": "nina-1", "properties": PROPERTIES})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        decision(0, ("/subject/id",)),
        decision(1, ("/subject",), subject={"type": "user", "id": "nina-1", "properties": PROPERTIES}),
        decision(
            2,
            ("/subject/id", "/client/id", "/subject/properties/more/*/phone"),
            subject={"type": "user", "id": "nina-0", "properties": PROPERTIES},
        ),
        decision(3, (), subject={"type": "user", "id": "nina-0"}),
    )
    return tmp_path


def behind(folder: Path, pointer: str, value: str) -> list[int]:
    with reading(folder) as reader:
        return holders(reader.db, parse_pointer(pointer), written(value))


@pytest.mark.parametrize(
    ("pointer", "value", "found"),
    [
        ("/subject/id", "nina-0", [0, 2]),
        ("/subject/id", "nina-1", [1]),  # the whole subject was committed to
        ("/subject/id", "nina", []),
        ("/client/id", "shop", [2]),
        ("/subject/properties/email", "n@example.test", [1]),
        ("/subject/properties/more/0/phone", "0123", [1, 2]),
        ("/subject/properties/more/1/phone", "0123", []),
        ("/subject/properties/more/*/phone", "4567", [1, 2]),
        ("/*/id", "nina-0", [0, 2]),
        ("/*/*/more/*/*", "4567", [1, 2]),
        (
            "/subject",
            WHOLE,
            [1],
        ),
        ("/subject/id/x", "nina-0", []),
        ("/subject/properties/more/0/phone", "123", []),  # a number is no text
    ],
)
def test_who_is_behind_a_commitment(folder: Path, pointer: str, value: str, found: list[int]) -> None:
    assert behind(folder, pointer, value) == found


def test_a_query_finds_what_is_committed_beside_what_is_clear(folder: Path) -> None:
    with reading(folder) as reader:
        queries = Queries(reader)

        def found(**wanted: Any) -> list[int]:
            return [one.index for one in queries.query(Filter(**wanted))]

        assert found(subject="nina-0") == [3, 2, 0]
        assert found(subject="nina-1") == [1]
        assert found(client="shop") == [3, 2, 1, 0]
        assert found(client="shop", scope="read") == [3, 2, 1, 0]
        assert found(client="shop", subject="nina-0", outcome="allow", scope="read", limit=2) == [3, 2]
        assert queries.fitting(Filter(subject="nina-1")) == ([1], [])
        assert queries.clear("nina-0") == 1
    assert b"nina-1" not in (folder / INDEX).read_bytes()


def test_what_is_erased_is_no_longer_found_and_says_so(folder: Path) -> None:
    assert erase(folder, "test/erase", behind(folder, "/subject/id", "nina-0"), {"reason": "r"}) == 2
    assert behind(folder, "/subject/id", "nina-0") == []
    assert behind(folder, "/client/id", "shop") == []  # all that was kept for the entry went with it
    assert behind(folder, "/subject/id", "nina-1") == [1]
    with reading(folder) as reader:
        states = {i: {one.state for one in open_entry(reader.at(i).entry, disclosures(reader, i))} for i in range(4)}
        assert states == {0: {"erased"}, 1: {"good"}, 2: {"erased"}, 3: set()}
        assert reader.at(4).entry["count"] == 2
        assert revealed(reader, reader.at(1))["request"]["subject"]["id"] == "nina-1"
        assert "commitment" in revealed(reader, reader.at(0))["request"]["subject"]["id"]


def look(folder: Path) -> tuple[list[str], list[str]]:
    """What `log verify` has to say of the side table: problems, notes."""
    with reading(folder) as reader:
        compare, report = Disclosures(reader), Report()
        said = [compare(one.index, one.data, one.leaf_hash, one.entry) for one in reader.walk()]
        compare.finish(report)
    return [problem for problem in said if problem], report.notes


def change(folder: Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
        assert db.execute(sql, values).rowcount > 0


def test_verifying_tells_of_what_is_not_what_was_committed_to(folder: Path) -> None:
    assert look(folder) == ([], [])
    change(folder, "UPDATE disclosure SET value = ? WHERE idx = 0", canonical("olga"))
    assert look(folder) == (["what is kept for /request/subject/id is not what was committed to"], [])
    with reading(folder) as reader:
        (one,) = open_entry(reader.at(0).entry, disclosures(reader, 0))
        assert one.document() == {"path": "/request/subject/id", "commitment": one.commitment, "state": "differs"}


def test_what_was_tampered_with_is_in_nobodys_way(folder: Path) -> None:
    change(folder, "UPDATE disclosure SET value = ?", b"{no JSON")
    for pointer in ("/subject/id", "/client/id", "/*/*"):
        assert behind(folder, pointer, "nina-0") == []
    with reading(folder) as reader:
        assert [one.index for one in Queries(reader).query(Filter(subject="nina-0"))] == [3]
        assert revealed(reader, reader.at(0)) == reader.at(0).entry


def test_verifying_tells_of_what_is_gone(folder: Path) -> None:
    change(folder, "DELETE FROM disclosure WHERE idx = 1")
    change(folder, "UPDATE disclosure SET value = x'', salt = x'' WHERE idx = 0")
    assert look(folder)[1] == [
        "personal values of 1 entries are erased; erasure entries tell of 0",
        "1 entries have commitments for which nothing is kept",
    ]


def test_a_text_of_the_request_that_looks_like_a_commitment_is_none(tmp_path: Path) -> None:
    fake = f"commitment:{'A' * 43}="
    write(tmp_path, decision(0, ("/subject/id",), context={"x": fake, "y": {"commitment": f"{'A' * 43}="}}))
    with reading(tmp_path) as reader:
        states = {one.path: one.state for one in open_entry(reader.at(0).entry, disclosures(reader, 0))}
    assert states == {"/request/subject/id": "good", "/request/context/x": "missing", "/request/context/y": "missing"}


@pytest.fixture
def disclosed(folder: Path) -> Iterator[tuple[bytes, list[dict[str, str]]]]:
    with reading(folder) as reader:
        found = reader.at(2)
        yield found.data, [one.document() for one in open_entry(found.entry, disclosures(reader, 2))]


def lines(documents: list[dict[str, str]]) -> bytes:
    return b"".join(orjson.dumps(one) + b"\n" for one in documents)


def test_disclosed_values_are_checked_without_the_log(disclosed: tuple[bytes, list[dict[str, str]]]) -> None:
    entry, documents = disclosed
    assert check_disclosed(entry, lines(documents)) == len(documents) == 4
    assert check_disclosed(entry, lines(documents[:1])) == 1
    assert check_disclosed(entry, b"") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"json": '"other"'},
        {"salt": "00" * 16},
        {"salt": "x"},
        {"path": "/request/context"},
        {"json": 1},
        {"salt": None},
    ],
)
def test_a_value_that_was_not_committed_to_is_refused(
    disclosed: tuple[bytes, list[dict[str, str]]], change: dict[str, Any]
) -> None:
    entry, documents = disclosed
    with pytest.raises(EvidenceInvalid):
        check_disclosed(entry, lines([*documents[1:], {**documents[0], **change}]))


@pytest.mark.parametrize("text", [b"[]", b"{}", b"null\n", b"{", b"\xff", b'{"path": "/x"}'])
def test_what_is_no_file_of_disclosures_is_refused(disclosed: tuple[bytes, list[dict[str, str]]], text: bytes) -> None:
    with pytest.raises(EvidenceInvalid):
        check_disclosed(disclosed[0], text)
    assert json.loads(disclosed[0])["kind"] == "decision"


def test_the_reader_has_not_changed_anything(folder: Path) -> None:
    before = (folder / DATABASE).read_bytes()
    behind(folder, "/*/*", "x")
    look(folder)
    with closing(LogReader(folder)) as reader:
        assert reader.size() == 4
    assert (folder / DATABASE).read_bytes() == before

"""Erasing in the database file: nothing of what is erased stays anywhere in it, whatever lies around it."""

import os
import random
import re
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.evidence import erase as erasing
from bridge.evidence.erase import erase
from bridge.evidence.store import SqliteStore
from bridge.model.commitment import Disclosure
from bridge.model.times import uuid7
from bridge.ports import Record
from tests.support.evidence import entries, reading

TOLD = {"reason": "asked for", "by": "dpo", "path": "/subject/id"}


def planted(number: int, size: int, rows: int) -> Record:
    """An entry with its number, unmistakable, in all that goes beside it."""
    secret = f"<secret-{number:06}-{'s' * size}>".encode()
    kept = [Disclosure(f"/request/{row}", os.urandom(16), secret) for row in range(rows)]
    digest = number.to_bytes(32)
    entry: dict[str, Any] = {"v": 1, "kind": "decision", "id": uuid7(number), "time": "2026-03-01T00:00:00.000Z"}
    return Record({**entry, "input_digest": digest.hex()}, secret + b"y" * size * 3, digest, tuple(kept))


def found_in(folder: Path) -> set[int]:
    """The numbers that stand anywhere in any file of the folder."""
    raw = b"".join(path.read_bytes() for path in folder.iterdir())
    return {int(number) for number in re.findall(rb"<secret-(\d{6})-", raw)}


@pytest.mark.parametrize("seed", range(4))
def test_nothing_of_an_erased_value_stays_in_the_file(tmp_path: Path, seed: int) -> None:
    """Rows that are deleted leave copies of their neighbours behind; rows that are emptied where they are do not."""
    chance = random.Random(seed)
    alive: dict[int, int] = {}
    with closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        for turn in range(6):
            batch = [
                planted(turn * 1000 + n, chance.choice([5, 40, 300, 3000]), chance.randint(1, 4)) for n in range(40)
            ]
            for record, receipt in zip(batch, store.commit(batch), strict=True):
                alive[int.from_bytes(record.input_digest or b"")] = receipt.index
            gone = chance.sample(sorted(alive), chance.randint(1, len(alive)))
            assert erase(tmp_path, f"test/erase-{turn}", [alive.pop(number) for number in gone], TOLD) == len(gone)
            assert found_in(tmp_path) == set(alive)
    assert found_in(tmp_path) == set(alive)


def test_more_than_one_transaction_tells_of_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "AT_ONCE", 3)
    with closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        store.commit([planted(n, 5, 1) for n in range(8)])
    assert erase(tmp_path, "test/erase", [0, 1, 2, 3, 5, 6, 7], TOLD) == 7
    told = [entry for entry in entries(tmp_path) if entry["kind"] == "erasure"]
    assert [(entry["count"], entry["iseq"]) for entry in told] == [(3, 0), (3, 1), (1, 2)]
    assert all(TOLD.items() <= entry.items() for entry in told)
    assert found_in(tmp_path) == {4}


def test_entries_about_a_decision_lose_their_values_with_it(tmp_path: Path) -> None:
    first = planted(1, 5, 1)
    about = planted(2, 5, 1)
    report = Record({**about.entry, "kind": "issued", "decision_id": first.entry["id"]}, disclosures=about.disclosures)
    rules = Record(
        {**planted(3, 5, 1).entry, "kind": "rules", "decision_id": first.entry["id"]}, disclosures=about.disclosures
    )
    with closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        store.commit([first, rules, planted(4, 5, 1), report])
    assert erase(tmp_path, "test/erase", [0], TOLD) == 1
    assert found_in(tmp_path) == {4}


def test_two_that_erase_at_once_count_each_entry_once(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path, "test/0")) as store:
        store.open()
        store.commit([planted(n, 5, 1) for n in range(50)])
    counts: list[int] = []
    both = [
        threading.Thread(target=lambda n=n: counts.append(erase(tmp_path, f"test/erase-{n}", range(50), TOLD)))
        for n in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(counts) == [0, 50]
    with reading(tmp_path) as reader:
        assert reader.size() == 52

"""What must hold of an evidence log, whatever happened to the disk or to the process."""

import base64
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.evidence.files import DATABASE

QUERY = """
SELECT e.idx, r.instance, r.epoch, e.iseq, e.bytes, e.leaf_hash FROM entry e LEFT JOIN run r USING (run) ORDER BY e.idx
"""


@dataclass(frozen=True)
class Row:
    """One row of the log, and the entry that its bytes hold."""

    index: int
    instance: str
    epoch: int
    iseq: int
    data: bytes
    leaf: bytes

    @property
    def entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads(self.data)
        return entry


def rows(folder: Path) -> list[Row]:
    """All rows, by SQLite alone: nothing of the bridge's own reading comes between."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True, timeout=5)) as db:
        return [Row(*found) for found in db.execute(QUERY)]


def assert_dense(log: list[Row]) -> None:
    """No hole in the indexes, none in any epoch; every hash is that of the bytes, and the bytes know their place."""
    assert [row.index for row in log] == list(range(len(log)))
    runs: dict[tuple[str, int], list[int]] = {}
    for row in log:
        runs.setdefault((row.instance, row.epoch), []).append(row.iseq)
    assert runs == {run: list(range(len(found))) for run, found in runs.items()}
    for row in log:
        assert row.leaf == hashlib.sha256(b"\x00" + row.data).digest(), row
        entry = row.entry
        assert (entry["instance"], entry["epoch"], entry["iseq"]) == (row.instance, row.epoch, row.iseq)
    ids = [row.entry["id"] for row in log]
    assert len(set(ids)) == len(ids)


def assert_acknowledged(log: list[Row], replies: Iterable[dict[str, Any]]) -> None:
    """What a client was told to be in the log is there, in its place, byte for byte."""
    for reply in replies:
        if evidence := reply.get("evidence"):
            assert evidence["index"] < len(log), reply
            row = log[evidence["index"]]
            assert row.leaf == base64.b64decode(evidence["leaf_hash"])
            assert (row.entry["id"], row.entry["granted_scopes"]) == (reply["decision_id"], reply["granted_scopes"])


def assert_no_yes_unheard(log: list[Row], replies: Iterable[dict[str, Any]]) -> None:
    """A yes in the log was told to a client with a receipt, or is overruled."""
    heard = {reply["decision_id"] for reply in replies if "evidence" in reply}
    overruled = {row.entry["decision_id"] for row in log if row.entry["kind"] == "overruled"}
    assert not heard & overruled
    decisions = [row.entry for row in log if row.entry["kind"] == "decision"]
    assert not [e["id"] for e in decisions if e["outcome"] != "deny" and e["id"] not in heard | overruled]

"""What the entries tell of themselves: holes in their counters, clocks that go back, silence. Written by hand."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.audit.chronology import Chronology
from bridge.model.times import rfc3339
from bridge.tlog.note import Signer

from .logs import audit_alone, publish_by_hand

SIGNER = Signer("localhost/by-hand", Ed25519PrivateKey.from_private_bytes(bytes(32)))
START = 1_790_000_000_000
MINUTE = 60_000


def entry(iseq: Any, at_ms: int = 0, kind: Any = "decision", **members: Any) -> dict[str, Any]:
    head = {"v": 1, "kind": kind, "id": f"e{iseq}", "instance": "b/0", "epoch": 1, "iseq": iseq}
    return {**head, "time": rfc3339(START + at_ms), **members}


def told(folder: Path, *entries: Any) -> tuple[list[str], list[str]]:
    """(problems, notes) of a log of these entries: objects, or bytes as they are."""
    data = [one if isinstance(one, bytes) else orjson.dumps(one, option=orjson.OPT_SORT_KEYS) for one in entries]
    publish_by_hand(folder, data, SIGNER)
    report = audit_alone(folder, str(SIGNER.verifier))
    assert report.entries == len(entries)
    return report.problems, report.notes


def test_counters_without_a_hole_are_good(tmp_path: Path) -> None:
    """Several instances at once, and one that was started again."""
    others = [entry(n, instance="b/1", epoch=7) for n in range(3)]
    mixed = [entry(0), others[0], entry(1), others[1], others[2], entry(0, epoch=2), entry(1, epoch=2)]
    assert told(tmp_path, *mixed) == ([], [])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([entry(0), entry(2)], "entry 1: b/0 epoch 1 goes from iseq 0 to 2"),
        ([entry(1), entry(2)], "entry 0: b/0 epoch 1 goes from iseq -1 to 1"),
        ([entry(0), entry(0)], "entry 1: b/0 epoch 1 goes from iseq 0 to 0"),
        ([entry(0), entry(1), entry(0)], "entry 2: b/0 epoch 1 goes from iseq 1 to 0"),
        ([entry(0), entry(1, epoch=2)], "entry 1: b/0 epoch 2 goes from iseq -1 to 1"),
        ([entry(0, epoch=2), entry(0, epoch=1)], "entry 1: b/0 goes back from epoch 2 to 1"),
        (
            [entry(0, 70_000), entry(1)],
            "entry 1: its time 2026-09-21T14:13:20.000Z lies before that of earlier entries",
        ),
        (
            [entry(0, kind="start"), entry(1, 2 * MINUTE), entry(2, 5 * MINUTE)],
            "entry 2: b/0 was silent for 180 s before it, without a heartbeat",
        ),
        (
            [entry(0), entry(1, 1000, kind="heartbeat"), entry(2, 10 * MINUTE, kind="stop")],
            "entry 2: b/0 was silent for 599 s before it, without a heartbeat",
        ),
    ],
)
def test_what_is_missing_or_goes_back_is_told(tmp_path: Path, entries: list[Any], expected: str) -> None:
    problems, _ = told(tmp_path, *entries)
    assert problems == [expected]


def test_a_slow_request_is_no_clock_that_goes_back(tmp_path: Path) -> None:
    assert told(tmp_path, entry(0, 60_000), entry(1)) == ([], [])


def test_beats_each_minute_are_no_silence(tmp_path: Path) -> None:
    beats = [entry(n, n * MINUTE, kind="heartbeat") for n in range(10)]
    assert told(tmp_path, *beats) == ([], [])


def test_who_never_beat_is_not_silent(tmp_path: Path) -> None:
    """An entry of before there were heartbeats."""
    assert told(tmp_path, entry(0), entry(1, 100 * MINUTE)) == ([], [])


def test_what_an_auditor_should_know_is_noted(tmp_path: Path) -> None:
    gap = {**entry(1, kind="gap", denied=7), "from": rfc3339(START)}
    problems, notes = told(tmp_path, entry(0, kind="start"), gap, entry(0, epoch=4))
    assert problems == []
    assert notes == [
        f"entry 1: 7 denials unrecorded since {rfc3339(START)}",
        "entry 2: b/0 has no entries of epochs 2 to 3",
        "b/0 epoch 1: ended without a stop entry",
    ]


def test_a_run_that_is_not_heard_of_any_more_is_noted() -> None:
    chronology = Chronology()
    chronology.take(0, entry(0, kind="start"))
    chronology.take(1, entry(0, kind="start", instance="b/1"))
    chronology.take(2, entry(1, kind="stop", instance="b/1"))
    chronology.finish(START + 10 * MINUTE)
    assert chronology.notes == ["b/0 epoch 1: silent for 600 s"]


@pytest.mark.parametrize(
    "ill",
    [
        b"",
        b"\xff",
        b"not JSON",
        b"[]",
        b"null",
        b"1e999",
        b"[" * 20_000,
        b'{"v":1}',
        entry("1"),
        entry(None),
        entry(True),
        entry(1.0),
        entry([1]),
        entry(1, epoch="1"),
        entry(1, epoch=None),
        entry(1, instance=7),
        entry(1, instance=["b/0"]),
        entry(1, kind=["heartbeat"]),
        entry(1, time="yesterday"),
        entry(1, time=5),
        entry(1, id=None),
        entry(1, v="1"),
    ],
    ids=repr,
)
def test_what_no_bridge_writes_is_told_and_nothing_after_it_is_believed_less(tmp_path: Path, ill: Any) -> None:
    problems, _ = told(tmp_path, entry(0), ill, entry(1))
    assert problems == ["entry 1: not an entry of this bridge"]

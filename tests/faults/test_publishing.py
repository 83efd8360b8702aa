"""A bad disk below the publishing: decisions go on, it recovers by itself, and what was published still holds."""

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bridge.evidence.files import DATABASE, LOG, VKEY
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Note
from tests.support.bridge import running_bridge
from tests.support.waiting import wait_until
from tests.tree.logs import audit, entries_of, expected_tiles, signed_sizes, tiles_in

from .disk import DiskFaults, Op
from .test_disk import Trial, code_of


class Published(Trial):
    """A trial with an auditor, who keeps every checkpoint that was ever published."""

    def watch(self) -> None:
        self.kept: list[bytes] = []
        self._end = threading.Event()
        self._auditor = threading.Thread(target=self._keep)
        self._auditor.start()

    def end(self) -> None:
        self._end.set()
        self._auditor.join()

    def _keep(self) -> None:
        with httpx.Client(base_url=self.bridge.url, trust_env=False, timeout=30) as client:
            while not self._end.wait(0.05):
                response = client.get("/log/checkpoint")
                if response.status_code == 200 and response.content not in self.kept[-1:]:
                    self.kept.append(response.content)

    def until_published(self) -> None:
        """All entries are covered, and the log and all that was published of it hold."""
        wait_until(lambda: self.kept and size_in(self.kept[-1]) == len(self.rows()), 20)
        folder = self.bridge.evidence
        report = audit(folder, (folder / VKEY).read_text(), *self.kept)
        assert report.problems == []
        wait_until(lambda: tiles_in(folder) == expected_tiles(entries_of(folder), signed_sizes(folder)), 5)
        assert sorted(map(size_in, self.kept)) == list(map(size_in, self.kept))


def size_in(checkpoint: bytes) -> int:
    return Checkpoint.parse(Note.parse(checkpoint).text).size


def published(folder: Path, below: str) -> Iterator[Published]:
    """Faults below what the evidence folder holds under this name, and no other file."""
    faults = DiskFaults(folder / "faults", folder / "evidence" / below)
    patient = {"deadline_ms": 10_000}
    with running_bridge(folder, env=faults.env(), server=patient, engine=patient) as bridge:
        trial = Published(bridge, faults)
        trial.watch()
        try:
            trial.ask()
            yield trial
            faults.clear()
            trial.until_well()
        finally:
            trial.end()
        assert bridge.stop() == 0
        trial.assert_whole()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    yield from published(tmp_path_factory.mktemp("files"), LOG)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    yield from published(tmp_path_factory.mktemp("database"), DATABASE)


@pytest.mark.parametrize(
    ("op", "after"),
    [*(("write", n) for n in range(4)), *(("rename", n) for n in range(4)), *(("fsync", n) for n in range(3))],
)
def test_a_fault_at_any_step_of_writing_the_files(files: Published, op: Op, after: int) -> None:
    """No decision is denied for it."""
    stopped, asked = len(files.bridge.log_events("publishing_stopped")), len(files.replies)
    failed = files.faults.faults(op)
    files.faults.set(op, fail=errno.ENOSPC, after=after, count=1)
    wait_until(lambda: files.ask_at_once(2, 2) and files.faults.faults(op) > failed, 20)
    assert {code_of(reply) for reply in files.replies[asked:]} == {None}
    files.until_published()
    assert len(files.bridge.log_events("publishing_stopped")) > stopped


def test_full_tiles_are_written_on_a_bad_disk_too(files: Published) -> None:
    """The step from one bundle to the next, each time with another fault."""
    ops: list[Op] = ["write", "rename", "fsync"]
    for number, op in enumerate(ops * 2):
        failed = files.faults.faults(op)
        files.faults.set(op, fail=errno.EIO, after=number, count=2)
        files.ask_at_once(8, 32)
        wait_until(lambda op=op, failed=failed: files.ask() and files.faults.faults(op) >= failed + 2, 20)  # type: ignore[misc]  # a default binds the loop variable
        files.faults.clear()
    files.until_published()


def test_while_no_file_can_be_written_decisions_go_on_and_operators_are_told(files: Published) -> None:
    files.faults.set("write", fail=errno.ENOSPC)
    asked = len(files.replies)
    wait_until(lambda: files.ask() and files.bridge.get("/health/ready").json().get("reasons"), 10)
    assert {code_of(reply) for reply in files.replies[asked:]} == {None}
    assert files.bridge.get("/health/ready").status_code == 200
    first, *_ = files.bridge.get("/health/ready").json()["reasons"]
    assert first.startswith("the log is not published: ")
    files.faults.clear()
    files.until_published()
    assert files.bridge.get("/health/ready").json() == {"status": "ready"}


def test_slow_files_do_not_delay_a_decision(files: Published) -> None:
    """The files are synced outside of the writers' turn."""
    files.faults.set("sync", delay_ms=1500)
    syncs, until, took = files.faults.count("sync"), time.monotonic() + 4, []
    while time.monotonic() < until:
        began = time.monotonic()
        assert code_of(files.ask()) is None
        took.append(time.monotonic() - began)
    assert files.faults.count("sync") - syncs >= 2
    assert max(took) < 1.5
    files.faults.clear()
    files.until_published()


@pytest.mark.parametrize(
    ("op", "after"), [*(("sync", n) for n in range(6)), *(("write", n) for n in range(0, 12, 2)), ("ftruncate", 0)]
)
def test_a_fault_at_any_step_of_the_database(database: Published, op: Op, after: int) -> None:
    """Of the journal or of the publisher, whoever comes to it; a yes stays durable."""
    failed = database.faults.faults(op)
    database.faults.set(op, fail=errno.EIO, after=after, count=1)
    if op == "ftruncate":  # only who opens the log again comes to it
        database.faults.set("sync", fail=errno.EIO, count=1)
    wait_until(lambda: database.ask_at_once(2, 2) and database.faults.faults(op) > failed, 20)
    database.until_well()
    database.until_published()
    database.assert_whole()


def test_a_slow_database_delays_a_decision_by_no_more_than_one_sync_of_the_publisher(database: Published) -> None:
    database.faults.set("sync", delay_ms=300)
    took = []
    for _ in range(12):
        began = time.monotonic()
        assert code_of(database.ask()) is None
        took.append(time.monotonic() - began)
    # Its own, one of the publisher's that began before, and those of a checkpoint of the write-ahead log.
    assert max(took) < 5 * 0.3
    database.faults.clear()
    database.until_published()

"""A bad disk below a running bridge: slow, full, torn, failing. Never a yes that is not durable; told later."""

import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bridge.model.times import now_ms, rfc3339
from tests.support.bridge import RunningBridge, request, run_cli, running_bridge, write_config
from tests.support.waiting import wait_until

from .disk import DiskFaults, Op
from .whole import Row, assert_acknowledged, assert_dense, assert_no_yes_unheard, rows

UNRECORDED = "issuance_denied_unrecorded_total"


class Trial:
    """A bridge with a disk of its own to break; keeps every reply that it ever gave."""

    def __init__(self, bridge: RunningBridge, faults: DiskFaults) -> None:
        self.bridge, self.faults = bridge, faults
        self.replies: list[dict[str, Any]] = []
        assert faults.processes >= 1

    def ask(self) -> dict[str, Any]:
        reply: dict[str, Any] = self.bridge.ask(request("read", "write"))
        self.replies.append(reply)
        return reply

    def ask_at_once(self, clients: int, each: int = 1) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(clients) as pool:
            return [r for f in [pool.submit(self._repeat, each) for _ in range(clients)] for r in f.result()]

    def _repeat(self, times: int) -> list[dict[str, Any]]:
        return [self.ask() for _ in range(times)]

    def until_well(self) -> None:
        """Lets the disk be, and waits until a yes comes again and all that was missed is told."""
        self.faults.clear()
        wait_until(lambda: self.ask()["outcome"] == "allow", 20)
        wait_until(lambda: self.told() == self.metric(UNRECORDED), 5)

    def metric(self, name: str) -> float:
        lines = self.bridge.get("/metrics").text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def rows(self) -> list[Row]:
        return rows(self.bridge.evidence)

    def told(self) -> int:
        """How many denials the `gap` entries tell of."""
        return sum(row.entry["denied"] for row in self.rows() if row.entry["kind"] == "gap")

    def unrecorded(self, asked: int) -> int:
        """How many of the replies from this one on were denials that no entry stands for."""
        return sum(code_of(reply) == "evidence_unavailable" for reply in self.replies[asked:])

    def unready(self, within_s: float) -> bool:
        """Whether it is found not ready in this time."""
        until = time.monotonic() + within_s
        while self.bridge.get("/health/ready").status_code != 503:
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def assert_whole(self) -> None:
        log = self.rows()
        assert_dense(log)
        assert_acknowledged(log, self.replies)
        assert_no_yes_unheard(log, self.replies)
        for reply in self.replies:
            assert ("evidence" in reply) == (reply["outcome"] == "allow"), reply
            assert code_of(reply) in (None, "evidence_unavailable", "deadline")
        assert "Traceback" not in self.bridge.log_text()


def code_of(reply: dict[str, Any]) -> str | None:
    """Why all was denied; None for a yes."""
    if reply["outcome"] == "allow":
        return None
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    assert {scope["outcome"] for scope in reply["scopes"].values()} == {"deny"}
    (finding,) = reply["findings"]
    code: str = finding["code"]
    return code


def trial(folder: Path, **sections: Any) -> Iterator[Trial]:
    """With an engine that may take its time: a busy machine is not what is tested."""
    faults = DiskFaults(folder / "faults", folder / "evidence")
    with running_bridge(folder, env=faults.env(), engine={"deadline_ms": 10_000}, **sections) as bridge:
        trial = Trial(bridge, faults)
        trial.ask()
        yield trial
        faults.clear()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A deadline that no fault here reaches: these are about faults, not about slowness."""
    yield from trial(tmp_path_factory.mktemp("disk"), server={"deadline_ms": 10_000})


@pytest.fixture
def disk(shared: Trial) -> Iterator[Trial]:
    """Well before the test, well and whole after it."""
    shared.until_well()
    yield shared
    shared.until_well()
    shared.assert_whole()


@pytest.fixture(scope="module")
def shared_hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    yield from trial(tmp_path_factory.mktemp("hurried"), server={"deadline_ms": 300})


@pytest.fixture
def hurried(shared_hurried: Trial) -> Iterator[Trial]:
    """As `disk`, of a bridge that syncs of 800 ms bring beyond its deadline."""
    shared_hurried.until_well()
    yield shared_hurried
    shared_hurried.until_well()
    shared_hurried.assert_whole()


@pytest.fixture
def doomed(tmp_path: Path) -> Iterator[Trial]:
    yield from trial(tmp_path, server={"deadline_ms": 300})


def test_no_reply_leaves_before_its_sync(disk: Trial) -> None:
    disk.faults.set("sync", delay_ms=300)
    syncs = disk.faults.count("sync")

    def ask_after(pause_s: float) -> tuple[dict[str, Any], float]:
        time.sleep(pause_s)
        began = time.monotonic()
        return disk.ask(), time.monotonic() - began

    with ThreadPoolExecutor(16) as pool:
        # Spread over more than one sync: who arrives during one must wait for the next.
        answered = list(pool.map(ask_after, [n * 0.04 for n in range(16)]))
    assert {reply["outcome"] for reply, _ in answered} == {"allow"}
    assert min(took for _, took in answered) >= 0.3
    assert 2 <= disk.faults.count("sync") - syncs < 16


def full(faults: DiskFaults) -> None:
    faults.set("write", fail=errno.ENOSPC)


def no_sync(faults: DiskFaults) -> None:
    faults.set("sync", fail=errno.EIO)


def torn(faults: DiskFaults) -> None:
    faults.set("write", short=True, fail=errno.EIO)


def torn_then_stuck(faults: DiskFaults) -> None:
    faults.set("write", short=True, fail=errno.EIO, count=1)
    faults.set("ftruncate", fail=errno.EIO)


def stuck(faults: DiskFaults) -> None:
    faults.set("sync", fail=errno.EIO, count=1)
    faults.set("ftruncate", fail=errno.EIO)


COMING_ONCE = (torn_then_stuck, stuck)


@pytest.mark.parametrize("breaks", [no_sync, full, torn, *COMING_ONCE])
def test_while_nothing_can_be_written_nothing_is_granted(disk: Trial, breaks: Callable[[DiskFaults], None]) -> None:
    before = len(disk.rows())
    told, counted, asked = disk.told(), disk.metric(UNRECORDED), len(disk.replies)
    logged = len(disk.bridge.log_events("denied_unrecorded"))

    began = rfc3339(now_ms())

    def broken() -> bool:
        breaks(disk.faults)
        return {code_of(reply) for reply in disk.ask_at_once(4, 2)} != {None}

    wait_until(broken, 20)  # a fault that comes once may have hit who publishes, beside the log
    since = len(disk.replies)
    time.sleep(0.4)  # at least one attempt to recover fails
    for _ in range(4):
        disk.ask()
    denials = [reply for reply in disk.replies[asked:] if code_of(reply) is not None]
    assert len(denials) == 12 or breaks in COMING_ONCE  # of which some may have been granted before
    assert {code_of(reply) for reply in disk.replies[since:]} == {"evidence_unavailable"}
    assert {code_of(reply) for reply in denials} == {"evidence_unavailable"}
    assert not [reply for reply in denials if "evidence" in reply]
    assert disk.metric(UNRECORDED) - counted == len(denials)
    lost = disk.bridge.log_events("denied_unrecorded")[logged:]
    assert {line["decision_id"] for line in lost} == {reply["decision_id"] for reply in denials}
    assert disk.bridge.get("/health/ready").status_code == 503
    assert disk.bridge.get("/health/live").status_code == 200
    assert disk.metric("issuance_log_ready") == 0

    known = {reply["decision_id"] for reply in disk.replies[asked:]}  # granted before the fault, or denied
    disk.until_well()
    assert disk.bridge.get("/health/ready").status_code == 200
    # What the failed commit had left in the file comes to light again; the first that is newly written is the gap.
    first, *_ = (row.entry for row in disk.rows()[before:] if row.entry["id"] not in known)
    assert first["kind"] == "gap"
    assert began <= first["from"] < first["to"] <= first["time"]
    assert disk.told() - told == disk.unrecorded(asked)


@pytest.mark.parametrize(("op", "after"), [*(("sync", n) for n in range(5)), *(("write", n) for n in range(0, 9, 2))])
def test_a_fault_at_any_step_of_writing_and_recovering(disk: Trial, op: Op, after: int) -> None:
    """The n-th call fails and the three after it: in a commit, in closing, in opening again, in writing the gap."""
    told, asked = disk.told(), len(disk.replies)

    def met() -> bool:
        failed = disk.faults.faults(op)
        disk.faults.set(op, fail=errno.EIO, after=after, count=4)
        disk.ask_at_once(4, 3)
        wait_until(lambda: disk.ask() and disk.faults.faults(op) - failed >= 4, 20)
        return disk.unrecorded(asked) >= 1

    wait_until(met, 40)  # who publishes, beside the log, may have met all four
    disk.until_well()
    assert disk.told() - told == disk.unrecorded(asked)


@pytest.mark.parametrize("after", [3, 5, 6, 7])
def test_the_recovery_fails_too(disk: Trial, after: int) -> None:
    """A commit that failed may come to light again when the file is read anew: the gap's own is told but once."""
    told, asked = disk.told(), len(disk.replies)

    def met() -> bool:
        failed = disk.faults.faults("sync")
        disk.faults.set("sync", delay_ms=50, fail=errno.EIO, after=after, count=3)
        disk.faults.set("write", fail=errno.ENOSPC, count=1)
        wait_until(lambda: disk.ask_at_once(4, 3) and disk.faults.faults("sync") - failed >= 3, 20)
        return disk.unrecorded(asked) >= 1

    wait_until(met, 40)  # who publishes, beside the log, may have met them all
    disk.until_well()
    assert disk.told() - told == disk.unrecorded(asked)


def test_renaming_is_not_part_of_writing(disk: Trial) -> None:
    disk.faults.set("rename", fail=errno.EIO)
    assert {code_of(reply) for reply in disk.ask_at_once(4, 2)} == {None}


def test_short_writes_are_written_to_their_end(disk: Trial) -> None:
    cut = disk.faults.faults("write")
    disk.faults.set("write", short=True, count=30)
    assert {code_of(reply) for reply in disk.ask_at_once(4, 4)} == {None}
    assert disk.faults.faults("write") > cut


def test_a_sync_beyond_the_deadline_is_a_denial_that_is_told_later(hurried: Trial) -> None:
    told = hurried.told()
    hurried.faults.set("sync", delay_ms=2000)
    began = time.monotonic()
    denials = hurried.ask_at_once(4)
    assert time.monotonic() - began < 2
    assert {code_of(reply) for reply in denials} == {"deadline"}
    hurried.until_well()
    hurried.assert_whole()
    entries = [row.entry for row in hurried.rows()]
    for reply in denials:
        decision, overruled = (
            entry for entry in entries if reply["decision_id"] in (entry["id"], entry.get("decision_id"))
        )
        assert (decision["kind"], decision["outcome"]) == ("decision", "allow")
        assert (overruled["kind"], overruled["outcome"], overruled["overruled"]) == ("overruled", "deny", "allow")
        assert overruled["reply"] == {"outcome": "deny", "code": "deadline"}
    assert hurried.told() == told


def test_a_sync_that_fails_after_the_deadline(hurried: Trial) -> None:
    """Neither the entry nor its `overruled` may be there; then the denial is told by the gap."""
    told, asked = hurried.told(), len(hurried.replies)
    hurried.faults.set("sync", delay_ms=800, fail=errno.EIO)
    (denial,) = hurried.ask_at_once(1)
    assert code_of(denial) == "deadline"
    wait_until(lambda: hurried.bridge.get("/health/ready").status_code == 503)
    hurried.until_well()
    hurried.assert_whole()
    assert hurried.told() - told == 1 + hurried.unrecorded(asked)


def test_a_log_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    """The text names the folder and the reason; once the disk is well the same folder serves."""
    faults = DiskFaults(tmp_path / "faults", tmp_path / "evidence")
    config, evidence = write_config(tmp_path), tmp_path / "evidence"
    breaks: dict[Op, int] = {"write": errno.ENOSPC, "ftruncate": errno.EIO, "fdatasync": errno.EIO}
    for op, fault in breaks.items():
        before = faults.faults(op)
        faults.set(op, fail=fault)
        done = run_cli("serve", "--config", config, env=faults.env())
        assert faults.faults(op) > before
        faults.clear()
        assert done.returncode == 1
        key = f"issuance-bridge: the signing key {evidence / 'signing.key'} cannot be made: "
        database = f"issuance-bridge: the log in {evidence} cannot be opened: d"  # disk I/O, database is full
        assert (key if op == "write" else database) in done.stderr
        assert "Traceback" not in done.stderr + done.stdout
    with running_bridge(tmp_path, env=faults.env()) as bridge:
        reply = bridge.ask(request("read"))
        log = rows(evidence)
        assert_dense(log)
        assert_acknowledged(log, [reply])
    assert reply["outcome"] == "allow"


def test_a_folder_that_is_a_file_ends_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    (tmp_path / "evidence").write_text("not a folder")
    done = run_cli("serve", "--config", config)
    assert done.returncode == 1
    assert str(tmp_path / "evidence") in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_an_overruling_that_cannot_be_written_is_written_later(hurried: Trial) -> None:
    """The yes is durable by then: without its `overruled` the log would say other than the reply."""

    def about() -> list[dict[str, Any]]:
        hurried.faults.set("sync", delay_ms=800)
        denial = hurried.ask()
        hurried.faults.set("write", fail=errno.ENOSPC)  # the entry is written and being synced; its `overruled` is not
        assert code_of(denial) == "deadline"
        wait_until(lambda: hurried.bridge.get("/health/ready").status_code == 503)
        hurried.until_well()
        hurried.assert_whole()
        return [row.entry for row in hurried.rows() if row.entry.get("decision_id") == denial["decision_id"]]

    found = wait_until(about, 40)  # on a busy machine the entry itself may not have been written
    assert [(e["kind"], e["overruled"], e["reply"]["code"]) for e in found] == [("overruled", "allow", "deadline")]


def test_what_was_denied_for_the_deadline_is_overruled_as_that(hurried: Trial) -> None:
    """The sync ends in a failure after the reply, and the entry comes to light all the same."""

    def failed() -> dict[str, Any] | None:
        hurried.faults.set("sync", delay_ms=800, fail=errno.EIO, count=1)
        reply = hurried.ask()
        assert code_of(reply) == "deadline"
        return reply if hurried.unready(4) else None

    denial = wait_until(failed, 20)  # who publishes, beside the log, may have met it
    assert denial
    hurried.until_well()
    hurried.assert_whole()
    about = [row.entry for row in hurried.rows() if row.entry.get("decision_id") == denial["decision_id"]]
    decision = [row for row in hurried.rows() if row.entry["id"] == denial["decision_id"]]
    assert [e["reply"]["code"] for e in about] == ["deadline"] * len(decision)


def test_what_is_lost_in_the_last_commit_is_in_the_process_log(doomed: Trial) -> None:
    """The log says yes, the caller was told no, and nobody is left to say so in the log."""
    doomed.faults.set("sync", delay_ms=800)
    denial = doomed.ask()
    assert code_of(denial) == "deadline"
    syncs = doomed.faults.count("sync")
    doomed.faults.set("sync", delay_ms=800, fail=errno.EIO)
    wait_until(lambda: doomed.faults.count("sync") > syncs)  # of the `overruled` entry
    doomed.bridge.process.terminate()
    doomed.bridge.process.wait(20)
    (lost,) = doomed.bridge.log_events("denied_unrecorded")
    assert (lost["kind"], lost["denials"], lost["decision_id"]) == ("overruled", 1, denial["decision_id"])
    assert [event["denied"] for event in doomed.bridge.log_events("denied_unrecorded_at_stop")] == [1]

"""A running bridge and a stock witness: every checkpoint cosigned, forks and older copies refused."""

import contextlib
import json
import re
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.evidence.files import CHECKPOINT, DATABASE
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from bridge.tlog.note import Note, Signer
from tests.foreign.witness import MEMORY, RunningWitness, running_witness
from tests.support.bridge import RunningBridge, request, run_cli, running_bridge, starting_bridge
from tests.support.waiting import wait_until
from tests.support.witness import write_trust

ORIGIN = "localhost/witnessed"


@dataclass(frozen=True)
class Stage:
    """A signing key, a stock witness that knows it, and policy files by what they demand."""

    folder: Path
    signer: Signer
    witness: RunningWitness

    @property
    def key(self) -> Path:
        return self.folder / "signing.key"

    def trust(self, quorum: str) -> Path:
        known = [(self.witness.vkey, self.witness.url)]
        return write_trust(self.folder / f"{quorum}.policy", known, quorum, [self.signer.verifier])

    def settings(self, name: str, quorum: str, **evidence: Any) -> dict[str, Any]:
        path = self.folder / name / "evidence"
        trust = str(self.trust(quorum)) if quorum else ""
        return {"path": str(path), "key": str(self.key), "origin": ORIGIN, "trust": trust, **evidence}

    @contextlib.contextmanager
    def bridge(self, name: str, quorum: str = "all", **evidence: Any) -> Iterator[RunningBridge]:
        with running_bridge(self.folder / name, evidence=self.settings(name, quorum, **evidence)) as bridge:
            yield bridge

    def published(self, bridge: RunningBridge) -> SignedCheckpoint:
        data = (bridge.evidence / CHECKPOINT).read_bytes()
        return open_checkpoint(data, [self.signer.verifier], [self.witness.vkey])

    def covers(self, bridge: RunningBridge, size: int) -> bool:
        return (bridge.evidence / CHECKPOINT).exists() and self.published(bridge).checkpoint.size >= size

    def grow(self, bridge: RunningBridge, times: int = 1) -> None:
        """Asks, and waits until all of it is published."""
        size = ask(bridge, times)
        wait_until(lambda: self.covers(bridge, size))

    def refusal(self, name: str, quorum: str, workers: int = 1) -> str:
        """What `serve` says when it does not start."""
        evidence, server = self.settings(name, quorum), {"port": 0, "workers": workers}
        with starting_bridge(self.folder / name, evidence=evidence, server=server) as starting:
            assert starting.process.wait(30) == 1
            return starting.log_file.read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    signer = Signer(f"{ORIGIN}/2026h2", Ed25519PrivateKey.generate())
    (tmp_path / "signing.key").touch(mode=0o600)
    (tmp_path / "signing.key").write_text(f"{signer}\n")
    with running_witness(tmp_path / "witness", [signer.verifier]) as witness:
        yield Stage(tmp_path, signer, witness)


def ask(bridge: RunningBridge, times: int = 1) -> int:
    """How many entries there are afterwards, at least."""
    return max(int(bridge.ask(request("read"))["evidence"]["index"]) + 1 for _ in range(times))


def everything(evidence: Path) -> list[str]:
    """All that the database holds, as SQL."""
    with contextlib.closing(sqlite3.connect(f"file:{evidence / DATABASE}?mode=ro", uri=True)) as db:
        return list(db.iterdump())


def rows(evidence: Path) -> list[tuple[int, bytes, int]]:
    with contextlib.closing(sqlite3.connect(f"file:{evidence / DATABASE}?mode=ro", uri=True)) as db:
        return db.execute("SELECT size, note, published FROM checkpoint ORDER BY size").fetchall()


@pytest.mark.timeout(180)
def test_every_checkpoint_under_load_is_cosigned(stage: Stage) -> None:
    ended = threading.Event()

    def load(bridge: RunningBridge) -> int:
        last = 0
        while not ended.is_set():
            last = ask(bridge)
        return last

    with stage.bridge("one") as bridge:
        with ThreadPoolExecutor(4) as threads:
            loads = [threads.submit(load, bridge) for _ in range(4)]
            lags = []
            until = time.monotonic() + 8
            while time.monotonic() < until:
                before = time.monotonic()
                stage.grow(bridge)
                lags.append(time.monotonic() - before)
            ended.set()
            size = max(one.result() for one in loads)
        wait_until(lambda: stage.covers(bridge, size))
        metrics = bridge.get("/metrics").text
        assert bridge.get("/health/ready").json() == {"status": "ready"}
        evidence, config = bridge.evidence, bridge.config
    kept = rows(evidence)
    assert len(kept) >= 10
    for size, note, published in kept:
        signed = open_checkpoint(note, [stage.signer.verifier], [stage.witness.vkey])
        assert (published, [key for key, _ in signed.cosigned]) == (1, [stage.witness.vkey]), size
    assert max(lags) < 2, lags
    (answers,) = re.findall(r'issuance_log_witness_answers_total{result="cosigned",witness="w0"} (\d+)', metrics)
    assert 10 <= int(answers) <= len(kept)
    verified = run_cli("log", "verify", "--config", config, "--trust", stage.trust("all"), "--json")
    assert verified.returncode == 0, verified.stdout
    assert json.loads(verified.stdout)["signed_by"] == [stage.signer.name, stage.witness.vkey.name]


@pytest.mark.timeout(180)
def test_of_two_histories_with_one_key_only_one_is_published(stage: Stage) -> None:
    """A copied folder goes on with the same key; the witness sides with whom it hears first."""
    with stage.bridge("one") as bridge:
        stage.grow(bridge, 3)
    shutil.copytree(stage.folder / "one", stage.folder / "copy")
    stage.witness.process.send_signal(signal.SIGSTOP)
    with stage.bridge("one") as one, stage.bridge("copy") as copy:
        ask(one, 5)
        ask(copy)
        stage.witness.process.send_signal(signal.SIGCONT)
        stopped = wait_until(lambda: one.log_events("publishing_stopped") + copy.log_events("publishing_stopped"))
        assert [(event["level"], event["forked"]) for event in stopped] == [("error", True)]
        assert "witness w0" in stopped[0]["reason"]
        loser, winner = (one, copy) if one.log_events("publishing_stopped") else (copy, one)
        before = stage.published(loser).checkpoint
        stage.grow(winner)
        assert ask(loser, 2) > before.size  # it decides on, and every entry is kept
        ready = loser.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["reasons"][0] == f"the log is not published: {stopped[0]['reason']}"
        assert 'issuance_log_witness_answers_total{result="forked",witness="w0"} 1.0' in loser.get("/metrics").text
        stage.grow(winner)
        assert stage.published(loser).checkpoint == before
    assert "issuance-bridge: witness w0" in stage.refusal(loser.config.parent.name, "all")  # nor does it start again


@pytest.mark.timeout(180)
def test_a_longer_history_than_the_one_that_was_witnessed_is_not_started(stage: Stage) -> None:
    with stage.bridge("one") as bridge:
        stage.grow(bridge)
    shutil.copytree(stage.folder / "one", stage.folder / "copy")
    with stage.bridge("copy", "") as bridge:
        stage.grow(bridge, 20)
    with stage.bridge("one") as bridge:
        stage.grow(bridge)
    assert "issuance-bridge: witness w0 refuses the checkpoint over" in stage.refusal("copy", "all")
    with stage.bridge("one") as bridge:
        stage.grow(bridge)


@pytest.mark.parametrize(("quorum", "workers"), [("none", 1), ("all", 2)])
def test_an_older_folder_is_not_started_and_nothing_is_written_to_it(stage: Stage, quorum: str, workers: int) -> None:
    with stage.bridge("one", quorum) as bridge:
        stage.grow(bridge)
    shutil.copytree(stage.folder / "one", stage.folder / "older")
    with stage.bridge("one", quorum) as bridge:
        stage.grow(bridge)
    newest = stage.published(bridge).checkpoint
    evidence = stage.folder / "older" / "evidence"
    before = everything(evidence)
    told = stage.refusal("older", quorum, workers)
    assert everything(evidence) == before
    assert f"issuance-bridge: witness w0 has seen {newest.size} entries of {stage.signer.name}" in told
    assert "listening" not in told


@pytest.mark.timeout(180)
def test_a_witness_that_was_put_back_catches_up(stage: Stage) -> None:
    """Its 409 tells of a size that it had cosigned beyond; the log proves its way from there."""
    kept = stage.folder / "kept"
    with stage.bridge("one") as bridge:
        stage.grow(bridge, 2)
        stage.witness.process.kill()
        stage.witness.process.wait()
        shutil.copytree(stage.folder / "witness" / MEMORY, kept)
        size = ask(bridge, 3)
        wait_until(lambda: bridge.log_events("checkpoint_stale"))
        assert "s behind the log" in bridge.get("/health/ready").json()["reasons"][0]
        assert stage.published(bridge).checkpoint.size < size
    with running_witness(stage.folder / "witness", [stage.signer.verifier]) as again:
        later = Stage(stage.folder, stage.signer, again)
        with later.bridge("one") as bridge:
            wait_until(lambda: later.covers(bridge, size))
    shutil.rmtree(stage.folder / "witness" / MEMORY)
    kept.rename(stage.folder / "witness" / MEMORY)
    with running_witness(stage.folder / "witness", [stage.signer.verifier]) as forgetful:
        later = Stage(stage.folder, stage.signer, forgetful)
        with later.bridge("one") as bridge:
            later.grow(bridge)
            assert later.published(bridge).cosigned


def test_the_quorum_is_demanded_of_logs_and_of_proofs(stage: Stage) -> None:
    with stage.bridge("one") as bridge:
        stage.grow(bridge)
    log, trust = bridge.evidence, stage.trust("all")
    proved = run_cli("log", "prove", "0", "--config", bridge.config, "-o", stage.folder, "--trust", trust)
    assert proved.returncode == 0, proved.stderr
    (proof,) = stage.folder.glob("*.tlog-proof")
    good = run_cli("log", "check", proof, "--trust", trust)
    assert good.returncode == 0, good.stdout
    assert f"seen by {stage.witness.vkey.name} at 20" in good.stdout
    note = Note.parse((log / CHECKPOINT).read_bytes())
    bare = str(Note(note.text, note.signatures[:1])).encode()
    proof.write_bytes(proof.read_bytes().partition(note.text.encode())[0] + bare)
    (log / CHECKPOINT).write_bytes(bare)
    for command in (("log", "check", proof), ("log", "verify", "--config", bridge.config)):
        assert run_cli(*command, "--trust", stage.trust("none")).returncode == 0
        bad = run_cli(*command, "--trust", trust)
        assert bad.returncode == 1
        assert "the cosignatures do not make the quorum (needed)" in bad.stdout
    assert Checkpoint.parse(note.text).origin == stage.signer.name

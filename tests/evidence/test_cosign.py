"""Publishing with witnesses: quorum or none, slow ones, forks, what is known at the start."""

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bridge.config.trust import load_trust
from bridge.errors import ConfigFault, LogForked
from bridge.evidence import keys, publication
from bridge.evidence import witness as asking
from bridge.evidence.cosign import Witnesses
from bridge.evidence.files import CHECKPOINT, DATABASE, LOG
from bridge.evidence.publication import Publication
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.model.times import now_ms, uuid7
from bridge.ops.metrics import Metrics
from bridge.ports import Record
from bridge.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from bridge.tlog.note import Note, Signer, VerifierKey
from bridge.tlog.tiles import Tile
from tests.support.waiting import until
from tests.support.witness import LocalWitness, local_witness, reply, write_trust

ORIGIN = "localhost/test"


@dataclass
class Log:
    """A log that is written and published in this event loop, without a bridge around it."""

    folder: Path
    store: SqliteStore
    publication: Publication
    metrics: Metrics
    signer: Signer

    def write(self, count: int = 1) -> None:
        self.store.commit([Record({"id": uuid7(n), "kind": "decision"}) for n in range(count)])

    def published(self, *witnesses: VerifierKey) -> SignedCheckpoint:
        return open_checkpoint((self.folder / CHECKPOINT).read_bytes(), [self.signer.verifier], witnesses)

    def size(self) -> int:
        return self.published().checkpoint.size if (self.folder / CHECKPOINT).exists() else 0

    def rows(self) -> list[tuple[int, bool]]:
        """Each checkpoint that was signed, and whether it was published."""
        return [(size, bool(published)) for size, published in self.sql("SELECT size, published FROM checkpoint")]

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.folder / DATABASE)) as db, db:
            return db.execute(statement).fetchall()

    def answers(self, result: str, name: str = "w0") -> float:
        labels = {"witness": name, "result": result}
        return self.metrics.registry.get_sample_value("issuance_log_witness_answers_total", labels) or 0.0

    def age(self) -> float | None:
        return self.metrics.registry.get_sample_value("issuance_log_checkpoint_age_seconds")


@contextlib.asynccontextmanager
async def log_in(folder: Path, trust: Path | None) -> AsyncIterator[Log]:
    """Started, not running: the test takes the steps."""
    store = SqliteStore(folder, "test/0")
    store.open()
    metrics = Metrics()
    signer = keys.load_or_make(folder, "", ORIGIN, now_ms())
    witnesses = Witnesses(load_trust(trust), metrics) if trust else None
    publishing = Publication(Publisher(folder, signer), metrics, witnesses)
    try:
        await publishing.start()
        await publishing.greet()
        yield Log(folder, store, publishing, metrics, signer)
    finally:
        await publishing.abandon()
        store.close()


@pytest.fixture
async def witness() -> AsyncIterator[LocalWitness]:
    async with local_witness() as running:
        yield running


@pytest.fixture
async def second() -> AsyncIterator[LocalWitness]:
    async with local_witness("witness.example/second") as running:
        yield running


def trusting(folder: Path, quorum: str, *witnesses: LocalWitness) -> Path:
    return write_trust(folder / f"{quorum}.policy", [(one.vkey, one.url) for one in witnesses], quorum)


async def test_a_checkpoint_is_published_with_its_cosignatures(
    tmp_path: Path, witness: LocalWitness, second: LocalWitness
) -> None:
    async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness, second)) as log:
        for size in (3, 300, 303):
            log.write(size - log.size())
            await log.publication.step()
            signed = log.published(witness.vkey, second.vkey)
            assert signed.checkpoint.size == size == witness.size == second.size
            assert {key.name for key, _ in signed.cosigned} == {witness.name, second.name}
        ((row, _),) = log.sql("SELECT note, published FROM checkpoint WHERE size = 303")
        assert row == (log.folder / CHECKPOINT).read_bytes()
        asked = len(witness.asked)
        await log.publication.step()
        assert len(witness.asked) == asked  # nothing new, and it has cosigned that
        assert (log.answers("cosigned"), log.answers("cosigned", "w1")) == (3, 3)
        assert log.publication.warnings() == []


async def test_without_the_quorum_the_published_checkpoint_stays(
    tmp_path: Path, witness: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.evidence.cosign.PAUSE_S", 0.1)
    async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness)) as log:
        log.write(2)
        await log.publication.step()
        kept = (log.folder / CHECKPOINT).read_bytes()
        witness.answer = reply(503, "later")
        for _ in range(3):
            log.write()
            await log.publication.step()
        assert (log.folder / CHECKPOINT).read_bytes() == kept
        assert log.publication.warnings() == ["witness w0: it answers with status 503: 'later'"]
        asked = len(witness.asked)
        assert asked == 3  # two for the first checkpoint, one that failed: the rest fell into the pause
        witness.answer = b""
        await asyncio.sleep(0.1)
        await log.publication.step()
        assert log.size() == 5
        assert [one.about.size for one in witness.asked[asked:]] == [5]  # the newest, and none between
        assert log.rows() == [(2, True), (3, False), (4, False), (5, True)]
        assert log.publication.warnings() == []
        assert log.answers("failed") == 1


async def test_one_of_two_is_enough_where_one_is_asked_for(
    tmp_path: Path, witness: LocalWitness, second: LocalWitness
) -> None:
    second.answer = reply(500)
    async with log_in(tmp_path / "e", trusting(tmp_path, "any", witness, second)) as log:
        log.write()
        await log.publication.step()
        assert [key for key, _ in log.published(witness.vkey, second.vkey).cosigned] == [witness.vkey]
        assert log.publication.warnings() == ["witness w1: it answers with status 500: ''"]


async def test_a_slow_witness_that_the_quorum_needs_is_waited_for(
    tmp_path: Path, witness: LocalWitness, second: LocalWitness
) -> None:
    second.delay_s = 0.7
    async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness, second)) as log:
        log.write()
        await log.publication.step()
        assert len(log.published(witness.vkey, second.vkey).cosigned) == 2


@pytest.mark.parametrize("quorum", ["none", "any"])
async def test_a_slow_witness_that_no_quorum_needs_holds_nothing_up(
    tmp_path: Path, witness: LocalWitness, second: LocalWitness, quorum: str
) -> None:
    second.delay_s = 1.0
    async with log_in(tmp_path / "e", trusting(tmp_path, quorum, witness, second)) as log:
        log.write()
        before = time.monotonic()
        await log.publication.step()
        assert time.monotonic() - before < 0.8
        assert [key for key, _ in log.published(witness.vkey, second.vkey).cosigned] == [witness.vkey]
        # In a log that rests, what it answers late still comes to stand below the checkpoint.
        for _ in range(10):
            await log.publication.step()
            await asyncio.sleep(0.2)
        assert [key for key, _ in log.published(witness.vkey, second.vkey).cosigned] == [witness.vkey, second.vkey]
        assert second.most_at_once == 1


async def test_a_witness_that_hangs_is_asked_one_thing_at_a_time_and_holds_nothing_up(
    tmp_path: Path, witness: LocalWitness
) -> None:
    witness.answer = None
    async with log_in(tmp_path / "e", trusting(tmp_path, "none", witness)) as log:
        for size in range(1, 4):
            log.write()
            before = time.monotonic()
            await log.publication.step()
            assert time.monotonic() - before < 0.8
            assert log.size() == size
        assert len(witness.asked) == 1


async def test_publishing_stays_within_a_second_whatever_a_witness_does(
    tmp_path: Path, witness: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.6)
    witness.answer = None
    async with log_in(tmp_path / "e", trusting(tmp_path, "none", witness)) as log:
        running = asyncio.create_task(log.publication.run())
        written: dict[int, float] = {}
        lags: list[float] = []

        def look() -> None:
            size = log.size()
            lags.extend(time.monotonic() - written.pop(index) for index in list(written) if index < size)

        for index in range(300):
            log.write()
            written[index] = time.monotonic()
            await asyncio.sleep(0.01)
            look()

        async def all_seen() -> bool:
            look()
            return not written

        await until(all_seen)
        running.cancel()
        assert log.answers("failed") >= 2
        assert max(lags) < 1.1


@pytest.mark.parametrize("quorum", ["none", "all"])
async def test_a_fork_stops_publishing_for_good(tmp_path: Path, witness: LocalWitness, quorum: str) -> None:
    """The folder is copied, both go on with the same key: the witness sides with the first, and the other one stops."""
    trust = trusting(tmp_path, quorum, witness)
    async with log_in(tmp_path / "e", trust) as log:
        log.write(5)
        await log.publication.step()
        log.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copytree(tmp_path / "e", tmp_path / "copy")
        async with log_in(tmp_path / "copy", trust) as copy:
            copy.write(2)
            await copy.publication.step()
            assert copy.size() == witness.size == 7
            log.write(4)  # more than the copy has: refused as inconsistent
            with capture_logs() as told:
                await log.publication.step()
            assert log.size() == 5
            assert [(one["event"], one["forked"]) for one in told if one["log_level"] == "error"] == [
                ("publishing_stopped", True)
            ]
            assert "witness w0 refuses the checkpoint over 9 entries" in told[-1]["reason"]
            witness.size, witness.answer = 0, b""
            log.write()
            await log.publication.step()
            assert log.size() == 5  # whatever the witness says later
            assert log.answers("forked") == 1
            assert log.publication.fault is not None
            assert any("the log is not published: witness w0 refuses" in one for one in log.publication.warnings())


async def test_a_witness_that_knows_more_stops_publishing(tmp_path: Path, witness: LocalWitness) -> None:
    async with log_in(tmp_path / "e", trusting(tmp_path, "none", witness)) as log:
        witness.size = 7
        log.write(5)
        await log.publication.step()
        assert log.size() == 0
        assert log.publication.fault is not None
        assert "witness w0 has seen 7 entries" in log.publication.fault


async def test_a_fork_that_a_slow_witness_tells_of_stops_publishing_too(tmp_path: Path, witness: LocalWitness) -> None:
    async with log_in(tmp_path / "e", trusting(tmp_path, "none", witness)) as log:
        witness.delay_s, witness.answer = 0.7, reply(422, "no")
        log.write()
        await log.publication.step()
        assert (log.size(), log.publication.fault) == (1, None)
        await asyncio.sleep(0.5)
        log.write()
        await log.publication.step()
        assert log.size() == 1
        assert log.publication.fault is not None


async def test_an_older_folder_put_back_is_not_started(tmp_path: Path, witness: LocalWitness) -> None:
    trust = trusting(tmp_path, "none", witness)
    async with log_in(tmp_path / "e", trust) as log:
        log.write(5)
        await log.publication.step()
    shutil.copytree(tmp_path / "e", tmp_path / "older")
    async with log_in(tmp_path / "e", trust) as log:
        log.write(2)
        await log.publication.step()
        assert witness.size == 7
    for _ in range(2):
        with pytest.raises(LogForked, match=r"witness w0 has seen 7 entries of localhost/test/.*only up to 5"):
            async with log_in(tmp_path / "older", trust):
                pytest.fail("started")
    async with log_in(tmp_path / "e", trust) as log:
        log.write()
        await log.publication.step()
        assert log.size() == 8


async def test_what_a_witness_cannot_tell_at_the_start_is_no_refusal(
    tmp_path: Path, witness: LocalWitness, second: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.2)
    async with log_in(tmp_path / "e", None) as log:
        log.write(3)
        await log.publication.step()
    witness.answer, second.answer = reply(500), None
    with capture_logs() as told:
        async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness, second)) as log:
            assert {(one["event"], one["witness"]) for one in told} == {
                ("witness_failed", "w0"),
                ("witness_failed", "w1"),
            }
            log.write()
            await log.publication.step()
            assert log.size() == 3  # no refusal, and no checkpoint without its quorum
            assert len(log.publication.warnings()) == 2


async def test_a_log_that_rests_gets_its_quorum_when_the_witness_is_back(
    tmp_path: Path, witness: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the checkpoint was published before there was a policy."""
    monkeypatch.setattr("bridge.evidence.cosign.PAUSE_S", 0.1)
    async with log_in(tmp_path / "e", None) as log:
        log.write(3)
        await log.publication.step()
        assert log.published(witness.vkey).cosigned == ()
    witness.answer = reply(500)
    with capture_logs() as told:
        async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness)) as log:
            witness.answer = b""
            await asyncio.sleep(0.15)
            await log.publication.step()
            assert [key for key, _ in log.published(witness.vkey).cosigned] == [witness.vkey]
    assert [one["event"] for one in told] == ["witness_failed", "witness_recovered"]


async def test_cosignatures_are_kept_over_a_restart(tmp_path: Path, witness: LocalWitness) -> None:
    trust = trusting(tmp_path, "none", witness)
    async with log_in(tmp_path / "e", trust) as log:
        log.write(3)
        await log.publication.step()
        before = (log.folder / CHECKPOINT).read_bytes()
    witness.answer = reply(500)
    async with log_in(tmp_path / "e", trust) as log:
        await log.publication.step()
        assert (log.folder / CHECKPOINT).read_bytes() == before
        log.write()
        await log.publication.step()
        assert log.published(witness.vkey).cosigned == ()


async def test_a_cosignature_in_the_database_that_does_not_hold_is_replaced(
    tmp_path: Path, witness: LocalWitness
) -> None:
    trust = trusting(tmp_path, "all", witness)
    async with log_in(tmp_path / "e", trust) as log:
        log.write(3)
        await log.publication.step()
        note = Note.parse((log.folder / CHECKPOINT).read_bytes())
        bad = Note(note.text, (note.signatures[0], witness.cosign("something else\n")))
    with contextlib.closing(sqlite3.connect(tmp_path / "e" / DATABASE)) as db, db:
        db.execute("UPDATE checkpoint SET note = ?", (str(bad).encode(),))
    async with log_in(tmp_path / "e", trust) as log:
        await log.publication.step()
        assert [key for key, _ in log.published(witness.vkey).cosigned] == [witness.vkey]
        assert len(log.published().note.signatures) == 2


async def test_a_published_checkpoint_that_falls_behind_is_told(
    tmp_path: Path, witness: LocalWitness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication, "STALE_S", 0.4)
    monkeypatch.setattr("bridge.evidence.cosign.PAUSE_S", 0.1)
    async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness)) as log:
        log.write()
        await log.publication.step()
        with capture_logs() as told:
            log.publication.observe()
            witness.answer = reply(500)
            log.write()
            await log.publication.step()
            await asyncio.sleep(0.5)
            for _ in range(2):
                log.publication.observe()
            age = log.age()
            assert age is not None
            assert 0.5 <= age < 2
            assert log.publication.warnings()[0] == "the published checkpoint is 1 s behind the log"
            assert "witness w0: it answers with status 500" in log.publication.warnings()[1]
            witness.answer = b""
            await log.publication.step()
            log.publication.observe()
        events = ["witness_failed", "checkpoint_stale", "witness_recovered", "checkpoint_current"]
        assert [one["event"] for one in told] == events
        age = log.age()
        assert age is not None
        assert age < 0.4
        assert log.publication.warnings() == []


async def test_a_log_that_rests_is_never_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publication, "STALE_S", 0.9)
    async with log_in(tmp_path / "e", None) as log:
        running = asyncio.create_task(log.publication.run())
        for _ in range(20):
            await asyncio.sleep(0.1)
            log.publication.observe()
            assert log.publication.warnings() == []
        running.cancel()


@pytest.mark.parametrize("damage", [bytes(256 * 32), b"", None], ids=["zeros", "empty", "gone"])
async def test_a_damaged_tile_is_mended_before_a_witness_sees_a_proof_of_it(
    tmp_path: Path, witness: LocalWitness, damage: bytes | None
) -> None:
    """A wrong proof would be a 422, and that stops publishing for good."""
    async with log_in(tmp_path / "e", trusting(tmp_path, "all", witness)) as log:
        log.write(200)
        await log.publication.step()
        witness.answer = reply(500)
        log.write(100)
        await log.publication.step()
        tile = log.folder / LOG / Tile(0, 0).path
        whole = tile.read_bytes()
        if damage is None:
            tile.unlink()
        else:
            tile.write_bytes(damage)
        witness.answer = b""
        log.write(10)

        async def published() -> bool:
            await log.publication.step()
            return log.size() == witness.size == 310

        await until(published)
        assert log.publication.fault is None
        assert tile.read_bytes() == whole


async def test_a_checkpoint_that_did_not_reach_its_file_is_published_at_the_next_start(tmp_path: Path) -> None:
    async with log_in(tmp_path / "e", None) as log:
        log.write(2)
        await log.publication.step()
        older = (log.folder / CHECKPOINT).read_bytes()
        log.write(2)
        await log.publication.step()
    for left in (older, None):
        file = tmp_path / "e" / CHECKPOINT
        file.unlink() if left is None else file.write_bytes(left)
        async with log_in(tmp_path / "e", None) as log:
            await log.publication.step()
            assert log.size() == 4


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("witness w {key} ftp://witness.example\nquorum none", "begins with http"),
        ("witness w {key} /add\nquorum none", "begins with http"),
        ("witness w {key}\nquorum w", "cannot make the quorum w"),
        ("witness w {key} http://127.0.0.1:1\nquorum x", "line 2"),
        ("witness w {key} http://127.0.0.1:1", "exactly one quorum line"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(tmp_path: Path, line: str, reason: str) -> None:
    file = tmp_path / "trust.policy"
    file.write_text(line.replace("{key}", str(LocalWitness().vkey)))
    with pytest.raises(ConfigFault, match=reason):
        Witnesses(load_trust(file), Metrics())


def test_more_witnesses_than_a_note_has_room_for_are_refused(tmp_path: Path) -> None:
    many = [(LocalWitness(f"w{n}").vkey, "http://127.0.0.1:1") for n in range(64)]
    Witnesses(load_trust(write_trust(tmp_path / "63", many[:63])), Metrics())
    with pytest.raises(ConfigFault, match="at most 63 witnesses"):
        Witnesses(load_trust(write_trust(tmp_path / "64", many)), Metrics())

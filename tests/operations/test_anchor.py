"""`log checkpoint --anchor` and `evidence.high_water`: a checkpoint that is kept elsewhere, and what it can show."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import cli
from bridge.errors import BridgeError, ConfigFault, EvidenceInvalid, LogForked
from bridge.evidence import keys
from bridge.evidence.files import CHECKPOINT, DATABASE, SIGNING_KEY
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.model.times import now_ms, uuid7
from bridge.ports import Record
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Note
from tests.support.bridge import request, run_cli, running_bridge, starting_bridge, write_config
from tests.support.waiting import wait_until

ORIGIN = "localhost/issuance-bridge"


class Place:
    """A log without a bridge, and a file elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_config(folder, folder)
        self.evidence = folder / "evidence"
        self.anchor = folder / "elsewhere" / "checkpoint"

    def grow(self, count: int, *, high_water: bool = False) -> None:
        """Writes, signs and publishes so many entries more, as a bridge does between a start and an end."""
        store = SqliteStore(self.evidence, "test/0")
        store.open()
        publisher = Publisher(
            self.evidence,
            keys.load_or_make(self.evidence, "", ORIGIN, now_ms()),
            str(self.anchor) if high_water else "",
        )
        try:
            publisher.open()
            if count:
                store.commit([Record({"id": uuid7(now_ms()), "kind": "decision"}) for _ in range(count)])
            if (note := publisher.integrate()) is not None:
                publisher.publish(note)
        finally:
            publisher.close()
            store.close()

    def write_anchor(self) -> Result:
        arguments = ["log", "checkpoint", "--anchor", str(self.anchor), "--config", str(self.config)]
        return CliRunner().invoke(cli, arguments)

    def anchored(self) -> int:
        return Checkpoint.parse(Note.parse(self.anchor.read_bytes()).text).size

    def refused(self, error: type[BridgeError], reason: str) -> None:
        """What is kept stays as it is."""
        before = self.anchor.read_bytes()
        result = self.write_anchor()
        assert isinstance(result.exception, error)
        assert reason in str(result.exception)
        assert self.anchor.read_bytes() == before


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.grow(3)
    return place


def test_it_prints_the_newest_checkpoint(place: Place) -> None:
    result = CliRunner().invoke(cli, ["log", "checkpoint", "--config", str(place.config)])
    assert result.stdout_bytes == (place.evidence / CHECKPOINT).read_bytes()


def test_an_anchor_moves_forward_with_its_log(place: Place) -> None:
    for grown, size in ((0, 3), (297, 300), (0, 300)):
        place.grow(grown)
        result = place.write_anchor()
        assert (result.exit_code, result.stdout) == (0, f"{place.anchor}: {size} entries\n")
        assert place.anchor.read_bytes() == (place.evidence / CHECKPOINT).read_bytes()
    place.grow(1, high_water=True)
    assert place.anchored() == 300


def test_an_older_copy_of_the_log_does_not_write_it_over(place: Place) -> None:
    shutil.copytree(place.evidence, place.folder / "older")
    place.grow(4)
    assert place.write_anchor().exit_code == 0
    shutil.rmtree(place.evidence)
    (place.folder / "older").rename(place.evidence)
    place.refused(LogForked, "the new one knows 3 entries, the old one 7")
    with pytest.raises(
        LogForked, match=r"evidence\.high_water\) covers 7 entries, but the log in .* was signed up to 3"
    ):
        place.grow(1, high_water=True)


@pytest.mark.parametrize("grown", [1, 4, 9])
def test_an_older_copy_that_went_on_does_not_write_it_over(place: Place, grown: int) -> None:
    """Shorter than what is kept, as long, and longer."""
    shutil.copytree(place.evidence, place.folder / "older")
    place.grow(4)
    assert place.write_anchor().exit_code == 0
    shutil.rmtree(place.evidence)
    (place.folder / "older").rename(place.evidence)
    place.grow(grown)
    place.refused(LogForked, "stays as it is, since the log has not grown from it")
    with pytest.raises(LogForked, match="covers 7 entries" if grown == 1 else "first 7 entries"):
        place.grow(0, high_water=True)


def test_another_log_does_not_write_it_over(place: Place) -> None:
    assert place.write_anchor().exit_code == 0
    shutil.rmtree(place.evidence)
    place.grow(9)
    place.refused(LogForked, "is not signed by a trusted key")
    with pytest.raises(LogForked, match=r"evidence\.high_water\) is no checkpoint of this log"):
        place.grow(0, high_water=True)


def test_a_file_that_is_no_checkpoint_is_neither_written_over_nor_believed(place: Place) -> None:
    place.anchor.parent.mkdir()
    for other in (b"", b"my notes\n", (place.evidence / SIGNING_KEY).read_bytes()):
        place.anchor.write_bytes(other)
        place.refused(LogForked, "stays as it is")
        with pytest.raises(LogForked, match=r"evidence\.high_water\) is no checkpoint of this log"):
            place.grow(0, high_water=True)


def test_a_checkpoint_that_does_not_hold_is_not_kept(place: Place) -> None:
    assert place.write_anchor().exit_code == 0
    place.grow(1)
    file = place.evidence / CHECKPOINT
    file.write_bytes(file.read_bytes().replace(b"\n4\n", b"\n5\n"))
    place.refused(EvidenceInvalid, "does not hold")


def test_a_place_that_cannot_be_written_is_named(place: Place) -> None:
    place.anchor.parent.write_text("a file, not a folder")
    result = place.write_anchor()
    assert isinstance(result.exception, ConfigFault)
    assert str(place.anchor) in str(result.exception)


def test_a_mark_that_is_not_there_is_a_refusal_that_says_how_to_make_it(place: Place) -> None:
    with pytest.raises(ConfigFault, match=f"log checkpoint --anchor {place.anchor}"):
        place.grow(0, high_water=True)


def test_a_checkpoint_that_was_signed_and_never_published_counts(place: Place) -> None:
    """Killed between the two: what is kept is behind, never before."""
    with closing(sqlite3.connect(place.evidence / DATABASE)) as db, db:
        db.execute("UPDATE checkpoint SET published = 0")
    (place.evidence / CHECKPOINT).unlink()
    place.grow(0)
    assert place.write_anchor().exit_code == 0


def test_a_whole_folder_put_back_is_not_started(tmp_path: Path) -> None:
    anchor = tmp_path / "kept"
    with running_bridge(tmp_path) as bridge:
        bridge.ask(request("read"))
        wait_until(lambda: (bridge.evidence / CHECKPOINT).exists())
    shutil.copytree(bridge.evidence, tmp_path / "older")
    with running_bridge(tmp_path) as bridge:
        index = bridge.ask(request("read"))["evidence"]["index"]

        def anchored() -> bool:
            done = bridge.cli("log", "checkpoint", "--anchor", str(anchor))
            return done.returncode == 0 and Checkpoint.parse(Note.parse(anchor.read_bytes()).text).size > index

        wait_until(anchored)
    shutil.rmtree(bridge.evidence)
    (tmp_path / "older").rename(bridge.evidence)
    with starting_bridge(tmp_path, evidence={"high_water": str(anchor)}) as starting:
        assert starting.process.wait(30) == 1
        told = starting.log_file.read_text()
    assert f"issuance-bridge: {anchor} (evidence.high_water) covers" in told
    assert "listening" not in told


def test_no_key_is_made_for_a_log_that_has_begun_elsewhere(place: Place) -> None:
    """With a new one beside it the log could not be put back: its own key would be in the way."""
    assert place.write_anchor().exit_code == 0
    shutil.rmtree(place.evidence)
    environment = {"BRIDGE__EVIDENCE__HIGH_WATER": str(place.anchor)}
    done = run_cli("serve", "--config", place.config, env=environment)
    assert done.returncode == 1
    assert "there is no signing key" in done.stderr
    assert not (place.evidence / SIGNING_KEY).exists()


def test_a_mark_inside_the_folder_guards_nothing(place: Place) -> None:
    """It would be put back with the older copy."""
    for inside in (place.evidence / CHECKPOINT, place.evidence / "mark"):
        environment = {"BRIDGE__EVIDENCE__HIGH_WATER": str(inside)}
        done = run_cli("serve", "--config", place.config, env=environment)
        assert done.returncode == 1
        assert "which would be put back together with the log" in done.stderr

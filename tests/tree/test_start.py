"""What a start refuses, with nothing signed and no file changed; and what it mends, since the database proves it."""

import asyncio
import base64
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import load_settings
from bridge.errors import BridgeError
from bridge.evidence import keys
from bridge.evidence.files import CHECKPOINT, DATABASE, LOG, SIGNING_KEY, VKEY
from bridge.evidence.store import owned
from bridge.server import refuse_foreign_log
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.merkle import leaf_hash
from bridge.tlog.note import Note, Signer
from tests.support.bridge import run_cli, write_config

from .logs import contents, small_log

GROWTH = (200, 60, 40, 13)
YESTERDAY, TODAY = 260, 313


@dataclass(frozen=True)
class Kept:
    """The same log today and yesterday, with the checkpoints (by size) that it had; and another log."""

    today: Path
    yesterday: Path
    other: Path
    checkpoints: dict[int, bytes]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    kept = Kept(folder / "today", folder / "yesterday", folder / "other", {})
    for size in GROWTH:
        with small_log(kept.today) as log:
            log.grow(size)
            kept.checkpoints[log.publisher.signed.size] = (kept.today / CHECKPOINT).read_bytes()
        if YESTERDAY in kept.checkpoints and not kept.yesterday.exists():
            shutil.copytree(kept.today, kept.yesterday)
    with small_log(kept.other, TODAY + 10):
        pass
    return kept


@dataclass(frozen=True)
class Copy:
    """A copy of today's log, to be spoilt."""

    kept: Kept
    folder: Path

    def start(self, **evidence: Any) -> str:
        """Why a start is refused; empty when it is not."""
        settings = load_settings(write_config(self.folder.parent, evidence=evidence))
        try:
            with owned(self.folder):
                asyncio.run(refuse_foreign_log(settings))
        except BridgeError as error:
            return str(error)
        return ""

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / DATABASE, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    def refused(self, **evidence: Any) -> str:
        before = contents(self.folder)
        why = self.start(**evidence)
        assert why, "not refused"
        assert contents(self.folder) == before
        return why

    def signer(self) -> Signer:
        return Signer.parse((self.folder / SIGNING_KEY).read_text())


@pytest.fixture
def copy(kept: Kept, tmp_path: Path) -> Copy:
    copy = Copy(kept, tmp_path / "evidence")
    shutil.copytree(kept.today, copy.folder)
    assert copy.start() == ""  # and all locks are made
    return copy


def test_a_log_of_an_older_layout_is_refused_and_left_as_it_is(copy: Copy) -> None:
    copy.sql("PRAGMA journal_mode = DELETE", "PRAGMA user_version = 0")
    assert "layout 0, and this version of the bridge writes layout 1: keep that folder" in copy.refused()


def resigned(note: Note, signer: Signer) -> bytes:
    return str(signer.sign(note.text)).encode()


def of_yesterday(copy: Copy) -> str:
    shutil.copy(copy.kept.yesterday / DATABASE, copy.folder)
    return f"{copy.folder / CHECKPOINT} covers 313 entries, but the log in {copy.folder} was signed up to 260"


def of_nowhere(copy: Copy) -> str:
    (copy.folder / DATABASE).unlink()
    return f"{copy.folder / CHECKPOINT} covers 313 entries, but the log in {copy.folder} was signed up to 0"


def of_another_log(copy: Copy) -> str:
    shutil.copy(copy.kept.other / DATABASE, copy.folder)
    return f"{copy.folder / SIGNING_KEY} is not the key that the log in {copy.folder} was signed with"


def changed(copy: Copy) -> str:
    """By somebody who knows of the leaf hash."""
    data = b'{"forged":true}'
    copy.sql(f"UPDATE entry SET bytes = x'{data.hex()}', leaf_hash = x'{leaf_hash(data).hex()}' WHERE idx = 300")
    return "the last checkpoint that was signed: the first 313 entries in the database are others"


def swapped(copy: Copy) -> str:
    copy.sql(
        "UPDATE entry SET idx = -1 WHERE idx = 300",
        "UPDATE entry SET idx = 300 WHERE idx = 301",
        "UPDATE entry SET idx = 301 WHERE idx = -1",
    )
    return "the last checkpoint that was signed: the first 313 entries in the database are others"


def removed(copy: Copy) -> str:
    copy.sql("DELETE FROM entry WHERE idx = 300")
    return "covers 313 entries, but of those the database holds only the first 300"


def renumbered(copy: Copy) -> str:
    """The hole is closed."""
    copy.sql("DELETE FROM entry WHERE idx = 300", "UPDATE entry SET idx = idx - 1 WHERE idx > 300")
    return "covers 313 entries, but of those the database holds only the first 312"


def cut_off(copy: Copy) -> str:
    copy.sql("DELETE FROM entry WHERE idx >= 312")
    return "covers 313 entries, but of those the database holds only the first 312"


def appended_then_cut_off(copy: Copy) -> str:
    """All that says so in the database is taken back too."""
    with small_log(copy.folder, 7):
        pass
    copy.sql("DELETE FROM entry WHERE idx >= 313", "DELETE FROM checkpoint WHERE size > 313")
    return f"{copy.folder / CHECKPOINT} covers 320 entries, but the log in {copy.folder} was signed up to 313"


def never_signed(copy: Copy) -> str:
    copy.sql("DELETE FROM checkpoint")
    return f"{copy.folder / CHECKPOINT} covers 313 entries, but the log in {copy.folder} was signed up to 0"


def without_the_tables(copy: Copy) -> str:
    copy.sql("DROP TABLE checkpoint", "DROP TABLE key")
    return f"{copy.folder / CHECKPOINT} covers 313 entries, but the log in {copy.folder} was signed up to 0"


def row_of_another_root(copy: Copy) -> str:
    copy.sql("UPDATE checkpoint SET root = zeroblob(32) WHERE size = 313")
    return "the last checkpoint in the database is not what its row says"


def row_of_another_size(copy: Copy) -> str:
    copy.sql("UPDATE checkpoint SET size = 312 WHERE size = 313")
    return "the last checkpoint in the database is not what its row says"


def row_with_garbage(copy: Copy) -> str:
    copy.sql("UPDATE checkpoint SET note = x'ff00' WHERE size = 313")
    return "the last checkpoint in the database does not hold: a note is UTF-8 text"


def unknown_key_in_the_database(copy: Copy) -> str:
    copy.sql("UPDATE key SET vkey = 'nonsense'")
    return f"the log in {copy.folder} cannot be read: not a verifier key"


def no_database(copy: Copy) -> str:
    (copy.folder / DATABASE).write_bytes(b"not a database" * 1000)
    return f"the log in {copy.folder} cannot be read: file is not a database"


@pytest.mark.parametrize(
    "spoil",
    [
        of_yesterday,
        of_nowhere,
        of_another_log,
        changed,
        swapped,
        removed,
        renumbered,
        cut_off,
        appended_then_cut_off,
        never_signed,
        without_the_tables,
        row_of_another_root,
        row_of_another_size,
        row_with_garbage,
        unknown_key_in_the_database,
        no_database,
    ],
)
def test_a_database_that_is_not_what_was_signed_is_refused(copy: Copy, spoil: Callable[[Copy], str]) -> None:
    expected = spoil(copy)
    assert expected in copy.refused()


def of_another(copy: Copy) -> str:
    """Of the same name, by another key."""
    shutil.copy(copy.kept.other / CHECKPOINT, copy.folder / CHECKPOINT)
    return "is not signed by a trusted key"


def badly_signed(copy: Copy) -> str:
    note = Note.parse(copy.kept.checkpoints[TODAY])
    other = Signer.parse((copy.kept.other / SIGNING_KEY).read_text())
    (signature,) = note.signatures
    forged = base64.b64encode(signature.key_id + other.private.sign(note.text.encode())).decode()
    (copy.folder / CHECKPOINT).write_text(f"{note.text}\n\u2014 {signature.name} {forged}\n")
    return f"does not hold: the signature of {signature.name} does not hold"


def ill_formed(copy: Copy) -> str:
    (copy.folder / CHECKPOINT).write_bytes(b"\x00\xff garbage")
    return "does not hold: a note is UTF-8 text"


def empty(copy: Copy) -> str:
    (copy.folder / CHECKPOINT).write_bytes(b"")
    return "does not hold: a note is a text"


def forked(copy: Copy) -> str:
    """Signed with the right key, over other entries."""
    text = str(Checkpoint(copy.signer().name, YESTERDAY, b"\x01" * 32))
    (copy.folder / CHECKPOINT).write_text(str(copy.signer().sign(text)))
    return f"{copy.folder / CHECKPOINT}: the first 260 entries in the database are others"


def larger(copy: Copy) -> str:
    text = str(Checkpoint(copy.signer().name, 314, b"\x01" * 32))
    (copy.folder / CHECKPOINT).write_text(str(copy.signer().sign(text)))
    return f"{copy.folder / CHECKPOINT} covers 314 entries, but the log in {copy.folder} was signed up to 313"


def a_folder(copy: Copy) -> str:
    (copy.folder / CHECKPOINT).unlink()
    (copy.folder / CHECKPOINT).mkdir()
    return "Is a directory"


@pytest.mark.parametrize("spoil", [of_another, badly_signed, ill_formed, empty, forked, larger, a_folder])
def test_a_published_checkpoint_that_is_not_of_this_log_is_refused(copy: Copy, spoil: Callable[[Copy], str]) -> None:
    expected = spoil(copy)
    assert expected in copy.refused()


def gone(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).unlink()
    return f"{copy.folder / SIGNING_KEY} is gone, and the log in {copy.folder} was signed with it: put it back"


def gone_with_the_files(copy: Copy) -> str:
    shutil.rmtree(copy.folder / LOG)
    return gone(copy)


def gone_with_the_database(copy: Copy) -> str:
    (copy.folder / DATABASE).unlink()
    return gone(copy)


def replaced(copy: Copy) -> str:
    """By one of the same name, as a new start makes it."""
    shutil.copy(copy.kept.other / SIGNING_KEY, copy.folder)
    return f"{copy.folder / SIGNING_KEY} is not the key that the log in {copy.folder} was signed with: put it back"


def of_another_origin(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).write_text(str(Signer("example.org/log/2026h2", copy.signer().private)))
    return "evidence.origin is localhost/issuance-bridge, but the signing key"


def of_another_half_year(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).write_text(str(Signer("localhost/issuance-bridge/2001h1", copy.signer().private)))
    return "belongs to localhost/issuance-bridge/2001h1, but the log in"


def open_to_all(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).chmod(0o604)
    return "is open to every user of this machine: chmod 600"


def torn(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).write_text(str(copy.signer())[:40])
    return f"the signing key {copy.folder / SIGNING_KEY} cannot be used: "


def binary(copy: Copy) -> str:
    (copy.folder / SIGNING_KEY).write_bytes(b"\xff\x00")
    return f"the signing key {copy.folder / SIGNING_KEY} cannot be read: "


@pytest.mark.parametrize(
    "spoil",
    [
        gone,
        gone_with_the_files,
        gone_with_the_database,
        replaced,
        of_another_origin,
        of_another_half_year,
        open_to_all,
        torn,
        binary,
    ],
)
def test_a_signing_key_that_is_not_this_log_s_is_refused(copy: Copy, spoil: Callable[[Copy], str]) -> None:
    expected = spoil(copy)
    why = copy.refused()
    assert expected in why
    assert (copy.kept.today / SIGNING_KEY).read_text().split("+", 4)[4][:20] not in why


@pytest.mark.parametrize("text", ["", "nonsense", b"\xff\xfe".decode("latin-1"), "replaced"])
def test_a_verifier_key_that_is_not_this_log_s_is_refused(copy: Copy, text: str) -> None:
    other = (copy.kept.other / VKEY).read_bytes()
    (copy.folder / VKEY).write_bytes(other if text == "replaced" else text.encode("latin-1"))
    assert f"{copy.folder / VKEY} is not a key that this log was signed with" in copy.refused()


@pytest.mark.parametrize(
    "origin", ["localhost/issuance", "localhost", "other.example/log", "localhost/issuance-bridge/"]
)
def test_another_origin_is_refused(copy: Copy, origin: str) -> None:
    why = copy.refused(origin=origin)
    assert f"evidence.origin is {origin}, but the signing key {copy.folder / SIGNING_KEY} belongs to" in why


def test_a_key_is_changed_only_on_purpose(copy: Copy, tmp_path: Path) -> None:
    """Named in the configuration, another key of the log's name goes on, if the one before is named there as well."""
    new, before = tmp_path / "new.key", (copy.folder / VKEY).read_text().strip()
    shutil.copy(copy.kept.other / SIGNING_KEY, new)
    assert "A key that was replaced is named in evidence.retired_keys" in copy.refused(key=str(new))
    assert copy.start(key=str(new), retired_keys=[before]) == ""
    assert (copy.folder / VKEY).read_bytes() == (copy.kept.other / VKEY).read_bytes()
    assert (copy.folder / CHECKPOINT).read_bytes() == copy.kept.checkpoints[TODAY]


def test_a_mark_kept_elsewhere_refuses_what_knows_less_or_other(copy: Copy, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert f"evidence.high_water names {mark}, which is not there" in copy.refused(high_water=str(mark))
    for size, note in copy.kept.checkpoints.items():
        mark.write_bytes(note)
        assert copy.start(high_water=str(mark)) == "", size
    signer = copy.signer()
    for size, expected in (
        (314, f"{mark} (evidence.high_water) covers 314 entries, but the log in {copy.folder} was signed up to 313"),
        (299, f"{mark} (evidence.high_water): the first 299 entries in the database are others"),
        (313, f"{mark} (evidence.high_water): the first 313 entries in the database are others"),
    ):
        mark.write_text(str(signer.sign(str(Checkpoint(signer.name, size, b"\x01" * 32)))))
        assert expected in copy.refused(high_water=str(mark))
    for data in (b"", b"garbage", (copy.kept.other / CHECKPOINT).read_bytes()):
        mark.write_bytes(data)
        why = copy.refused(high_water=str(mark))
        assert f"{mark} (evidence.high_water) is no checkpoint of this log: " in why
        assert "rebuild" not in why


def test_the_whole_folder_of_yesterday_is_refused_where_a_mark_knows_more(kept: Kept, tmp_path: Path) -> None:
    """Alone it looks as it looked then: nobody can tell."""
    copy = Copy(kept, tmp_path / "evidence")
    shutil.copytree(kept.yesterday, copy.folder)
    assert copy.start() == ""
    mark = tmp_path / "mark"
    mark.write_bytes(kept.checkpoints[TODAY])
    assert f"{mark} (evidence.high_water) covers 313 entries" in copy.refused(high_water=str(mark))


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_refuses_before_anything_is_written(copy: Copy, workers: int) -> None:
    expected = of_yesterday(copy)
    before = contents(copy.folder)
    config = write_config(copy.folder.parent, server={"workers": workers, "port": 0})
    done = run_cli("serve", "--config", config)
    assert done.returncode == 1
    assert f"issuance-bridge: {expected}" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert contents(copy.folder) == before


def test_rebuild_does_not_lay_an_older_log_over_a_newer_one(copy: Copy) -> None:
    expected = of_yesterday(copy)
    before = contents(copy.folder)
    done = run_cli("log", "rebuild", "--config", write_config(copy.folder.parent))
    assert done.returncode == 1
    assert expected in done.stderr
    assert contents(copy.folder) == before


@pytest.mark.parametrize("spoil", [changed, removed, row_with_garbage, larger, forked])
def test_rebuild_refuses_what_was_not_signed(copy: Copy, spoil: Callable[[Copy], str]) -> None:
    expected = spoil(copy)
    before = contents(copy.folder)
    done = run_cli("log", "rebuild", "--config", write_config(copy.folder.parent))
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert contents(copy.folder) == before


@pytest.mark.parametrize("spoil", [of_another, badly_signed, ill_formed, empty])
def test_rebuild_makes_anew_what_a_start_refuses(copy: Copy, spoil: Callable[[Copy], str]) -> None:
    before = contents(copy.folder)
    spoil(copy)
    (copy.folder / VKEY).write_text("nonsense")
    done = run_cli("log", "rebuild", "--config", write_config(copy.folder.parent))
    assert (done.returncode, done.stdout) == (0, f"{copy.folder}: made again, 313 entries\n")
    assert contents(copy.folder) == before


def test_rebuild_makes_no_log_where_there_is_none(tmp_path: Path) -> None:
    done = run_cli("log", "rebuild", "--config", write_config(tmp_path))
    assert done.returncode == 1
    assert f"there is no log in {tmp_path / 'evidence'}" in done.stderr
    assert not (tmp_path / "evidence").exists()


def test_files_that_are_gone_torn_or_too_many_are_mended(copy: Copy) -> None:
    whole = contents(copy.folder)
    log = {name: data for name, data in whole.items() if name.startswith("log/")}
    for name in log:
        (copy.folder / name).unlink()
        assert copy.start() == "", name
        assert contents(copy.folder) == whole, name
    for name, data in log.items():
        for torn in (b"", data[: len(data) // 2]):
            if "/tile/" in name and not (name.endswith("entries/000") and torn):  # a long bundle: `log verify` tells
                (copy.folder / name).write_bytes(torn)
                assert copy.start() == "", name
                assert contents(copy.folder) == whole, name
    for name in ("log/tile/0/001.p/3", "log/tile/entries/001.p/200", "log/tile/0/001.p/.57.new"):
        (copy.folder / name).write_bytes(b"x")
        assert copy.start() == "", name
        assert contents(copy.folder) == whole, name
    shutil.rmtree(copy.folder / LOG)
    assert copy.start() == ""
    assert contents(copy.folder) == whole


def test_a_published_checkpoint_that_was_put_back_is_published_again(copy: Copy) -> None:
    (copy.folder / CHECKPOINT).write_bytes(copy.kept.checkpoints[YESTERDAY])
    assert copy.start() == ""
    assert (copy.folder / CHECKPOINT).read_bytes() == copy.kept.checkpoints[TODAY]


def test_tiles_that_do_not_hold_are_not_mended_by_a_database_that_does_not_hold(copy: Copy) -> None:
    (copy.folder / LOG / "tile/0/000").unlink()
    expected = changed(copy)
    assert expected in copy.refused()


def test_tiles_that_were_changed_are_no_fork(copy: Copy) -> None:
    """The database holds all that was said: so it is the tiles that do not."""
    whole = contents(copy.folder)
    tile = copy.folder / LOG / "tile/0/000"
    tile.write_bytes(bytes(len(tile.read_bytes())))
    assert copy.start() == ""
    assert contents(copy.folder) == whole


def test_what_was_signed_and_not_published_is_published_after_the_start(copy: Copy) -> None:
    with small_log(copy.folder) as log:
        log.write(5)
        signed = log.publisher.integrate()
    with small_log(copy.folder) as log:
        assert log.publisher.signed.size == TODAY + 5
        log.publish()
    assert (copy.folder / CHECKPOINT).read_bytes() == str(signed).encode()


def test_a_checkpoint_that_could_not_be_written_is_written_without_a_new_entry(copy: Copy) -> None:
    with small_log(copy.folder) as log:
        log.write(5)
        (obstacle := copy.folder / LOG / ".checkpoint.new").mkdir()
        with pytest.raises(OSError, match="directory"):
            log.publish()
        obstacle.rmdir()
        log.publisher.open()
        assert Checkpoint.parse(Note.parse((copy.folder / CHECKPOINT).read_bytes()).text).size == TODAY + 5


def test_a_key_is_made_although_one_was_half_made(tmp_path: Path) -> None:
    """In a container every process may have the same number."""
    (tmp_path / f"{SIGNING_KEY}.{os.getpid()}").write_text("half")
    signer = keys.load_or_make(tmp_path, "", "localhost/log", 0)
    assert signer.name == "localhost/log/1970h1"
    assert [path.name for path in tmp_path.iterdir()] == [SIGNING_KEY]
    assert (tmp_path / SIGNING_KEY).stat().st_mode & 0o777 == 0o600

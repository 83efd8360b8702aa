"""The tamper matrix: whatever was done to a log, `log verify` says BAD and why; and the one case that it cannot see."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.audit.filter import Filter
from bridge.audit.published import FolderFiles
from bridge.audit.query import Queries
from bridge.audit.verify import verify
from bridge.cli.main import cli
from bridge.errors import BridgeError
from bridge.evidence.files import CHECKPOINT, DATABASE, INDEX, LOG, SIGNING_KEY, VKEY
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.merkle import leaf_hash, root_of
from bridge.tlog.note import COSIGNATURE, Note, Signer, VerifierKey
from tests.support.bridge import RunningBridge, request, running_bridge, write_config
from tests.support.evidence import reading
from tests.support.waiting import wait_until

from .logs import DOCUMENT, audit, audit_alone, entries_of, publish_by_hand, small_log, trust_in

MEMBERS: dict[str, Any] = {
    "request": {"client": {"id": "web"}, "subject": {"type": "user", "id": "alice"}},
    "outcome": "allow",
    "decision_id": "0",
    "scopes": {"read": {"outcome": "allow"}, "write": {"outcome": "deny"}},
    "rules": [{"code": "reader", "package": "issuance.scope.read", "effect": "allow", "owner": "Reading"}],
    "exceptions": [{"path": "waiver", "id": "EX-1"}],
}
SIZE = 300
SOMEBODY = Signer("elsewhere.example/log", Ed25519PrivateKey.from_private_bytes(bytes(32)))


@dataclass(frozen=True)
class Kept:
    """A log of three checkpoints and what an auditor kept of it: its key, and the checkpoints by their sizes."""

    folder: Path
    vkey: str
    checkpoints: dict[int, bytes]

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def signer(self) -> Signer:
        return Signer.parse((self.folder / SIGNING_KEY).read_text())

    def sql(self, *statements: str, database: str = DATABASE) -> None:
        with closing(sqlite3.connect(self.folder / database, isolation_level=None)) as db:
            for statement in statements:
                db.execute(statement)

    def command(self, *arguments: str) -> tuple[int, list[str]]:
        """The exit code of `log verify`, and what it says."""
        vkey = self.folder.parent / "kept.vkey"
        vkey.write_text(self.vkey)
        config = write_config(self.folder.parent)
        call = ["log", "verify", "--vkey", str(vkey), "--config", str(config), *arguments]
        done = CliRunner().invoke(cli, call)
        if isinstance(done.exception, BridgeError):
            return 1, [str(done.exception)]
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return done.exit_code, done.stdout.splitlines()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("original") / "evidence"
    kept: dict[int, bytes] = {}
    with small_log(folder) as log:
        for size in (100, 180, 20):
            log.write(size, **MEMBERS)
            log.publish()
            kept[log.publisher.signed.size] = (folder / CHECKPOINT).read_bytes()
    with reading(folder) as reader:
        assert len(Queries(reader).query(Filter(limit=1000))) == SIZE
    return Kept(folder, (folder / VKEY).read_text(), kept)


@pytest.fixture
def kept(original: Kept, tmp_path: Path) -> Kept:
    """A copy to be spoilt."""
    shutil.copytree(original.folder, tmp_path / "evidence")
    return Kept(tmp_path / "evidence", original.vkey, original.checkpoints)


def flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def bundled(log: Path) -> list[bytes]:
    """The entries of the first bundle."""
    data, found = (log / "tile/entries/000").read_bytes(), []
    while data:
        length = int.from_bytes(data[:2], "big")
        found.append(data[2 : 2 + length])
        data = data[2 + length :]
    return found


def write_bundle(log: Path, entries: list[bytes]) -> None:
    data = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
    (log / "tile/entries/000").write_bytes(data)


def an_entry(log: Path) -> str:
    flip(log / "tile/entries/000", 100)
    return "entry 0: its hash is not the one in the tree"


def the_last_entry(log: Path) -> str:
    flip(log / "tile/entries/001.p/44", -3)
    return "entry 299: its hash is not the one in the tree"


def the_length_of_an_entry(log: Path) -> str:
    flip(log / "tile/entries/000", 1)
    return "tile/entries/000: the entry bundle"


def a_leaf_hash(log: Path) -> str:
    flip(log / "tile/0/000", 32 * 7)
    return "entry 7: its hash is not the one in the tree"


def an_upper_tile(log: Path) -> str:
    flip(log / "tile/1/000.p/1", 0)
    return "tile/1/000.p/1: hash 0 is not the root of the tile below"


def the_root(log: Path) -> str:
    lines = (log / "checkpoint").read_text().split("\n")
    lines[2] = ("B" if lines[2][0] == "A" else "A") + lines[2][1:]
    (log / "checkpoint").write_text("\n".join(lines))
    return "checkpoint: the signature of localhost/issuance-bridge/"


def the_size(log: Path) -> str:
    text = (log / "checkpoint").read_text()
    (log / "checkpoint").write_text(text.replace("\n300\n", "\n299\n"))
    return "checkpoint: the signature of localhost/issuance-bridge/"


def the_signature(log: Path) -> str:
    text = (log / "checkpoint").read_text()
    at = len(text) - 20
    (log / "checkpoint").write_text(text[:at] + ("B" if text[at] == "A" else "A") + text[at + 1 :])
    return "checkpoint: the signature of localhost/issuance-bridge/"


def an_entry_is_removed(log: Path) -> str:
    entries = bundled(log)
    write_bundle(log, entries[:9] + entries[10:])
    return "tile/entries/000: the entry bundle holds 255 entries, not 256"


def an_entry_is_removed_and_its_hash(log: Path) -> str:
    """All is made anew, but nobody signs it."""
    entries = [*bundled(log), *[b"{}"] * 44]
    before = (log / "checkpoint").read_bytes()
    shutil.rmtree(log)
    publish_by_hand(log, entries[:9] + entries[10:] + [b"{}"], SOMEBODY)
    (log / "checkpoint").write_bytes(before)
    return "checkpoint: its root is not that of the tree"


def two_entries_are_swapped(log: Path) -> str:
    entries = bundled(log)
    entries[9], entries[10] = entries[10], entries[9]
    write_bundle(log, entries)
    return "entry 10: its hash is not the one in the tree"


def two_entries_and_hashes_are_swapped(log: Path) -> str:
    two_entries_are_swapped(log)
    tile = (log / "tile/0/000").read_bytes()
    swapped = tile[: 32 * 9] + tile[32 * 10 : 32 * 11] + tile[32 * 9 : 32 * 10] + tile[32 * 11 :]
    (log / "tile/0/000").write_bytes(swapped)
    return "tile/1/000.p/1: hash 0 is not the root of the tile below"


def a_torn_bundle(log: Path) -> str:
    file = log / "tile/entries/000"
    file.write_bytes(file.read_bytes()[:-1])
    return "tile/entries/000: the entry bundle is cut off"


def a_torn_tile(log: Path) -> str:
    file = log / "tile/0/001.p/44"
    file.write_bytes(file.read_bytes()[:-1])
    return "tile/0/001.p/44: a tile of width 44 has 1408 bytes, not 1407"


def a_missing_tile(log: Path) -> str:
    (log / "tile/0/000").unlink()
    return "tile/0/000 is missing"


def a_missing_upper_tile(log: Path) -> str:
    (log / "tile/1/000.p/1").unlink()
    return "tile/1/000 is missing"


def a_missing_bundle(log: Path) -> str:
    (log / "tile/entries/000").unlink()
    return "tile/entries/000 is missing"


def a_missing_checkpoint(log: Path) -> str:
    (log / "checkpoint").unlink()
    return "checkpoint: checkpoint is missing: is this a published log, a folder log/ or an address …/log/ ?"


def another_key_of_the_same_name(log: Path) -> str:
    text = Note.parse((log / "checkpoint").read_bytes()).text
    other = Signer(text.split("\n", 1)[0], SOMEBODY.private)
    (log / "checkpoint").write_text(str(other.sign(text)))
    (log / "vkey").write_text(f"{other.verifier}\n")
    return "is not signed by a trusted key"


def another_origin(log: Path) -> str:
    about = Checkpoint.parse(Note.parse((log / "checkpoint").read_bytes()).text)
    text = str(Checkpoint(SOMEBODY.name, about.size, about.root))
    (log / "checkpoint").write_text(str(SOMEBODY.sign(text)))
    return f"checkpoint: the checkpoint of '{SOMEBODY.name}' is not signed by a trusted key"


ON_THE_FILES: list[Callable[[Path], str]] = [
    an_entry,
    the_last_entry,
    the_length_of_an_entry,
    a_leaf_hash,
    an_upper_tile,
    the_root,
    the_size,
    the_signature,
    an_entry_is_removed,
    an_entry_is_removed_and_its_hash,
    two_entries_are_swapped,
    two_entries_and_hashes_are_swapped,
    a_torn_bundle,
    a_torn_tile,
    a_missing_tile,
    a_missing_upper_tile,
    a_missing_bundle,
    a_missing_checkpoint,
    another_key_of_the_same_name,
    another_origin,
]


def test_an_untouched_log_is_good_in_every_way_of_looking(kept: Kept) -> None:
    for old in (), tuple(kept.checkpoints.values()):
        report = audit(kept.folder, kept.vkey, *old)
        assert (report.problems, report.notes, report.entries) == ([], [], SIZE)
        assert audit_alone(kept.log, kept.vkey, *old).problems == []
    for how in [], ["--folder", str(kept.log)]:
        code, lines = kept.command(*how)
        assert code == 0
        assert lines[0].startswith(f"OK   {kept.signer.name}: 300 entries, root ")


@pytest.mark.parametrize("spoil", ON_THE_FILES)
def test_what_was_done_to_the_files_is_told(kept: Kept, spoil: Callable[[Path], str]) -> None:
    expected = spoil(kept.log)
    for report in audit_alone(kept.log, kept.vkey), audit(kept.folder, kept.vkey):
        assert any(expected in problem for problem in report.problems), report.problems
    for how in [], ["--folder", str(kept.log)], ["--json"]:
        code, lines = kept.command(*how)
        assert code == 1
        assert any(expected in line for line in lines)
        assert not any(line.startswith("OK") for line in lines)


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/000", "tile/entries/000"])
def test_a_copy_with_what_is_no_file_is_told(kept: Kept, name: str) -> None:
    file = kept.log / name
    file.unlink()
    os.mkfifo(file)
    code, lines = kept.command("--folder", str(kept.log))
    assert code == 1
    assert any(f"{name} is no file" in line for line in lines)
    file.unlink()
    file.symlink_to("/dev/zero")
    assert any(f"{name} is no file" in line for line in kept.command("--folder", str(kept.log))[1])


class Fickle:
    """published.LogFiles: each file as it is in `first` when it is read for the first time, then as it is in `then`."""

    def __init__(self, first: Path, then: Path) -> None:
        self._folders = [FolderFiles(first), FolderFiles(then)]
        self._read: set[str] = set()

    def read(self, name: str) -> bytes | None:
        data = self._folders[name in self._read].read(name)
        self._read.add(name)
        return data


@pytest.mark.parametrize("index", [0, SIZE - 1])
def test_a_server_that_shows_a_tile_in_two_ways_is_told(kept: Kept, tmp_path: Path, index: int) -> None:
    other = tmp_path / "other"
    shutil.copytree(kept.log, other)
    tile, width, at = ("000", 256, 0) if index < 256 else ("001.p/44", 44, index - 256)
    entries = entries_of(kept.folder)[index - at :][:width]
    entries[at] = entries[at].replace(b"alice", b"mallo")
    hashes = [leaf_hash(entry) for entry in entries]
    (other / "tile/entries" / tile).write_bytes(b"".join(len(one).to_bytes(2, "big") + one for one in entries))
    (other / "tile/0" / tile).write_bytes(b"".join(hashes))
    if width == 256:
        (other / "tile/1/000.p/1").write_bytes(root_of(hashes))
    report = verify(Fickle(other, kept.log), trust_in(kept.vkey), kept.checkpoints.values())
    assert "is not what it was a moment ago" in report.problems[0]


def test_a_key_beside_the_log_that_was_changed_is_told(kept: Kept) -> None:
    """Whoever has no key of his own compares with the one beside the log, and is told to look elsewhere."""
    data = (kept.log / "vkey").read_bytes()
    config = write_config(kept.folder.parent)
    for at in range(len(data) - 1):
        flip(kept.log / "vkey", at)
        done = CliRunner().invoke(cli, ["log", "verify", "--config", str(config)])
        assert done.exit_code == 1
        assert isinstance(done.exception, (SystemExit, BridgeError))
        (kept.log / "vkey").write_bytes(data)
    done = CliRunner().invoke(cli, ["log", "verify", "--config", str(config)])
    assert done.exit_code == 0
    assert f"trusting the key in {kept.log / 'vkey'}: compare it with a copy" in done.stderr


def test_an_older_checkpoint_is_found_with_a_newer_one_or_the_database(kept: Kept) -> None:
    (kept.log / "checkpoint").write_bytes(kept.checkpoints[280])
    assert audit_alone(kept.log, kept.vkey, kept.checkpoints[100]).good
    (problem,) = audit_alone(kept.log, kept.vkey, kept.checkpoints[SIZE]).problems
    assert problem == "old checkpoint 1: knows 300 entries, the log has only 280"
    (problem,) = audit(kept.folder, kept.vkey).problems
    assert problem == "checkpoint: covers 280 entries, but one over 300 was published"


def test_a_truncated_log_is_found_with_a_newer_checkpoint(kept: Kept) -> None:
    entries = entries_of(kept.folder)[:280]
    shutil.rmtree(kept.log)
    publish_by_hand(kept.log, entries, kept.signer)
    assert audit_alone(kept.log, kept.vkey, kept.checkpoints[100], kept.checkpoints[280]).good
    (problem,) = audit_alone(kept.log, kept.vkey, *kept.checkpoints.values()).problems
    assert problem == "old checkpoint 3: knows 300 entries, the log has only 280"


def test_history_rewritten_with_the_key_is_found_with_any_older_checkpoint_and_not_without(kept: Kept) -> None:
    """What no signature of the operator can prove."""
    entries = entries_of(kept.folder)
    forged = orjson.loads(entries[7])
    entries[7] = orjson.dumps({**forged, "outcome": "deny"}, option=orjson.OPT_SORT_KEYS)
    shutil.rmtree(kept.log)
    publish_by_hand(kept.log, entries, kept.signer)
    assert audit_alone(kept.log, kept.vkey).good
    for size, old in kept.checkpoints.items():
        (problem,) = audit_alone(kept.log, kept.vkey, old).problems
        assert problem == f"old checkpoint 1: the first {size} entries were others then"
    files = [kept.folder.parent / f"kept-{size}" for size in kept.checkpoints]
    for file, old in zip(files, kept.checkpoints.values(), strict=True):
        file.write_bytes(old)
    assert kept.command("--folder", str(kept.log))[0] == 0
    code, lines = kept.command("--folder", str(kept.log), *(part for file in files for part in ("--old", str(file))))
    assert (code, len(lines)) == (1, 3)


@pytest.mark.parametrize(
    ("old", "expected"),
    [
        (b"", "old checkpoint 1: a note is a text"),
        (b"\xff", "old checkpoint 1: a note is UTF-8 text"),
        (str(SOMEBODY.sign(str(Checkpoint(SOMEBODY.name, 1, bytes(32))))).encode(), "is not signed by a trusted key"),
    ],
)
def test_a_kept_checkpoint_that_is_none_is_told(kept: Kept, old: bytes, expected: str) -> None:
    (problem,) = audit_alone(kept.log, kept.vkey, old).problems
    assert expected in problem


FORGED = b'{"forged":true}'
TABLES = "query tables:"
ON_THE_DATABASE: dict[str, tuple[str, str]] = {
    "bytes": (f"UPDATE entry SET bytes = x'{FORGED.hex()}' WHERE idx = 7", "entry 7: the database holds other bytes"),
    "bytes and hash": (
        f"UPDATE entry SET bytes = x'{FORGED.hex()}', leaf_hash = x'{leaf_hash(FORGED).hex()}' WHERE idx = 7",
        "entry 7: the database holds other bytes",
    ),
    "no JSON": ("UPDATE entry SET bytes = x'00ff' WHERE idx = 7", "database: entry 7: not an entry of this bridge"),
    "hash": ("UPDATE entry SET leaf_hash = zeroblob(32) WHERE idx = 7", "entry 7: its hash is not that of its bytes"),
    "id": ("UPDATE entry SET id = 'other' WHERE idx = 7", "database: entry 7: its row is not what its bytes say"),
    "iseq": ("UPDATE entry SET iseq = 999 WHERE idx = 7", "database: entry 7: its row is not what its bytes say"),
    "run": ("UPDATE run SET epoch = 9", "database: entry 0: its row is not what its bytes say"),
    "no run": ("DELETE FROM run", "database: entry 0: its row is not what its bytes say"),
    "first": ("DELETE FROM entry WHERE idx = 0", "entry 0: the database does not hold it"),
    "middle": ("DELETE FROM entry WHERE idx = 7", "entry 7: the database does not hold it"),
    "last": ("DELETE FROM entry WHERE idx = 299", "entry 299: the database does not hold it"),
    "all": ("DELETE FROM entry", "entry 0: the database does not hold it"),
    "far": ("UPDATE entry SET idx = 999, iseq = 999 WHERE idx = 299", "database: there is no entry 299"),
    "before": ("UPDATE entry SET idx = -1 WHERE idx = 299", "entry 299: the database does not hold it"),
    "document": ("UPDATE input SET bytes = x'00'", "is not what its digest says"),
    "a document": (
        "UPDATE input SET bytes = x'00' WHERE idx = 299",
        "document of entry 299 is not what its digest says",
    ),
    "its digest": (
        f"UPDATE input SET bytes = x'00', digest = x'{sha256(bytes(1)).hexdigest()}' WHERE idx = 7",
        "database: the document of entry 7 is not the one that the entry names",
    ),
    "a document too many": (
        f"INSERT INTO input VALUES (300, x'{sha256(DOCUMENT).hexdigest()}', x'{DOCUMENT.hex()}')",
        "database: there is a document of entry 300, which is not there",
    ),
    "a document before": ("UPDATE input SET idx = -1 WHERE idx = 7", "there is a document of entry -1, which is not"),
    "checkpoint": ("DELETE FROM checkpoint WHERE size = 300", "does not know the published checkpoint, of size 300"),
    "its root": ("UPDATE checkpoint SET root = zeroblob(32) WHERE size = 100", "size 100 is not one of this log"),
    "its size": (
        "UPDATE checkpoint SET size = 99 WHERE size = 100",
        "the checkpoint of size 99 is not one of this log",
    ),
    "its note": ("UPDATE checkpoint SET note = x'00' WHERE size = 100", "the checkpoint of size 100: a note "),
    "key": ("DELETE FROM key", "the checkpoint of size 100: the checkpoint of 'localhost/issuance-bridge/"),
    "no key": ("UPDATE key SET vkey = 'x'", "database: checkpoints: not a verifier key"),
    "no table": ("DROP TABLE checkpoint", "database: checkpoints: no such table"),
    "no documents": ("DROP TABLE input", "database: documents: no such table"),
    "no runs": ("DROP TABLE run", "database: entry 0: its row is not what its bytes say"),
}
ON_THE_TABLES: dict[str, tuple[str, str]] = {
    "changed": ("UPDATE decision SET client = 'x' WHERE idx = 7", "decision is not what entry 7 says"),
    "scope": ("UPDATE decision_scope SET outcome = 'allow' WHERE idx = 7", "decision_scope is not what entry 7 says"),
    "rule": ("UPDATE decision_rule SET owner = NULL WHERE idx = 299", "decision_rule is not what entry 299 says"),
    "exception": ("DELETE FROM decision_exception WHERE idx = 7", "decision_exception is not what entry 7 says"),
    "about": ("DELETE FROM about WHERE idx = 0", "about is not what entry 0 says"),
    "emptied": ("DELETE FROM decision_exception", "decision_exception is not what entry 0 says"),
    "last": ("DELETE FROM decision WHERE idx = 299", "decision is not what entry 299 says"),
    "twice": (
        "INSERT INTO decision_scope SELECT * FROM decision_scope WHERE idx = 7",
        "decision_scope holds a row that no entry says",
    ),
    "too far": ("UPDATE about SET idx = 999 WHERE idx = 299", "about is not what entry 299 says"),
    "a new one": ("INSERT INTO about VALUES ('x', 'overruled', 999)", "about holds a row that no entry says"),
    "text": ("INSERT INTO about VALUES ('x', 'overruled', 'x')", "about holds a row that no entry says"),
    "null": ("INSERT INTO decision_rule VALUES ('x', 'y', NULL, 'z', NULL)", "holds a row that no entry says"),
    "beyond": ("UPDATE seen SET idx = 999", "they tell of entry 999, which is not in the log"),
    "none seen": ("DELETE FROM seen", "decision holds a row that no entry says"),
    "seen text": ("UPDATE seen SET idx = 'x'", "query tables: "),
    "no table": ("DROP TABLE decision_rule", "query tables: "),
    "no column": ("ALTER TABLE decision_scope DROP COLUMN time_ms", "decision_scope is not what entry 0 says"),
}


@pytest.mark.parametrize("name", ON_THE_DATABASE)
def test_what_was_done_to_the_database_is_told(kept: Kept, name: str) -> None:
    statement, expected = ON_THE_DATABASE[name]
    kept.sql(statement)
    report = audit(kept.folder, kept.vkey)
    assert any(expected in problem for problem in report.problems), report.problems
    assert audit_alone(kept.log, kept.vkey).good
    code, lines = kept.command()
    assert code == 1
    assert any(expected in line for line in lines)


@pytest.mark.parametrize("name", ON_THE_TABLES)
def test_what_was_done_to_the_query_tables_is_told(kept: Kept, name: str) -> None:
    statement, expected = ON_THE_TABLES[name]
    kept.sql(statement, database=INDEX)
    (problem,) = audit(kept.folder, kept.vkey).problems
    assert problem.startswith("query tables: ")
    assert expected in problem
    assert kept.command()[0] == 1
    (kept.folder / INDEX).unlink()
    assert audit(kept.folder, kept.vkey).good


@pytest.mark.parametrize("data", [b"", b"not a database" * 1000])
def test_query_tables_that_are_none(kept: Kept, data: bytes) -> None:
    (kept.folder / INDEX).write_bytes(data)
    (problem,) = audit(kept.folder, kept.vkey).problems
    assert problem.startswith("query tables: ")
    assert kept.command()[0] == 1


def test_a_database_that_is_none_is_no_traceback(kept: Kept) -> None:
    data = bytearray((kept.folder / DATABASE).read_bytes())
    for at in range(4096, len(data), 4096):  # whole pages, and halves of them
        for length in 4096, 1024:
            (kept.folder / DATABASE).write_bytes(data[:at] + bytes(length) + data[at + length :])
            kept.command()  # a page that an index alone is made of is not missed
    (kept.folder / DATABASE).write_bytes(b"x" * 100)
    assert kept.command()[0] == 1


def test_query_tables_that_lag_behind_are_good(kept: Kept) -> None:
    with small_log(kept.folder) as log:
        log.write(3, **MEMBERS)
        log.publish()
        log.write(2, **MEMBERS)
    report = audit(kept.folder, kept.vkey, *kept.checkpoints.values())
    assert report.good, report.problems
    assert report.notes == ["2 entries are not covered by the checkpoint yet"]


def test_what_no_checkpoint_covers_yet_is_looked_at_too(kept: Kept) -> None:
    with small_log(kept.folder) as log:
        log.write(2, **MEMBERS)
    kept.sql("UPDATE entry SET leaf_hash = zeroblob(32) WHERE idx = 301")
    (problem,) = audit(kept.folder, kept.vkey).problems
    assert problem == "database: entry 301: its hash is not that of its bytes"


def test_a_document_that_was_erased_is_no_problem(kept: Kept) -> None:
    kept.sql("UPDATE input SET bytes = x'' WHERE idx > 100", "DELETE FROM input WHERE idx < 200")
    assert audit(kept.folder, kept.vkey).good


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    with running_bridge(tmp_path_factory.mktemp("live")) as bridge:
        for _ in range(SIZE):
            bridge.ask(request("read"))
        wait_until(lambda: Checkpoint.parse(Note.parse((bridge.evidence / CHECKPOINT).read_bytes()).text).size > SIZE)
        yield bridge


FOR_GOOD = [an_entry, a_leaf_hash, an_entry_is_removed, two_entries_are_swapped, a_torn_bundle, a_missing_tile]
"""What a bridge that goes on publishing does not write over."""


@pytest.mark.parametrize("spoil", [None, *FOR_GOOD])
def test_over_http_too(bridge: RunningBridge, tmp_path: Path, spoil: Callable[[Path], str] | None) -> None:
    shutil.copytree(bridge.evidence / LOG, tmp_path / "whole")
    key = tmp_path / "kept.vkey"
    shutil.copy(bridge.evidence / VKEY, key)
    log = bridge.evidence / LOG
    call = ["log", "verify", "--from-url", f"{bridge.url}/log/", "--vkey", str(key), "--config", str(bridge.config)]
    try:
        expected = spoil(log) if spoil else f"OK   {Signer.parse((bridge.evidence / SIGNING_KEY).read_text()).name}"
        done = CliRunner().invoke(cli, call)
        assert done.exit_code == (1 if spoil else 0), done.output
        assert expected in done.stdout
    finally:
        for name in ("tile/entries/000", "tile/0/000"):
            shutil.copy(tmp_path / "whole" / name, log / name)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/log/", "http://", "http://[::1/", "ftp://x/", "http://x:99999/", ""]
)
def test_a_url_that_leads_nowhere_is_told(kept: Kept, url: str) -> None:
    code, lines = kept.command("--from-url", url)
    assert code == 1
    assert len(lines) >= 1


def test_a_key_that_somebody_wrote_into_the_database_is_noted(kept: Kept) -> None:
    other = Signer(kept.signer.name, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with closing(sqlite3.connect(kept.folder / DATABASE, isolation_level=None)) as db:
        (note,) = db.execute("SELECT note FROM checkpoint WHERE size = 100").fetchone()
        forged = str(other.sign(Note.parse(note).text)).encode()
        db.execute("UPDATE checkpoint SET note = ? WHERE size = 100", (forged,))
        db.execute("INSERT INTO key VALUES (?, '')", (str(other.verifier),))
    report = audit(kept.folder, kept.vkey)
    assert report.good
    assert any(str(other.verifier) in note for note in report.notes)


def test_a_new_checkpoint_without_its_quorum_has_not_grown(kept: Kept, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(kept.checkpoints[100])
    new.write_bytes(kept.checkpoints[SIZE])
    witness = VerifierKey("w.example/w", COSIGNATURE, SOMEBODY.verifier.public)
    config = str(write_config(tmp_path))
    for quorum, code in (("none", 0), ("w", 1)):
        policy = tmp_path / "policy"
        policy.write_text(f"log {kept.vkey.strip()}\nwitness w {witness}\nquorum {quorum}\n")
        call = ["log", "consistency", "--trust", str(policy), "--config", config, str(old), str(new)]
        assert CliRunner().invoke(cli, call).exit_code == code

"""Turns the log into a signed tree: integrate, sign, publish. Synchronous, on a thread and a connection of its own.

The database holds the truth; a checkpoint is durable there before it is published; the files only repeat both.
"""

import base64
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import structlog

from bridge.errors import EvidenceInvalid, EvidenceUnavailable, LogForked
from bridge.evidence.files import CHECKPOINT, DATABASE, LOG, VKEY
from bridge.evidence.rebuild import rebuild, signed_sizes, walk
from bridge.evidence.said import Said, check_vkey, said_before
from bridge.evidence.schema import check, ensure
from bridge.evidence.tree import TreeFiles, write_whole
from bridge.evidence.turn import Turn
from bridge.model.times import now_ms, rfc3339
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import EMPTY_ROOT, consistency_proof, leaf_hash, tree_root, verify_consistency
from bridge.tlog.note import Note, Signer, VerifierKey
from bridge.tlog.tiles import WIDTH, nodes

LAST = "the last checkpoint that was signed"
NOTHING = Checkpoint("", 0, EMPTY_ROOT)
log = structlog.get_logger(__name__)


class Publisher:
    """Signs for one log.

    `high_water`: a file with a checkpoint that is kept elsewhere; empty: none. `retired`: keys that it was signed with
    before; the folder itself is not asked, since whoever can write to it could name a key of their own.
    """

    def __init__(self, folder: Path, signer: Signer, high_water: str = "", retired: Sequence[VerifierKey] = ()) -> None:
        self._folder, self._signer, self._high_water, self._retired = folder, signer, high_water, retired
        self._tree = TreeFiles(folder / LOG)
        self._turn = Turn(folder)
        self._connection: sqlite3.Connection | None = None
        self._signed: Checkpoint = NOTHING
        self._note: Note | None = None
        self._waits = False

    @property
    def key(self) -> VerifierKey:
        """What verifies its signatures; its name is the log's."""
        return self._signer.verifier

    @property
    def note(self) -> Note | None:
        """The last note that was signed, with the cosignatures that it was published with."""
        return self._note

    @property
    def signed(self) -> Checkpoint:
        """The last checkpoint that was signed; of size 0 when there is none."""
        return self._signed

    def open(self) -> None:
        """Compares what is on disk with what was signed; then the files say again what the database does.

        LogForked, and nothing written, when they disagree. EvidenceUnavailable when that cannot be told now.
        """
        try:
            self._connect()
            said = self._said()
            check_vkey(self._folder, self._keys())
            if not self._resumes(said):
                self._tree = rebuild(self._db, said, self._folder / LOG)
                log.warning("tiles_rebuilt", size=self._signed.size)
            self._mend()
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the published log in {self._folder} cannot be read: {error}") from error

    def rebuild(self) -> Checkpoint:
        """Makes the published files again of the database; the last checkpoint that was signed. Errors as in `open`.

        What stands in their place may be anything but a checkpoint of this log that the database does not hold.
        """
        try:
            self._connect()
            self._tree = rebuild(self._db, self._said(damaged=True), self._folder / LOG)
            self._mend()
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the log in {self._folder} cannot be made again: {error}") from error
        finally:
            self.close()
        return self._signed

    def integrate(self) -> Note | None:
        """Takes in what is new and signs it; the note that waits to be published, if any.

        After any error but LogForked the publisher must be opened again.
        """
        (size,) = self._db.execute("SELECT coalesce(max(idx) + 1, 0) FROM entry").fetchone()
        tree = self._tree
        select = "SELECT idx, bytes, leaf_hash FROM entry WHERE idx >= ? ORDER BY idx LIMIT ?"
        while tree.edge.size < size:
            for index, data, leaf in self._db.execute(select, (tree.edge.size, WIDTH)).fetchall():
                if index != tree.edge.size or leaf_hash(data) != leaf:
                    raise LogForked(f"entry {tree.edge.size} of the database is missing, or not what was hashed")
                tree.add(data, leaf)
        if tree.edge.size > self._signed.size:
            self._sign(Checkpoint(self._signer.name, tree.edge.size, tree.edge.root()))
            tree.write_partial()  # only now, so that there are none for a checkpoint that never was
        return self._note if self._waits else None

    def publish(self, note: Note) -> None:
        """Makes `note`, the last one that was signed, with cosignatures or without, the log's checkpoint."""
        data = str(note).encode()
        with self._alone() as db:
            size = Checkpoint.parse(note.text).size
            db.execute("UPDATE checkpoint SET note = ?, published = 1 WHERE size = ?", (data, size))
        write_whole(self._folder / CHECKPOINT, data, sync=True)
        self._note, self._waits = note, False

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new`, a signed size, begins with that of `old`; verified.

        LogForked when it does not: the tiles are made again from the database before that is said.
        """
        try:
            return self._consistency(old, new)
        except (OSError, EvidenceInvalid):
            self._tree = rebuild(self._db, [(self._signed, LAST)], self._folder / LOG)
        try:
            return self._consistency(old, new)
        except EvidenceInvalid as error:
            raise LogForked(f"the checkpoints over {old} and {new} entries are not of one log: {error}") from error

    def _consistency(self, old: int, new: int) -> list[bytes]:
        node = nodes(self._signed.size, self._tree.hashes)
        proof = consistency_proof(old, new, node)
        roots = dict(self._db.execute("SELECT size, root FROM checkpoint WHERE size IN (?, ?)", (old, new)))
        verify_consistency(old, new, roots.get(old) or tree_root(old, node), roots[new], proof)
        return proof

    def close(self) -> None:
        """What was signed stays."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._turn.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the publisher is not open")
        return self._connection

    def _connect(self) -> None:
        self.close()
        self._turn.open()
        self._connection = _open_database(self._folder / DATABASE)
        self._signed, self._note, self._waits = self._last()

    def _keys(self) -> list[VerifierKey]:
        """Every key that may have signed this log."""
        return [self._signer.verifier, *self._retired]

    def _last(self) -> tuple[Checkpoint, Note | None, bool]:
        """The last checkpoint that was signed, its note, and whether that waits to be published."""
        row = self._db.execute(
            "SELECT size, root, note, published FROM checkpoint ORDER BY size DESC LIMIT 1"
        ).fetchone()
        if row is None:
            return NOTHING, None, False
        size, root, data, published = row
        try:
            opened = open_checkpoint(data, self._keys())
        except EvidenceInvalid as error:
            raise LogForked(
                f"the last checkpoint in the database does not hold: {error}. A key that was replaced is named in "
                "evidence.retired_keys"
            ) from error
        if (opened.checkpoint.size, opened.checkpoint.root) != (size, root):
            raise LogForked("the last checkpoint in the database is not what its row says")
        return opened.checkpoint, opened.note, not published

    def _said(self, *, damaged: bool = False) -> list[Said]:
        """All that was said of this log. `damaged`: the published checkpoint need not hold."""
        before = said_before(self._folder, self._high_water, self._signed, self._keys(), damaged=damaged)
        return [(self._signed, LAST), *before]

    def _resumes(self, said: Iterable[Said]) -> bool:
        """Takes up the right edge; whether the tiles are there and agree with all that was said."""
        size, tree = self._signed.size, self._tree
        start = size - size % WIDTH
        try:
            tree.resume(size, walk(self._db, start, size))
            return all(
                checkpoint.root == tree_root(checkpoint.size, nodes(size, tree.hashes)) for checkpoint, _ in said
            )
        except (OSError, EvidenceInvalid):
            return False

    def _mend(self) -> None:
        """The files say what the database does. What was published under another size is not there any more."""
        (self._folder / LOG).mkdir(mode=0o700, exist_ok=True)
        self._tree.mend_partial(signed_sizes(self._db))
        row = self._db.execute("SELECT note FROM checkpoint WHERE published = 1 ORDER BY size DESC LIMIT 1").fetchone()
        wanted = {VKEY: f"{self._signer.verifier}\n".encode(), **({CHECKPOINT: row[0]} if row else {})}
        for name, data in wanted.items():
            path = self._folder / name
            if not path.exists() or path.read_bytes() != data:
                write_whole(path, data, sync=True)

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """A transaction, in turn with the writers. LogForked when somebody else has signed in between."""
        db = self._db
        with self._turn.taken():
            db.execute("BEGIN IMMEDIATE")
            try:
                row = db.execute("SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
                if (row or (0, EMPTY_ROOT)) != (self._signed.size, self._signed.root):
                    raise LogForked("another publisher has signed this log: there must be only one")
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _sign(self, checkpoint: Checkpoint) -> None:
        """Signed, and durable in the database."""
        note = self._signer.sign(str(checkpoint))
        with self._alone() as db:
            at = rfc3339(now_ms())
            db.execute("INSERT OR IGNORE INTO key VALUES (?, ?)", (str(self._signer.verifier), at))
            db.execute(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?, 0)",
                (checkpoint.size, checkpoint.root, str(note).encode(), at),
            )
        self._signed, self._note, self._waits = checkpoint, note, True


def _open_database(path: Path) -> sqlite3.Connection:
    """The log's database; where there is none, or none that was ever signed, an empty one in memory."""
    if path.exists():
        db = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False, timeout=5
        )
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'checkpoint'").fetchone():
            check(db)
            db.execute("PRAGMA synchronous = FULL")
            return db
        db.close()
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    ensure(db)
    return db


def last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Size and root (base64) of the published checkpoint; None while there is none. Its signature is not looked at."""
    try:
        published = Checkpoint.parse(Note.parse((folder / CHECKPOINT).read_bytes()).text)
    except (OSError, EvidenceInvalid):
        return None
    return {"size": published.size, "root": base64.b64encode(published.root).decode()}

"""Turns the log into a signed tree: integrate, sign, publish. Synchronous, on a thread and a connection of its own.

The database holds the truth; a checkpoint is durable there before it is published; the files only repeat both.
"""

import base64
import sqlite3
from pathlib import Path
from typing import Any

import structlog

from bridge.errors import ConfigFault, EvidenceInvalid, LogForked
from bridge.evidence.files import CHECKPOINT, DATABASE, LOG, VKEY
from bridge.evidence.rebuild import rebuild, walk
from bridge.evidence.tree import TreeFiles, write_whole
from bridge.evidence.turn import Turn
from bridge.model.times import now_ms, rfc3339
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from bridge.tlog.merkle import EMPTY_ROOT, consistency_proof, leaf_hash, tree_root, verify_consistency
from bridge.tlog.note import Note, Signer, VerifierKey
from bridge.tlog.tiles import WIDTH, nodes

NOTHING = Checkpoint("", 0, EMPTY_ROOT)
log = structlog.get_logger(__name__)


class Publisher:
    """Signs for one log. `high_water`: a file with a checkpoint that is kept elsewhere; empty: none."""

    def __init__(self, folder: Path, signer: Signer, high_water: str = "") -> None:
        self._folder, self._signer, self._high_water = folder, signer, high_water
        self._tree = TreeFiles(folder / LOG)
        self._turn = Turn(folder)
        self._connection: sqlite3.Connection | None = None
        self._signed: Checkpoint = NOTHING
        self._note: Note | None = None
        self._waits = False

    @property
    def note(self) -> Note | None:
        """The last note that was signed, with the cosignatures that it was published with."""
        return self._note

    @property
    def signed(self) -> Checkpoint:
        """The last checkpoint that was signed; of size 0 when there is none."""
        return self._signed

    def open(self) -> None:
        """Compares what is on disk with what was signed. LogForked when they disagree: nothing is signed then.

        OSError and sqlite3.Error when it cannot be read now.
        """
        self._connect()
        self._resume()
        self._check_published()
        self._check_high_water()
        self._write_vkey()

    def _connect(self) -> None:
        self.close()
        self._turn.open()
        self._connection = sqlite3.connect(
            self._folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=5
        )
        self._db.execute("PRAGMA synchronous = FULL")
        (self._folder / LOG).mkdir(mode=0o700, exist_ok=True)
        self._signed, self._note, self._waits = self._last()

    def _write_vkey(self) -> None:
        vkey = self._folder / VKEY
        if not vkey.exists() or vkey.read_text() != f"{self._signer.verifier}\n":
            write_whole(vkey, f"{self._signer.verifier}\n".encode(), sync=True)

    def rebuild(self) -> Checkpoint:
        """Makes the published files again as the database says, which must be what was signed; the last checkpoint."""
        self._connect()
        try:
            self._tree = rebuild(self._db, self._signed, self._folder / LOG)
            row = self._db.execute(
                "SELECT note FROM checkpoint WHERE published = 1 ORDER BY size DESC LIMIT 1"
            ).fetchone()
            if row is not None:
                write_whole(self._folder / CHECKPOINT, row[0], sync=True)
            self._write_vkey()
            return self._signed
        finally:
            self.close()

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
            tree.write_partial()
            self._sign(Checkpoint(self._signer.name, tree.edge.size, tree.edge.root()))
        return self._note if self._waits else None

    def publish(self, note: Note) -> None:
        """Makes `note`, the last one that was signed, with cosignatures or without, the log's checkpoint."""
        data = str(note).encode()
        with self._turn.taken():
            self._db.execute(
                "UPDATE checkpoint SET note = ?, published = 1 WHERE size = ?", (data, Checkpoint.parse(note.text).size)
            )
        write_whole(self._folder / CHECKPOINT, data, sync=True)
        self._note, self._waits = note, False

    def consistency(self, old: int, new: int) -> list[bytes]:
        """The proof that the tree of `new`, a signed size, begins with that of `old`; verified.

        LogForked when it does not: the tiles are made again from the database before that is said.
        """
        try:
            return self._consistency(old, new)
        except (OSError, EvidenceInvalid):
            self._tree = rebuild(self._db, self._signed, self._folder / LOG)
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

    def _keys(self) -> list[VerifierKey]:
        """Every key that this log was signed with."""
        known = [VerifierKey.parse(vkey) for (vkey,) in self._db.execute("SELECT vkey FROM key")]
        return [*known, self._signer.verifier]

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
            raise LogForked(f"the last checkpoint in the database does not hold: {error}") from error
        if (opened.checkpoint.size, opened.checkpoint.root) != (size, root):
            raise LogForked("the last checkpoint in the database is not what its row says")
        return opened.checkpoint, opened.note, not published

    def _resume(self) -> None:
        """Takes up the right edge, from the tiles where they hold and else from the database."""
        signed = self._signed
        (size,) = self._db.execute("SELECT coalesce(max(idx) + 1, 0) FROM entry").fetchone()
        if size < signed.size:
            raise LogForked(f"a checkpoint over {signed.size} entries was signed, but the database holds {size}")
        start = signed.size - signed.size % WIDTH
        rest = list(walk(self._db, start, signed.size))
        try:
            self._tree.resume(signed.size, rest)
            held = self._tree.edge.root() == signed.root
        except (OSError, EvidenceInvalid):
            held = False
        if held and (self._tree.edge.rows[0] if self._tree.edge.rows else []) != list(map(leaf_hash, rest)):
            raise LogForked(f"the last entries of the database, from {start}, are not those that were signed")
        if not held:
            log.warning("tiles_rebuilt", size=signed.size)
            self._tree = rebuild(self._db, signed, self._folder / LOG)

    def _check_published(self) -> None:
        path = self._folder / CHECKPOINT
        if not path.exists():
            self._waits = self._note is not None
            return
        published = self._open(path)
        if published.checkpoint.size > self._signed.size:
            raise LogForked(
                f"{path} covers {published.checkpoint.size} entries, but the database was signed up to "
                f"{self._signed.size}: it is an older copy, or another log's"
            )
        self._check_earlier(published, path)
        self._waits = self._waits or published.checkpoint.size < self._signed.size

    def _check_high_water(self) -> None:
        if not self._high_water:
            return
        path = Path(self._high_water)
        if not path.exists():
            raise ConfigFault(
                f"evidence.high_water names {path}, which is not there: write it with "
                f"`issuance-bridge log checkpoint --anchor {path}`"
            )
        try:
            mark = open_checkpoint(path.read_bytes(), self._keys())
        except EvidenceInvalid as error:
            raise LogForked(f"{path} (evidence.high_water) is no checkpoint of this log: {error}") from error
        if mark.checkpoint.size > self._signed.size:
            raise LogForked(
                f"{path} (evidence.high_water) knows {mark.checkpoint.size} entries, the log in {self._folder} only "
                f"{self._signed.size}: an older copy was put in its place"
            )
        self._check_earlier(mark, path)

    def _check_earlier(self, earlier: SignedCheckpoint, path: Path) -> None:
        about = earlier.checkpoint
        if about.size == self._signed.size:
            agrees = about.root == self._signed.root
        else:
            agrees = about.root == self._root_at(about.size)
        if not agrees:
            raise LogForked(f"{path} says something else of the first {about.size} entries than the log does")

    def _root_at(self, size: int) -> bytes:
        try:
            return tree_root(size, nodes(self._signed.size, self._tree.hashes))
        except (OSError, EvidenceInvalid):
            self._tree = rebuild(self._db, self._signed, self._folder / LOG)
            return tree_root(size, nodes(self._signed.size, self._tree.hashes))

    def _open(self, path: Path) -> SignedCheckpoint:
        try:
            return open_checkpoint(path.read_bytes(), self._keys())
        except EvidenceInvalid as error:
            raise LogForked(
                f"{path} does not hold: {error}. When you know why, `issuance-bridge log rebuild` makes the "
                "published files again from the database"
            ) from error

    def _sign(self, checkpoint: Checkpoint) -> None:
        """Signed, and durable in the database; refused when somebody else has signed in between."""
        note = self._signer.sign(str(checkpoint))
        db = self._db
        with self._turn.taken():
            db.execute("BEGIN IMMEDIATE")
            try:
                row = db.execute("SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
                if (row or (0, EMPTY_ROOT)) != (self._signed.size, self._signed.root):
                    raise LogForked("another publisher has signed this log: there must be only one")
                at = rfc3339(now_ms())
                db.execute("INSERT OR IGNORE INTO key VALUES (?, ?)", (str(self._signer.verifier), at))
                db.execute(
                    "INSERT INTO checkpoint VALUES (?, ?, ?, ?, 0)",
                    (checkpoint.size, checkpoint.root, str(note).encode(), at),
                )
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        self._signed, self._note, self._waits = checkpoint, note, True


def last_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Size and root (base64) of the published checkpoint; None while there is none. Its signature is not looked at."""
    try:
        published = Checkpoint.parse(Note.parse((folder / CHECKPOINT).read_bytes()).text)
    except (OSError, EvidenceInvalid):
        return None
    return {"size": published.size, "root": base64.b64encode(published.root).decode()}

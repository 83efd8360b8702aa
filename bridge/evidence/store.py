"""The evidence log in SQLite: the exact bytes, and the source of truth. Synchronous; one thread uses it."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bridge.errors import ConfigFault, EvidenceLocked, EvidenceUnavailable
from bridge.evidence.files import DATABASE, OWNER_LOCK
from bridge.evidence.rows import Rows
from bridge.evidence.schema import PAGE_BYTES, ensure
from bridge.evidence.tree import make_folder
from bridge.evidence.turn import Turn
from bridge.model.entry import canonical
from bridge.model.times import now_ms, rfc3339
from bridge.ports import FinishFailed, Receipt, Record
from bridge.tlog.merkle import leaf_hash
from bridge.tlog.tiles import MAX_ENTRY_BYTES

MIN_SQLITE = (3, 37, 0)  # STRICT tables
WAL_BYTES = 4 * 1024 * 1024


class SqliteStore:
    """Appends records in transactions that are synced before `commit` returns.

    `instance` names this writer; every `open` begins a new epoch. Several processes may write to one folder, each
    under an instance of its own: the index stays dense, since it is given inside the transaction. One that writes
    `beside` a bridge leaves the write-ahead log to it, and does not wait for readers.
    """

    def __init__(self, folder: Path, instance: str, *, beside: bool = False) -> None:
        self._folder, self._instance, self._beside = folder, instance, beside
        self._connection: sqlite3.Connection | None = None
        self._turn = Turn(folder)
        self._names = {ending: f"{folder / DATABASE}{ending}" for ending in ("", "-wal", "-shm")}
        self._files: dict[str, tuple[int, int] | None] = {}
        self._run = 0
        self._iseq = 0
        self.epoch = 0

    def open(self) -> None:
        """Opens or makes the log, and begins a new epoch. EvidenceUnavailable when that cannot be done."""
        if sqlite3.sqlite_version_info < MIN_SQLITE:
            raise ConfigFault(f"SQLite {sqlite3.sqlite_version} is too old: {'.'.join(map(str, MIN_SQLITE))} is needed")
        try:
            make_folder(self._folder)
            self._turn.open()
            with self._turn.taken():
                self._connect()
                self._begin_epoch()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise EvidenceUnavailable(f"the log in {self._folder} cannot be opened: {error}") from error

    def reopen(self) -> None:
        """A fresh handle after a fault, in the same epoch. EvidenceUnavailable while the disk is still bad.

        After a failed sync the pages of the WAL may be gone from the cache without ever reaching the disk. The
        checkpoint writes all that was committed into the database anew, and the next commit starts a new WAL.
        """
        self._disconnect()
        try:
            with self._turn.taken():
                if self._look()[""] != self._files[""]:
                    raise EvidenceUnavailable(f"{DATABASE} was removed or replaced: put it back, or end the bridge")
                self._connect()
                row = self._db.execute("SELECT max(iseq) + 1 FROM entry WHERE run = ?", (self._run,)).fetchone()
                self._iseq = row[0] or 0
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the log in {self._folder} cannot be opened again: {error}") from error

    def commit(self, records: Sequence[Record]) -> list[Receipt]:
        """Makes the records durable, all or none, in this order. EvidenceUnavailable: none may be taken as written.

        FinishFailed: none is written, and the others may be tried again without the one that it names.
        """
        try:
            with self._turn.taken():
                receipts = self._commit(records)
            now = self._look()
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the log cannot be written: {error}") from error
        # SQLite goes on writing to a file that has no name any more, and what stands there goes with the handle.
        if now != self._files:
            raise EvidenceUnavailable(f"a file of the log in {self._folder} was removed or replaced")
        return receipts

    def holds(self, ids: Sequence[str]) -> set[str]:
        """Which of these entry ids are in the log."""
        found: set[str] = set()
        for entry_id in ids:
            if self._db.execute("SELECT 1 FROM entry WHERE id = ?", (entry_id,)).fetchone():
                found.add(entry_id)
        return found

    def recall(self, name: str) -> bytes | None:
        """What the log knows under this name; EvidenceUnavailable when it cannot be read now."""
        try:
            row = self._db.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
        except sqlite3.Error as error:
            raise EvidenceUnavailable(f"the log cannot be read: {error}") from error
        return row[0] if row else None

    @property
    def last_iseq(self) -> int:
        """The counter of the last entry that was written; -1 before the first."""
        return self._iseq - 1

    def close(self) -> None:
        """Closes the log; what was committed stays."""
        self._disconnect()
        self._turn.close()

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise EvidenceUnavailable("the log is not open")
        return self._connection

    def _connect(self) -> None:
        db = sqlite3.connect(
            self._folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=5, cached_statements=32
        )
        self._connection = db
        (self._folder / DATABASE).chmod(0o600)
        db.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # of a new database
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES // PAGE_BYTES}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute("PRAGMA temp_store = MEMORY")  # a statement's own journal has pages as they were before an erasure
        if not self._beside and db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise sqlite3.OperationalError("another program reads the log and does not end: end it")
        ensure(db)
        self._files = self._look()

    def _look(self) -> dict[str, tuple[int, int] | None]:
        """Which files stand under the names of the log's now; None: there is none."""
        found: dict[str, tuple[int, int] | None] = {}
        for ending, name in self._names.items():
            try:
                status = os.stat(name)  # noqa: PTH116 - at every commit; a Path takes five times as long
                found[ending] = status.st_dev, status.st_ino
            except FileNotFoundError:
                found[ending] = None
        return found

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):  # the handle is given up whatever state it is in
                self._connection.close()
            self._connection = None

    def _begin_epoch(self) -> None:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        (self.epoch,) = db.execute(
            "SELECT coalesce(max(epoch), 0) + 1 FROM run WHERE instance = ?", (self._instance,)
        ).fetchone()
        row = (self._instance, self.epoch, rfc3339(now_ms()))
        cursor = db.execute("INSERT INTO run (instance, epoch, started) VALUES (?, ?, ?)", row)
        db.execute("COMMIT")
        self._run, self._iseq = int(cursor.lastrowid or 0), 0

    def _commit(self, records: Sequence[Record]) -> list[Receipt]:
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            (first,) = db.execute("SELECT coalesce(max(idx) + 1, 0) FROM entry").fetchone()
            rows, receipts, index = Rows(db), [], first
            for record in records:
                made = rows.finish(record)
                if isinstance(made, Receipt):
                    receipts.append(made)
                    continue
                entry = made.entry
                iseq = self._iseq + index - first
                data = canonical({**entry, "instance": self._instance, "epoch": self.epoch, "iseq": iseq})
                if len(data) > MAX_ENTRY_BYTES:  # no bundle could hold it, and nothing would be published any more
                    raise FinishFailed(record) from ValueError(f"an entry of {len(data)} bytes")
                leaf = leaf_hash(data)
                rows.add((index, self._run, iseq, entry["id"], data, leaf), made)
                receipts.append(Receipt(index, leaf, entry))
                index += 1
            rows.write()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self._iseq += index - first
        return receipts


@contextmanager
def owned(folder: Path) -> Iterator[int]:
    """Holds the evidence folder for one bridge; EvidenceLocked when another one has it.

    The descriptor is the lock: a child that inherits it holds the folder too, even when we are gone.
    """
    try:
        make_folder(folder)
        handle = os.open(folder / OWNER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EvidenceUnavailable(f"the evidence folder {folder} cannot be used: {error}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EvidenceLocked(f"another bridge writes to {folder}; end it, or set evidence.path") from None
        yield handle
    finally:
        os.close(handle)

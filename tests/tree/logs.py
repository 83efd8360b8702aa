"""Small logs without a bridge, and what their published files must be: computed anew, with nothing of the bridge's."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.audit.database import verify_beside
from bridge.audit.published import FolderFiles
from bridge.audit.reader import LogReader
from bridge.audit.report import Report
from bridge.audit.verify import verify
from bridge.evidence import keys
from bridge.evidence.files import DATABASE, LOG
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.model.times import now_ms, parse_rfc3339, rfc3339, uuid7
from bridge.ports import Record
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Signer, VerifierKey
from bridge.tlog.trust import Trust

ORIGIN = "localhost/issuance-bridge"
WIDTH = 256
DOCUMENT = b"{}"
"""What the engine saw, for every entry."""


@dataclass
class SmallLog:
    """An evidence folder with its writer and its publisher; `at`: the time (ms) of the next entry."""

    folder: Path
    store: SqliteStore
    publisher: Publisher
    at: int

    def write(self, count: int = 1, kind: str = "decision", **members: Any) -> None:
        """So many entries, a second apart, in one commit."""
        records = []
        for _ in range(count):
            self.at += 1000
            head = {"v": 1, "kind": kind, "id": uuid7(self.at), "time": rfc3339(self.at)}
            digest = hashlib.sha256(DOCUMENT).digest()
            records.append(Record({**head, "input_digest": digest.hex(), **members}, DOCUMENT, digest))
        self.store.commit(records)

    def publish(self) -> None:
        """As the bridge does it."""
        note = self.publisher.integrate()
        if note is not None:
            self.publisher.publish(note)

    def grow(self, *counts: int) -> None:
        """Writes so many entries, and publishes, again and again."""
        for count in counts:
            self.write(count)
            self.publish()

    def close(self) -> None:
        self.publisher.close()
        self.store.close()


@contextmanager
def small_log(folder: Path, *counts: int, instance: str = "bridge/0") -> Iterator[SmallLog]:
    """A log in `folder`, open, that has grown so; closed on the way out."""
    store = SqliteStore(folder, instance)
    store.open()
    before = entries_of(folder)
    at = parse_rfc3339(json.loads(before[-1])["time"]) if before else None
    log = SmallLog(folder, store, publisher_of(folder), at or now_ms() - 10_000_000)
    log.publisher.open()
    try:
        log.grow(*counts)
        yield log
    finally:
        log.close()


def publisher_of(folder: Path, high_water: str = "") -> Publisher:
    """A publisher as a bridge makes it, not yet open."""
    return Publisher(folder, keys.load_or_make(folder, "", ORIGIN, now_ms()), high_water)


def entries_of(folder: Path) -> list[bytes]:
    return [data for (data,) in _rows(folder, "SELECT bytes FROM entry ORDER BY idx")]


def signed_sizes(folder: Path) -> list[int]:
    return [size for (size,) in _rows(folder, "SELECT size FROM checkpoint ORDER BY size")]


def _rows(folder: Path, select: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as db:
        return db.execute(select).fetchall()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` by its name there; not what SQLite leaves for a reader of a log at rest."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: data for name, data in found.items() if not name.endswith("-shm") and (data or name[-4:] != "-wal")}


def tiles_in(folder: Path) -> dict[str, bytes]:
    """The published files of an evidence folder but its checkpoint and key."""
    return {name: data for name, data in contents(folder / LOG).items() if name not in ("checkpoint", "vkey")}


def expected_tiles(entries: Sequence[bytes], sizes: Iterable[int]) -> dict[str, bytes]:
    """What tlog-tiles asks for: full tiles, and a partial one for every checkpoint size until the full one is there."""
    sizes = sorted(sizes)
    if not sizes:
        return {}
    final, files = sizes[-1], {}
    bundled = [len(entry).to_bytes(2, "big") + entry for entry in entries[:final]]
    row = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries[:final]]
    rows: list[tuple[str, int, list[bytes]]] = [("entries", 0, bundled)]
    for level in range(8):
        rows.append((str(level), level, row))
        row = [tree_hash(row[i : i + WIDTH]) for i in range(0, len(row) - WIDTH + 1, WIDTH)]
    for name, level, row in rows:
        full = len(row) // WIDTH
        for index in range(full):
            files[f"tile/{name}/{number(index)}"] = b"".join(row[index * WIDTH : (index + 1) * WIDTH])
        for size in sizes:
            index, width = divmod(size >> 8 * level, WIDTH)
            if width and index == full:
                files[f"tile/{name}/{number(index)}.p/{width}"] = b"".join(row[index * WIDTH :][:width])
    return files


def number(index: int) -> str:
    """1234067 is x001/x234/067."""
    digits = f"{index:03d}"
    digits = "0" * (-len(digits) % 3) + digits
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])


def tree_hash(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over hashes of leaves or of full subtrees of one size."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_hash(hashes[:split]) + tree_hash(hashes[split:])).digest()


def publish_by_hand(log: Path, entries: Sequence[bytes], signer: Signer) -> None:
    """The published files of these entries, whatever they are, and one checkpoint over all of them."""
    leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    checkpoint = Checkpoint(signer.name, len(entries), tree_hash(leaves))
    files = {
        **expected_tiles(entries, [len(entries)]),
        "checkpoint": str(signer.sign(str(checkpoint))).encode(),
        "vkey": f"{signer.verifier}\n".encode(),
    }
    for name, data in files.items():
        (log / name).parent.mkdir(parents=True, exist_ok=True)
        (log / name).write_bytes(data)


def trust_in(vkey: str) -> Trust:
    """In this key alone."""
    trust = Trust()
    trust.logs.append(VerifierKey.parse(vkey))
    return trust


def audit(folder: Path, vkey: str, *old: bytes) -> Report:
    """What `log verify` finds in an evidence folder."""
    with closing(LogReader(folder)) as reader:
        return verify_beside(reader, FolderFiles(folder / LOG), trust_in(vkey), old)


def audit_alone(log: Path, vkey: str, *old: bytes) -> Report:
    """What `log verify --folder` finds in a copy of the published files."""
    return verify(FolderFiles(log), trust_in(vkey), old)

"""The entries that the published checkpoint covers, read as an outsider does: bundles, against its root."""

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from bridge.audit.chronology import decoded
from bridge.audit.published import LogFiles, read_checkpoint, read_tile
from bridge.errors import EvidenceInvalid
from bridge.model.times import parse_rfc3339
from bridge.tlog.checkpoint import open_checkpoint
from bridge.tlog.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, nodes, tile_width


@dataclass(frozen=True, slots=True)
class Row:
    """One entry and its place: `data` are the exact bytes, `entry` is what they say, `origin` names the log."""

    origin: str
    index: int
    leaf_hash: bytes
    data: bytes
    entry: dict[str, Any]

    @property
    def leaf_hash_text(self) -> str:
        """In base64, as in replies and proofs."""
        return base64.b64encode(self.leaf_hash).decode()


class Covered:
    """The log in `files` as far as the checkpoint goes that is published when this is made; `keys` are the log's."""

    def __init__(self, files: LogFiles, keys: Iterable[VerifierKey]) -> None:
        self._files = files
        self._checkpoint = open_checkpoint(read_checkpoint(files), keys).checkpoint
        self.origin, self.size = self._checkpoint.origin, self._checkpoint.size
        self._hashes = lru_cache(maxsize=64)(partial(read_tile, files))
        self._node = nodes(self.size, self._hashes)

    def root(self, size: int) -> str:
        """The root over the first `size` entries (hex), as the tiles tell it. EvidenceInvalid when one is missing."""
        return tree_root(size, self._node).hex()

    def must_have_grown_from(self, size: int, root: str) -> None:
        """EvidenceInvalid unless the tree that was signed begins with one of `size` and `root` (hex)."""
        proof = consistency_proof(size, self.size, self._node)
        verify_consistency(size, self.size, bytes.fromhex(root), self._checkpoint.root, proof)

    def walk(self, start: int, stop: int) -> Iterator[list[Row]]:
        """The entries [start, stop), oldest first, a bundle (at most 256) at a time; `stop` is at most `size`.

        EvidenceInvalid when one is missing, or is not what was signed.
        """
        for number in range(start // WIDTH, -(-stop // WIDTH) if start < stop else 0):
            width = tile_width(self.size, ENTRIES, number)
            entries = read_tile(self._files, Tile(ENTRIES, number, width))
            hashes = self._hashes(Tile(0, number, width))
            first = number * WIDTH
            self._prove(first, hashes[0])
            inside = slice(max(0, start - first), max(0, stop - first))
            at = first + inside.start
            pairs = zip(entries[inside], hashes[inside], strict=True)
            yield [self._row(index, data, told) for index, (data, told) in enumerate(pairs, at)]

    def _prove(self, first: int, leaf: bytes) -> None:
        """The way from the first hash of a tile to the signed root leads over all others of that tile."""
        path = inclusion_proof(first, self.size, self._node)
        try:
            verify_inclusion(first, self.size, leaf, path, self._checkpoint.root)
        except EvidenceInvalid as error:
            raise EvidenceInvalid(f"entry {first} or one after it is not in the tree that was signed") from error

    def _row(self, index: int, data: bytes, told: bytes) -> Row:
        leaf = leaf_hash(data)
        if leaf != told:
            raise EvidenceInvalid(f"entry {index}: its hash is not the one in the tree")
        entry = _read(data)
        if entry is None:
            raise EvidenceInvalid(f"entry {index} is none that a bridge writes")
        return Row(self.origin, index, leaf, data, entry)


def _read(data: bytes) -> dict[str, Any] | None:
    """What an entry says; None when it lacks what every entry has, or would not be one line."""
    entry = decoded(data)
    if entry is None or not all(isinstance(entry.get(name), str) for name in ("kind", "id")):
        return None
    return entry if parse_rfc3339(entry.get("time")) is not None and b"\n" not in data else None

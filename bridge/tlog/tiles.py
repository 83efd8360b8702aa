"""The tiles of a tree: where they stand, how wide they are, and how they grow (C2SP tlog-tiles). Pure."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from bridge.errors import EvidenceInvalid
from bridge.tlog.merkle import HASH_BYTES, node_hash, root_of

HEIGHT = 8
WIDTH = 256
MAX_ENTRY_BYTES = 65_535
ENTRIES = -1
"""Stands for the level of entry bundles."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile, or entry bundle (`level` is ENTRIES); `width` is 256 when it is full."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """`tile/<level>/<index>[.p/<width>]`, the index in groups of three digits."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{number}" + ("" if self.width == WIDTH else f".p/{self.width}")


def tile_width(size: int, level: int, index: int) -> int:
    """How wide this tile is in a tree of `size`: 0 (there is none) to 256."""
    return max(0, min(WIDTH, (size >> (HEIGHT * max(level, 0))) - index * WIDTH))


def tiles_of(size: int, level: int) -> Iterator[Tile]:
    """The tiles of one level in a tree of `size`."""
    full, rest = divmod(size >> (HEIGHT * max(level, 0)), WIDTH)
    for index in range(full):
        yield Tile(level, index)
    if rest:
        yield Tile(level, full, rest)


def levels(size: int) -> int:
    """How many levels of tiles a tree of `size` has."""
    count = 0
    while size >> (HEIGHT * count):
        count += 1
    return count


def split_hashes(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile. EvidenceInvalid when there are not exactly `width`."""
    if len(data) != width * HASH_BYTES:
        raise EvidenceInvalid(f"a tile of width {width} has {width * HASH_BYTES} bytes, not {len(data)}")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: each entry after its length, a big-endian uint16."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def split_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle. EvidenceInvalid when there are not exactly `width`."""
    entries, at = [], 0
    while at < len(data):
        if at + 2 > len(data):
            raise EvidenceInvalid("the entry bundle is cut off")
        (length,) = struct.unpack_from(">H", data, at)
        at += 2 + length
        if at > len(data):
            raise EvidenceInvalid("the entry bundle is cut off")
        entries.append(data[at - length : at])
    if len(entries) != width:
        raise EvidenceInvalid(f"the entry bundle holds {len(entries)} entries, not {width}")
    return entries


@dataclass(slots=True)
class Edge:
    """The right edge of a tree: at each level the hashes of the tile that is not full yet."""

    size: int = 0
    rows: list[list[bytes]] = field(default_factory=list)

    def add(self, leaf: bytes) -> list[tuple[Tile, bytes]]:
        """Takes one more leaf hash; the tiles that became full by it."""
        full: list[tuple[Tile, bytes]] = []
        self.size += 1
        carry: bytes | None = leaf
        level = 0
        while carry is not None:
            if level == len(self.rows):
                self.rows.append([])
            row = self.rows[level]
            row.append(carry)
            carry = None
            if len(row) == WIDTH:
                index = (self.size >> (HEIGHT * (level + 1))) - 1
                full.append((Tile(level, index), b"".join(row)))
                carry = root_of(row)
                self.rows[level] = []
            level += 1
        return full

    def partial(self) -> list[tuple[Tile, bytes]]:
        """The tiles that are not full: what a checkpoint of this size needs beside the full ones."""
        return [
            (Tile(level, self.size >> (HEIGHT * (level + 1)), len(row)), b"".join(row))
            for level, row in enumerate(self.rows)
            if row
        ]

    def root(self) -> bytes:
        """The root of the tree."""
        parts: list[bytes] = []
        for row in reversed(self.rows):
            at = 0
            while at < len(row):
                width = 1 << ((len(row) - at).bit_length() - 1)
                parts.append(root_of(row[at : at + width]))
                at += width
        if not parts:
            return root_of(())
        root = parts.pop()
        while parts:
            root = node_hash(parts.pop(), root)
        return root


Hashes = Callable[[Tile], Sequence[bytes]]
"""Reads the hashes of a tile."""


def nodes(size: int, read: Hashes) -> Callable[[int, int], bytes]:
    """The hashes of complete subtrees in a tree of `size` (merkle.Node), from its tiles, each read once while near."""
    near = lru_cache(maxsize=256)(read)

    def node(height: int, index: int) -> bytes:
        level, within = divmod(height, HEIGHT)
        first = index << within  # of the hashes at `level` below this node
        tile, at = divmod(first, WIDTH)
        width = tile_width(size, level, tile)
        hashes = near(Tile(level, tile, width))
        return root_of(hashes[at : at + (1 << within)])

    return node

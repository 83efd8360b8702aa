"""Trees of a test, and RFC 6962 as it stands there: recursive, slow, and sharing nothing with the code under test."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache

from bridge.tlog.merkle import leaf_hash, root_of
from bridge.tlog.tiles import Edge, Tile, nodes, split_hashes

Hashes = tuple[bytes, ...]


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def split(n: int) -> int:
    """The largest power of two smaller than n."""
    k = 1
    while 2 * k < n:
        k *= 2
    return k


@cache
def mth(leaves: Hashes) -> bytes:
    """MTH (section 2.1) over leaf hashes."""
    if not leaves:
        return sha256()
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha256(b"\x01", mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: Hashes) -> list[bytes]:
    """PATH (section 2.1.1)."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def proof(m: int, leaves: Hashes) -> list[bytes]:
    """PROOF (section 2.1.2), for 0 < m < n."""
    return _subproof(m, leaves, whole=True)


def _subproof(m: int, leaves: Hashes, *, whole: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if whole else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*_subproof(m, leaves[:k], whole=whole), mth(leaves[k:])]
    return [*_subproof(m - k, leaves[k:], whole=False), mth(leaves[:k])]


@cache
def leaves(count: int) -> Hashes:
    return tuple(leaf_hash(b"entry %d" % number) for number in range(count))


def node_of(row: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """merkle.Node of a tree that lies in memory."""
    return lambda height, index: root_of(row[index << height : (index + 1) << height])


class TiledTree:
    """A tree of which only the tiles are kept, as they are published at its size."""

    def __init__(self, size: int) -> None:
        self.size, edge = size, Edge()
        self.tiles: dict[Tile, bytes] = {}
        for leaf in leaves(size):
            self.tiles.update(edge.add(leaf))
        self.tiles.update(edge.partial())
        self.root = edge.root()
        self.node = nodes(size, lambda tile: split_hashes(self.tiles[tile], tile.width))

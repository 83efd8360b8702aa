"""Merkle tree hashes and proofs (RFC 6962, section 2.1; verification as in RFC 9162, section 2.1.3 and 2.1.4). Pure."""

import hashlib
from collections.abc import Callable, Sequence

from bridge.errors import EvidenceInvalid

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()
Node = Callable[[int, int], bytes]
"""(height, index) -> the hash of the complete subtree over the leaves [index << height, (index + 1) << height)."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over these hashes, each that of a leaf or of a complete subtree of one size."""
    if not hashes:
        return EMPTY_ROOT
    row = list(hashes)
    while len(row) > 1:
        # An odd one is carried up as it is, never doubled: that is the split at the largest power of two below.
        paired = [node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        row = [*paired, row[-1]] if len(row) % 2 else paired
    return row[0]


def tree_root(size: int, node: Node) -> bytes:
    """The root of the tree over the first `size` leaves."""
    return _range_root(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """The path of leaf `index` in the tree of `size`, the leaf's sibling first (RFC 6962, 2.1.1)."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    low, high, path = 0, size, []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(_range_root(middle, high, node))
            high = middle
        else:
            path.append(_range_root(low, middle, node))
            low = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """That the tree of `new` begins with the tree of `old` (RFC 6962, 2.1.2); empty for 0 and for equal sizes."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} does not begin with a tree of {old}")
    if old in (0, new):
        return []
    low, high, proof = 0, new, []
    while old != high:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_range_root(middle, high, node))
            high = middle
        else:
            proof.append(_range_root(low, middle, node))
            low = middle
    if low > 0:  # else the verifier knows this hash already: it is the old root
        proof.append(_range_root(low, high, node))
    return proof[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """EvidenceInvalid unless `leaf` (a leaf hash) is at `index` in the tree of `size` with this root."""
    if not 0 <= index < size:
        raise EvidenceInvalid(f"index {index} lies outside a tree of {size}")
    _, computed = _climb(index, size - 1, leaf, path, "inclusion")
    if computed != root:
        raise EvidenceInvalid("the inclusion proof does not lead to the root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """EvidenceInvalid unless the tree of `new` with its root begins with the tree of `old` with its root."""
    if not 0 <= old <= new:
        raise EvidenceInvalid(f"a tree of {new} cannot begin with a tree of {old}")
    if old in (0, new):
        if proof:
            raise EvidenceInvalid("the consistency proof is too long")
        if old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise EvidenceInvalid(f"the trees of size {old} have different roots")
        return
    steps = list(proof)
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    if at == 0:  # `old` is a power of two: its root is the first hash
        steps.insert(0, old_root)
    if not steps:
        raise EvidenceInvalid("the consistency proof is too short")
    first, second = _climb(at, last, steps[0], steps[1:], "consistency")
    if first != old_root or second != new_root:
        raise EvidenceInvalid("the consistency proof does not lead to the roots")


def _climb(at: int, last: int, start: bytes, steps: Sequence[bytes], what: str) -> tuple[bytes, bytes]:
    """From node `at` of a row whose last is `last` up to the root: over the steps from the left alone, and over all."""
    first = second = start
    for step in steps:
        if last == 0:
            raise EvidenceInvalid(f"the {what} proof is too long")
        if at & 1 or at == last:
            first, second = node_hash(step, first), node_hash(step, second)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = node_hash(second, step)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise EvidenceInvalid(f"the {what} proof is too short")
    return first, second


def _split(width: int) -> int:
    """The largest power of two smaller than `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_root(low: int, high: int, node: Node) -> bytes:
    """The root over the leaves [low, high), where `low` is where a split of the tree stands."""
    parts, at = [], low
    while at < high:
        height = (high - at).bit_length() - 1
        parts.append(node(height, at >> height))
        at += 1 << height
    root = parts.pop()
    while parts:
        root = node_hash(parts.pop(), root)
    return root

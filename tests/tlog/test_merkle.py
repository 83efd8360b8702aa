"""Roots and proofs against known values, against RFC 6962 in its own words, and against every alteration."""

import itertools
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.merkle import (
    EMPTY_ROOT,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from bridge.tlog.tiles import Edge
from tests.tlog.trees import TiledTree, leaves, mth, node_of, path, proof, sha256

# The leaves that all implementations of Certificate Transparency are tested with, and their roots at sizes 0 to 8.
KNOWN_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
KNOWN_ROOTS = [
    bytes.fromhex(text)
    for text in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
KNOWN_PATHS = {  # (index, size) -> the beginnings of the hashes
    (0, 8): ["96a296d224f2", "5f083f0a1a33", "6b47aaf29ee3"],
    (5, 8): ["bc1a0643b12e", "ca854ea128ed", "d37ee418976d"],
    (2, 3): ["fac54203e7cc"],
    (1, 5): ["6e340b9cffb3", "5f083f0a1a33", "bc1a0643b12e"],
}
KNOWN_PROOFS = {  # (old, new)
    (1, 8): ["96a296d224f2", "5f083f0a1a33", "6b47aaf29ee3"],
    (6, 8): ["0ebc5d3437fb", "ca854ea128ed", "d37ee418976d"],
    (2, 5): ["5f083f0a1a33", "bc1a0643b12e"],
}

SMALL = range(1, 71)
# A tile is 256 wide: here it becomes full, is full, and the next one begins.
EDGES = (255, 256, 257, 511, 512, 513)
LARGE = (65_535, 65_536, 65_537)


def beginnings(hashes: list[bytes]) -> list[str]:
    return [one.hex()[:12] for one in hashes]


class TestKnownValues:
    hashes = tuple(map(leaf_hash, KNOWN_LEAVES))

    @pytest.mark.parametrize("size", range(9))
    def test_roots(self, size: int) -> None:
        edge = Edge()
        for leaf in self.hashes[:size]:
            edge.add(leaf)
        roots = {
            root_of(self.hashes[:size]),
            tree_root(size, node_of(self.hashes)),
            edge.root(),
            mth(self.hashes[:size]),
        }
        assert roots == {KNOWN_ROOTS[size]}

    def test_the_empty_tree(self) -> None:
        assert KNOWN_ROOTS[0] == EMPTY_ROOT

    @pytest.mark.parametrize(("index", "size"), KNOWN_PATHS)
    def test_inclusion(self, index: int, size: int) -> None:
        found = inclusion_proof(index, size, node_of(self.hashes))
        assert beginnings(found) == KNOWN_PATHS[index, size]
        verify_inclusion(index, size, self.hashes[index], found, KNOWN_ROOTS[size])

    @pytest.mark.parametrize(("old", "new"), KNOWN_PROOFS)
    def test_consistency(self, old: int, new: int) -> None:
        found = consistency_proof(old, new, node_of(self.hashes))
        assert beginnings(found) == KNOWN_PROOFS[old, new]
        verify_consistency(old, new, KNOWN_ROOTS[old], KNOWN_ROOTS[new], found)

    def test_a_leaf_is_never_a_node(self) -> None:
        assert leaf_hash(b"x" * 64) == sha256(b"\0", b"x" * 64)
        assert node_hash(b"x" * 32, b"x" * 32) == sha256(b"\1", b"x" * 64) != leaf_hash(b"x" * 64)


class TestAsTheStandardSaysIt:
    def test_roots(self) -> None:
        edge = Edge()
        for size in range(140):
            assert root_of(leaves(size)) == tree_root(size, node_of(leaves(size))) == edge.root() == mth(leaves(size))
            edge.add(leaves(140)[size])

    @pytest.mark.parametrize("size", SMALL)
    def test_every_inclusion(self, size: int) -> None:
        node, row, root = node_of(leaves(size)), leaves(size), mth(leaves(size))
        for index in range(size):
            found = inclusion_proof(index, size, node)
            assert found == path(index, row)
            verify_inclusion(index, size, row[index], found, root)

    @pytest.mark.parametrize("new", SMALL)
    def test_every_consistency(self, new: int) -> None:
        node, row = node_of(leaves(new)), leaves(new)
        for old in range(1, new):
            found = consistency_proof(old, new, node)
            assert found == proof(old, row)
            verify_consistency(old, new, mth(row[:old]), mth(row), found)
        for old in (0, new):
            assert consistency_proof(old, new, node) == []
            verify_consistency(old, new, mth(row[:old]), mth(row), [])

    @pytest.mark.parametrize("size", [*EDGES, *LARGE])
    def test_around_full_tiles(self, size: int) -> None:
        tree, row = TiledTree(size), leaves(size)
        assert tree.root == tree_root(size, tree.node) == root_of(row)
        for index in sorted(
            {0, 1, 254, size // 2, size - 2, size - 1, *(n for n in (255, 256, 257, 65_535) if n < size)}
        ):
            found = inclusion_proof(index, size, tree.node)
            assert found == inclusion_proof(index, size, node_of(row))
            verify_inclusion(index, size, row[index], found, tree.root)
            for wrong in altered(found):
                refused(verify_inclusion, index, size, row[index], wrong, tree.root)

    def test_from_each_edge_to_each(self) -> None:
        sizes = (1, 2, 254, *EDGES, 65_534, *LARGE)
        roots = {size: root_of(leaves(size)) for size in sizes}
        trees = {size: TiledTree(size) for size in sizes}
        for old, new in itertools.combinations(sizes, 2):
            found = consistency_proof(old, new, trees[new].node)
            verify_consistency(old, new, roots[old], roots[new], found)
            for wrong in altered(found):
                refused(verify_consistency, old, new, roots[old], roots[new], wrong)

    def test_around_a_full_tile_by_the_standard(self) -> None:
        for size in (255, 256, 257):
            node, row = TiledTree(size).node, leaves(size)
            assert [inclusion_proof(index, size, node) for index in range(size)] == [path(n, row) for n in range(size)]
            assert [consistency_proof(old, size, node) for old in range(1, size)] == [
                proof(n, row) for n in range(1, size)
            ]


def refused(verify: object, *arguments: object) -> None:
    assert callable(verify)
    with pytest.raises(EvidenceInvalid):
        verify(*arguments)


def flipped(one: bytes, bit: int) -> bytes:
    return (int.from_bytes(one, "big") ^ (1 << bit)).to_bytes(len(one), "big")


def altered(steps: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The proof with one step altered, missing, doubled, exchanged with its neighbour, or added."""
    for at, step in enumerate(steps):
        before, after = list(steps[:at]), list(steps[at + 1 :])
        yield [*before, flipped(step, at), *after]
        yield [*before, *after]
        yield [*before, step, step, *after]
        yield [*before, step[:-1], *after]
        yield [*before, step + b"\0", *after]
        if after and after[0] != step:
            yield [*before, after[0], step, *after[1:]]
    yield [bytes(32), *steps]
    yield [*steps, bytes(32)]


class TestAlterations:
    @pytest.mark.parametrize("size", SMALL)
    def test_of_an_inclusion(self, size: int) -> None:
        row, root = leaves(size), mth(leaves(size))
        for index in range(size):
            found = path(index, row)
            for wrong in altered(found):
                refused(verify_inclusion, index, size, row[index], wrong, root)
            for elsewhere in {*range(size), -1, size, size + 1} - {index}:
                refused(verify_inclusion, elsewhere, size, row[index], found, root)
            refused(verify_inclusion, index, size, flipped(row[index], 0), found, root)
            refused(verify_inclusion, index, size, row[index], found, flipped(root, 255))

    @pytest.mark.parametrize("new", SMALL)
    def test_of_a_consistency(self, new: int) -> None:
        row, root = leaves(new), mth(leaves(new))
        for old in range(1, new):
            found, old_root = proof(old, row), mth(row[:old])
            for wrong in altered(found):
                refused(verify_consistency, old, new, old_root, root, wrong)
            refused(verify_consistency, old, new, flipped(old_root, 0), root, found)
            refused(verify_consistency, old, new, old_root, flipped(root, 0), found)
            refused(verify_consistency, new, old, root, old_root, found)

    @pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 9])
    def test_of_every_bit(self, size: int) -> None:
        row, root = leaves(size), mth(leaves(size))
        for index in range(size):
            for wrong in every_bit(path(index, row)):
                refused(verify_inclusion, index, size, row[index], wrong, root)
        for old in range(1, size):
            for wrong in every_bit(proof(old, row)):
                refused(verify_consistency, old, size, mth(row[:old]), root, wrong)

    def test_of_what_needs_no_proof(self) -> None:
        root = mth(leaves(5))
        verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
        for old, old_root in ((0, EMPTY_ROOT), (5, root)):
            refused(verify_consistency, old, 5, flipped(old_root, 7), root, [])
            refused(verify_consistency, old, 5, old_root, root, [bytes(32)])
        refused(verify_consistency, 5, 5, root, flipped(root, 0), [])
        refused(verify_consistency, -1, 5, root, root, [])
        refused(verify_consistency, 4, 5, mth(leaves(4)), root, [])
        refused(verify_inclusion, 0, 0, leaves(1)[0], [], EMPTY_ROOT)

    def test_of_the_size(self) -> None:
        """The path of a larger tree is too long for a smaller one, and the other way round, whatever the root."""
        for size, other in itertools.permutations((1, 2, 4, 8, 16), 2):
            found, root = path(size - 1, leaves(size)), mth(leaves(size))
            refused(verify_inclusion, other - 1, other, leaves(size)[-1], found, root)

    def test_of_a_fork(self) -> None:
        row = leaves(20)
        other = (*row[:10], leaf_hash(b"another"), *row[11:])
        for old in range(11, 20):
            refused(verify_consistency, old, 20, mth(other[:old]), mth(row), proof(old, row))
            refused(verify_consistency, old, 20, mth(other[:old]), mth(row), proof(old, other))


def every_bit(steps: list[bytes]) -> Iterator[list[bytes]]:
    for at, step in enumerate(steps):
        for bit in range(256):
            yield [*steps[:at], flipped(step, bit), *steps[at + 1 :]]


def test_what_is_not_in_a_tree_has_no_proof() -> None:
    node = node_of(leaves(4))
    for index, size in ((4, 4), (-1, 4), (0, 0)):
        with pytest.raises(ValueError, match="there is no leaf"):
            inclusion_proof(index, size, node)
    for old, new in ((5, 4), (-1, 4)):
        with pytest.raises(ValueError, match="does not begin"):
            consistency_proof(old, new, node)


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_a_proof_of_nothing_in_a_tree_of_any_size_is_refused(one: int, other: int, steps: list[bytes]) -> None:
    refused(verify_inclusion, one, other, bytes(32), steps, bytes(32))
    if one not in (0, other) or steps:
        refused(verify_consistency, one, other, bytes(32), bytes(31) + b"\1", steps)

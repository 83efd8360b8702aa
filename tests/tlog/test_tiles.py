"""Where tiles stand, how wide they are, how they grow, and what is read back from them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.merkle import root_of
from bridge.tlog.tiles import (
    ENTRIES,
    MAX_ENTRY_BYTES,
    WIDTH,
    Edge,
    Tile,
    bundle,
    levels,
    nodes,
    split_bundle,
    split_hashes,
    tile_width,
    tiles_of,
)
from tests.tlog.trees import TiledTree, leaves

SIZES = [0, 1, 2, 254, 255, 256, 257, 511, 512, 513, 600, 65_535, 65_536, 65_537, 70_000]


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 999), "tile/0/999"),
        (Tile(0, 1000), "tile/0/x001/000"),
        (Tile(3, 1_234_067), "tile/3/x001/x234/067"),
        (Tile(63, 12, 255), "tile/63/012.p/255"),
        (Tile(ENTRIES, 0, 1), "tile/entries/000.p/1"),
        (Tile(ENTRIES, 1_000_000), "tile/entries/x001/x000/000"),
        (Tile(1, 2**40, 7), "tile/1/x001/x099/x511/x627/776.p/7"),
    ],
)
def test_paths(tile: Tile, path: str) -> None:
    assert tile.path == path


@given(st.integers(0, 2**55), st.integers(0, 2**55))
def test_no_two_tiles_have_one_path(one: int, other: int) -> None:
    assert (Tile(0, one).path == Tile(0, other).path) == (one == other)


def test_the_tiles_of_a_tree_of_70_000() -> None:
    widths = [[tile.width for tile in tiles_of(70_000, level)] for level in range(levels(70_000))]
    assert widths == [[256] * 273 + [112], [256, 17], [1]]
    assert [tile.width for tile in tiles_of(70_000, ENTRIES)] == widths[0]


@pytest.mark.parametrize("size", SIZES)
def test_width_and_list_agree(size: int) -> None:
    assert levels(size) == sum(size >= 256**level for level in range(9))
    for level in (ENTRIES, *range(levels(size) + 1)):
        tiles = list(tiles_of(size, level))
        assert [tile.index for tile in tiles] == list(range(len(tiles)))
        assert [tile.width for tile in tiles] == [tile_width(size, level, tile.index) for tile in tiles]
        assert tile_width(size, level, len(tiles)) == 0
        assert sum(tile.width for tile in tiles) == size // 256 ** max(level, 0)


@pytest.mark.parametrize("size", SIZES)
def test_a_tree_grows_into_exactly_its_tiles(size: int) -> None:
    tree = TiledTree(size)
    assert set(tree.tiles) == {tile for level in range(levels(size)) for tile in tiles_of(size, level)}
    row = list(leaves(size))
    for level in range(levels(size)):
        for tile in tiles_of(size, level):
            assert tree.tiles[tile] == b"".join(row[tile.index * WIDTH : tile.index * WIDTH + tile.width])
        row = [root_of(row[at : at + WIDTH]) for at in range(0, len(row) - WIDTH + 1, WIDTH)]
    assert tree.root == root_of(leaves(size))


def test_a_tile_is_full_once_and_partial_until_then() -> None:
    edge, seen = Edge(), list[Tile]()
    for count, leaf in enumerate(leaves(600), 1):
        full = edge.add(leaf)
        seen.extend(tile for tile, _ in full)
        assert edge.size == count
        assert {tile for tile, _ in edge.partial()} == {
            tile for level in range(levels(count)) for tile in tiles_of(count, level) if tile.width < WIDTH
        }
    assert seen == [Tile(0, 0), Tile(0, 1)]


def test_each_tile_is_read_once_while_it_is_near() -> None:
    tree, read = TiledTree(600), list[Tile]()

    def noted(tile: Tile) -> list[bytes]:
        read.append(tile)
        return split_hashes(tree.tiles[tile], tile.width)

    node = nodes(600, noted)
    assert [node(0, index) for index in range(600)] == list(leaves(600))
    assert len(read) == 3


@pytest.mark.parametrize("width", [1, 2, 255, 256])
def test_a_tile_has_exactly_its_width(width: int) -> None:
    data = b"".join(leaves(width))
    assert split_hashes(data, width) == list(leaves(width))
    for wrong in (data[:-1], data + b"\0", data[:-32], data + bytes(32), b""):
        with pytest.raises(EvidenceInvalid, match=f"a tile of width {width} has {width * 32} bytes"):
            split_hashes(wrong, width)


entries = st.lists(st.binary(max_size=300), max_size=20)


@given(entries)
def test_a_bundle_gives_its_entries_back(some: list[bytes]) -> None:
    assert split_bundle(bundle(some), len(some)) == some


@given(entries.filter(bool))
def test_a_bundle_that_is_cut_off_anywhere_is_refused(some: list[bytes]) -> None:
    data = bundle(some)
    for end in range(len(data)):
        with pytest.raises(EvidenceInvalid, match=r"cut off|holds"):
            split_bundle(data[:end], len(some))
    for more in (data + b"\0", data + b"\0\0"):
        with pytest.raises(EvidenceInvalid, match=r"cut off|holds"):
            split_bundle(more, len(some))


def test_the_largest_entry_fits() -> None:
    largest = bytes(MAX_ENTRY_BYTES)
    assert split_bundle(bundle([largest, b""]), 2) == [largest, b""]
    assert bundle([b"ab", b""]) == b"\0\2ab\0\0"

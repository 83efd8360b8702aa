"""The published files of the tree: tiles and entry bundles, written whole or not at all."""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bridge.errors import EvidenceInvalid
from bridge.tlog.merkle import HASH_BYTES, leaf_hash, root_of
from bridge.tlog.tiles import ENTRIES, WIDTH, Edge, Tile, bundle, levels, split_hashes, tiles_of

Sizes = Callable[[int, int], Iterable[int]]
"""(shift, above) -> size >> shift of every checkpoint that covers more than `above` entries; there may be millions."""


class TreeFiles:
    """Grows the tree below `folder` (the published log). Everything here can be made again from the database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.edge = Edge()
        self._entries: list[bytes] = []

    def add(self, data: bytes, leaf: bytes) -> None:
        """Takes the next entry; what became full by it is written and synced."""
        self._entries.append(data)
        if len(self._entries) == WIDTH:
            index = self.edge.size // WIDTH
            self._write_full(Tile(ENTRIES, index), bundle(self._entries))
            self._entries = []
        for tile, hashes in self.edge.add(leaf):
            self._write_full(tile, hashes)

    def write_partial(self) -> None:
        """Writes the tiles that are not full: what a checkpoint of this size needs. Not synced: they can be remade."""
        for level, index, row in self._unfinished():
            write_whole(self.folder / Tile(level, index, len(row)).path, _joined(level, row), sync=False)

    def mend_partial(self, sizes: Sizes) -> None:
        """Leaves of the tiles that are not full just those that checkpoints of these sizes need, whole.

        They are not synced: a crash of the machine may tear them, and one of ours may leave what nobody needs.
        """
        for level, index, row in self._unfinished():
            shift, first = 8 * max(level, 0), index * WIDTH
            widths = [count - first for count in sizes(shift, first << shift)]
            wanted = {str(width): _joined(level, row[:width]) for width in widths if width > 0}
            folder = (self.folder / Tile(level, index, 1).path).parent
            for path in folder.iterdir() if folder.exists() else ():
                if path.name not in wanted:
                    path.unlink()
                elif path.read_bytes() == wanted[path.name]:
                    del wanted[path.name]
            for name, data in wanted.items():
                write_whole(folder / name, data, sync=False)

    def resume(self, size: int, entries: Iterable[bytes]) -> None:
        """Takes up the edge of the tree of `size` from the full tiles; `entries` are those of the unfinished bundle.

        OSError or EvidenceInvalid when a full tile is not there or not whole. Nothing is compared with a root yet.
        """
        for level in (ENTRIES, *range(levels(size))):
            for tile in tiles_of(size, level):
                if tile.width == WIDTH:
                    self._look(tile)
        self._entries = list(entries)
        rows = [list(map(leaf_hash, self._entries))] if size else []
        self.edge = Edge(size, rows)
        for level in range(1, levels(size)):
            first, width = (size >> (8 * level)) // WIDTH * WIDTH, (size >> (8 * level)) % WIDTH
            rows.append([root_of(self.hashes(Tile(level - 1, first + at))) for at in range(width)])

    def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile of this tree or of one that it has grown from."""
        if tile.index == self.edge.size >> (8 * (tile.level + 1)):
            return self.edge.rows[tile.level][: tile.width]
        full = Tile(tile.level, tile.index)
        return split_hashes((self.folder / full.path).read_bytes(), WIDTH)[: tile.width]

    def _unfinished(self) -> Iterator[tuple[int, int, Sequence[bytes]]]:
        """(level, index, what it holds so far) of every tile that is not full, that of the entries first."""
        for level, row in enumerate([self._entries, *self.edge.rows], ENTRIES):
            if row:
                yield level, self.edge.size >> (8 * (max(level, 0) + 1)), row

    def _look(self, full: Tile) -> None:
        length = (self.folder / full.path).stat().st_size
        if length < 2 * WIDTH if full.level == ENTRIES else length != WIDTH * HASH_BYTES:
            raise EvidenceInvalid(f"{full.path} is torn")

    def _write_full(self, tile: Tile, data: bytes) -> None:
        path = self.folder / tile.path
        write_whole(path, data, sync=True)
        # Readers fall back from a partial tile to the full one (tlog-tiles).
        shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


def _joined(level: int, row: Sequence[bytes]) -> bytes:
    return bundle(row) if level == ENTRIES else b"".join(row)


def write_whole(path: Path, data: bytes, *, sync: bool) -> None:
    """Writes a file under another name, then renames it; with `sync` it and its name are on disk afterwards."""
    make_folder(path.parent, 0o755, sync=sync)
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if sync:
        sync_names(path.parent)


def make_folder(folder: Path, mode: int = 0o700, *, sync: bool = True) -> None:
    """Makes a folder and those above it where they are missing; with `sync` their names are on disk afterwards."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    for path in missing if sync else ():
        sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """What was made, linked or renamed in `folder` is there after a power loss, too."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

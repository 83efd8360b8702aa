"""The published files of the tree: tiles and entry bundles, written whole or not at all."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from bridge.tlog.tiles import ENTRIES, WIDTH, Edge, Tile, bundle, levels, split_hashes, tile_width


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

    def write_partial(self, final: int = 0) -> None:
        """Writes the tiles that are not full: what a checkpoint of this size needs. Not synced: they can be remade.

        `final`: the size that the tree is growing to; tiles that will be full by then are not worth writing.
        """
        tiles = self.edge.partial()
        if self._entries:
            tiles.append((Tile(ENTRIES, self.edge.size // WIDTH, len(self._entries)), bundle(self._entries)))
        for tile, data in tiles:
            if tile_width(final, tile.level, tile.index) < WIDTH:
                write_whole(self.folder / tile.path, data, sync=False)

    def resume(self, size: int, entries: Iterable[bytes]) -> None:
        """Takes up the edge of the tree of `size` from its tiles; `entries` are those of the last bundle, if partial.

        OSError or EvidenceInvalid when a tile is not there or not whole. Nothing is compared with a root yet.
        """
        edge = Edge(size, [self._row(size, level) for level in range(levels(size))])
        self.edge, self._entries = edge, list(entries)

    def hashes(self, tile: Tile) -> list[bytes]:
        """The hashes of a tile; of a partial one that is gone, those of the full one that took its place."""
        path = self.folder / tile.path
        if tile.width < WIDTH and not path.exists():
            path = self.folder / Tile(tile.level, tile.index).path
            return split_hashes(path.read_bytes(), WIDTH)[: tile.width]
        return split_hashes(path.read_bytes(), tile.width)

    def _row(self, size: int, level: int) -> list[bytes]:
        index, width = divmod(size >> (8 * level), WIDTH)
        return self.hashes(Tile(level, index, width)) if width else []

    def _write_full(self, tile: Tile, data: bytes) -> None:
        path = self.folder / tile.path
        write_whole(path, data, sync=True)
        # Readers fall back from a partial tile to the full one (tlog-tiles).
        shutil.rmtree(path.with_name(f"{path.name}.p"), ignore_errors=True)


def write_whole(path: Path, data: bytes, *, sync: bool) -> None:
    """Writes a file under another name, then renames it; with `sync` it and its name are on disk afterwards."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(data)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    new.rename(path)
    if sync:
        handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

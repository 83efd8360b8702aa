"""Verifies a whole log as an outsider: bytes, hashes, tiles, root, signatures; then what the entries tell of time.

Shares nothing with what writes the log but pure hashing and names. Everything found is told; nothing is repaired.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bridge.audit.chronology import Chronology, decoded
from bridge.audit.published import LogFiles, read_needed, read_tile
from bridge.audit.report import Report
from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from bridge.tlog.merkle import leaf_hash, root_of, tree_root
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, levels, nodes, tiles_of
from bridge.tlog.trust import Trust

Compare = Callable[[int, bytes, bytes, dict[str, Any] | None], str | None]
"""(index, entry bytes, leaf hash, what the entry says) -> what is wrong with this entry elsewhere, or None."""


def verify(
    files: LogFiles,
    trust: Trust,
    old: Iterable[bytes] = (),
    compare: Sequence[Compare] = (),
    now_ms: int | None = None,
    report: Report | None = None,
) -> Report:
    """Checks the log in `files`; `old`: checkpoints that were kept; `now_ms`: to tell whether it has gone silent.

    EvidenceUnavailable when a file cannot be read; what is missing or wrong stands in the report.
    """
    report = Report() if report is None else report
    try:
        signed = open_checkpoint(read_needed(files, "checkpoint"), trust.logs, _witness_keys(trust))
    except EvidenceInvalid as error:
        report.verdict(f"checkpoint: {error}")
        return report
    report.checkpoint = signed.checkpoint
    _signatures(signed, trust, report)
    chronology = Chronology()
    full: list[bytes | None] = []
    for bundle in tiles_of(signed.checkpoint.size, ENTRIES):
        root = _bundle(files, bundle, compare, chronology, report)
        if bundle.width == WIDTH:
            full.append(root)
    _upper_tiles(files, signed.checkpoint.size, full, report)
    _roots(files, signed.checkpoint, trust, old, report)
    chronology.finish(now_ms)
    for text in chronology.problems:
        report.problem(text)
    report.notes.extend(chronology.notes)
    return report


def _signatures(signed: SignedCheckpoint, trust: Trust, report: Report) -> None:
    cosigned = [key for key, _ in signed.cosigned]
    report.signed_by = [signed.checkpoint.origin, *(key.name for key in cosigned)]
    if not trust.satisfied(cosigned):
        report.verdict(f"checkpoint: the cosignatures do not make the quorum ({trust.quorum})")


def _bundle(
    files: LogFiles, bundle: Tile, compare: Sequence[Compare], chronology: Chronology, report: Report
) -> bytes | None:
    """One bundle of entries, against the tile of their hashes. The root of that tile, where it can be read."""
    first = bundle.index * WIDTH
    try:
        entries = read_tile(files, bundle)
        hashes = read_tile(files, Tile(0, bundle.index, bundle.width))
    except EvidenceInvalid as error:
        report.problem(str(error))
        return None
    for at, (data, told) in enumerate(zip(entries, hashes, strict=True), first):
        leaf = leaf_hash(data)
        if leaf != told:
            report.problem(f"entry {at}: its hash is not the one in the tree")
        entry = decoded(data)
        chronology.take(at, entry)
        for check in compare:
            if (wrong := check(at, data, leaf, entry)) is not None:
                report.problem(f"entry {at}: {wrong}")
    report.entries += len(entries)
    return root_of(hashes)


def _upper_tiles(files: LogFiles, size: int, below: list[bytes | None], report: Report) -> None:
    """Each hash above level 0 is the root of one full tile `below`; None for one that could not be read."""
    for level in range(1, levels(size)):
        roots: list[bytes | None] = []
        for tile in tiles_of(size, level):
            expected = below[tile.index * WIDTH :][: tile.width]
            try:
                hashes = read_tile(files, tile)
            except EvidenceInvalid as error:
                report.problem(str(error))
                roots.append(None)
                continue
            for at, (told, root) in enumerate(zip(hashes, expected, strict=True), tile.index * WIDTH):
                if root is not None and root != told:
                    report.problem(f"{tile.path}: hash {at} is not the root of the tile below")
            if tile.width == WIDTH:
                roots.append(root_of(hashes))
        below = roots


def _roots(files: LogFiles, now: Checkpoint, trust: Trust, old: Iterable[bytes], report: Report) -> None:
    node = nodes(now.size, lambda tile: read_tile(files, tile))
    try:
        if tree_root(now.size, node) != now.root:
            report.verdict("checkpoint: its root is not that of the tree")
    except EvidenceInvalid as error:
        report.verdict(str(error))
        return
    for number, data in enumerate(old, 1):
        try:
            earlier = open_checkpoint(data, trust.logs, _witness_keys(trust)).checkpoint
            if earlier.origin != now.origin:
                report.verdict(f"old checkpoint {number}: of another log, {earlier.origin}")
            elif earlier.size > now.size:
                report.verdict(f"old checkpoint {number}: knows {earlier.size} entries, the log has only {now.size}")
            elif tree_root(earlier.size, node) != earlier.root:
                report.verdict(f"old checkpoint {number}: the first {earlier.size} entries were others then")
        except EvidenceInvalid as error:
            report.verdict(f"old checkpoint {number}: {error}")


def _witness_keys(trust: Trust) -> list[VerifierKey]:
    return [witness.key for witness in trust.witnesses]

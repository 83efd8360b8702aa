"""Verifies a whole log as an outsider: bytes, hashes, tiles, root, signatures; then what the entries tell of time.

Shares nothing with what writes the log but pure hashing and names. Everything found is told; nothing is repaired.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bridge.audit.chronology import Chronology, decoded
from bridge.audit.published import LogFiles, read_checkpoint, read_tile
from bridge.audit.report import Report
from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from bridge.tlog.merkle import leaf_hash, root_of, tree_root
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, levels, nodes, tiles_of
from bridge.tlog.trust import Trust

Compare = Callable[[int, bytes, bytes, dict[str, Any] | None], str | None]
"""(index, entry bytes, leaf hash, what the entry says) -> what is wrong with this entry elsewhere, or None."""

MAX_UNREAD = 100
"""A size is only a number until something of that size is there: any number can be signed."""

Seen = dict[Tile, bytes]
"""The root of each tile of hashes, as it was when it was compared with what is below it."""


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
        signed = open_checkpoint(read_checkpoint(files), trust.logs, _witness_keys(trust))
    except EvidenceInvalid as error:
        report.verdict(f"checkpoint: {error}")
        return report
    report.checkpoint = signed.checkpoint
    _signatures(signed, trust, report)
    chronology = Chronology()
    seen: Seen = {}
    unread = 0
    for bundle in tiles_of(signed.checkpoint.size, ENTRIES):
        unread += not _bundle(files, bundle, compare, chronology, seen, report)
        if unread == MAX_UNREAD:
            report.verdict(f"{unread} bundles and more are missing or torn: the rest was not looked at")
            return report
    _upper_tiles(files, signed.checkpoint.size, seen, report)
    _roots(files, signed.checkpoint, seen, trust, old, report)
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
    files: LogFiles, bundle: Tile, compare: Sequence[Compare], chronology: Chronology, seen: Seen, report: Report
) -> bool:
    """One bundle of entries, against the tile of their hashes, which is `seen` then; whether both could be read."""
    first, tile = bundle.index * WIDTH, Tile(0, bundle.index, bundle.width)
    try:
        entries = read_tile(files, bundle)
        hashes = read_tile(files, tile)
    except EvidenceInvalid as error:
        report.problem(str(error))
        return False
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
    seen[tile] = root_of(hashes)
    return True


def _upper_tiles(files: LogFiles, size: int, seen: Seen, report: Report) -> None:
    """Each hash above level 0 is the root of one full tile below, unless that could not be read."""
    for level in range(1, levels(size)):
        for tile in tiles_of(size, level):
            try:
                hashes = read_tile(files, tile)
            except EvidenceInvalid as error:
                report.problem(str(error))
                continue
            for at, told in enumerate(hashes, tile.index * WIDTH):
                if seen.get(Tile(level - 1, at), told) != told:
                    report.problem(f"{tile.path}: hash {at} is not the root of the tile below")
            seen[tile] = root_of(hashes)


def _roots(files: LogFiles, now: Checkpoint, seen: Seen, trust: Trust, old: Iterable[bytes], report: Report) -> None:
    def again(tile: Tile) -> list[bytes]:
        """Whoever serves the files might show one tile beside the entries, and another one below the root."""
        hashes = read_tile(files, tile)
        root = root_of(hashes)
        if seen.get(tile, root) != root:
            raise EvidenceInvalid(f"{tile.path}: it is not what it was a moment ago")
        return hashes

    node = nodes(now.size, again)
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

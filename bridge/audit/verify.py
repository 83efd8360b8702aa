"""Verifies a whole log as an outsider: bytes, hashes, tiles, root, signatures; then what the entries tell of time.

Shares nothing with what writes the log but pure hashing and names. Everything found is told; nothing is repaired.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from bridge.audit.chronology import Chronology
from bridge.audit.published import LogFiles, read_needed, read_tile
from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint
from bridge.tlog.merkle import leaf_hash, root_of, tree_root
from bridge.tlog.note import VerifierKey
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, levels, nodes, tiles_of
from bridge.tlog.trust import Trust

MAX_PROBLEMS = 100
Compare = Callable[[int, bytes, bytes], str | None]
"""(index, entry bytes, leaf hash) -> what is wrong with this entry elsewhere, or None."""


@dataclass(slots=True)
class Report:
    """`problems`: the log is not what it says. `notes`: what an auditor should know of."""

    checkpoint: Checkpoint | None = None
    entries: int = 0
    signed_by: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.problems

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)
        elif len(self.problems) == MAX_PROBLEMS:
            self.problems.append("and more")


def verify(
    files: LogFiles, trust: Trust, old: Iterable[bytes] = (), compare: Sequence[Compare] = (), now_ms: int | None = None
) -> Report:
    """Checks the log in `files`; `old`: checkpoints that were kept; `now_ms`: to tell whether it has gone silent.

    EvidenceUnavailable when a file cannot be read; what is missing or wrong stands in the report.
    """
    report = Report()
    try:
        signed = open_checkpoint(read_needed(files, "checkpoint"), trust.logs, _witness_keys(trust))
    except EvidenceInvalid as error:
        report.problem(f"checkpoint: {error}")
        return report
    report.checkpoint = signed.checkpoint
    _signatures(signed, trust, report)
    chronology = Chronology()
    for bundle in tiles_of(signed.checkpoint.size, ENTRIES):
        _bundle(files, bundle, compare, chronology, report)
    _upper_tiles(files, signed.checkpoint.size, report)
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
        report.problem(f"checkpoint: the cosignatures do not make the quorum ({trust.quorum})")


def _bundle(files: LogFiles, bundle: Tile, compare: Sequence[Compare], chronology: Chronology, report: Report) -> None:
    """One bundle of entries, against the tile of their hashes."""
    first = bundle.index * WIDTH
    try:
        entries = read_tile(files, bundle)
        hashes = read_tile(files, Tile(0, bundle.index, bundle.width))
    except EvidenceInvalid as error:
        report.problem(str(error))
        return
    for at, (entry, told) in enumerate(zip(entries, hashes, strict=True), first):
        leaf = leaf_hash(entry)
        if leaf != told:
            report.problem(f"entry {at}: its hash is not the one in the tree")
        chronology.take(at, entry)
        for check in compare:
            if (wrong := check(at, entry, leaf)) is not None:
                report.problem(f"entry {at}: {wrong}")
    report.entries += len(entries)


def _upper_tiles(files: LogFiles, size: int, report: Report) -> None:
    """Each hash above level 0 is the root of one full tile below."""
    for level in range(1, levels(size)):
        for tile in tiles_of(size, level):
            try:
                for at, told in enumerate(read_tile(files, tile), tile.index * WIDTH):
                    if root_of(read_tile(files, Tile(level - 1, at))) != told:
                        report.problem(f"{tile.path}: hash {at} is not the root of the tile below")
            except EvidenceInvalid as error:
                report.problem(str(error))


def _roots(files: LogFiles, now: Checkpoint, trust: Trust, old: Iterable[bytes], report: Report) -> None:
    node = nodes(now.size, lambda tile: read_tile(files, tile))
    try:
        if tree_root(now.size, node) != now.root:
            report.problem("checkpoint: its root is not that of the tree")
    except EvidenceInvalid as error:
        report.problem(str(error))
        return
    for number, data in enumerate(old, 1):
        try:
            earlier = open_checkpoint(data, trust.logs, _witness_keys(trust)).checkpoint
            if earlier.origin != now.origin:
                report.problem(f"old checkpoint {number}: of another log, {earlier.origin}")
            elif earlier.size > now.size:
                report.problem(f"old checkpoint {number}: knows {earlier.size} entries, the log has only {now.size}")
            elif tree_root(earlier.size, node) != earlier.root:
                report.problem(f"old checkpoint {number}: the first {earlier.size} entries were others then")
        except EvidenceInvalid as error:
            report.problem(f"old checkpoint {number}: {error}")


def _witness_keys(trust: Trust) -> list[VerifierKey]:
    return [witness.key for witness in trust.witnesses]

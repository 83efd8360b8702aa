"""Checkpoints: what a log's signature says (C2SP tlog-checkpoint)."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.errors import EvidenceInvalid
from bridge.tlog.merkle import HASH_BYTES
from bridge.tlog.note import ED25519, Note, VerifierKey, decode_base64

MAX_SIZE = 2**63 - 1
_SIZE = re.compile("0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree over the first `size` entries of the log `origin` has this root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """From a note's text. EvidenceInvalid when it is not a checkpoint; extension lines are passed over."""
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or "" in lines:
            raise EvidenceInvalid("a checkpoint has an origin, a size and a root, each on a line of its own")
        size = parse_size(lines[1])
        root = decode_base64(lines[2])
        if len(root) != HASH_BYTES:
            raise EvidenceInvalid("the root in a checkpoint has 32 bytes")
        return cls(lines[0], size, root)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose log signature holds, as the note that says so. `cosigned`: witness key -> its time (s)."""

    checkpoint: Checkpoint
    note: Note
    cosigned: tuple[tuple[VerifierKey, int], ...] = ()


def parse_size(text: str) -> int:
    """A decimal without leading zeros, below 2^63. EvidenceInvalid otherwise."""
    if not _SIZE.fullmatch(text) or int(text) > MAX_SIZE:
        raise EvidenceInvalid("a size is a decimal number without leading zeros, below 2^63")
    return int(text)


def open_checkpoint(
    data: bytes, logs: Iterable[VerifierKey], witnesses: Iterable[VerifierKey] = ()
) -> SignedCheckpoint:
    """The checkpoint in `data`, signed by one of `logs` whose name is its origin; EvidenceInvalid otherwise."""
    note = Note.parse(data)
    checkpoint = Checkpoint.parse(note.text)
    logs, witnesses = list(logs), list(witnesses)
    held = note.verify([*logs, *witnesses])
    if not any(key in logs and key.algorithm == ED25519 and key.name == checkpoint.origin for key, _ in held):
        known = ", ".join(sorted({key.name for key in logs}))
        raise EvidenceInvalid(f"the checkpoint of {checkpoint.origin!r} is not signed by a trusted key ({known})")
    return SignedCheckpoint(checkpoint, note, tuple((key, time) for key, time in held if time is not None))

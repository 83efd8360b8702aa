"""Proof files: one entry is in the log, checked without the log (C2SP tlog-proof)."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, SignedCheckpoint, open_checkpoint, parse_size
from bridge.tlog.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from bridge.tlog.note import VerifierKey, decode_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES = 256 * 1024
MAX_PATH = 63
_EXTRA = re.compile("extra ([A-Za-z0-9+/=]*)")


@dataclass(frozen=True, slots=True)
class Proof:
    """`path`: the inclusion hashes, the leaf's sibling first; `checkpoint`: the note's bytes, as they were signed."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def __bytes__(self) -> bytes:
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {base64.b64encode(self.extra).decode()}")
        lines.append(f"index {self.index}")
        lines.extend(base64.b64encode(step).decode() for step in self.path)
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> "Proof":
        """EvidenceInvalid when it is not a proof file. Nothing is verified yet."""
        if len(data) > MAX_PROOF_BYTES:
            raise EvidenceInvalid(f"a proof file may have at most {MAX_PROOF_BYTES} bytes")
        head, blank, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise EvidenceInvalid("a proof file is ASCII text above its checkpoint") from None
        if not blank or lines[0] != HEADER:
            raise EvidenceInvalid(f"a proof file begins with {HEADER}")
        extra = None
        if len(lines) > 1 and (found := _EXTRA.fullmatch(lines[1])):
            extra = decode_base64(found[1])
            del lines[1]
        if len(lines) < 2 or not lines[1].startswith("index "):
            raise EvidenceInvalid("a proof file names its index")
        index = parse_size(lines[1].removeprefix("index "))
        path = tuple(map(decode_base64, lines[2:]))
        if len(path) > MAX_PATH or any(len(step) != HASH_BYTES for step in path):
            raise EvidenceInvalid(f"an inclusion path has at most {MAX_PATH} hashes of 32 bytes")
        return cls(index, path, checkpoint, extra)

    def verify(
        self, entry: bytes, logs: Iterable[VerifierKey], witnesses: Iterable[VerifierKey] = ()
    ) -> SignedCheckpoint:
        """The checkpoint that proves `entry`. EvidenceInvalid unless it is signed and the path leads to its root."""
        signed = open_checkpoint(self.checkpoint, logs, witnesses)
        self.check(entry, signed.checkpoint)
        return signed

    def check(self, entry: bytes, about: Checkpoint) -> None:
        """EvidenceInvalid unless the path leads from `entry` to the root of `about`, which was verified before."""
        verify_inclusion(self.index, about.size, leaf_hash(entry), self.path, about.root)

"""Proof files for entries of a log, made of its published files (C2SP tlog-proof)."""

from bridge.audit.published import LogFiles, read_checkpoint, read_tile
from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import SignedCheckpoint, open_checkpoint
from bridge.tlog.merkle import consistency_proof, inclusion_proof, tree_root, verify_consistency
from bridge.tlog.proof import Proof
from bridge.tlog.tiles import nodes
from bridge.tlog.trust import Trust


class Prover:
    """Proves against one checkpoint of the log in `files`: the newest there is when it is made."""

    def __init__(self, files: LogFiles, trust: Trust) -> None:
        self.note = read_checkpoint(files)
        self.signed = open_checkpoint(self.note, trust.logs, [witness.key for witness in trust.witnesses])
        self.checkpoint = self.signed.checkpoint
        self._node = nodes(self.checkpoint.size, lambda tile: read_tile(files, tile))

    def prove(self, index: int, entry: bytes) -> Proof:
        """The proof that `entry` is in the log at `index`, verified. EvidenceInvalid when it is not, or not yet."""
        if index >= self.checkpoint.size:
            raise EvidenceInvalid(f"entry {index} is not covered by a checkpoint yet: wait a second")
        path = tuple(inclusion_proof(index, self.checkpoint.size, self._node))
        proof = Proof(index, path, self.note)
        proof.check(entry, self.checkpoint)
        return proof

    def consistent(self, old: SignedCheckpoint, new: SignedCheckpoint) -> list[bytes]:
        """The proof that `new` has grown from `old`, verified. EvidenceInvalid when it has not."""
        before, after = old.checkpoint, new.checkpoint
        if {before.origin, after.origin} != {self.checkpoint.origin}:
            raise EvidenceInvalid(f"not both are checkpoints of {self.checkpoint.origin}")
        if before.size > after.size:
            raise EvidenceInvalid(f"the new one knows {after.size} entries, the old one {before.size}")
        if after.size > self.checkpoint.size:
            raise EvidenceInvalid(f"the log has only {self.checkpoint.size} entries, and {after.size} were signed")
        if tree_root(after.size, self._node) != after.root:
            raise EvidenceInvalid(f"the log's first {after.size} entries are not those of the new checkpoint")
        proof = consistency_proof(before.size, after.size, self._node)
        verify_consistency(before.size, after.size, before.root, after.root, proof)
        return proof

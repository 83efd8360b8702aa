"""Keys of a test, the same each time, and what they sign."""

import struct

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import COSIGNATURE, Note, Signature, Signer, VerifierKey
from tests.tlog.trees import leaves, mth


def signer(name: str, seed: int = 0) -> Signer:
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))


LOG = signer("log.example/2026h2")
WITNESSES = [signer(f"witness.example/{number}", number) for number in (1, 2, 3)]


def witness_key(one: Signer) -> VerifierKey:
    return VerifierKey(one.name, COSIGNATURE, one.verifier.public)


def cosignature(one: Signer, text: str, time: int = 1_790_000_000) -> Signature:
    """As the tlog-cosignature page says it, version 1."""
    body = one.private.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    return Signature(one.name, witness_key(one).id, struct.pack(">Q", time) + body)


def checkpoint(size: int = 5) -> Checkpoint:
    return Checkpoint(LOG.name, size, mth(leaves(size)))


def signed(size: int = 5, *cosigners: Signer) -> Note:
    note = LOG.sign(str(checkpoint(size)))
    return Note(note.text, (*note.signatures, *(cosignature(one, note.text) for one in cosigners)))

"""A stock witness cosigns what our log says, remembers it, and refuses another history."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import consistency_proof, leaf_hash, root_of
from bridge.tlog.note import Note, Signature, Signer, parse_signatures
from tests.foreign.witness import MEMORY, RunningWitness, running_witness

LOG = Signer("log.example/2026h2", Ed25519PrivateKey.generate())
LEAVES = [leaf_hash(f"entry {number}".encode()) for number in range(600)]
FORKED = [leaf_hash(b"another"), *LEAVES[1:]]


def node(height: int, index: int, leaves: list[bytes] = LEAVES) -> bytes:
    return root_of(leaves[index << height : (index + 1) << height])


def signed(size: int, leaves: list[bytes] = LEAVES, signer: Signer = LOG) -> Note:
    return signer.sign(str(Checkpoint(signer.name, size, root_of(leaves[:size]))))


def ask(witness: RunningWitness, old: int, note: Note, proof: list[bytes] | None = None) -> httpx.Response:
    size = Checkpoint.parse(note.text).size
    steps = consistency_proof(min(old, size), size, node) if proof is None else proof
    lines = [f"old {old}", *(str(Signature("", b"", step)).split(" ")[2].strip() for step in steps)]
    body = "\n".join([*lines, "", str(note)]).encode()
    return httpx.post(f"{witness.url}/add-checkpoint", content=body, trust_env=False)


def cosigned(witness: RunningWitness, note: Note, answer: httpx.Response) -> int:
    """When the witness says that it saw this checkpoint (s)."""
    assert answer.status_code == 200, answer
    whole = Note(note.text, (*note.signatures, *parse_signatures(answer.text)))
    opened = open_checkpoint(str(whole).encode(), [LOG.verifier], [witness.vkey])
    ((key, time),) = opened.cosigned
    assert key == witness.vkey
    return time


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[RunningWitness]:
    with running_witness(tmp_path / "witness", [LOG.verifier]) as running:
        yield running


def test_it_cosigns_a_log_that_grows(witness: RunningWitness) -> None:
    old = 0
    for size in (1, 2, 255, 256, 257, 600):
        note = signed(size)
        assert cosigned(witness, note, ask(witness, old, note)) > 1_700_000_000
        old = size


def test_it_tells_what_it_knows_and_refuses_a_fork(witness: RunningWitness) -> None:
    cosigned(witness, signed(257), ask(witness, 0, signed(257)))
    stale = ask(witness, 5, signed(600))
    assert (stale.status_code, stale.headers["content-type"], stale.text) == (409, "text/x.tlog.size", "257\n")
    assert ask(witness, 257, signed(600, FORKED)).status_code == 422
    assert ask(witness, 257, signed(257, FORKED)).status_code == 422
    assert ask(witness, 257, signed(600), [b"\0" * 32]).status_code == 422
    assert ask(witness, 600, signed(257)).status_code in (400, 409)
    assert ask(witness, 257, signed(600)).status_code == 200


def test_it_knows_only_its_logs(witness: RunningWitness) -> None:
    unknown = signed(1, signer=Signer("elsewhere.example", LOG.private))
    not_its_key = signed(1, signer=Signer(LOG.name, Ed25519PrivateKey.generate()))
    # The protocol says 404 and 403; this witness keeps to neither. What matters is that it signs nothing.
    assert [ask(witness, 0, note).status_code for note in (unknown, not_its_key)] == [500, 500]


def test_its_memory_outlives_it_and_can_be_put_back(tmp_path: Path) -> None:
    folder, kept = tmp_path / "witness", tmp_path / "kept"
    with running_witness(folder, [LOG.verifier]) as first:
        cosigned(first, signed(1), ask(first, 0, signed(1)))
    shutil.copytree(folder / MEMORY, kept)
    with running_witness(folder, [LOG.verifier]) as second:
        assert second.vkey == first.vkey
        cosigned(second, signed(257), ask(second, 1, signed(257)))
    with running_witness(folder, [LOG.verifier]) as third:
        assert ask(third, 1, signed(600)).text == "257\n"
    shutil.rmtree(folder / MEMORY)
    shutil.copytree(kept, folder / MEMORY)
    with running_witness(folder, [LOG.verifier]) as forgetful:
        assert ask(forgetful, 257, signed(600)).text == "1\n"

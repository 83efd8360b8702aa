"""Proof files: one entry, one checkpoint, and everything between them."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import MAX_SIZE
from bridge.tlog.merkle import inclusion_proof
from bridge.tlog.proof import HEADER, MAX_PROOF_BYTES, Proof
from tests.tlog.keys import LOG, WITNESSES, checkpoint, signed, signer, witness_key
from tests.tlog.trees import leaves, node_of

SIZE = 13
NOTE = str(signed(SIZE, WITNESSES[0])).encode()


def prove(index: int) -> Proof:
    return Proof(index, tuple(inclusion_proof(index, SIZE, node_of(leaves(SIZE)))), NOTE)


hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=63).map(tuple)


@given(st.integers(0, MAX_SIZE), hashes, st.binary(), st.none() | st.binary(max_size=40))
def test_what_is_written_is_read(index: int, path: tuple[bytes, ...], note: bytes, extra: bytes | None) -> None:
    one = Proof(index, path, note, extra)
    assert Proof.parse(bytes(one)) == one


def test_it_looks_like_this() -> None:
    lines = bytes(prove(12)).decode().split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 12"]
    assert [base64.b64decode(line) for line in lines[2:4]] == list(prove(12).path)
    assert "\n".join(lines[4:]) == "\n" + NOTE.decode()


def test_extra_data_stands_above_the_index_and_proves_nothing() -> None:
    one = Proof(12, prove(12).path, NOTE, b"more")
    assert bytes(one).decode().split("\n")[1:3] == ["extra bW9yZQ==", "index 12"]
    assert one.verify(b"entry 12", [LOG.verifier]).checkpoint == checkpoint(SIZE)


@pytest.mark.parametrize("index", range(SIZE))
def test_it_proves_its_entry_and_no_other(index: int) -> None:
    one = prove(index)
    held = one.verify(b"entry %d" % index, [LOG.verifier], [witness_key(WITNESSES[0])])
    assert held.checkpoint == checkpoint(SIZE)
    assert [key.name for key, _ in held.cosigned] == [WITNESSES[0].name]
    for other in (b"", b"entry %d" % (index + 1), b"entry %d\n" % index, b"entry  %d" % index):
        with pytest.raises(EvidenceInvalid, match="does not lead to the root"):
            one.verify(other, [LOG.verifier])
    for elsewhere in {*range(SIZE + 3), MAX_SIZE} - {index}:
        with pytest.raises(EvidenceInvalid):
            Proof(elsewhere, one.path, NOTE).verify(b"entry %d" % index, [LOG.verifier])


def test_it_stands_on_a_trusted_signature() -> None:
    with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
        prove(3).verify(b"entry 3", [signer(LOG.name, 9).verifier])
    for size in (SIZE - 1, SIZE + 1):
        with pytest.raises(EvidenceInvalid):
            Proof(3, prove(3).path, str(signed(size)).encode()).verify(b"entry 3", [LOG.verifier])


def test_every_bit_of_every_byte() -> None:
    good = bytes(prove(3))
    for at in range(len(good)):
        for bit in range(8):
            wrong = bytearray(good)
            wrong[at] ^= 1 << bit
            try:
                held = Proof.parse(bytes(wrong)).verify(b"entry 3", [LOG.verifier], [witness_key(WITNESSES[0])])
            except EvidenceInvalid:
                continue
            # Only a witness that is not known by what its line says now.
            assert (held.checkpoint, held.cosigned) == (checkpoint(SIZE), ())


STEP = base64.b64encode(bytes(32)).decode()
ILL_FORMED: dict[str, bytes] = {
    "empty": b"",
    "no header": f"index 3\n{STEP}\n\n".encode() + NOTE,
    "another version": f"c2sp.org/tlog-proof@v2\nindex 3\n{STEP}\n\n".encode() + NOTE,
    "no index": f"{HEADER}\n{STEP}\n\n".encode() + NOTE,
    "nothing but the header": f"{HEADER}\n\n".encode() + NOTE,
    "no number": f"{HEADER}\nindex \n\n".encode() + NOTE,
    "a leading zero": f"{HEADER}\nindex 03\n\n".encode() + NOTE,
    "a negative index": f"{HEADER}\nindex -3\n\n".encode() + NOTE,
    "an index of 2^63": f"{HEADER}\nindex {2**63}\n\n".encode() + NOTE,
    "a space behind the index": f"{HEADER}\nindex 3 \n\n".encode() + NOTE,
    "extra below the index": f"{HEADER}\nindex 3\nextra AAAA\n\n".encode() + NOTE,
    "extra twice": f"{HEADER}\nextra AAAA\nextra AAAA\nindex 3\n\n".encode() + NOTE,
    "extra that is not base64": f"{HEADER}\nextra A\nindex 3\n\n".encode() + NOTE,
    "extra without a space": f"{HEADER}\nextra\nindex 3\n\n".encode() + NOTE,
    "a short step": f"{HEADER}\nindex 3\nAAAA\n\n".encode() + NOTE,
    "a step that is not canonical": f"{HEADER}\nindex 3\n{STEP[:-2]}B=\n\n".encode() + NOTE,
    "64 steps": (f"{HEADER}\nindex 3\n" + f"{STEP}\n" * 64 + "\n").encode() + NOTE,
    "CRLF": bytes(prove(3)).replace(b"\n", b"\r\n"),
    "no blank line": bytes(prove(3)).replace(b"\n\n", b"\n"),
    "not ASCII": f"{HEADER}\nindex ٣\n\n".encode() + NOTE,
    "too many bytes": bytes(prove(3)) + b"a" * MAX_PROOF_BYTES,
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_what_is_no_proof(name: str) -> None:
    with pytest.raises(EvidenceInvalid):
        Proof.parse(ILL_FORMED[name])

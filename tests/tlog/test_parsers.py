"""Whatever is read, only our own error comes out; and what is accepted is the one way to write what it says."""

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.merkle import inclusion_proof
from bridge.tlog.note import Note, Signer, VerifierKey
from bridge.tlog.proof import Proof
from bridge.tlog.tiles import bundle, split_bundle
from bridge.tlog.trust import Trust
from tests.tlog.keys import LOG, WITNESSES, signed, signer, witness_key
from tests.tlog.trees import leaves, node_of

NOTE = str(signed(13, *WITNESSES))
PROOF = bytes(Proof(3, tuple(inclusion_proof(3, 13, node_of(leaves(13)))), NOTE.encode(), b"extra")).decode()
POLICY = (
    f"# whom\nlog {LOG.verifier} https://log.example\nwitness a {witness_key(WITNESSES[0])} https://w.example\n"
    f"witness b {witness_key(WITNESSES[1])}\ngroup g 1 a b\nquorum g\n"
)
VALID = [NOTE, PROOF, POLICY, str(LOG), str(LOG.verifier), str(witness_key(WITNESSES[0]))]

# What the formats are made of, whole and nearly.
PIECES = [
    *VALID,
    *(line for text in VALID for line in text.split("\n")),
    *(word for text in VALID for word in text.replace("+", " ").split()),
    *"\n \t\r+=/-_\u2014#.",
    *["\n\n", "\r\n", "\u2014 ", "\u2014", "PRIVATE+KEY+", "c2sp.org/tlog-proof@v1", "extra ", "index ", "old "],
    *["quorum none\n", "group ", "witness ", "log ", "any", "all", "none", "0", "00", "1", "-1"],
    *[
        str(2**63 - 1),
        str(2**63),
        str(2**64),
        "9" * 20,
        "9" * 5000,
        "A" * 43 + "=",
        "A" * 42 + "B=",
        "AAAA",
        "AA==",
        "AB==",
    ],
    *["\0", "\x1b", "\x7f", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff", "\ud800", "\U0010ffff", "١", "²", "ü"],
]
fragment = st.sampled_from(PIECES) | st.text(max_size=8)
built = st.lists(fragment, max_size=12).map("".join)


@st.composite
def edited(draw: st.DrawFn, whole: str) -> str:
    """A valid text, of which some stretches are cut out and others put in."""
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(whole)))
        stop = draw(st.integers(start, min(len(whole), start + 80)))
        whole = whole[:start] + draw(st.just("") | fragment) + whole[stop:]
    return whole


@dataclass(frozen=True)
class Parser:
    """`parse` takes bytes; `back` writes what it gave in the one way that there is."""

    valid: str
    parse: Callable[[bytes], object]
    back: Callable[[object], bytes] = lambda value: str(value).encode()
    trims: bool = False


def of_text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    # Lone surrogates as they are: a file cannot hold them, an environment variable can.
    return lambda data: parse(data.decode("utf-8", "surrogatepass"))


PARSERS = {
    "note": Parser(NOTE, Note.parse),
    "verifier key": Parser(str(LOG.verifier), of_text(VerifierKey.parse), trims=True),
    "witness key": Parser(str(witness_key(WITNESSES[0])), of_text(VerifierKey.parse), trims=True),
    "signing key": Parser(str(LOG), of_text(Signer.parse), trims=True),
    "checkpoint": Parser(signed(13).text, of_text(Checkpoint.parse)),
    "proof": Parser(PROOF, Proof.parse, lambda value: bytes(value) if isinstance(value, Proof) else b""),
}


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def showable(refused: EvidenceInvalid) -> None:
    """Its text goes to auditors, on terminals."""
    assert str(refused).isprintable(), refused


def accepted(parser: Parser, data: bytes) -> bool:
    """Whether it was taken; what comes out else must be our own error, with a text that can be shown."""
    try:
        value = parser.parse(data)
    except EvidenceInvalid as refused:
        showable(refused)
        return False
    except UnicodeDecodeError:
        # Of the test's own decoding, for the parsers that take text.
        assert parser.parse not in (Note.parse, Proof.parse)
        return False
    written, given_ = parser.back(value), data.decode().strip().encode() if parser.trims else data
    if isinstance(value, Checkpoint):  # extension lines are passed over
        assert given_.startswith(written)
    else:
        assert written == given_
    return True


@pytest.mark.parametrize("name", PARSERS)
def test_the_valid_one_is_taken(name: str) -> None:
    assert accepted(PARSERS[name], PARSERS[name].valid.encode())


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_texts_built_of_pieces(name: str, data: st.DataObject) -> None:
    accepted(PARSERS[name], encoded(data.draw(built)))


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_a_valid_text_with_stretches_exchanged(name: str, data: st.DataObject) -> None:
    accepted(PARSERS[name], encoded(data.draw(edited(PARSERS[name].valid))))


@pytest.mark.parametrize("name", PARSERS)
@given(raw=st.binary(max_size=200))
def test_any_bytes(name: str, raw: bytes) -> None:
    accepted(PARSERS[name], raw)


@pytest.mark.parametrize("name", PARSERS)
def test_a_valid_one_with_bytes_altered(name: str) -> None:
    dice, valid = random.Random(7), PARSERS[name].valid.encode()
    for _ in range(2000):
        raw = bytearray(valid)
        for _ in range(dice.randint(1, 3)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        accepted(PARSERS[name], bytes(raw))


@given(built | edited(POLICY))
def test_trust_policies(text: str) -> None:
    try:
        trust = Trust.parse(text)
    except EvidenceInvalid as refused:
        showable(refused)
        return
    keys = [one.key for one in trust.witnesses]
    assert trust.satisfied([]) == (trust.quorum == "none")
    assert trust.satisfied(keys)


@given(st.lists(fragment, max_size=12).map(lambda parts: "\n".join(parts)))
def test_trust_policies_line_by_line(text: str) -> None:
    for policy in (text, f"{POLICY}{text}"):
        try:
            Trust.parse(policy)
        except EvidenceInvalid:
            continue


@given(built | edited(NOTE))
def test_what_opens_is_what_was_signed(text: str) -> None:
    try:
        whole = open_checkpoint(encoded(text), [LOG.verifier], map(witness_key, WITNESSES))
    except EvidenceInvalid:
        return
    assert whole.note.text == signed(13).text


@given(built | edited(PROOF))
def test_what_is_proven_is_the_entry(text: str) -> None:
    try:
        Proof.parse(encoded(text)).verify(b"entry 4", [LOG.verifier])
    except EvidenceInvalid:
        return
    pytest.fail("it proves another entry")


@given(st.binary(max_size=600) | st.lists(st.binary(max_size=20), max_size=8).map(bundle), st.integers(0, 9))
def test_bundles(data: bytes, width: int) -> None:
    try:
        entries = split_bundle(data, width)
    except EvidenceInvalid:
        return
    assert len(entries) == width
    assert bundle(entries) == data


def test_the_seeds_are_not_all_refused() -> None:
    """Else the tests above would say nothing of what is accepted."""
    other = signer("other.example", 4)
    for name, text in {"verifier key": str(other.verifier), "signing key": str(other), "note": f"a\n{NOTE}"}.items():
        assert accepted(PARSERS[name], text.encode())

"""Checkpoints: their one form, and whose signature makes them hold."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import EvidenceInvalid
from bridge.tlog.checkpoint import MAX_SIZE, Checkpoint, open_checkpoint, parse_size
from bridge.tlog.note import Note
from tests.tlog.keys import LOG, WITNESSES, checkpoint, cosignature, signed, signer, witness_key

ROOT = base64.b64encode(bytes(range(32))).decode()
WITNESS_KEYS = [witness_key(one) for one in WITNESSES]
# Whatever may stand on a line of its own.
line = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), min_size=1)


@given(line, st.integers(0, MAX_SIZE), st.binary(min_size=32, max_size=32), st.lists(line, max_size=3))
def test_what_is_written_is_read(origin: str, size: int, root: bytes, extensions: list[str]) -> None:
    one = Checkpoint(origin, size, root)
    assert Checkpoint.parse(str(one)) == one
    assert Checkpoint.parse(str(one) + "".join(f"{extension}\n" for extension in extensions)) == one


ILL_FORMED = {
    "empty": "",
    "two lines": "origin\n5\n",
    "no last newline": f"origin\n5\n{ROOT}",
    "no origin": f"\n5\n{ROOT}\n",
    "no size": f"origin\n\n{ROOT}\n",
    "no root": "origin\n5\n\n",
    "an empty extension": f"origin\n5\n{ROOT}\n\n",
    "an empty extension among others": f"origin\n5\n{ROOT}\na\n\nb\n",
    "CRLF": f"origin\r\n5\r\n{ROOT}\r\n",
    "a short root": f"origin\n5\n{base64.b64encode(bytes(31)).decode()}\n",
    "a long root": f"origin\n5\n{base64.b64encode(bytes(33)).decode()}\n",
    "a root in base64 of URLs": f"origin\n5\n{base64.urlsafe_b64encode(bytes([255] * 32)).decode()}\n",
    "a root without padding": f"origin\n5\n{ROOT.rstrip('=')}\n",
    "a root in another form of base64": f"origin\n5\n{ROOT[:-2]}9=\n",
    "a root in hex": f"origin\n5\n{bytes(32).hex()}\n",
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_what_is_no_checkpoint(name: str) -> None:
    with pytest.raises(EvidenceInvalid):
        Checkpoint.parse(ILL_FORMED[name])


class TestSizes:
    @pytest.mark.parametrize("size", [0, 1, 9, 10, 2**53, 2**63 - 1])
    def test_good(self, size: int) -> None:
        assert parse_size(str(size)) == size

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "00",
            "01",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "1_000",
            " 1",
            "1 ",
            "1\n",
            "0x10",
            "١",
            str(2**63),
            str(2**64),
            "9" * 5000,
        ],
    )
    def test_bad(self, text: str) -> None:
        with pytest.raises(EvidenceInvalid, match="a size is a decimal number without leading zeros, below 2"):
            parse_size(text)
        with pytest.raises(EvidenceInvalid):
            Checkpoint.parse(f"origin\n{text}\n{ROOT}\n")


def opened(note: Note) -> Checkpoint:
    return open_checkpoint(str(note).encode(), [LOG.verifier], WITNESS_KEYS).checkpoint


class TestOpening:
    def test_by_its_log(self) -> None:
        assert opened(signed(5)) == checkpoint(5)

    def test_who_cosigned_is_told_with_the_time(self) -> None:
        whole = open_checkpoint(str(signed(5, *WITNESSES[:2])).encode(), [LOG.verifier], WITNESS_KEYS)
        assert whole.cosigned == ((WITNESS_KEYS[0], 1_790_000_000), (WITNESS_KEYS[1], 1_790_000_000))
        assert str(whole.note) == str(signed(5, *WITNESSES[:2]))

    def test_by_another_of_its_keys(self) -> None:
        later = signer(LOG.name, 7)
        note = later.sign(str(checkpoint()))
        assert open_checkpoint(str(note).encode(), [LOG.verifier, later.verifier]).checkpoint == checkpoint()

    def test_not_by_nobody(self) -> None:
        for keys in ([], [signer(LOG.name, 9).verifier], [WITNESSES[0].verifier]):
            with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
                open_checkpoint(str(signed()).encode(), keys)

    def test_not_by_the_key_of_another_origin(self) -> None:
        other = signer("other.example", 5)
        note = other.sign(str(checkpoint()))
        with pytest.raises(EvidenceInvalid, match=r"of 'log\.example/2026h2' is not signed by a trusted key"):
            open_checkpoint(str(note).encode(), [LOG.verifier, other.verifier])

    def test_an_origin_cannot_write_on_the_terminal(self) -> None:
        note = LOG.sign(str(checkpoint()).replace(LOG.name, "\u202e\x9b31m"))
        with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key") as raised:
            opened(note)
        assert str(raised.value).isprintable()

    def test_not_by_witnesses_alone(self) -> None:
        text = str(checkpoint())
        note = Note(text, tuple(cosignature(one, text) for one in WITNESSES))
        with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
            opened(note)

    def test_not_by_a_witness_of_the_logs_name(self) -> None:
        false, text = signer(LOG.name, 1), str(checkpoint())
        for note in (Note(text, (cosignature(false, text),)), false.sign(text)):
            with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
                open_checkpoint(str(note).encode(), [LOG.verifier], [witness_key(false)])

    def test_each_kind_of_key_in_its_own_place(self) -> None:
        of_the_logs_name, text = signer(LOG.name, 1), str(checkpoint())
        cosigned = Note(text, (cosignature(of_the_logs_name, text),))
        with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
            open_checkpoint(str(cosigned).encode(), [witness_key(of_the_logs_name)])
        with pytest.raises(EvidenceInvalid, match="is not signed by a trusted key"):
            open_checkpoint(str(signed()).encode(), [], [LOG.verifier])

    def test_not_with_a_false_cosignature_of_a_known_witness(self) -> None:
        note = signed(5)
        false = cosignature(WITNESSES[0], signed(6).text)
        with pytest.raises(EvidenceInvalid, match=r"the signature of witness\.example/1 does not hold"):
            opened(Note(note.text, (*note.signatures, false)))

    def test_an_extension_is_signed_with_the_rest(self) -> None:
        assert opened(LOG.sign(f"{checkpoint()}extension\n")) == checkpoint()
        with pytest.raises(EvidenceInvalid, match="does not hold"):
            opened(Note(f"{checkpoint()}extension\n", signed().signatures))

    def test_every_bit_of_every_byte(self) -> None:
        good = str(signed(5, WITNESSES[0])).encode()
        for at in range(len(good)):
            for bit in range(8):
                wrong = bytearray(good)
                wrong[at] ^= 1 << bit
                try:
                    whole = open_checkpoint(bytes(wrong), [LOG.verifier], WITNESS_KEYS)
                except EvidenceInvalid:
                    continue
                # A witness whose name or key id is another one is not known: its signature says nothing.
                assert (whole.checkpoint, whole.cosigned) == (checkpoint(), ())

    def test_every_byte_missing(self) -> None:
        good = str(signed(5)).encode()
        for at in range(len(good)):
            for wrong in (good[:at], good[:at] + good[at + 1 :], good[: at + 1] + good[at:]):
                with pytest.raises(EvidenceInvalid):
                    open_checkpoint(wrong, [LOG.verifier])

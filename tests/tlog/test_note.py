"""Notes and keys: a foreign example, what is refused, and whose signature counts."""

import base64

import pytest

from bridge.errors import EvidenceInvalid
from bridge.tlog.note import (
    COSIGNATURE,
    ED25519,
    MAX_NOTE_BYTES,
    Note,
    Signature,
    Signer,
    VerifierKey,
    decode_base64,
    parse_signatures,
)
from tests.tlog.keys import LOG, WITNESSES, cosignature, signed, signer, witness_key

# The example in the documentation of Go's package golang.org/x/mod/sumdb/note.
GO_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
GO_NOTE = f"{GO_TEXT}\n\u2014 PeterNeumann {GO_SIGNATURE}\n"


class TestAForeignExample:
    def test_the_note_holds(self) -> None:
        key = VerifierKey.parse(GO_VKEY)
        assert Note.parse(GO_NOTE.encode()).verify([key]) == [(key, None)]

    def test_the_same_is_signed(self) -> None:
        assert str(Signer.parse(GO_KEY).sign(GO_TEXT)) == GO_NOTE

    def test_keys_read_and_written(self) -> None:
        mine = Signer.parse(f"{GO_KEY}\n")
        assert (str(mine), str(mine.verifier)) == (GO_KEY, GO_VKEY)


def line(key: bytes = b"\1\2\3\4", body: bytes = b"x" * 64, name: str = "unknown.example") -> str:
    return f"\u2014 {name} {base64.b64encode(key + body).decode()}\n"


GOOD = str(signed())
TEXT, _, SIGNED = GOOD.rpartition("\n\n")
ILL_FORMED: dict[str, bytes] = {
    "empty": b"",
    "a newline": b"\n",
    "no blank line": f"{TEXT}\n{SIGNED}".encode(),
    "no text": f"\n\n{SIGNED}".encode(),
    "no signature": f"{TEXT}\n\n".encode(),
    "no last newline": GOOD.rstrip("\n").encode(),
    "a blank line below": f"{GOOD}\n".encode(),
    "text below": f"{GOOD}text\n".encode(),
    "CRLF": GOOD.replace("\n", "\r\n").encode(),
    "a carriage return": GOOD.replace("\n\n", "\r\n\n").encode(),
    "a tab": b"a\tb" + GOOD.encode(),
    "a null byte": b"\0" + GOOD.encode(),
    "latin-1": "ü\n".encode("latin-1") + GOOD.encode(),
    "half a character": GOOD.encode()[: GOOD.encode().rindex(b"\xe2") + 2],
    "a surrogate": b"\xed\xa0\x80\n" + GOOD.encode(),
    "a hyphen for the dash": GOOD.replace("\u2014", "-").encode(),
    "no space": GOOD.replace("\u2014 ", "\u2014").encode(),
    "two spaces": GOOD.replace("\u2014 ", "\u2014  ").encode(),
    "a space behind": GOOD.replace("\n\u2014", " \n\u2014").encode().rstrip() + b" \n",
    "no base64": f"{TEXT}\n\n\u2014 name \n".encode(),
    "not base64": f"{TEXT}\n\n\u2014 name ???\n".encode(),
    "base64 of URLs": f"{TEXT}\n\n{line(body=bytes([255] * 61)).replace('/', '_')}".encode(),
    "base64 without padding": f"{TEXT}\n\n{line().replace('=', '')}".encode(),
    "base64 that is not canonical": f"{TEXT}\n\n{line().replace('eHg=', 'eHh=')}".encode(),
    "a key id without a body": f"{TEXT}\n\n{line(body=b'')}".encode(),
    "a plus in a name": f"{TEXT}\n\n{line(name='a+b')}".encode(),
    "a space in a name": f"{TEXT}\n\n{line(name=chr(0x3000) + 'b')}".encode(),
    "65 signatures": f"{TEXT}\n\n{line() * 65}".encode(),
    "too many bytes": b"a" * MAX_NOTE_BYTES + GOOD.encode(),
}


@pytest.mark.parametrize("name", ILL_FORMED)
def test_what_is_no_note(name: str) -> None:
    with pytest.raises(EvidenceInvalid):
        Note.parse(ILL_FORMED[name])


def test_the_text_ends_at_the_last_blank_line() -> None:
    note = LOG.sign("one\n\ntwo\n\n\nthree\n\n")
    assert Note.parse(str(note).encode()) == note
    assert note.verify([LOG.verifier]) == [(LOG.verifier, None)]


def test_a_plus_in_base64_is_base64() -> None:
    note = Note.parse(f"{TEXT}\n\n{line(body=bytes([0xFB] * 66))}".encode())
    assert note.signatures == (Signature("unknown.example", b"\1\2\3\4", bytes([0xFB] * 66)),)
    assert "+" in str(note).rpartition("\n\n")[2]


@pytest.mark.parametrize("count", [1, 16, 17, 64])
def test_as_many_signatures(count: int) -> None:
    note = Note.parse(f"{TEXT}\n\n{line() * (count - 1)}{SIGNED}".encode())
    assert len(note.signatures) == count
    assert note.verify([LOG.verifier]) == [(LOG.verifier, None)]


def test_16_signatures_that_no_quantum_computer_forges() -> None:
    """Signatures can be up to nearly 5 kB in size, and 16 must be taken."""
    note = Note.parse(f"{TEXT}\n\n{line(body=bytes(4_800)) * 16}{SIGNED}".encode())
    assert note.verify([LOG.verifier]) == [(LOG.verifier, None)]


class TestWhoseSignaturesCount:
    def test_unknown_keys_are_passed_over(self) -> None:
        assert signed(5, *WITNESSES).verify([]) == []
        assert Note.parse(f"{TEXT}\n\n{line(name=LOG.name)}{SIGNED}".encode()).verify([LOG.verifier]) == [
            (LOG.verifier, None)
        ]
        other = signer(LOG.name, 9)
        assert signed().verify([other.verifier]) == []

    def test_a_known_key_with_a_bad_signature(self) -> None:
        for wrong in (line(LOG.verifier.id, name=LOG.name), line(LOG.verifier.id, bytes(5), LOG.name)):
            with pytest.raises(EvidenceInvalid, match=r"the signature of log\.example/2026h2 does not hold"):
                Note.parse(f"{TEXT}\n\n{wrong}{SIGNED}".encode()).verify([LOG.verifier])

    def test_a_signature_of_another_text(self) -> None:
        other = Note(f"{TEXT}x\n", signed().signatures)
        with pytest.raises(EvidenceInvalid, match="does not hold"):
            other.verify([LOG.verifier])

    def test_every_bit_of_a_signature(self) -> None:
        (good,) = signed().signatures
        for bit in range(8 * len(good.body)):
            body = (int.from_bytes(good.body, "big") ^ 1 << bit).to_bytes(len(good.body), "big")
            with pytest.raises(EvidenceInvalid, match="does not hold"):
                Note(signed().text, (Signature(good.name, good.key_id, body),)).verify([LOG.verifier])

    def test_a_key_that_signed_twice_counts_once(self) -> None:
        assert Note.parse(f"{TEXT}\n\n{SIGNED * 3}".encode()).verify([LOG.verifier]) == [(LOG.verifier, None)]


class TestCosignatures:
    def test_they_tell_a_time(self) -> None:
        note, text = signed(), signed().text
        keys = [witness_key(one) for one in WITNESSES]
        for time in (1, 1_790_000_000, 253_402_300_799):
            whole = Note(text, (*note.signatures, cosignature(WITNESSES[0], text, time)))
            assert whole.verify([LOG.verifier, *keys]) == [(LOG.verifier, None), (keys[0], time)]

    def test_the_time_is_signed(self) -> None:
        key, good = witness_key(WITNESSES[0]), cosignature(WITNESSES[0], signed().text)
        for bit in range(64):
            body = (int.from_bytes(good.body, "big") ^ 1 << (512 + bit)).to_bytes(72, "big")
            with pytest.raises(EvidenceInvalid):
                Note(signed().text, (Signature(good.name, good.key_id, body),)).verify([key])

    @pytest.mark.parametrize("time", [0, 253_402_300_800, 2**63, 2**64 - 1])
    def test_of_a_time_that_is_none(self, time: int) -> None:
        note = Note(signed().text, (cosignature(WITNESSES[0], signed().text, time),))
        with pytest.raises(EvidenceInvalid, match="time"):
            note.verify([witness_key(WITNESSES[0])])

    @pytest.mark.parametrize("length", [1, 8, 64, 71, 73, 200])
    def test_of_another_length(self, length: int) -> None:
        key = witness_key(WITNESSES[0])
        with pytest.raises(EvidenceInvalid, match="ill-formed"):
            Note("text\n", (Signature(key.name, key.id, bytes(length)),)).verify([key])

    def test_a_witness_is_no_log_and_a_log_no_witness(self) -> None:
        one = WITNESSES[0]
        text = signed().text
        assert Note(text, (cosignature(one, text),)).verify([one.verifier]) == []
        assert one.sign(text).verify([witness_key(one)]) == []


SAME = VerifierKey("a.example", ED25519, LOG.verifier.public)
BAD_KEYS: dict[str, str] = {
    "empty": "",
    "no plus": "name",
    "one plus": "name+00000000",
    "no name": str(SAME).removeprefix("a.example"),
    "another name": str(SAME).replace("a.example", "b.example"),
    "a space in the name": str(SAME).replace("a.example", "a example"),
    "a surrogate in the name": str(SAME).replace("a.example", "a\ud800"),
    "the id in capitals": str(SAME).replace(SAME.id.hex(), SAME.id.hex().upper()),
    "the id too short": str(SAME).replace(SAME.id.hex(), SAME.id.hex()[:-1]),
    "no base64": str(SAME)[:30],
    "base64 cut off": str(SAME)[:-1],
    "not ASCII": str(SAME)[:-1] + "ü",
    "two lines": f"{SAME}\n{SAME}",
    "an unknown kind": str(VerifierKey("a.example", 2, LOG.verifier.public)),
    "a short key": str(VerifierKey("a.example", ED25519, b"x" * 31)),
    "a long key": str(VerifierKey("a.example", ED25519, b"x" * 33)),
}


SECRET = str(LOG)
BAD_SIGNING_KEYS = {
    "empty": "",
    "not said to be private": SECRET.removeprefix("PRIVATE+"),
    "small letters": SECRET.lower(),
    "another name": SECRET.replace("log", "gol"),
    "a surrogate in the name": SECRET.replace("log", "\ud800"),
    "too short": SECRET[:-4],
    "too long": f"{SECRET}AAAA",
    "another kind": SECRET.replace("+AQ", "+BA"),
    "another id": SECRET.replace(LOG.verifier.id.hex(), "00000000"),
    "a public key": str(LOG.verifier),
}


class TestKeys:
    @pytest.mark.parametrize("name", BAD_KEYS)
    def test_what_is_no_verifier_key(self, name: str) -> None:
        with pytest.raises(EvidenceInvalid):
            VerifierKey.parse(BAD_KEYS[name])

    @pytest.mark.parametrize("algorithm", [ED25519, COSIGNATURE])
    def test_one_key_for_two_uses_has_two_ids(self, algorithm: int) -> None:
        key = VerifierKey("a.example", algorithm, LOG.verifier.public)
        assert VerifierKey.parse(f" {key}\n") == key
        assert (key.id == SAME.id) == (algorithm == ED25519)

    def test_a_plus_in_the_base64_of_a_key(self) -> None:
        keys = [VerifierKey("a.example", ED25519, bytes([number]) * 32) for number in range(256)]
        with_plus = [key for key in keys if str(key).count("+") > 2]
        assert with_plus
        assert all(VerifierKey.parse(str(key)) == key for key in keys)

    def test_signing_keys_come_back(self) -> None:
        for seed in range(64):
            mine = signer("a.example", seed)
            assert str(Signer.parse(str(mine))) == str(mine)

    @pytest.mark.parametrize("name", BAD_SIGNING_KEYS)
    def test_what_is_no_signing_key(self, name: str) -> None:
        with pytest.raises(EvidenceInvalid) as raised:
            Signer.parse(BAD_SIGNING_KEYS[name])
        assert SECRET.rpartition("+")[2][:10] not in str(raised.value)

    def test_a_key_of_another_length_is_no_signing_key(self) -> None:
        long = base64.b64encode(b"\1" + bytes(64)).decode()
        with pytest.raises(EvidenceInvalid, match="not an Ed25519 key"):
            Signer.parse(f"PRIVATE+KEY+a+00000000+{long}")


class TestBase64:
    @pytest.mark.parametrize(
        "text", ["AA", "AA=", "AB==", "AAB=", "A===", "=", "AA==AA==", "AA==\n", " AA==", "A-_A", "ÄAAA"]
    )
    def test_only_the_one_form(self, text: str) -> None:
        with pytest.raises(EvidenceInvalid):
            decode_base64(text)

    def test_the_one_form(self) -> None:
        assert [decode_base64(text) for text in ("", "AA==", "AAA=", "AAAA", "+/+/")] == [
            b"",
            b"\0",
            b"\0\0",
            b"\0\0\0",
            b"\xfb\xff\xbf",
        ]


def test_signature_lines_alone() -> None:
    assert parse_signatures(SIGNED) == signed().signatures
    for wrong in ("", "\n", SIGNED.rstrip("\n"), f"\n{SIGNED}", f"{SIGNED}\n"):
        with pytest.raises(EvidenceInvalid):
            parse_signatures(wrong)

"""Signed notes and their keys (C2SP signed-note, tlog-cosignature): text in, text out."""

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bridge.errors import EvidenceInvalid

ED25519 = 0x01
COSIGNATURE = 0x04
MAX_NOTE_BYTES = 128 * 1024
MAX_SIGNATURES = 64
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f\ud800-\udfff]{1,256}")
_LAST_SECOND = 253_402_300_799  # of the year 9999, where RFC 3339 ends
_SIGNATURE = re.compile("\u2014 (\\S+) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A public key that is trusted under `name`; `algorithm` is ED25519 (logs) or COSIGNATURE (witnesses)."""

    name: str
    algorithm: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The first 4 bytes of SHA-256(name, newline, algorithm, public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.algorithm]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """From a vkey: `<name>+<8 hex digits>+<base64>`. EvidenceInvalid when it is none, or of an unknown kind."""
        parts = text.strip().split("+", 2)  # base64 may hold a plus, too
        if len(parts) != 3 or not is_name(parts[0]):
            raise EvidenceInvalid("not a verifier key: it reads NAME+HEX+BASE64")
        material = decode_base64(parts[2])
        if len(material) != 33 or material[0] not in (ED25519, COSIGNATURE):
            raise EvidenceInvalid(f"verifier key {parts[0]!r}: neither Ed25519 (1) nor an Ed25519 cosignature key (4)")
        key = cls(parts[0], material[0], material[1:])
        if key.id.hex() != parts[1]:
            raise EvidenceInvalid(f"verifier key {parts[0]!r}: its id does not belong to it")
        return key


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line, of whatever kind."""

    name: str
    key_id: bytes
    body: bytes

    def __str__(self) -> str:
        return f"\u2014 {self.name} {base64.b64encode(self.key_id + self.body).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """`text` ends in a newline and is what is signed."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(map(str, self.signatures))

    @classmethod
    def parse(cls, data: bytes) -> "Note":
        """EvidenceInvalid when it is not a note. Nothing is verified yet."""
        if len(data) > MAX_NOTE_BYTES:
            raise EvidenceInvalid(f"a note may have at most {MAX_NOTE_BYTES} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError:
            raise EvidenceInvalid("a note is UTF-8 text") from None
        if any((c < " " and c != "\n") or c == "\x7f" for c in whole):
            raise EvidenceInvalid("a note holds no control characters but newlines")
        text, blank, below = whole.rpartition("\n\n")
        if not blank or not text or not below.endswith("\n"):
            raise EvidenceInvalid("a note is a text, an empty line, and signature lines")
        return cls(text + "\n", parse_signatures(below))

    def verify(self, keys: Iterable[VerifierKey]) -> list[tuple[VerifierKey, int | None]]:
        """The keys whose signatures hold, with the time (s) that a cosignature tells. Unknown keys are passed over.

        EvidenceInvalid when a known key's signature does not hold.
        """
        known = {(key.name, key.id): key for key in keys}
        found: dict[VerifierKey, int | None] = {}
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None and key not in found:
                found[key] = _check(key, self.text, signature.body)
        return list(found.items())


@dataclass(frozen=True, slots=True)
class Signer:
    """An Ed25519 key that signs notes under `name`."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.name, ED25519, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> Note:
        """The note of `text` (which ends in a newline) with our signature."""
        return Note(text, (Signature(self.name, self.verifier.id, self.private.sign(text.encode())),))

    def __str__(self) -> str:
        """The key itself, as Go's note package writes it: PRIVATE+KEY+NAME+HEX+BASE64. A secret."""
        material = base64.b64encode(bytes([ED25519]) + self.private.private_bytes_raw()).decode()
        return f"PRIVATE+KEY+{self.name}+{self.verifier.id.hex()}+{material}"

    @classmethod
    def parse(cls, text: str) -> "Signer":
        """EvidenceInvalid when it is not such a key; never shows a part of it."""
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"] or not is_name(parts[2]):
            raise EvidenceInvalid("not a signing key: it reads PRIVATE+KEY+NAME+HEX+BASE64")
        material = decode_base64(parts[4])
        if len(material) != 33 or material[0] != ED25519:
            raise EvidenceInvalid("the signing key is not an Ed25519 key")
        signer = cls(parts[2], Ed25519PrivateKey.from_private_bytes(material[1:]))
        if signer.verifier.id.hex() != parts[3]:
            raise EvidenceInvalid("the signing key's id does not belong to it")
        return signer


def parse_signatures(below: str) -> tuple[Signature, ...]:
    """Signature lines, each with its newline. EvidenceInvalid when one is ill-formed, or there are none or too many."""
    lines = below.split("\n")
    if lines.pop() != "" or not lines or len(lines) > MAX_SIGNATURES:
        raise EvidenceInvalid(f"there must be 1 to {MAX_SIGNATURES} signature lines, each ended by a newline")
    return tuple(map(_signature, lines))


def is_name(name: str) -> bool:
    """Whether a key may have this name: not empty, no spaces, no plus."""
    return _NAME.fullmatch(name) is not None


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding (RFC 4648, section 4), in its one canonical form. EvidenceInvalid otherwise."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise EvidenceInvalid("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise EvidenceInvalid("not base64 in its canonical form")
    return data


def _signature(line: str) -> Signature:
    found = _SIGNATURE.fullmatch(line)
    if found is None or not is_name(found[1]):
        raise EvidenceInvalid("a signature line reads: em dash, key name, base64")
    body = decode_base64(found[2])
    if len(body) < 5:
        raise EvidenceInvalid("a signature has a key id of 4 bytes and a body")
    return Signature(found[1], body[:4], body[4:])


def _check(key: VerifierKey, text: str, body: bytes) -> int | None:
    """The time that a cosignature tells, None for a plain signature. EvidenceInvalid when it does not hold."""
    message, time = text.encode(), None
    if key.algorithm == COSIGNATURE:
        if len(body) != 72:
            raise EvidenceInvalid(f"the cosignature of {key.name} is ill-formed")
        (time,) = struct.unpack(">Q", body[:8])
        if not 0 < time <= _LAST_SECOND:
            raise EvidenceInvalid(f"the cosignature of {key.name} tells a time that no calendar has")
        message, body = f"cosignature/v1\ntime {time}\n".encode() + message, body[8:]
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(body, message)
    except (InvalidSignature, ValueError):
        raise EvidenceInvalid(f"the signature of {key.name} does not hold") from None
    return time

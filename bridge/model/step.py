"""What is done about an ending, after it is in the log: steps at authorization servers and relying parties. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from bridge.model.ended import Name
from bridge.model.entry import canonical
from bridge.model.issued import TokenDigest

ENDING_ID = "ending_id"
"""The member by which what was done about an ending is found."""
TOKEN = "token"  # noqa: S105 - a number
"""The member that tells which one of several tokens an entry is about."""
NOTICE, CLIENT, TOKENS, DOWNSTREAM = "notice", "client", "tokens", "downstream"
ORDER: Mapping[str, int] = {NOTICE: 0, "sessions": 1, "consent": 2, TOKENS: 3, CLIENT: 4, DOWNSTREAM: 5}
"""Kinds of steps, and which go first; those of one number go together. Others go with the tokens.

Sessions go before consents: a server may know by these alone whom it must tell that a session has ended.
"""
_PERSON = b"step"
"""Tells these digests from any other under the same key."""


class Standing(StrEnum):
    """How far a step has come. FAILED is tried again; ACCEPTED was said yes to, where nothing can be looked at."""

    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """What ended began anew in the meantime, and must not be touched any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `kind`: "notice", "consent", "sessions", "tokens", "client", "downstream".

    `name`: of whom or what, as the log names it: with `kind` it tells the step from others of its saga, also after a
    restart. `more`: further ids that are needed to do it.
    """

    kind: str
    name: Name
    more: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def rank(self) -> int:
        """Steps of a lower one are tried first."""
        return ORDER.get(self.kind, ORDER[TOKENS])

    def digest(self, connector: str, digest: TokenDigest) -> str:
        """As `Name.digest`, over the connector's kind, the step's, and the parts of its name."""
        written = canonical([connector, self.kind, self.name.what, self.name.issuer, *self.name.ids])
        return f"{digest.key_id}:{blake2b(written, key=digest.key, digest_size=32, person=_PERSON).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Observed:
    """What was asked (a method and a path, without ids and secrets), what was seen, and where the step stands by it.

    `seen` holds numbers, truths and short words of ours alone: nothing that the other side chose stands in the log.
    """

    standing: Standing
    asked: str
    seen: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Token:
    """A token that shall be taken back (RFC 7009), with what kind it is, where that is told. It is never kept."""

    value: str = field(repr=False)
    hint: str | None = None

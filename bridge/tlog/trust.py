"""Whom to trust: logs, witnesses and a quorum, in a file of its own (C2SP tlog-policy)."""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from bridge.errors import EvidenceInvalid
from bridge.tlog.note import COSIGNATURE, ED25519, VerifierKey

MAX_LINES = 1000
NONE = "none"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_Rule = Callable[[Collection[VerifierKey]], bool]


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness: its name in the file, its key, and where it takes checkpoints (empty: only verified)."""

    name: str
    key: VerifierKey
    url: str = ""


@dataclass(slots=True)
class Trust:
    """A policy file. `quorum` names a witness, a group, or `none`."""

    logs: list[VerifierKey] = field(default_factory=list)
    witnesses: list[Witness] = field(default_factory=list)
    quorum: str = NONE
    _rules: dict[str, _Rule] = field(default_factory=dict)
    _grouped: set[str] = field(default_factory=set)

    def satisfied(self, cosigned: Collection[VerifierKey]) -> bool:
        """Whether these witness keys make the quorum."""
        return self.quorum == NONE or self._rules[self.quorum](cosigned)

    @classmethod
    def parse(cls, text: str) -> "Trust":
        """EvidenceInvalid names the line and what is wrong with it."""
        trust, quorums = cls(), 0
        lines = text.replace("\r\n", "\n").split("\n")
        if len(lines) > MAX_LINES:
            raise EvidenceInvalid(f"a trust policy may have at most {MAX_LINES} lines")
        for number, line in enumerate(lines, 1):
            if _CONTROL.search(line):
                raise EvidenceInvalid(f"trust policy, line {number}: a control character")
            words = [word for word in line.replace("\t", " ").split(" ") if word]
            if not words or words[0].startswith("#"):
                continue
            try:
                trust._take(words[0], words[1:])
            except EvidenceInvalid as error:
                raise EvidenceInvalid(f"trust policy, line {number}: {error}") from None
            quorums += words[0] == "quorum"
        if quorums != 1:
            raise EvidenceInvalid("a trust policy has exactly one quorum line")
        return trust

    def _take(self, kind: str, words: list[str]) -> None:
        if kind == "log" and len(words) in (1, 2):
            key = VerifierKey.parse(words[0])
            if key.algorithm != ED25519 or key.public in [one.public for one in self.logs]:
                raise EvidenceInvalid("a log needs an Ed25519 key of its own")
            self.logs.append(key)
        elif kind == "witness" and len(words) in (2, 3):
            key = VerifierKey.parse(words[1])
            if key.algorithm != COSIGNATURE or key.public in [one.key.public for one in self.witnesses]:
                raise EvidenceInvalid("a witness needs a cosignature key (type 4) of its own")
            self._name(words[0], lambda cosigned: key in cosigned)
            self.witnesses.append(Witness(words[0], key, words[2] if len(words) == 3 else ""))
        elif kind == "group" and len(words) >= 3:
            members = [self._grouping(name) for name in words[2:]]
            least = _threshold(words[1], len(members))
            self._name(words[0], lambda cosigned: sum(member(cosigned) for member in members) >= least)
        elif kind == "quorum" and len(words) == 1:
            if words[0] != NONE:
                self._member(words[0])
            self.quorum = words[0]
        else:
            raise EvidenceInvalid(
                "lines read: log VKEY [URL], witness NAME VKEY [URL], group NAME K|any|all NAME…, quorum NAME"
            )

    def _name(self, name: str, rule: _Rule) -> None:
        if name == NONE or name in self._rules:
            raise EvidenceInvalid(f"the name {name!r} is taken")
        self._rules[name] = rule

    def _grouping(self, name: str) -> _Rule:
        """A member of a group, and of no other: each witness counts in one way only."""
        if name in self._grouped:
            raise EvidenceInvalid(f"{name!r} is a member of a group already")
        self._grouped.add(name)
        return self._member(name)

    def _member(self, name: str) -> _Rule:
        if name not in self._rules:
            raise EvidenceInvalid(f"there is no witness or group {name!r} above")
        return self._rules[name]


def _threshold(word: str, members: int) -> int:
    if word in ("any", "all"):
        return 1 if word == "any" else members
    if not word.isdecimal() or not word.isascii() or len(word) > 4 or not 1 <= int(word) <= members:
        raise EvidenceInvalid(f"a group's threshold is any, all, or 1 to {members}")
    return int(word)

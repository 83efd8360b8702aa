"""A server's own list of the tokens that it issued, and what the log's reports tell of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.errors import EvidenceInvalid, MalformedRequest
from bridge.model import strict_json
from bridge.model.commitment import is_hidden
from bridge.model.issued import Minted, TokenDigest, Violation

MAX_NAMES = 20


class Token(BaseModel):
    """One line of the list; times in seconds since the epoch. What else stands there is passed over."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    jti: str
    decision_id: str | None = None
    exp: float | None = None
    scopes: list[str] | None = None
    audience: list[str] | None = None
    iat: float | None = None

    def minted(self) -> Minted:
        return Minted(self.scopes, self.audience, self.exp, None if self.iat is None else self.iat * 1000)


@dataclass(slots=True)
class Listed:
    """A token of the list, and what reports tell of it: the first one's index and decision, and the violations."""

    line: int
    token: Token
    index: int | None = None
    decision_id: str | None = None
    violations: set[str] = field(default_factory=set)

    def take(self, index: int, report: dict[str, Any]) -> None:
        """Takes note of an `issued` entry about this token."""
        if self.index is None:
            self.index, self.decision_id = index, report["decision_id"]
        self.violations.update(report["violations"])
        token = self.token
        told: list[tuple[Any, Any]] = [
            (token.decision_id, report["decision_id"]),
            (token.exp, report["exp"]),
            (_unordered(token.scopes), _unordered(report["scopes"])),
            (_unordered(token.audience), _unordered(report["audience"])),
        ]
        if any(None not in (listed, reported) and listed != reported for listed, reported in told):
            self.violations.add(Violation.CONTRADICTS_REPORT)


@dataclass(frozen=True, slots=True)
class IssuedList:
    """The list, by digest of the token; `twice`: lines whose jti stood there before.

    `passed_over`: names of members that are no `Token`'s, `MAX_NAMES` or a few more; one may be a misspelt one.
    """

    digest: TokenDigest
    tokens: dict[str, Listed] = field(default_factory=dict)
    twice: list[Listed] = field(default_factory=list)
    passed_over: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, lines: Iterable[bytes], digest: TokenDigest) -> "IssuedList":
        """One JSON object a line; empty lines are passed over. EvidenceInvalid names the line that is none."""
        found = cls(digest)
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                members = strict_json.loads(line)
                token = Token.model_validate(members)
            except MalformedRequest as error:
                raise EvidenceInvalid(f"line {number}: {error.problems[0][1]}") from error
            except ValidationError as error:
                first = error.errors(include_input=False, include_url=False)[0]
                where = "/".join(map(str, first["loc"]))
                raise EvidenceInvalid(f"line {number}: {where}: {first['msg']}") from error
            if len(found.passed_over) < MAX_NAMES:
                found.passed_over.update(members.keys() - Token.model_fields.keys())
            listed = Listed(number, token)
            if found.tokens.setdefault(digest(token.jti), listed) is not listed:
                found.twice.append(listed)
        return found


def _unordered(values: list[str] | None) -> frozenset[str] | None:
    """None: not told, or erased in part."""
    return None if values is None or any(map(is_hidden, values)) else frozenset(values)

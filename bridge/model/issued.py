"""What a token service reports to have minted, and how that may break the decision it rests on. Pure."""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from bridge.model.commitment import is_hidden
from bridge.model.decision import VALID_FOR_MS, Outcome
from bridge.model.issuance import Identifier, Name, ShortList, Strict
from bridge.model.mask import MASKED
from bridge.model.times import parse_rfc3339

LEEWAY_MS = 5_000
"""For clocks that differ, and for the way of a report."""


class IssuedReport(Strict):
    """One token that was minted, told by who minted it."""

    decision_id: Name = Field(description="The decision that allowed it.")
    jti: Identifier = Field(description="The token's id; only a keyed digest of it is kept.")
    exp: Annotated[int, Field(ge=0, lt=2**53)] = Field(description="When it expires: seconds since the epoch.")
    scopes: ShortList = Field(description="What it is good for.")
    audience: ShortList = Field(description="Whom it is for; empty: for anyone.")


class Violation(StrEnum):
    """How a report breaks its decision, or disagrees with an earlier report."""

    UNKNOWN_DECISION = "unknown_decision"
    AFTER_DENIAL = "after_denial"
    LATE = "late"
    SECOND_TOKEN = "second_token"  # noqa: S105 - a code
    MORE_SCOPES = "more_scopes"
    LONGER_LIFE = "longer_life"
    WIDER_AUDIENCE = "wider_audience"
    JTI_REUSED = "jti_reused"
    CONTRADICTS_REPORT = "contradicts_report"


@dataclass(frozen=True)
class TokenDigest:
    """HMAC-SHA256 of a token's id under a key of the log's own: tells whether two are one, and not which."""

    key: bytes

    @cached_property
    def key_id(self) -> str:
        """Tells digests under different keys apart: 8 hex digits."""
        return hashlib.sha256(self.key).hexdigest()[:8]

    def __call__(self, jti: str) -> str:
        """64 hex digits."""
        return hmac.digest(self.key, jti.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Minted:
    """A token as somebody tells of it; None: not told. `exp` in seconds; `at_ms`: when it was minted, at the latest."""

    scopes: Iterable[str] | None
    audience: Iterable[str] | None
    exp: float | None
    at_ms: float | None


def breaches(decision: Mapping[str, Any] | None, minted: Minted, *, overruled: bool) -> set[Violation]:
    """What in the token goes beyond the entry of its decision; None: there is no such decision.

    Nothing goes beyond what is erased. `overruled`: a later entry says that the caller was denied all the same.
    """
    if decision is None:
        return {Violation.UNKNOWN_DECISION}
    found = set()
    if overruled or not grants(decision):
        found.add(Violation.AFTER_DENIAL)
    valid_until = (parse_rfc3339(decision["time"]) or 0) + VALID_FOR_MS
    if minted.at_ms is not None and minted.at_ms > valid_until + LEEWAY_MS:
        found.add(Violation.LATE)
    # Of an AuthZEN request that names no scopes, the limit may: then it is what was granted.
    granted = [*decision["granted_scopes"], *decision["limit"].get("granted_scope", "").split()]
    if minted.scopes is not None and not any(map(is_hidden, granted)) and not set(minted.scopes) <= set(granted):
        found.add(Violation.MORE_SCOPES)
    lifetime = decision["limit"].get("token_lifetime")
    if minted.exp is not None and isinstance(lifetime, int):
        begins = valid_until if minted.at_ms is None else min(minted.at_ms, valid_until)
        if minted.exp * 1000 > begins + lifetime * 1000 + LEEWAY_MS:
            found.add(Violation.LONGER_LIFE)
    if minted.audience is not None and _wider(tuple(minted.audience), decision):
        found.add(Violation.WIDER_AUDIENCE)
    return found


def grants(decision: Mapping[str, Any]) -> bool:
    """Whether a token may be minted for this entry of a decision."""
    outcome = decision["outcome"]
    return bool(outcome == Outcome.ALLOW or (outcome == Outcome.CONDITIONAL and decision["granted_scopes"]))


def in_order(found: Iterable[Violation]) -> list[str]:
    """The codes, in the order in which they are defined."""
    return [violation.value for violation in Violation if violation in set(found)]


def _wider(audience: tuple[str, ...], decision: Mapping[str, Any]) -> bool:
    """Beyond the limit, else beyond what was asked for; a token for nobody in particular is one for everybody."""
    limit = decision["limit"].get("audience")
    if limit is None:
        limit = decision.get("request", {}).get("audience")
        # Nothing was asked for, or the entry does not show it: masked, or left out for its size.
        if not isinstance(limit, list) or not limit or MASKED in limit:
            return False
    if any(map(is_hidden, limit)):
        return False
    return not audience or not set(audience) <= set(limit)

"""Turns the bridge's answer into the terms of one token, or into a refusal. Pure; the heart of this example.

The bridge has decided already: nothing here grants. It only makes sure that the answer is understood to the last
word, and that no token is broader than what was asked for or than what the answer says.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from examples.token_service.bridge_client import Answer, BridgeFailure
from examples.token_service.refusals import Refusal, refusal

UNDERSTOOD_CLAIMS = frozenset({"tenant"})
"""Critical claims that this server and its resource servers heed: both must know what they mean."""


@dataclass(frozen=True)
class Asked:
    """What the server would put into one token. `authorization_details` is None where the client sent none."""

    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    authorization_details: list[dict[str, Any]] | None
    lifetime: int


@dataclass(frozen=True)
class Terms:
    """What may be put into the one token that the decision `decision_id` is about."""

    decision_id: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    authorization_details: list[dict[str, Any]] | None
    lifetime: int
    claims: Mapping[str, Any]
    valid_until: datetime
    reportable: bool = True
    """Whether what is minted can be compared with that one decision."""

    def still_valid(self) -> None:
        """To be called last before minting: raises BridgeFailure when it has become too late."""
        if datetime.now(UTC) >= self.valid_until:
            raise BridgeFailure(f"the decision {self.decision_id} is no longer valid")


class Denied(Exception):
    """The answer is no, or not yet: `why` is for the log, `told` for the client."""

    def __init__(self, why: str, told: Refusal) -> None:
        super().__init__(why)
        self.told = told


def obey(answer: Answer, asked: Asked) -> Terms:
    """The terms of the token. Raises Denied, or BridgeFailure when the answer cannot be followed to the letter."""
    if answer.outcome == "deny" or (answer.outcome == "conditional" and not answer.granted_scopes):
        raise _denied(answer)
    if asked.scopes and not answer.granted_scopes:
        raise _cannot(answer, "it allows none of the scopes asked for")
    if not set(answer.granted_scopes) <= set(asked.scopes):
        raise _cannot(answer, "it grants scopes that were not asked for")
    if unknown := sorted(set(answer.crit) - UNDERSTOOD_CLAIMS):
        raise _cannot(answer, f"this server does not understand the critical claims {unknown}")
    if missing := sorted(set(answer.crit) - set(answer.claims)):
        raise _cannot(answer, f"it names critical claims that it does not set: {missing}")

    limit = answer.limit
    audience = tuple(a for a in asked.audience if limit.audience is None or a in limit.audience)
    if not audience:
        raise _cannot(answer, "it leaves no audience")
    return Terms(
        decision_id=answer.decision_id,
        scopes=tuple(answer.granted_scopes),
        audience=audience,
        authorization_details=_details(answer, asked.authorization_details),
        lifetime=min(asked.lifetime, limit.token_lifetime or asked.lifetime),
        claims=answer.claims,
        valid_until=answer.valid_until,
    )


def _denied(answer: Answer) -> Denied:
    codes = [f.code for f in answer.findings] + [f.code for said in answer.scopes.values() for f in said.findings]
    why = f"{answer.outcome} by decision {answer.decision_id}: {', '.join(dict.fromkeys(codes))}"
    return Denied(why, refusal(answer))


def _details(answer: Answer, asked: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    if asked is None:
        return None
    granted = answer.limit.authorization_details
    if not granted:
        raise _cannot(answer, "it leaves no authorization_details")
    for entry in granted:
        if not any(_covers(wish, entry) for wish in asked):
            raise _cannot(answer, "it grants authorization_details that were not asked for")
    return granted


def _covers(asked: dict[str, Any], granted: dict[str, Any]) -> bool:
    return asked.keys() == granted.keys() and all(_within(granted[name], asked[name]) for name in asked)


def _within(granted: Any, asked: Any) -> bool:
    if isinstance(granted, list) and isinstance(asked, list):
        return {_typed(item) for item in granted} <= {_typed(item) for item in asked}
    return _typed(granted) == _typed(asked)


def _typed(value: Any) -> str:
    # To Python, 1 equals True; in JSON it does not.
    return json.dumps(value, sort_keys=True)


def _cannot(answer: Answer, why: str) -> BridgeFailure:
    return BridgeFailure(f"the decision {answer.decision_id} cannot be followed: {why}")

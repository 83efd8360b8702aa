"""Documents of one batch that one token comes of: what a package narrows in one holds in the others, too.

Where scopes were asked for, no item of an AuthZEN reply can tell a `granted_scope`, so it must be in the decisions. One
token comes of the gates of one subject at one target, and of both gates of an exchange (or of an assertion grant, where
the client that redeems has a gate as well); other documents are questions of their own, and do not touch each other.
"""

from collections import defaultdict
from collections.abc import Sequence

from bridge.model.decision import Decision, Outcome
from bridge.pdp.gather import Asking

_Token = tuple[str, ...]
TWO_PARTIES = ("token_exchange", "jwt_bearer", "saml2_bearer")
"""Grants in which the requesting party has a gate beside the subject's."""


def left_by_others(askings: Sequence[Asking], decisions: Sequence[Decision]) -> list[frozenset[str] | None]:
    """For each document: the scopes that the packages which count in its fellows leave (None: all of them).

    A document at a target of its own, which takes its gate from elsewhere, is narrowed and narrows nobody.
    """
    limits: dict[_Token, list[tuple[int, frozenset[str]]]] = defaultdict(list)
    tokens = [_token(asking, askings) for asking in askings]
    for number, (asking, decision) in enumerate(zip(askings, decisions, strict=True)):
        if _audience(_gates(asking, askings)) == _audience(asking):
            counting = [a for a in (decision.gate, *decision.scopes.values()) if a.outcome is Outcome.ALLOW]
            found = [limit for a in counting if (limit := a.limit.granted_scope) is not None]
            limits[tokens[number]].extend((number, limit) for limit in found)
    return [_common([limit for by, limit in limits[token] if by != n]) for n, token in enumerate(tokens)]


def _token(asking: Asking, askings: Sequence[Asking]) -> _Token:
    """Equal for documents that one token comes of: the target of the gate, and the exchange or the subject."""
    at = _gates(asking, askings)
    subject = at.request["subject"]
    who = ("",) if at.request["grant_type"] in TWO_PARTIES else (subject["type"], subject["id"])
    return (*_audience(at), "", *who)


def _gates(asking: Asking, askings: Sequence[Asking]) -> Asking:
    """The one whose gate counts."""
    return asking if asking.terms.gate_of is None else askings[asking.terms.gate_of]


def _audience(asking: Asking) -> Sequence[str]:
    return tuple(asking.request.get("audience", ()))


def _common(limits: Sequence[frozenset[str]]) -> frozenset[str] | None:
    return frozenset.intersection(*limits) if limits else None

"""Documents of one batch that one token comes of: what a package narrows in one holds in the others, too.

Where scopes were asked for, no item of an AuthZEN reply can tell a `granted_scope`, so it must be in the decisions. The
door tells which documents are about one token (`Terms.tokens`); others are questions of their own and do not touch.
"""

from collections import defaultdict
from collections.abc import Sequence

from bridge.model.decision import Decision, Outcome
from bridge.pdp.gather import Asking


def left_by_others(askings: Sequence[Asking], decisions: Sequence[Decision]) -> list[frozenset[str] | None]:
    """For each document: the scopes that the packages which count in its fellows leave (None: all of them).

    A document at a target of its own, which takes its gate from elsewhere, is narrowed and narrows nobody.
    """
    limits: dict[tuple[str, ...], list[tuple[int, frozenset[str]]]] = defaultdict(list)
    for number, (asking, decision) in enumerate(zip(askings, decisions, strict=True)):
        if _audience(_gates(asking, askings)) == _audience(asking):
            counting = [a for a in (decision.gate, *decision.scopes.values()) if a.outcome is Outcome.ALLOW]
            found = [limit for a in counting if (limit := a.limit.granted_scope) is not None]
            for token in asking.terms.tokens:
                limits[token].extend((number, limit) for limit in found)
    return [
        _common([limit for token in asking.terms.tokens for by, limit in limits[token] if by != number])
        for number, asking in enumerate(askings)
    ]


def _gates(asking: Asking, askings: Sequence[Asking]) -> Asking:
    """The one whose gate counts."""
    return asking if asking.terms.gate_of is None else askings[asking.terms.gate_of]


def _audience(asking: Asking) -> Sequence[str]:
    return tuple(asking.request.get("audience", ()))


def _common(limits: Sequence[frozenset[str]]) -> frozenset[str] | None:
    return frozenset.intersection(*limits) if limits else None

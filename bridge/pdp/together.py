"""Documents of one batch that one token comes of: what a package narrows in one holds in the others, too.

Where scopes were asked for, no item of an AuthZEN reply can tell a `granted_scope`, so it must be in the decisions. The
door tells which documents are about one token (`Terms.tokens`); others are questions of their own and do not touch.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from bridge.model.decision import Decision, Outcome
from bridge.pdp.gather import Asking

Within = Mapping[int, frozenset[str]]
"""Document -> the scopes that its fellows leave; the others they leave all."""


def left_by_others(askings: Sequence[Asking], decisions: Sequence[Decision], before: Within) -> Within:
    """The scopes that the packages which count in a document's fellows leave, and that they left `before`.

    So what was narrowed once stays so, also where what comes back in its place narrows the others in turn. A document
    at a target of its own, which takes its gate from elsewhere, is narrowed and narrows nobody.
    """
    limits: dict[tuple[str, ...], list[tuple[int, frozenset[str]]]] = defaultdict(list)
    for number, (asking, decision) in enumerate(zip(askings, decisions, strict=True)):
        if _audience(_gates(asking, askings)) == _audience(asking):
            # Later a gate's limit holds what others left, too, which must not go on to documents of another token.
            own = () if before else (decision.gate,)
            counting = [a for a in (*own, *decision.scopes.values()) if a.outcome is Outcome.ALLOW]
            found = [limit for a in counting if (limit := a.limit.granted_scope) is not None]
            for token in asking.terms.tokens:
                limits[token].extend((number, limit) for limit in found)
    within: dict[int, frozenset[str]] = {}
    for number, asking in enumerate(askings):
        others = [limit for token in asking.terms.tokens for by, limit in limits[token] if by != number]
        if left := [*others, *([before[number]] if number in before else [])]:
            within[number] = frozenset.intersection(*left)
    return within


def _gates(asking: Asking, askings: Sequence[Asking]) -> Asking:
    """The one whose gate counts."""
    return asking if asking.terms.gate_of is None else askings[asking.terms.gate_of]


def _audience(asking: Asking) -> Sequence[str]:
    return tuple(asking.request.get("audience", ()))

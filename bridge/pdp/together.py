"""Documents of one batch that one token comes of: what a package narrows in one holds in the others, too.

Where scopes were asked for, no item of an AuthZEN reply can tell a `granted_scope`, so it must be in the decisions. One
token comes of the gates of one subject at one target, and of both gates of an exchange; other documents are questions
of their own, and do not touch each other.
"""

from collections import defaultdict
from collections.abc import Sequence

from bridge.model.decision import Decision, Outcome
from bridge.pdp.gather import Asking

_Token = tuple[str, ...]


def left_by_others(askings: Sequence[Asking], decisions: Sequence[Decision]) -> list[frozenset[str] | None]:
    """For each document: the scopes that the packages which count in its fellows leave (None: all of them).

    A document that takes its gate from another one is narrowed, and narrows nobody: it is at a target of its own.
    """
    limits: dict[_Token, list[tuple[int, frozenset[str]]]] = defaultdict(list)
    tokens = [_token(asking, askings) for asking in askings]
    for number, (asking, decision) in enumerate(zip(askings, decisions, strict=True)):
        if asking.terms.gate_of is None:
            counting = [a for a in (decision.gate, *decision.scopes.values()) if a.outcome is Outcome.ALLOW]
            found = [limit for a in counting if (limit := a.limit.granted_scope) is not None]
            limits[tokens[number]].extend((number, limit) for limit in found)
    return [_common([limit for by, limit in limits[token] if by != n]) for n, token in enumerate(tokens)]


def _token(asking: Asking, askings: Sequence[Asking]) -> _Token:
    """Equal for documents that one token comes of: the target of the gate, and the exchange or the subject."""
    at = asking if asking.terms.gate_of is None else askings[asking.terms.gate_of]
    request = at.request
    subject = request["subject"]
    who = ("",) if request["grant_type"] == "token_exchange" else (subject["type"], subject["id"])
    return (*request.get("audience", ()), "", *who)


def _common(limits: Sequence[frozenset[str]]) -> frozenset[str] | None:
    return frozenset.intersection(*limits) if limits else None

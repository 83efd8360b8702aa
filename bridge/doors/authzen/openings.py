"""What each gate of a batch is asked for: whose token, at which target, and by which requesting party.

In an exchange, and where an assertion is redeemed, a token has two parties and each its gate. The profile's order tells
which belong together: at one target the subject's, and right after it the requesting party's, who is a client or a
workload and never a user. Whatever stands otherwise is a question of its own, and has no requesting party.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

from bridge.model.authzen import Tuple
from bridge.model.gate import Gate

TWO_PARTIES = ("token_exchange", "jwt_bearer", "saml2_bearer")
"""Grants in which the requesting party has a gate beside the subject's."""


@dataclass(frozen=True, slots=True)
class Opening:
    """`token` is equal where gates are for one token; `requesting`: the item of the second gate, if there is one."""

    token: tuple[str, ...]
    requesting: int | None = None


def party(item: Tuple) -> tuple[str, str]:
    """Who a tuple is about."""
    return item.subject["type"], item.subject["id"]


def openings(gates: Mapping[int, Gate], tuples: Mapping[int, Tuple]) -> dict[int, Opening]:
    """The opening of each gate, by the number of its item."""
    found: dict[int, Opening] = {}
    pairing: dict[tuple[Gate, str], list[int]] = {}
    for number, gate in gates.items():
        target = tuples[number].resource["id"]
        if gate.grant_type in TWO_PARTIES:
            pairing.setdefault((gate, target), []).append(number)
        else:
            found[number] = Opening((target, *party(tuples[number])))
    for (_, target), numbers in pairing.items():
        runs = [list(run) for _, run in groupby(numbers, lambda number: party(tuples[number]))]
        while runs:
            own = runs.pop(0)
            other = runs.pop(0) if runs and tuples[runs[0][0]].subject["type"] != "user" else []
            names = [name for gate in (own, other) if gate for name in party(tuples[gate[0]])]
            opening = Opening((target, *names), other[0] if other else None)
            found.update(dict.fromkeys([*own, *other], opening))
    return found

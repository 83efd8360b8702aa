"""The registered clients that are tried, and which scopes each of them may be asked about."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from bridge.model.policy import PolicySet
from bridge.model.registry import RegisteredClient
from bridge.policy.answer import LOCAL

MAX_SCOPES = 256
FOREIGN = 3
"""So many clients are also asked about scopes, and kinds of token, that they are not registered for."""
_PER_WILDCARD = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A client with its scopes, each with a package. `grant_types`: None when nothing readable is registered."""

    issuer: str
    id: str
    scopes: tuple[str, ...]
    grant_types: tuple[str, ...] | None = None
    audience: tuple[str, ...] = ()


def candidates(policy_set: PolicySet, known: Iterable[str], at_most: int) -> list[Candidate]:
    """The clients, differing registrations first. `known`: scopes that stand for a wildcard, such as those of cases.

    The first few have all scopes that there are, whatever they are registered for.
    """
    mapped = sorted(scope for scope in known if policy_set.package_for(scope) is not None)
    found = [_candidate(issuer, *one, policy_set, mapped) for issuer, one in _in_turn(policy_set)]
    found = _differing_first(found)[:at_most] or [Candidate(LOCAL, "matrix-client", ())]
    held = {policy_set.package_for(scope) for one in found for scope in (*one.scopes, *mapped)}
    more = [*policy_set.scopes, *(f"{p}matrix" for p, package in policy_set.prefixes.items() if package not in held)]
    everything = tuple(dict.fromkeys([*mapped, *more]))[:MAX_SCOPES]
    first = [
        Candidate(c.issuer, c.id, tuple(dict.fromkeys([*c.scopes, *everything])), c.grant_types, c.audience)
        for c in found[:FOREIGN]
    ]
    return [*first, *found[FOREIGN:]]


def _in_turn(policy_set: PolicySet) -> Iterator[tuple[str, tuple[str, RegisteredClient]]]:
    """One client of each issuer after the other."""
    issuers = sorted(policy_set.clients)
    for turn in zip_longest(*(sorted(policy_set.clients[issuer].items()) for issuer in issuers)):
        yield from ((issuer, one) for issuer, one in zip(issuers, turn, strict=True) if one is not None)


def _differing_first(found: Sequence[Candidate]) -> list[Candidate]:
    seen: dict[tuple[object, ...], int] = {}
    ranked = []
    for place, one in enumerate(found):
        alike = (one.grant_types, one.scopes, one.audience)
        seen[alike] = seen.get(alike, 0) + 1
        ranked.append((seen[alike], place, one))
    return [one for _, _, one in sorted(ranked, key=lambda r: r[:2])]


def _candidate(
    issuer: str, name: str, client: RegisteredClient, policy_set: PolicySet, mapped: Sequence[str]
) -> Candidate:
    scopes: dict[str, None] = {}
    for scope in client.scopes:
        if scope.endswith("*"):
            alike = [one for one in mapped if one.startswith(scope[:-1])]
            scopes.update(dict.fromkeys(alike[:_PER_WILDCARD]))
        if policy_set.package_for(scope) is not None:
            scopes[scope] = None
    return Candidate(issuer, name, tuple(scopes)[:MAX_SCOPES], client.grant_types, client.audience)

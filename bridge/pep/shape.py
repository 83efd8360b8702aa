"""What permitted items say about the token, merged by the rules of the token-issuance profile.

What narrows, narrows wherever it was said; what adds must be about what is granted. Whatever would make the token
broader than the wish, and whatever this server would have to drop, is a denial.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.pep import refuse
from bridge.pep.batch import Asked
from bridge.pep.details import Validator, covered, union
from bridge.pep.refuse import Denied, Refusal
from bridge.pep.reply import Item
from bridge.pep.strict_json import typed
from bridge.pep.wish import Party, Wish

Answers = Sequence[tuple[Asked, Item]]
RESERVED_CLAIMS: Final = frozenset(
    [
        "iss",
        "iat",
        "jti",
        "sub",
        "aud",
        "exp",
        "nbf",
        "scope",
        "client_id",
        "cnf",
        "act",
        "may_act",
        "authorization_details",
    ]
)


@dataclass(frozen=True, slots=True)
class Understood:
    """What this server and its resource servers understand beyond the profile.

    `claims`: the ones that a PDP may call critical. `own_claims`: names that the server sets itself, and no PDP may
    (`acr` and `nonce` in an ID token, say). `details`: for a type of authorization details, who compares what only that
    type knows.
    """

    claims: frozenset[str] = frozenset()
    own_claims: frozenset[str] = frozenset()
    details: Mapping[str, Validator] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reach:
    """How far the permits reach: scopes, and the resources of the second level that are left."""

    scopes: tuple[str, ...]
    resources: tuple[str, ...]


def granted(wish: Wish, scopes: tuple[str, ...], permitted: Answers) -> tuple[str, ...]:
    """The scopes within the union of `granted_scope`; for a gate alone, what of it the server would grant.

    Where a scope must be permitted more than once (at each target, to both parties of a transaction token), so must it
    be named.
    """
    unions: dict[tuple[str, Party | None], frozenset[str]] = {}
    for asked, item in permitted:
        if item.issuance.granted_scope is not None:
            place = asked.target, asked.subject if wish.needs_both else None
            unions[place] = unions.get(place, frozenset()) | item.issuance.granted_scope
    if not unions:
        return scopes
    asked_scopes = wish.asked_scopes
    if asked_scopes and not frozenset[str]().union(*unions.values()) <= set(asked_scopes):
        raise Denied(refuse.denied(wish, "granted_scope goes beyond what was asked for"))
    named = frozenset.intersection(*unions.values())
    left = tuple(s for s in (scopes if asked_scopes else dict.fromkeys(wish.grantable_scopes)) if s in named)
    if not left and (asked_scopes or any(unions.values())):
        raise Denied(Refusal("invalid_scope", "granted_scope leaves no scope"))
    return left


def targets(wish: Wish, reach: Reach, permitted: Answers) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Both levels within the intersection of what items state; each stated value must be a target that is permitted."""
    resources = reach.resources
    stated = [item.issuance.audience for _, item in permitted if item.issuance.audience is not None]
    if not stated:
        return wish.targets, resources
    known = {asked.target for asked, _ in permitted}
    if any(value not in known for audience in stated for value in audience):
        raise Denied(refuse.denied(wish, "audience goes beyond the targets"))
    common = frozenset.intersection(*map(frozenset, stated))
    asked_about = bool(wish.asked_scopes)
    left = tuple(target for target in wish.targets if target in common)
    behind = tuple(r for r in resources if r in common) if asked_about else resources
    if not left or (resources and not behind):
        raise Denied(Refusal("invalid_target", "audience leaves no target"))
    return left, behind


def adding(permitted: Answers, scopes: Sequence[str], kept: Sequence[str]) -> list[Item]:
    """The items that may add to the token: gates and granted scopes, at the targets that are `kept`."""
    return [item for asked, item in permitted if asked.target in kept and asked.scope in {None, *scopes}]


def lifetime(wish: Wish, permitted: Answers) -> int | None:
    """The shortest of all that was stated, in seconds."""
    ceilings = [i.issuance.token_lifetime for _, i in permitted if i.issuance.token_lifetime is not None]
    if 0 in ceilings:
        raise Denied(refuse.denied(wish, "a lifetime of 0"))
    return min(ceilings if wish.lifetime is None else [wish.lifetime, *ceilings], default=None)


def authorization_details(wish: Wish, items: Sequence[Item], understood: Understood) -> tuple[Mapping[str, Any], ...]:
    """The entries that the PDP returned. A permit says nothing about them: nothing returned is nothing granted."""
    stated = [i.issuance.authorization_details for i in items if i.issuance.authorization_details is not None]
    entries = union(stated)
    if not all(covered(entry, wish.authorization_details, understood.details) for entry in entries):
        raise Denied(Refusal("invalid_authorization_details", "an entry goes beyond what was asked for"))
    if wish.authorization_details and not entries:
        raise Denied(Refusal("invalid_authorization_details", "no authorization details are granted"))
    return entries


def claims(wish: Wish, items: Sequence[Item], understood: Understood) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The claims, and which of them are critical."""
    merged: dict[str, Any] = {}
    for item in items:
        for name, value in item.issuance.claims.items():
            if name in merged and typed(merged[name]) != typed(value):
                raise Denied(refuse.denied(wish, "two values for one claim"))
            merged[name] = value
    crit = tuple(dict.fromkeys(name for item in items for name in item.issuance.crit))
    if merged.keys() & (RESERVED_CLAIMS | understood.own_claims):
        raise Denied(refuse.denied(wish, "a claim of the server's own"))
    if not set(crit) <= (merged.keys() & understood.claims):
        raise Denied(refuse.denied(wish, "a critical claim that is not understood, or not set"))
    return merged, crit

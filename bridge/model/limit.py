"""What a package narrows and adds: `limit`, `claims` and `crit`, read from the engine's JSON with suspicion."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

from bridge.model import scope as scopes

PROTOCOL_CLAIMS: Final = frozenset(
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
MAX_LIFETIME_S: Final = 2**53 - 1
MAX_TEXT: Final = 256


class IllShaped(Exception):
    """A rule has a value that the policy contract does not know."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How a package narrows what is issued. None: it says nothing about that."""

    token_lifetime: int | None = None
    granted_scope: frozenset[str] | None = None
    audience: tuple[str, ...] | None = None
    authorization_details: tuple[dict[str, Any], ...] | None = None


NO_LIMIT: Final = Limit()


def read_limit(rules: dict[str, Any]) -> Limit:
    """The package's `limit` (token_lifetime in seconds); IllShaped when it is not one."""
    value = rules.get("limit", {})
    if value == {}:
        return NO_LIMIT
    if not isinstance(value, dict):
        raise IllShaped("limit must be an object")
    if unknown := sorted(str(name)[:64] for name in value if name not in _LIMITS):
        raise IllShaped(f"limit: unknown key {unknown[0]!r}")
    return Limit(**{name: _LIMITS[name](member) for name, member in value.items()})


def _lifetime(member: object) -> int:
    if not isinstance(member, int) or not is_seconds(member):
        raise IllShaped("limit: token_lifetime must be seconds, an integer that is not negative")
    return member


def _granted_scope(member: object) -> frozenset[str]:
    tokens = scopes.split(member) if isinstance(member, str) else None
    if tokens is None:
        raise IllShaped("limit: granted_scope must be a space-delimited string of scopes")
    return frozenset(tokens)


def _audience(member: object) -> tuple[str, ...]:
    if not is_strings(member):
        raise IllShaped("limit: audience must be an array of strings")
    return tuple(sorted(set(member)))


def _details(member: object) -> tuple[dict[str, Any], ...]:
    objects = isinstance(member, list) and all(isinstance(d, dict) and isinstance(d.get("type"), str) for d in member)
    if not isinstance(member, list) or not objects or not writable(member):
        raise IllShaped("limit: authorization_details must be an array of objects with a type, not nested too deep")
    return tuple(member)


_LIMITS: Final[dict[str, Callable[[object], Any]]] = {
    "token_lifetime": _lifetime,
    "granted_scope": _granted_scope,
    "audience": _audience,
    "authorization_details": _details,
}


def read_claims(rules: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The package's `claims`, and which of them are critical; IllShaped when they are not claims for a token."""
    claims, crit = rules.get("claims", {}), rules.get("crit", [])
    if claims == {} and crit == []:
        return {}, ()
    if not isinstance(claims, dict):
        raise IllShaped("claims must be an object")
    if reserved := sorted(PROTOCOL_CLAIMS & claims.keys()):
        raise IllShaped(f"claims: {', '.join(reserved)} belong to the protocol")
    if not writable(claims):
        raise IllShaped("claims are nested too deep or hold a number beyond 64 bits, which readers would round")
    if not is_strings(crit):
        raise IllShaped("crit must be a set of claim names")
    if unknown := sorted(set(crit) - claims.keys()):
        raise IllShaped(f"crit: {', '.join(unknown)[:MAX_TEXT]} not in claims")
    return claims, tuple(sorted(set(crit)))


def is_strings(value: object) -> TypeGuard[list[str]]:
    """Whether `value` is a list of strings, none of them empty."""
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def is_seconds(value: object) -> bool:
    """Whether `value` is an integer that is not negative and that JSON carries exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_LIFETIME_S


def writable(item: object, depth: int = 100) -> bool:
    """Whether `item` can go out as it is. An integer beyond 64 bits has become a float when the answer was read."""
    if isinstance(item, (dict, list)):
        return depth > 0 and all(writable(i, depth - 1) for i in (item.values() if isinstance(item, dict) else item))
    return not (isinstance(item, float) and abs(item) >= 2**63)

"""The narrowest registration that would have served what a client was granted. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.audit.usage import OTHERS, ClientUse, Use
from bridge.model.registry import RegisteredClient

MAX_SPELLED = 50
"""So many scopes below a prefix are named one by one; the registration of more stays a prefix."""
_PREFIX_MARK = ":*"


def covers(registered: str, scope: str) -> bool:
    """Whether a registration stands for a scope: itself, or with `tenant:*` all that begins with `tenant:`."""
    return registered == scope or (registered.endswith(_PREFIX_MARK) and scope.startswith(registered[:-1]))


def never_asked(registered: Iterable[str], table: Mapping[str, Use]) -> list[str]:
    """What of a registration no request named, and none was granted without naming it.

    Of a table with names that are not told one by one, nothing can be said.
    """
    if OTHERS in table:
        return []
    used = [name for name, one in table.items() if one.asked or one.granted]
    return [name for name in registered if not any(covers(name, one) for one in used)]


def narrowest(registration: Any, registered: RegisteredClient, use: ClientUse) -> dict[str, Any] | None:
    """The client's member of `data.registry.clients[ISSUER]`, with no more than was granted or waited for.

    What is not about scopes, grant types and audiences stays as it is, and so do these where entries do not show all
    names. None where the registration is no object.
    """
    if not isinstance(registration, dict):
        return None
    found = dict(registration)
    if use.hidden:
        return found
    if isinstance(registration.get("scopes"), list):
        found["scopes"] = _scopes(registered.scopes, _served(use.scopes))
    if registered.grant_types is not None:
        served = _served(use.grant_types)
        found["grant_types"] = [name for name in registered.grant_types if name in served or OTHERS in served]
    if isinstance(registration.get("audience"), list) and not use.anywhere:
        served = _served(use.audience)
        found["audience"] = [name for name in registered.audience if name in served or OTHERS in served]
    return found


def _served(table: Mapping[str, Use]) -> dict[str, Use]:
    return {name: one for name, one in table.items() if one.granted or one.waiting}


def _scopes(registered: tuple[str, ...], served: Mapping[str, Use]) -> list[str]:
    found: dict[str, None] = {}
    for name in registered:
        below = sorted(scope for scope in served if covers(name, scope))
        if OTHERS in served or len(below) > MAX_SPELLED:
            below = [name]
        found.update(dict.fromkeys(below))
    return list(found)

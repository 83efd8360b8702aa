"""Which scopes survive when the packages of granted scopes narrow each other with `granted_scope`.

A limit counts only when its scope is granted, so a scope that is denied takes its limit along and may free another.
The one answer that follows from this without choosing sides: a scope is in when every scope that excludes it is out,
and out when one that excludes it is in. Scopes that this leaves open (they exclude each other, or themselves) are
denied. In the theory of argumentation this is the grounded extension: unique, and independent of any order.
"""

from collections import deque
from collections.abc import Mapping

Allowed = Mapping[str, frozenset[str] | None]
"""Scope -> the set that its package allows, None when the package does not narrow."""


def survivors(allowed: Allowed) -> frozenset[str]:
    """The scopes of `allowed` that stay granted."""
    limiters = {scope: limit for scope, limit in allowed.items() if limit is not None}
    attackers = {scope: {by for by, limit in limiters.items() if scope not in limit} for scope in allowed}
    granted: set[str] = set()
    denied: set[str] = set()
    ready = deque(scope for scope, by in attackers.items() if not by)
    while ready:
        scope = ready.popleft()
        granted.add(scope)
        limit = limiters.get(scope)
        if limit is None:
            continue
        for victim in [s for s in allowed if s not in limit and s not in denied]:
            denied.add(victim)
            for freed, by in attackers.items():
                if victim in by:
                    by.discard(victim)
                    if not by and freed not in denied and freed not in granted:
                        ready.append(freed)
    return frozenset(granted - denied)


def excluded(scope: str, granted: frozenset[str], allowed: Allowed) -> bool:
    """Whether a granted scope's package leaves `scope` out."""
    return any((limit := allowed[by]) is not None and scope not in limit for by in granted)

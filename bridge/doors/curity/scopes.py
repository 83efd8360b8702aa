"""Puts Curity's scopes together again, of which it sends resource type, resource path and action. Never a guess.

Curity splits a scope at `:`. The first segment is the resource type. The last one is the action, if it is among the
configured actions; else the default action stands for it. What lies between is the resource path. So `x` and `x:read`
look the same where `read` is the default action.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bridge.config.authzen import CuritySection

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")


@dataclass(frozen=True, slots=True)
class Parts:
    """A scope as it is sent; no path is the empty one. `more`: the resource says something else besides."""

    resource_type: str
    path: str
    action: str
    more: bool = field(default=False, compare=False)


class Scopes:
    """The scopes of one deployment, by its actions and its table."""

    def __init__(self, section: CuritySection) -> None:
        self._actions, self._default = frozenset(section.available_actions), section.default_action
        self._table = {Parts(one.resource_type, one.path, one.action): one.scope for one in section.scopes}

    def split(self, scope: str) -> tuple[str, tuple[str, ...], str] | None:
        """(type, path, action); None for a scope with an empty segment, which nobody could tell from others."""
        first, *rest = scope.split(":")
        if not first or "" in rest:
            return None
        if rest and rest[-1] in self._actions:
            return first, tuple(rest[:-1]), rest[-1]
        return first, tuple(rest), self._default

    def looks(self, scope: str) -> set[Parts]:
        """How this scope may be sent; how its path is joined is not known."""
        split = self.split(scope)
        return set() if split is None else {Parts(split[0], joint.join(split[1]), split[2]) for joint in (":", "/")}

    def requested(self, scopes: Sequence[str]) -> "Requested":
        looks: dict[Parts, set[str]] = {}
        for scope in scopes:
            for look in self.looks(scope):
                looks.setdefault(look, set()).add(scope)
        return Requested(tuple(scopes), looks)

    def put_together(self, parts: Parts, at: int, asked: int, requested: "Requested | None") -> str | None:
        """The scope that was sent as item `at` of `asked`; None when that is not certain.

        The table wins, unless it contradicts what was requested. Where as many scopes are `requested` as were asked
        about, it is the one at the same place, if that looks so and no other one does. Else it is the only one that
        can look so, as far as that can be known.
        """
        placed = None
        if by_place := requested is not None and len(requested.scopes) == asked:
            placed = requested.scopes[at] if requested.looks.get(parts) == {requested.scopes[at]} else None
        if (known := self._table.get(parts)) is not None:
            return known if placed in (None, known) else None
        if by_place:
            return placed
        read = self._read(parts)
        return read if requested is None or read in requested.scopes else None

    def _read(self, parts: Parts) -> str | None:
        """By the parts alone: only where another action than the default was named, and the path is plain.

        An id that repeats the type or the action may be something else than the path.
        """
        path = parts.path.split(":") if parts.path else []
        if parts.more or parts.action == self._default or parts.action not in self._actions:
            return None
        if not all(map(_SEGMENT.fullmatch, path)) or parts.resource_type in path or parts.action in path:
            return None
        scope = ":".join([parts.resource_type, *path, parts.action])
        return scope if self.split(scope) == (parts.resource_type, tuple(path), parts.action) else None


@dataclass(frozen=True, slots=True)
class Requested:
    """The scopes that the context shows, in its order, and which of them can look how."""

    scopes: tuple[str, ...]
    looks: Mapping[Parts, set[str]]

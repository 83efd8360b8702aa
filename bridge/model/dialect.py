"""What the reply of a dialect can carry beside yes and no, as data: what it cannot is a denial, never a plain yes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.model.limit import MAX_LIFETIME_S

ANY = frozenset(["string", "number", "boolean", "strings", "any"])
"""All kinds of claims."""
_FLAGS = ("scopes", "audience", "details", "plain_names", "standing", "waiting")
_JOINTS = frozenset("/~")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Of one token. `scopes`, `audience`, `details`: whether some of what was asked for can be left out.

    `lifetime`: the shortest and the longest life that can be set (s); None: none can. `lives`: how long the server's
    tokens live anyway (s), where that is known. `claims`: the kinds of values that a claim may have: string, number,
    boolean, strings (a list of them), any; `claim_names`: which names it may have (None: every one) that are not
    `withheld`. `plain_names`: whether none may hold a slash or a tilde. `standing`: whether `context.claims` of the
    document holds what the token has anyway. `waiting`: whether it can be said that all waits for a requirement.
    """

    scopes: bool = False
    lifetime: tuple[int, int] | None = None
    lives: int | None = None
    audience: bool = False
    details: bool = False
    claims: frozenset[str] = frozenset()
    claim_names: frozenset[str] | None = None
    withheld: frozenset[str] = frozenset()
    plain_names: bool = False
    standing: bool = False
    waiting: bool = False

    @classmethod
    def whole(cls) -> "Dialect":
        """One that can say all."""
        return cls(scopes=True, lifetime=(0, MAX_LIFETIME_S), audience=True, details=True, claims=ANY, waiting=True)

    def carries_claims(self, claims: Mapping[str, Any]) -> bool:
        """Whether all of these can go into the token."""
        named = (self.claim_names is None or claims.keys() <= self.claim_names) and not claims.keys() & self.withheld
        if self.plain_names:
            named = named and not any(_JOINTS & set(name) for name in claims)
        return named and all(_kind(value) in self.claims or "any" in self.claims for value in claims.values())

    def carries_lifetime(self, seconds: int) -> bool:
        """Whether the token lives no longer than that, since it can be told to, or does so anyway."""
        if self.lives is not None and self.lives <= seconds:
            return True
        return self.lifetime is not None and self.lifetime[0] <= seconds

    def document(self) -> dict[str, Any]:
        """As JSON: only what differs from a plain yes or no."""
        flags: dict[str, Any] = {name: True for name in _FLAGS if getattr(self, name)}
        if self.lifetime is not None:
            flags["lifetime"] = list(self.lifetime)
        if self.lives is not None:
            flags["lives"] = self.lives
        if self.claims:
            flags["claims"] = sorted(self.claims)
        if self.claim_names is not None:
            flags["claim_names"] = sorted(self.claim_names)
        if self.withheld:
            flags["withheld"] = sorted(self.withheld)
        return flags

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Dialect":
        """`document` backwards. ValueError, TypeError or AttributeError when that is none."""
        shortest, longest = told.get("lifetime", (None, None))
        names = told.get("claim_names")
        return cls(
            **{name: bool(told.get(name, False)) for name in _FLAGS},
            lifetime=None if shortest is None else (int(shortest), int(longest)),
            lives=None if told.get("lives") is None else int(told["lives"]),
            claims=frozenset(map(str, told.get("claims", ()))),
            claim_names=None if names is None else frozenset(map(str, names)),
            withheld=frozenset(map(str, told.get("withheld", ()))),
        )


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "strings"
    return "any"

"""What the matrix says: for each package, grant type and kind of token, how it can be granted, or that it was not."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.model.policy import Package
from bridge.policy.answer import Wish

OF_THE_GRANT = frozenset(["actor", "grant", "subject_token"])
"""Members that a grant type has of its nature: that one is needed is no condition."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """One way to a token."""

    grant_type: str
    token_type: str


@dataclass(frozen=True, slots=True)
class Rule:
    """An `allow` finding that a grant rests on. `exception`: kind, id, approved_by and expires, where it is one."""

    code: str
    title: str | None
    file: str
    row: int
    owner: str | None
    exception: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What holds besides the rules. `require` and `limit`: the gate's and the package's own, before the ceiling.

    `sources`: those that its scope uses. `needs`: members of the request without which it is not granted.
    """

    require: tuple[Any, ...] = ()
    limit: Mapping[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(slots=True)
class Path:
    """One way of being granted, with the request that showed it. `clients`: (issuer, id) of all it was seen for."""

    scope: str
    rules: tuple[Rule, ...]
    gate: tuple[Rule, ...]
    wish: Wish
    case: str | None = None
    conditions: Conditions = Conditions()
    clients: set[tuple[str, str]] = field(default_factory=set)

    @property
    def lacks(self) -> tuple[str, ...]:
        """Which of the usual conditions for a scope at risk high it does not have."""
        held = {
            "requirement": bool(self.conditions.require),
            "token_lifetime": "token_lifetime" in self.conditions.limit,
            "source": bool(self.conditions.sources),
        }
        return tuple(name for name, holds in held.items() if not holds)

    @property
    def plain(self) -> bool:
        """Whether it is granted without any condition, by no exception, to whoever comes with such a grant."""
        excepted = any(rule.exception is not None for rule in self.rules)
        return len(self.lacks) == 3 and not set(self.conditions.needs) - OF_THE_GRANT and not excepted


@dataclass(slots=True)
class Row:
    """One package: a scope, or a prefix (`name` ends with `*`)."""

    name: str
    package: Package
    paths: dict[Kind, list[Path]] = field(default_factory=dict)
    tried: dict[Kind, int] = field(default_factory=dict)


@dataclass(slots=True)
class Matrix:
    """`requests`: how many were tried. `clients`: how many of the registered ones; `stopped`: time was up.

    `left_out`: how many grant types and kinds of token were too many.
    """

    rows: list[Row]
    kinds: tuple[Kind, ...]
    registered: int = 0
    clients: int = 0
    cases: int = 0
    requests: int = 0
    stopped: bool = False
    left_out: int = 0
    failing: dict[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> list[tuple[Row, Kind, Path]]:
        """Of the scopes at risk high, what is granted without a condition."""
        return [
            (row, kind, path)
            for row in self.rows
            if row.package.risk == "high"
            for kind, paths in row.paths.items()
            for path in paths
            if path.plain
        ]

"""Rich authorization requests (RFC 9396): what a policy returns must lie inside one requested entry."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Detail = Mapping[str, Any]
_TYPED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def typed(value: Any) -> str:
    """One text for each JSON value, by type as well: 1, 1.0, true and "1" all differ."""
    return _TYPED.encode(value)


def covered(returned: Detail, requested: Sequence[Detail]) -> bool:
    """Whether one requested entry covers `returned`.

    Same members, none left out; list members are subsets; all others are equal. A list may not become empty:
    an empty list of locations could be read as "anywhere".
    """
    return any(_within(returned, entry) for entry in requested)


def within(returned: Iterable[Detail], requested: Sequence[Detail]) -> bool:
    """Whether each returned entry is covered by a requested one."""
    return all(covered(entry, requested) for entry in returned)


def union(parts: Iterable[Sequence[Detail]]) -> tuple[dict[str, Any], ...]:
    """All entries once each, in an order that does not depend on who returned them."""
    entries = {typed(detail): dict(detail) for part in parts for detail in part}
    return tuple(entries[key] for key in sorted(entries))


def _within(returned: Detail, requested: Detail) -> bool:
    if returned.keys() != requested.keys():
        return False
    return all(_narrower(returned[name], wanted) for name, wanted in requested.items())


def _narrower(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, list) and isinstance(value, list) and wanted:
        allowed = {typed(item) for item in wanted}
        return bool(value) and all(typed(item) in allowed for item in value)
    return typed(value) == typed(wanted)

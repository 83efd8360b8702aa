"""Rich authorization requests (RFC 9396): each returned entry must lie within one requested entry of its type."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bridge.pep.strict_json import typed

Detail = Mapping[str, Any]
Validator = Callable[[Detail, Detail], bool]
"""(requested, returned) -> whether `returned` is not broader, in the members that only its type knows."""

_COMMON = ("locations", "actions", "datatypes")


def is_detail(value: object) -> bool:
    """Whether `value` is an object with a `type`."""
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)


def covered(returned: Detail, requested: Sequence[Detail], validators: Mapping[str, Validator]) -> bool:
    """Whether one requested entry covers `returned`.

    The lists that all types share are subsets. Other members are equal, unless the type has a validator, which then
    judges them. No member is left out, and no list becomes empty: both could be read as "anything".
    """
    return any(
        entry["type"] == returned["type"] and _within(returned, entry, validators.get(returned["type"]))
        for entry in requested
    )


def union(parts: Iterable[Sequence[Detail]]) -> tuple[Detail, ...]:
    """All entries, once each."""
    return tuple({typed(entry): entry for part in parts for entry in part}.values())


def _within(returned: Detail, requested: Detail, validator: Validator | None) -> bool:
    if not all(_narrower(returned, requested, name) for name in _COMMON):
        return False
    if _others(returned) == _others(requested):
        return True
    return validator is not None and validator(requested, returned) is True


def _narrower(returned: Detail, requested: Detail, name: str) -> bool:
    if (name in returned) != (name in requested):
        return False
    value, wanted = returned.get(name), requested.get(name)
    if isinstance(value, list) and isinstance(wanted, list) and value:
        return {typed(one) for one in value} <= {typed(one) for one in wanted}
    return typed(value) == typed(wanted)


def _others(entry: Detail) -> dict[str, str]:
    return {name: typed(value) for name, value in entry.items() if name not in _COMMON}

"""Whether the request shows what a policy requires (acr, amr, auth_time: OpenID Connect Core 1.0, section 2)."""

from collections.abc import Iterable, Mapping
from typing import Any

from bridge.model.verdict import Requirement

CLOCK_LEEWAY_S = 60


def unmet(
    requirements: Iterable[Requirement], document: Mapping[str, Any], scope: str | None, now_ms: int
) -> tuple[Requirement, ...]:
    """The requirements that do not hold for `scope` (None: for a token without any scope)."""
    return tuple(r for r in requirements if not _met(r, document, scope, now_ms))


def _met(requirement: Requirement, document: Mapping[str, Any], scope: str | None, now_ms: int) -> bool:
    if isinstance(requirement, str):
        return scope is not None and scope in document.get("consented_scopes", ())
    shown = document.get("authentication", {})
    return all(_member_met(name, wanted, shown, now_ms) for name, wanted in requirement.items())


def _member_met(name: str, wanted: Any, shown: Mapping[str, Any], now_ms: int) -> bool:
    if name == "acr_values":
        return bool(shown.get("acr") in wanted)
    if name == "amr":
        return set(wanted) <= set(shown.get("amr", ()))
    auth_time = shown.get("auth_time")
    if name != "max_age" or auth_time is None:
        return False
    age_ms = now_ms - auth_time * 1000
    return bool(-CLOCK_LEEWAY_S * 1000 <= age_ms <= wanted * 1000)

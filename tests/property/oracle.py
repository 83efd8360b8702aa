"""A second reading of the policy contract, slow and naive, that shares no line with the bridge.

It works on the packages' raw JSON. Times are compared as text: every date that the tests draw is UTC.
"""

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.property.questions import FAILED, NOW_S, Case, Rules

_NOW = "2026-06-01T12:00:00Z"
_PROTOCOL = {
    *("iss", "iat", "jti", "sub", "aud", "exp", "nbf", "scope"),
    *("client_id", "cnf", "act", "may_act", "authorization_details"),
}


def same(left: Any, right: Any) -> bool:
    """Equal as typed JSON."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_text, value))


def seconds(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def coded(value: Any) -> bool:
    return isinstance(value, dict) and is_text(value.get("code"))


def denies(rules: Rules) -> bool:
    """Anything but absent, `false` or an empty set; a finding whose date has not come is only a warning."""
    if not isinstance(rules, dict) or "deny" not in rules:
        return False
    said = rules["deny"]
    if said is False or (isinstance(said, list) and not said):
        return False
    return not (isinstance(said, list) and all(coded(f) and _starts_later(f.get("effective_on")) for f in said))


def _starts_later(date: Any) -> bool:
    if not isinstance(date, str) or not re.match(r"\d{4}-\d\d-\d\d", date):
        return False
    return date > _NOW if "T" in date else date + "T00:00:00Z" > _NOW


def allows(rules: Rules) -> bool:
    """`true`, or a finding without an exception or with a complete one that has not expired."""
    said = rules.get("allow") if isinstance(rules, dict) else None
    if isinstance(said, list):
        return any("exception" not in f or _stands(f["exception"]) for f in said)
    return said is True


def _stands(exception: Any) -> bool:
    return (
        isinstance(exception, dict)
        and exception.get("kind") in ("waiver", "break_glass")
        and is_text(exception.get("id"))
        and texts(exception.get("approved_by"))
        and len(exception["approved_by"]) > 0
        and isinstance(exception.get("expires"), str)
        and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", exception["expires"]) is not None
        and exception["expires"] > _NOW
    )


def sound(rules: Rules, asked_details: list[Any]) -> bool:
    """Whether the package did not fail: every rule but `deny` has its shape."""
    if rules is FAILED or not isinstance(rules, dict):
        return False
    shapes: dict[str, Callable[[Any], bool]] = {
        "allow": lambda v: isinstance(v, bool) or (isinstance(v, list) and all(map(coded, v))),
        "deny": lambda _: True,
        "require": lambda v: isinstance(v, list) and all(map(_is_requirement, v)),
        "limit": lambda v: _is_limit(v, asked_details),
        "claims": lambda v: isinstance(v, dict) and not _PROTOCOL & v.keys(),
        "crit": lambda v: texts(v) and set(v) <= set(rules.get("claims") or {}),
    }
    return all(name in shapes and shapes[name](value) for name, value in rules.items())


def _is_requirement(value: Any) -> bool:
    members: dict[str, Callable[[Any], bool]] = {
        "acr_values": lambda v: texts(v) and v != [],
        "amr": lambda v: texts(v) and v != [],
        "max_age": seconds,
    }
    if isinstance(value, dict) and value:
        return all(name in members and members[name](member) for name, member in value.items())
    return isinstance(value, str) and value == "consent"


def _is_limit(value: Any, asked_details: list[Any]) -> bool:
    members: dict[str, Callable[[Any], bool]] = {
        "token_lifetime": seconds,
        "granted_scope": lambda v: (
            isinstance(v, str) and re.fullmatch(r"([!#-\[\]-~]+( [!#-\[\]-~]+)*)?", v) is not None
        ),
        "audience": texts,
        "authorization_details": lambda v: isinstance(v, list) and all(covered(d, asked_details) for d in v),
    }
    return isinstance(value, dict) and all(name in members and members[name](member) for name, member in value.items())


def covered(returned: Any, asked: list[Any]) -> bool:
    return isinstance(returned, dict) and any(_inside(returned, entry) for entry in asked)


def _inside(returned: Any, asked: Any) -> bool:
    if set(returned) != set(asked):
        return False
    for name, wanted in asked.items():
        got = returned[name]
        if isinstance(wanted, list) and isinstance(got, list):
            if any(not any(same(g, w) for w in wanted) for g in got):
                return False
            if wanted and not got:  # "nothing" where something was asked for may read as "anything"
                return False
        elif not same(got, wanted):
            return False
    return True


def holds(requirement: Any, document: dict[str, Any], scope: str | None) -> bool:
    shown = document.get("authentication") or {}
    if requirement == "consent":
        return scope in (document.get("consented_scopes") or [])
    checks = []
    if "acr_values" in requirement:
        checks.append("acr" in shown and shown["acr"] in requirement["acr_values"])
    if "amr" in requirement:
        checks.append(all(method in (shown.get("amr") or []) for method in requirement["amr"]))
    if "max_age" in requirement:
        age = NOW_S - shown["auth_time"] if "auth_time" in shown else None
        checks.append(age is not None and -60 <= age <= requirement["max_age"])
    return all(checks)


@dataclass
class Expected:
    """What must come out; `reasons` are the bridge's codes that may stand on a denied scope."""

    outcome: str
    scopes: dict[str, str]
    granted: list[str] = field(default_factory=list)
    require: list[Any] = field(default_factory=list)
    lifetime: int | None = None
    audience: list[str] | None = None
    details: list[Any] | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    crit: set[str] = field(default_factory=set)


def expect(case: Case) -> Expected:
    """The decision, read off the contract."""
    document, asked = case.document, case.document["scopes"]
    details = document.get("authorization_details") or []
    user = document["subject"]["type"] == "user"
    denied = Expected("deny", dict.fromkeys(asked, "deny"))
    if not _alone(case.gate, details):
        return denied
    state = {scope: _own(scope, case, details, user=user) for scope in asked}
    _narrow(state, case)
    granted = [scope for scope in asked if state[scope] == "allow"]
    counting = [case.gate, *(case.packages[scope] for scope in granted)]
    limits = [rules.get("limit", {}) for rules in counting]
    result = Expected("allow", state, granted)
    lifetimes = [n["token_lifetime"] for n in limits if "token_lifetime" in n]
    result.lifetime = min([*lifetimes, *([case.ceiling] if case.ceiling is not None else [])], default=None)
    result.audience = _audience([n["audience"] for n in limits if "audience" in n], document.get("audience") or [])
    result.details = _once(d for n in limits for d in n.get("authorization_details", [])) if details else None
    pairs = [(name, value) for rules in counting for name, value in rules.get("claims", {}).items()]
    if any(n == m and not same(v, w) for (n, v), (m, w) in itertools.combinations(pairs, 2)) or result.audience == []:
        return denied
    if details and not result.details:
        return _without_details(case, state, user=user)
    result.claims = dict(pairs)
    result.crit = {name for rules in counting for name in rules.get("crit", [])}
    waiting = [scope for scope in asked if state[scope] == "conditional"]
    result.require = _waits_for(case, waiting)
    if not asked:
        result.require = _once(r for r in case.gate.get("require", []) if not holds(r, document, None))
        if result.require and not user:
            return denied
        if result.require:
            return Expected("conditional", {}, require=result.require)
    elif waiting:
        result.outcome = "conditional"
        if not granted:
            return Expected("conditional", state, require=result.require)
    elif not granted:
        return Expected("deny", state)
    return result


def _alone(rules: Rules, details: list[Any]) -> bool:
    return (
        sound(rules, details)
        and allows(rules)
        and not denies(rules)
        and rules.get("limit", {}).get("token_lifetime") != 0
    )


def _own(scope: str, case: Case, details: list[Any], *, user: bool) -> str:
    """One scope, before the scopes narrow each other."""
    grant = case.document.get("grant")
    if not re.fullmatch(r"[!#-\[\]-~]+", scope) or scope.startswith("issue:") or scope not in case.packages:
        return "deny"
    if not _alone(case.packages[scope], details):
        return "deny"
    if case.document["grant_type"] == "refresh_token" and grant is not None and scope not in grant.get("scopes", []):
        return "deny"
    if scope not in _inner(case.gate, scope):
        return "deny"
    needs = [*case.gate.get("require", []), *case.packages[scope].get("require", [])]
    if all(holds(need, case.document, scope) for need in needs):
        return "allow"
    # What its own package leaves out waits for more than a requirement.
    return "conditional" if user and scope in _inner(case.packages[scope], scope) else "deny"


def _inner(rules: Rules, scope: str) -> list[str]:
    limit = rules.get("limit", {})
    return limit["granted_scope"].split(" ") if "granted_scope" in limit else [scope]


def _narrow(state: dict[str, str], case: Case) -> None:
    """The grounded extension as Dung defines it: from nothing, add what all attackers are themselves attacked for."""
    candidates = [scope for scope, now in state.items() if now == "allow"]

    def attacks(attacker: str, scope: str) -> bool:
        return scope not in _inner(case.packages[attacker], scope)

    granted: set[str] = set()
    while True:
        safe = {
            s for s in candidates if all(any(attacks(g, by) for g in granted) for by in candidates if attacks(by, s))
        }
        if safe == granted:
            break
        granted = safe
    for scope, now in state.items():
        left_out = any(attacks(g, scope) for g in granted)
        if (now == "allow" and scope not in granted) or (now == "conditional" and left_out):
            state[scope] = "deny"


def _audience(limits: list[list[str]], asked: list[str]) -> list[str] | None:
    if not limits:
        return None
    common = [r for r in limits[0] if all(r in limit for limit in limits)]
    return [r for r in common if r in asked] if asked else common


def _without_details(case: Case, state: dict[str, str], *, user: bool) -> Expected:
    """Details were asked for and none came: what was granted is denied; what waits and would bring some, waits on."""

    def waits(scope: str) -> bool:
        return state[scope] == "conditional" and bool(
            case.packages[scope].get("limit", {}).get("authorization_details")
        )

    kept = {scope: "conditional" if waits(scope) else "deny" for scope in state}
    waiting = [scope for scope, now in kept.items() if now == "conditional"]
    return Expected("conditional" if waiting and user else "deny", kept, require=_waits_for(case, waiting))


def _waits_for(case: Case, waiting: list[str]) -> list[Any]:
    return _once(
        need
        for scope in waiting
        for need in [*case.gate.get("require", []), *case.packages[scope].get("require", [])]
        if not holds(need, case.document, scope)
    )


def _once(values: Iterable[Any]) -> list[Any]:
    kept: list[Any] = []
    for value in values:
        if not any(same(value, other) for other in kept):
            kept.append(value)
    return kept

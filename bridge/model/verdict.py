"""What one policy package said, read from the engine's JSON with suspicion (policy contract, docs/policy-engineers.md).

For `allow`, whatever is not plainly a yes is no. For `deny` it is the other way round: whatever is not plainly
absent, false or empty denies. Every other ill-shaped rule fails its package.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bridge.model.limit import MAX_TEXT, NO_LIMIT, IllShaped, Limit, is_seconds, is_strings, read_claims, read_limit
from bridge.model.times import parse_rfc3339

FIELDS: Final = ("allow", "deny", "require", "limit", "claims", "crit")
EXCEPTION_KINDS: Final = ("waiver", "break_glass")
_KNOWN: Final = frozenset(FIELDS)
MAX_FINDINGS: Final = 64

Requirement = str | dict[str, Any]
"""`"consent"`, or an object of `acr_values`, `max_age` (s), `amr`."""


@dataclass(frozen=True, slots=True)
class ExceptionPath:
    """A waiver or a break-glass path; `expires` is RFC 3339 as written."""

    kind: str
    id: str
    approved_by: tuple[str, ...]
    expires: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that spoke, or one reason of the bridge's own (`title` is absent on those)."""

    code: str
    title: str | None = None
    exception: ExceptionPath | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the package `package` said. With `error` set it failed: it grants nothing, whatever else stands here."""

    package: str
    allow: tuple[Finding, ...] = ()
    deny: tuple[Finding, ...] = ()
    warn: tuple[Finding, ...] = ()
    dropped: tuple[Finding, ...] = ()
    dropped_exceptions: tuple[dict[str, Any], ...] = ()
    require: tuple[Requirement, ...] = ()
    limit: Limit = NO_LIMIT
    claims: Mapping[str, Any] = field(default_factory=dict)
    crit: tuple[str, ...] = ()
    error: str | None = None
    error_code: str = "policy_error"


def read_verdict(package: str, rules: object, now_ms: int) -> Verdict:
    """The verdict in `rules` (rule name -> JSON value, absent when undefined), at the instant `now_ms`.

    Total: an ill-shaped rule makes a verdict with `error` set, and what `deny` said is kept all the same.
    """
    if not isinstance(rules, dict):
        return Verdict(package, error="the package's answer is not an object")
    deny, warn = _read_deny(rules, now_ms)
    try:
        if unknown := rules.keys() - _KNOWN:
            raise IllShaped(f"unknown rules {sorted(map(str, unknown))}")
        allow, dropped, reasons = _read_allow(rules, now_ms)
        claims, crit = read_claims(rules)
        return Verdict(
            package=package,
            allow=allow,
            deny=deny,
            warn=warn,
            dropped=dropped,
            dropped_exceptions=reasons,
            require=_read_require(rules),
            limit=read_limit(rules),
            claims=claims,
            crit=crit,
        )
    except IllShaped as fault:
        return Verdict(package, deny=deny, warn=warn, error=str(fault))


def _read_allow(
    rules: dict[str, Any], now_ms: int
) -> tuple[tuple[Finding, ...], tuple[Finding, ...], tuple[dict[str, Any], ...]]:
    value = rules.get("allow", False)
    if isinstance(value, bool):
        return ((Finding("allow"),) if value else ()), (), ()
    if not isinstance(value, list):
        raise IllShaped("allow must be a set of findings or a boolean")
    if len(value) > MAX_FINDINGS:
        raise IllShaped(f"allow has more than {MAX_FINDINGS} findings")
    kept: list[Finding] = []
    dropped: list[Finding] = []
    reasons: list[dict[str, Any]] = []
    for item in value:
        finding = _finding(item)
        if finding is None:
            raise IllShaped("allow holds something that is not a finding (an object with a code)")
        if "effective_on" in item:  # whoever writes it here wants a yes that begins later, which nothing gives
            raise IllShaped("allow holds a finding with effective_on, which only a deny may have")
        exception, reason = None, None
        if "exception" in item:
            exception, reason = read_exception(item["exception"], now_ms)
        if reason is not None:
            dropped.append(finding)
            reasons.append({"code": finding.code, **reason})
        else:
            kept.append(finding if exception is None else Finding(finding.code, finding.title, exception))
    return _sorted(kept), _sorted(dropped), tuple(sorted(reasons, key=lambda r: str(r["code"])))


def read_exception(value: object, now_ms: int) -> tuple[ExceptionPath | None, dict[str, Any] | None]:
    """The exception of an `allow` finding, or why the finding is dropped, with what is known of it."""
    if not isinstance(value, dict):
        return None, {"reason": "the exception is not an object"}
    kind, name, approvers, expires = (value.get(k) for k in ("kind", "id", "approved_by", "expires"))
    until = parse_rfc3339(expires)
    reason = None
    if kind not in EXCEPTION_KINDS:
        reason = "the exception has no kind"
    elif not _text(name):
        reason = "the exception has no id"
    elif not (is_strings(approvers) and approvers and len(approvers) <= MAX_FINDINGS and all(map(_text, approvers))):
        reason = "the exception has no approved_by"
    elif until is None:
        reason = "the exception has no expires in RFC 3339"
    elif until <= now_ms:
        reason = "the exception has expired"
    if reason is None:
        return ExceptionPath(str(kind), str(name), tuple(approvers or ()), str(expires)), None
    known = {"id": name, "kind": kind, "expires": expires}
    return None, {**{k: v for k, v in known.items() if _text(v)}, "reason": reason}


def _read_deny(rules: dict[str, Any], now_ms: int) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    value = rules.get("deny", False)
    if value is False or value == []:
        return (), ()
    if not isinstance(value, list):
        return (Finding("deny"),), ()
    deny: set[Finding] = set()
    warn: set[Finding] = set()
    for item in value[:MAX_FINDINGS]:
        finding = _finding(item)
        if finding is None:
            deny.add(Finding("deny"))
            continue
        starts = parse_rfc3339(item.get("effective_on"), date_allowed=True)
        (warn if starts is not None and now_ms < starts else deny).add(finding)
    if len(value) > MAX_FINDINGS:
        deny.add(Finding("deny"))
    return _sorted(deny), _sorted(warn)


def _finding(item: object) -> Finding | None:
    if not isinstance(item, dict):
        return None
    code, title = item.get("code"), item.get("title")
    if not isinstance(code, str) or not 0 < len(code) <= MAX_TEXT:
        return None
    return Finding(code, title[:MAX_TEXT] if isinstance(title, str) else None)


def _read_require(rules: dict[str, Any]) -> tuple[Requirement, ...]:
    value = rules.get("require", [])
    if not isinstance(value, list) or len(value) > MAX_FINDINGS:
        raise IllShaped("require must be a set of requirements")
    for item in value:
        if item == "consent":
            continue
        if not isinstance(item, dict) or not item:
            raise IllShaped('a requirement must be "consent" or an object with acr_values, max_age or amr')
        for name, member in item.items():
            if name in ("acr_values", "amr"):
                if not is_strings(member) or not member:
                    raise IllShaped(f"require: {name} must be a list of strings that is not empty")
            elif name == "max_age":
                if not is_seconds(member):
                    raise IllShaped("require: max_age must be seconds, an integer that is not negative")
            else:
                raise IllShaped(f"require: unknown member {str(name)[:64]!r}")
    return tuple(value)


def _text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT


def _sorted(findings: "set[Finding] | list[Finding]") -> tuple[Finding, ...]:
    return tuple(findings if len(findings) < 2 else sorted(findings, key=lambda f: (f.code, f.title or "")))

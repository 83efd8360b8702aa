"""OCSF events (https://schema.ocsf.io), by what versions 1.5 to 1.8 have in common.

No class of OCSF is about authorization decisions. A decision is an API Activity (6003): a token service calls for one
token (Create), and the profile `security_control` says what became of the call. Authorize Session (3003) knows no
denial, and Authentication (3002) is about who signs in.

What is no decision:

* `overruled` and `issued` are about the same call: what was really answered, what was really minted. The same class.
* `evaluation` (AuthZEN tuples about other things), `search` and `access` are calls that read: API Activity, Read.
* `start` and `stop` are an Application Lifecycle (6002).
* `policy`, `config` and `key` tell of a change in what decisions hang on: Entity Management (3004), Update.
* `gap` and `overloaded` tell that decisions were not made or not recorded: Application Error (6008).
* All else (`rules`, which belong to a decision, `heartbeat`, kinds to come) is a Base Event (0): nothing fits better.

`raw_data` is the entry in its exact bytes, so that a row can be proven from itself: `unmapped.evidence.leaf_hash` is
SHA-256 over a zero byte and these.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from bridge.audit.covered import Row
from bridge.audit.query import who
from bridge.model.policy import GATE
from bridge.model.times import parse_rfc3339

VERSION: Final = "1.5.0"
_PRODUCT: Final = {"name": "issuance-bridge", "vendor_name": "issuance-bridge"}
_BASE, _ENTITY, _LIFECYCLE, _API, _ERROR = 0, 3004, 6002, 6003, 6008
_INFORMATIONAL, _MEDIUM, _HIGH = 1, 3, 4
_OTHER = 99
_PREFIX: Final = "issuance.scope_prefix["
_DECISIONS: Final = {"allow": "allowed", "deny": "denied", "conditional": "conditional"}
_GRAVE: Final = frozenset({"break_glass", "fail_closed", "policy_error"})
_SHOWN: Final = (
    *("outcome", "granted_scopes", "require", "exceptions", "violations", "decision_id"),
    *("effect", "what", "ending_id", "step", "standing", "attempts"),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How entries of one kind are told: class, activity, severity; `operation` is that of an API Activity."""

    event_class: int
    activity: int
    severity: int = _INFORMATIONAL
    operation: str = ""


_KINDS: Final = {
    "decision": _Kind(_API, 1, operation="oauth.token.issue"),
    "overruled": _Kind(_API, 1, _MEDIUM, "oauth.token.issue"),
    "issued": _Kind(_API, 1, operation="oauth.token.issued"),
    "evaluation": _Kind(_API, 2, operation="authzen.evaluation"),
    "search": _Kind(_API, 2, operation="authzen.search"),
    "access": _Kind(_API, 2, operation="log.read"),
    "start": _Kind(_LIFECYCLE, 3),
    "stop": _Kind(_LIFECYCLE, 4),
    "policy": _Kind(_ENTITY, 3),
    "config": _Kind(_ENTITY, 3),
    "key": _Kind(_ENTITY, 3),
    "gap": _Kind(_ERROR, 1, _HIGH),
    "overloaded": _Kind(_ERROR, 1, _MEDIUM),
}
_ELSE: Final = _Kind(_BASE, _OTHER)


def line(row: Row, version: str = VERSION) -> bytes:
    """One event; `version` stands in `metadata.version`."""
    entry, kind = row.entry, row.entry["kind"]
    told = _KINDS.get(kind, _ELSE)
    event: dict[str, Any] = {
        "activity_id": told.activity,
        "category_uid": told.event_class // 1000,
        "class_uid": told.event_class,
        "type_uid": told.event_class * 100 + told.activity,
        "severity_id": _severity(told, entry),
        "time": parse_rfc3339(entry["time"]),
        "metadata": _metadata(row, version),
        "raw_data": row.data.decode(),
        "unmapped": {
            "evidence": {"log_origin": row.origin, "leaf_index": row.index, "leaf_hash": row.leaf_hash_text},
            **{name: entry[name] for name in _SHOWN if name in entry},
        },
    }
    if told.event_class == _API:
        event |= _api(entry, told)
    elif told.event_class == _LIFECYCLE:
        event["app"] = _PRODUCT
    elif told.event_class == _ENTITY:
        event["entity"] = {"name": kind, "type_id": 5 if kind == "policy" else _OTHER, "type": kind.capitalize()}
    elif told.event_class == _ERROR:
        event["message"] = f"{kind}: {entry.get('denied')} denied from {entry.get('from')} to {entry.get('to')}"
    else:
        event["activity_name"] = kind
    if kind in ("decision", "overruled"):
        event |= _outcome(entry)
    return orjson.dumps(event)


def _severity(told: _Kind, entry: dict[str, Any]) -> int:
    """At least medium on an exception path; high where nothing but a person's word, or a fault, made the decision."""
    if entry.get("standing") == "failed":
        return max(told.severity, _MEDIUM)
    paths = {exception.get("path") for exception in entry.get("exceptions", ())}
    if paths & _GRAVE or entry.get("violations"):
        return max(told.severity, _HIGH)
    return max(told.severity, _MEDIUM) if paths else told.severity


def _metadata(row: Row, version: str) -> dict[str, Any]:
    entry = row.entry
    metadata = {
        "version": version,
        "product": _PRODUCT,
        "uid": entry["id"],
        "event_code": entry["kind"],
        "original_time": entry["time"],
        "sequence": row.index,
        "log_name": row.origin,
        "log_provider": str(entry.get("instance", "")),
    }
    # What follows from a decision carries the decision's id, a decision its caller's.
    correlation = entry.get("decision_id") or entry.get("request_id")
    if correlation:
        metadata["correlation_uid"] = correlation
    if entry["kind"] in ("decision", "overruled"):
        metadata["profiles"] = ["security_control"]
    return metadata


def _api(entry: dict[str, Any], told: _Kind) -> dict[str, Any]:
    """Who called for what: the token service is the source, the client is the actor."""
    request = entry.get("request", {})
    caller = entry.get("caller") or _PRODUCT["name"]
    actor: dict[str, Any] = {}
    if client := who(request, "client"):
        actor["app_uid"] = client
    else:
        actor["app_name"] = caller
    subject = request.get("subject")
    if isinstance(subject, dict) and subject.get("type") == "user":
        actor["user"] = {"uid": who(request, "subject") or ""}
    if session := who(request, "session"):
        actor["session"] = {"uid": session}
    authorizations = list(_authorizations(entry))
    if authorizations:
        actor["authorizations"] = authorizations
    return {
        "actor": actor,
        "api": {"operation": told.operation, "request": {"uid": entry.get("decision_id") or entry["id"]}},
        "src_endpoint": {"svc_name": caller},
    }


def _outcome(entry: dict[str, Any]) -> dict[str, Any]:
    """The profile `security_control`, and the status: a call by which something may be minted is a success."""
    outcome, code = entry.get("outcome"), entry.get("reply", {}).get("code")
    granted = outcome == "allow" or (outcome == "conditional" and bool(entry.get("granted_scopes")))
    shown: dict[str, Any] = {"action_id": 1 if granted else 2, "status_id": 1 if granted else 2}
    if outcome == "conditional":
        shown |= {"disposition_id": _OTHER, "disposition": "Conditional"}
    else:
        shown["disposition_id"] = 1 if granted else 26
    if code:
        shown["status_code"] = code
    if findings := entry.get("findings"):
        rules = {rule["code"]: rule for rule in entry.get("rules", ()) if rule["package"] == GATE}
        codes = [finding["code"] for finding in findings]
        shown["policy"] = _policy("gate", codes, rules, entry)
    return shown


def _authorizations(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One for each scope that was asked for, or minted; of an evaluation one for each tuple."""
    scopes = entry.get("scopes", {})
    if entry["kind"] == "issued":
        yield from ({"decision": "issued", "policy": {"name": scope}} for scope in scopes)
        return
    if entry["kind"] == "evaluation":
        yield from _tuples(entry)
        return
    rules: dict[str, dict[str, dict[str, Any]]] = {}
    for rule in entry.get("rules", ()):
        rules.setdefault(rule["package"], {})[rule["code"]] = rule
    excused = [(taken.get("package"), taken.get("code")) for taken in entry.get("exceptions", ()) if "id" in taken]
    for scope, answer in scopes.items():
        package = _package(scope, rules)
        codes = [finding["code"] for finding in answer.get("findings", ())]
        # The rule that took an exception path goes first: of several that allow, it is the one to know of.
        codes.sort(key=lambda code: (package, code) not in excused)
        decision = _DECISIONS.get(answer.get("outcome"), "unknown")
        yield {"decision": decision, "policy": _policy(scope, codes, rules.get(package, {}), entry)}


def _tuples(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """`policy.name` is the type of the tuple's resource, whose package answers; `uid`: why not."""
    tuples = entry.get("request", {}).get("tuples", ())
    for one, told in zip(tuples, entry.get("decisions", ()), strict=False):
        resource = one.get("resource")
        name = resource.get("type") if isinstance(resource, dict) else None
        code = {"uid": told["code"]} if "code" in told else {}
        policy = {"name": name if isinstance(name, str) else "", **code}
        yield {"decision": _DECISIONS.get(told.get("outcome"), "unknown"), "policy": policy}


def _package(scope: str, spoke: Iterable[str]) -> str:
    """Which of the packages that spoke did so for `scope`: its own, else the longest prefix's."""
    quoted = json.dumps(scope, ensure_ascii=False)
    own = f"issuance.scope[{quoted}]"
    if own in spoke:
        return own
    fitting = [p for p in spoke if p.startswith(_PREFIX) and quoted.startswith(p[len(_PREFIX) : -2])]
    return max(fitting, key=len, default=own)


def _policy(name: str, codes: list[str], rules: dict[str, dict[str, Any]], entry: dict[str, Any]) -> dict[str, Any]:
    """`uid`: the rule (PACKAGE/CODE, as `log query --rule` takes it), or the bridge's own code where no rule spoke."""
    code = next((code for code in codes if code in rules), codes[0] if codes else "")
    rule = rules.get(code)
    policy: dict[str, Any] = {"name": name}
    if code:
        policy["uid"] = f"{rule['package']}/{code}" if rule else code
    if revision := entry.get("policy", {}).get("revision"):
        policy["version"] = revision
    if rule and "owner" in rule:
        policy["group"] = {"name": rule["owner"]}
    if len(codes) > 1:
        policy["data"] = {"codes": codes}
    return policy

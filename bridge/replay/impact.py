"""What a candidate set would have decided otherwise: for whom, which scope, and by which rule."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bridge.model.decision import Outcome
from bridge.model.entry import canonical, exact
from bridge.model.policy import GATE, resource_package
from bridge.policy.index import package_name
from bridge.replay.again import Again
from bridge.replay.recorded import Recorded, RecordedTuples, Replayable

_PREFIX = "issuance.scope_prefix["
Entry = Mapping[str, Any]


class Kind(StrEnum):
    """How an answer differs."""

    NEWLY_DENIED = "newly_denied"
    NEWLY_GRANTED = "newly_granted"
    CHANGED_LIMIT = "changed_limit"
    CHANGED_CLAIMS = "changed_claims"
    CHANGED_REQUIREMENT = "changed_requirement"
    CHANGED_CONTEXT = "changed_context"


@dataclass(frozen=True, slots=True)
class Cause:
    """A rule that speaks now and did not then, or the other way round; without `package` a code of the bridge's own."""

    effect: str
    code: str
    speaks: bool
    package: str | None = None
    file: str | None = None
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `scope`: None where it is about the request as a whole, or another tuple of this `resource` type.

    `was` and `now`: the limit, the claims, the requirements or the context, where those differ.
    """

    kind: Kind
    scope: str | None
    causes: tuple[Cause, ...]
    resource: str | None = None
    was: Any = None
    now: Any = None


def changes(recorded: Replayable, again: Again) -> list[Change]:
    """Between what was decided and what the candidate decides. Texts alone (titles, messages) change no answer."""
    if isinstance(recorded, RecordedTuples):
        return list(_of_tuples(recorded, again))
    return list(_of_decision(recorded, again))


def client_of(recorded: Replayable) -> str:
    """The client as issuer and id (RFC 6749, section 2), or who asked where no client is named."""
    if isinstance(recorded, RecordedTuples):
        return f"caller {recorded.entry['caller']}"
    request = recorded.question.document
    client = request.get("client")
    return f"{request['issuer']} {client['id'] if client else '-'}"


def _of_decision(recorded: Recorded, again: Again) -> Iterator[Change]:
    then, now, rules = recorded.entry, again.entry, (recorded.rules, again.entry["rules"])
    was, got = then["granted_scopes"], now["granted_scopes"]
    for scope in sorted({*then["scopes"], *now["scopes"]}):
        if (scope in was) is not (scope in got):
            kind = Kind.NEWLY_GRANTED if scope in got else Kind.NEWLY_DENIED
            yield Change(kind, scope, _causes(rules, kind, scope, then if kind is Kind.NEWLY_GRANTED else now))
        elif scope not in got and (differing := _waiting(then, now, scope)) is not None:
            yield Change(Kind.CHANGED_REQUIREMENT, scope, _named(rules, "require", scope), None, *differing)
    if not then["scopes"] and _yes(then) is not _yes(now):
        kind = Kind.NEWLY_GRANTED if _yes(now) else Kind.NEWLY_DENIED
        yield Change(kind, None, _causes(rules, kind, None, then if kind is Kind.NEWLY_GRANTED else now))
    elif not then["scopes"] and (waits := _apart_in(_waits, then, now)) is not None:
        yield Change(Kind.CHANGED_REQUIREMENT, None, _named(rules, "require", None), None, *waits)
    elif _issues(then) and _issues(now):
        yield from _of_token(then, _whole(again), rules)


def _of_token(then: Entry, now: Entry, rules: tuple[Sequence[Entry], Sequence[Entry]]) -> Iterator[Change]:
    """What the token that is minted both times would hold."""
    if canonical(then["limit"]) != canonical(now["limit"]):
        yield Change(Kind.CHANGED_LIMIT, None, _named(rules, "limit", None), None, then["limit"], now["limit"])
    told = ("claims", "crit") if "claims" in then else ("crit",)  # what had no room then is not known
    was, got = ({name: entry[name] for name in told} for entry in (then, now))
    if canonical(was) != canonical(got):
        yield Change(Kind.CHANGED_CLAIMS, None, _named(rules, "claims", None), None, was, got)


def _whole(again: Again) -> Entry:
    """With the claims also where an entry would have no room for them."""
    return again.entry if again.decision is None else {**again.entry, "claims": exact(dict(again.decision.claims))}


def _of_tuples(recorded: RecordedTuples, again: Again) -> Iterator[Change]:
    """A package of a resource type has no codes of its own: it allows, or it does not."""
    now = {one["item"]: one for one in again.entry["decisions"]}
    gone = "context" in recorded.entry.get("shortened", ())
    for then in recorded.entry["decisions"]:
        document, got = recorded.documents[then["item"]], now[then["item"]]
        if document is None:
            continue
        resource = str(document["resource"]["type"])
        package = resource_package(resource)
        spoke = [rule for rule in (*recorded.rules, *again.entry["rules"]) if rule["package"] == package][:1]
        if then["outcome"] != got["outcome"]:
            kind = Kind.NEWLY_GRANTED if got["outcome"] == Outcome.ALLOW else Kind.NEWLY_DENIED
            yield Change(kind, None, tuple(_cause(rule, speaks=kind is Kind.NEWLY_GRANTED) for rule in spoke), resource)
        elif _yes(then) and not gone and (told := _apart_in(_context, then, got)) is not None:
            causes = tuple(_cause(rule, speaks=True) for rule in spoke)
            yield Change(Kind.CHANGED_CONTEXT, None, causes, resource, *told)


def _waiting(then: Entry, now: Entry, scope: str) -> tuple[Any, Any] | None:
    """What a scope waits for that is granted neither time, where that differs."""
    return _apart_in(_waits, *(entry["scopes"].get(scope, {}) for entry in (then, now)))


def _apart_in(part: Callable[[Entry], Any], then: Entry, now: Entry) -> tuple[Any, Any] | None:
    was, got = part(then), part(now)
    return None if canonical(was) == canonical(got) else (was, got)


def _context(answer: Entry) -> Any:
    return answer.get("context")


def _waits(answer: Entry) -> list[Any]:
    return list(answer.get("require", ())) if answer.get("outcome") == Outcome.CONDITIONAL else []


def _yes(entry: Entry) -> bool:
    return bool(entry["outcome"] == Outcome.ALLOW)


def _issues(entry: Entry) -> bool:
    return bool(entry["granted_scopes"]) or (not entry["scopes"] and _yes(entry))


def _causes(
    rules: tuple[Sequence[Entry], Sequence[Entry]], kind: Kind, scope: str | None, denied: Entry
) -> tuple[Cause, ...]:
    """The rules that may have made the difference; where none did, the codes of the side that is denied."""
    denies = kind is Kind.NEWLY_DENIED
    then_only, now_only = _apart(rules, scope)
    found = [_cause(rule, speaks=True) for rule in now_only if (rule["effect"] == "deny") is denies]
    found += [_cause(rule, speaks=False) for rule in then_only if (rule["effect"] == "allow") is denies]
    told = [cause for cause in found if cause.effect in ("allow", "deny")]
    if told:
        return tuple(told)
    answer = {} if scope is None else denied["scopes"].get(scope, {})
    if answer.get("outcome") == Outcome.CONDITIONAL:
        return _named(rules, "require", scope)
    findings = denied["findings"] if scope is None else answer.get("findings", ())
    return tuple(Cause("deny", finding["code"], speaks=denies) for finding in findings)


def _named(rules: tuple[Sequence[Entry], Sequence[Entry]], effect: str, scope: str | None) -> tuple[Cause, ...]:
    """The rules with this effect that only one side has; where both have the same, they say something else now."""
    then_only, now_only = _apart(rules, scope)
    found = [_cause(rule, speaks=True) for rule in now_only if rule["effect"] == effect]
    found += [_cause(rule, speaks=False) for rule in then_only if rule["effect"] == effect]
    both = [_cause(rule, speaks=True) for rule in rules[1] if rule["effect"] == effect and _about(rule, scope)]
    return tuple(found or both)


def _apart(rules: tuple[Sequence[Entry], Sequence[Entry]], scope: str | None) -> tuple[list[Entry], list[Entry]]:
    """The rules about a scope (None: all of them) that spoke then and not now, and the other way round."""
    then, now = ({_identity(rule): rule for rule in side if _about(rule, scope)} for side in rules)
    gone, new = sorted(then.keys() - now.keys()), sorted(now.keys() - then.keys())
    return [then[key] for key in gone], [now[key] for key in new]


def _identity(rule: Entry) -> tuple[str, str, str]:
    return rule["package"], rule["effect"], rule["code"]


def _about(rule: Entry, scope: str | None) -> bool:
    package: str = rule["package"]
    if scope is None or package == GATE:
        return True
    if package.startswith(_PREFIX):
        return scope.startswith(json.loads(package[len(_PREFIX) - 1 :])[0])
    return package == package_name(("issuance", "scope", scope))


def _cause(rule: Entry, *, speaks: bool) -> Cause:
    return Cause(rule["effect"], rule["code"], speaks, rule["package"], rule.get("file"), rule.get("row"))

"""What a grant rests on: the rules that spoke for it, and the conditions under which they count."""

from dataclasses import asdict, dataclass
from typing import Any

from bridge.model.policy import PolicySet
from bridge.model.verdict import Verdict
from bridge.policy.answer import Answered, Settled
from bridge.policy.matrix.model import Conditions, Path, Rule


@dataclass(frozen=True, slots=True)
class Way:
    """What tells one way of being granted from another: the rules, and whether it has a requirement and a lifetime.

    What holds for some clients alone must not stand for the others, too.
    """

    codes: tuple[str, ...]
    required: bool
    capped: bool


def way_of(answered: Answered, scope: str) -> Way:
    """How `scope` is granted in this answer."""
    own, gate = answered.verdicts.scopes[scope], answered.verdicts.gate
    codes = tuple(finding.code for finding in own.allow)
    return Way(codes, bool(gate.require or own.require), any("token_lifetime" in _limit(one) for one in (gate, own)))


def granted(answered: Answered, scope: str, case: str | None) -> Path:
    """The grant of `scope` in this answer."""
    verdicts, asked = answered.verdicts, answered.wish
    own, gate = verdicts.scopes[scope], verdicts.gate
    limit = {**_limit(gate), **_limit(own)}
    lifetimes = [v.limit.token_lifetime for v in (gate, own) if v.limit.token_lifetime is not None]
    if lifetimes:
        limit["token_lifetime"] = min(lifetimes)
    return Path(
        scope=scope,
        rules=_rules(own, verdicts.policy_set),
        gate=_rules(gate, verdicts.policy_set),
        wish=asked,
        case=case,
        conditions=Conditions(require=(*gate.require, *own.require), limit=limit),
        clients={(asked.issuer, asked.request["client"]["id"])},
    )


def of_path(path: Path, settled: Settled, needs: tuple[str, ...]) -> Conditions:
    """Its conditions, with what was found out by leaving things away, and the sources that are declared for it."""
    sources = tuple(s.name for s in settled.sources if s.serves(path.scope) or s.serves(None))
    return Conditions(path.conditions.require, path.conditions.limit, sources, needs)


def _rules(verdict: Verdict, policy_set: PolicySet) -> tuple[Rule, ...]:
    package = policy_set.packages.get(verdict.package)
    file, row, owner = ("", 0, None) if package is None else (package.file, package.row, package.owner)
    rows = {} if package is None else package.rows
    return tuple(
        Rule(
            code=finding.code,
            title=finding.title,
            file=file,
            row=rows.get(finding.code, row),
            owner=owner,
            exception=None if finding.exception is None else asdict(finding.exception),
        )
        for finding in verdict.allow
    )


def _limit(verdict: Verdict) -> dict[str, Any]:
    """What the package limits; the gate's list of scopes is told by the matrix itself."""
    limit = verdict.limit
    members = {
        "token_lifetime": limit.token_lifetime,
        "audience": None if limit.audience is None else list(limit.audience),
        "authorization_details": None if limit.authorization_details is None else "those returned",
    }
    return {name: value for name, value in members.items() if value is not None}

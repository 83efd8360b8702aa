"""Requests and package answers drawn from few words, so that packages meet, agree and quarrel often."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from bridge.model.decision import Decision
from bridge.model.times import parse_rfc3339
from bridge.model.verdict import Verdict, read_verdict
from bridge.pdp.combine import combine
from bridge.pdp.question import Question

_PARSED = parse_rfc3339("2026-06-01T12:00:00Z")
assert _PARSED is not None
NOW_MS = _PARSED
NOW_S = NOW_MS // 1000
FAILED = "the package failed"
Rules = Any
"""What a package said: its JSON, or FAILED where the engine could not evaluate it."""

SCOPES = ("a", "b", "c", "d", "e:1", "e:2")
INVALID = ("issue:access_token", "two words", 'q"', "", "ü")
RESOURCES = ("https://r1.example", "https://r2.example", "https://r3.example")
DETAILS = (
    {"type": "pay", "actions": ["read", "write"], "max": 10},
    {"type": "pay", "actions": ["read"], "max": 10},
    {"type": "pay", "actions": ["read", "write"], "max": True},
    {"type": "acc", "locations": []},
    {"type": "acc", "locations": ["x"]},
    {"type": "acc"},
)
_WAIVER = {"kind": "waiver", "id": "EX-1", "approved_by": ["ciso"], "expires": "2026-12-31T00:00:00Z"}

arbitrary_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 4000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "consent", "code", "allow", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["code", "title", "id", "x"]), inner),
    max_leaves=8,
)

_findings = st.sampled_from(
    [
        [{"code": "ok"}],
        [{"code": "fine", "title": "Fine"}, {"code": "ok"}],
        [{"code": "waived", "exception": _WAIVER}],
        [{"code": "late", "exception": {**_WAIVER, "expires": "2026-06-01T12:00:00Z"}}, {"code": "ok"}],
    ]
)
_odd_allow = st.sampled_from(
    [
        *(False, [], [True], ["yes"], "true", 1, {}, None),
        *([{"title": "no code"}], {"code": "ok"}, [{"code": "ok"}, {"code": ""}]),
        [{"code": "late", "exception": {**_WAIVER, "expires": "2026-06-01T12:00:00Z"}}],
        [{"code": "bare", "exception": {"id": "EX-1"}}],
    ]
)
_warnings = st.sampled_from([False, [], [{"code": "later", "effective_on": "2026-06-02"}]])
_denials: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(True, ["no"], None, 0, "", {}, [{"code": "no"}]),
        [{"code": "now", "effective_on": "2026-06-01T12:00:00Z"}],
        [{"code": "later", "effective_on": "soon"}],
        [{"code": "later", "effective_on": "2026-06-02"}, {"code": "no"}],
    ]
)
_requirement = st.sampled_from(["consent", {"acr_values": ["hi"]}, {"amr": ["otp"]}, {"max_age": 300}])
_require = st.lists(_requirement, min_size=1, max_size=2)
_odd_require: st.SearchStrategy[Any] = st.sampled_from(
    [[{}], ["never"], "consent", [{"max_age": -1}], [{"max_age": True}], None, [{"amr": []}]]
)
_narrowing = st.lists(st.sampled_from(SCOPES), min_size=3, max_size=6).map(" ".join)
_limit = st.one_of(
    st.fixed_dictionaries({"granted_scope": _narrowing}),
    st.fixed_dictionaries(
        {},
        optional={
            "token_lifetime": st.sampled_from([60, 300, 900]),
            "granted_scope": _narrowing,
            "audience": st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3),
        },
    ),
    st.fixed_dictionaries({"authorization_details": st.lists(st.sampled_from(DETAILS), max_size=2)}),
)
_odd_limit: st.SearchStrategy[Any] = st.sampled_from(
    [
        *({"lifetime": 60}, {"token_lifetime": 60.0}, {"token_lifetime": True}, {"audience": "x"}, [], None),
        *({"token_lifetime": 0}, {"audience": []}, {"granted_scope": ""}, {"granted_scope": "a  b"}),
    ]
)
_claim_values = st.sampled_from([1, 1, 1, True, "1", 1.0, [1], [True]])
_odd_claims: st.SearchStrategy[Any] = st.sampled_from([{"sub": "root"}, [], None])
_EXTRAS = {
    "deny": (_warnings, _denials),
    "require": (_require, _odd_require),
    "limit": (_limit, _odd_limit),
    "claims": (st.dictionaries(st.sampled_from(["t", "u"]), _claim_values, max_size=2), _odd_claims),
}


def rarely(draw: st.DrawFn, one_in: int) -> bool:
    return draw(st.integers(1, one_in)) == one_in


@st.composite
def _rules(draw: st.DrawFn) -> Rules:
    """Mostly a package that permits, with a rule or two more; now and then anything at all."""
    if rarely(draw, 25):
        return draw(st.one_of(st.just(FAILED), arbitrary_json))
    rules: dict[str, Any] = {"allow": draw(_odd_allow if rarely(draw, 12) else st.one_of(st.just(True), _findings))}
    for name in draw(st.lists(st.sampled_from(["limit", *_EXTRAS]), unique=True, max_size=3)):
        usual, odd = _EXTRAS[name]
        rules[name] = draw(odd if rarely(draw, 8) else usual)
    if rarely(draw, 4):
        names = sorted(rules["claims"]) if isinstance(rules.get("claims"), dict) else []
        rules["crit"] = draw(st.just(["t"]) if rarely(draw, 6) or not names else st.lists(st.sampled_from(names)))
    return rules


rules = _rules()

_shown = st.fixed_dictionaries(
    {},
    optional={
        "acr": st.sampled_from(["hi", "lo"]),
        "amr": st.sampled_from([["otp"], ["otp", "pwd"], ["pwd"], []]),
        "auth_time": st.sampled_from([NOW_S, NOW_S - 300, NOW_S - 301, NOW_S + 60, NOW_S + 61]),
    },
)
_optional = {
    "consented_scopes": st.lists(st.sampled_from(SCOPES), max_size=4),
    "audience": st.lists(st.sampled_from(RESOURCES), min_size=1, max_size=3),
    "authentication": _shown,
}


@st.composite
def _document(draw: st.DrawFn) -> dict[str, Any]:
    asked = SCOPES + INVALID if rarely(draw, 10) else SCOPES
    kind = "client" if rarely(draw, 5) else "user"
    document: dict[str, Any] = {
        "grant_type": "authorization_code",
        "client": {"id": "app"},
        "subject": {"type": kind, "id": "x"},
        "scopes": draw(st.lists(st.sampled_from(asked), unique=True, max_size=6)),
    }
    for name in draw(st.lists(st.sampled_from(sorted(_optional)), unique=True)):
        document[name] = draw(_optional[name])
    if rarely(draw, 6):
        document["authorization_details"] = draw(st.lists(st.sampled_from(DETAILS), max_size=3))
    if rarely(draw, 6):
        document["grant_type"] = "refresh_token"
        scopes = st.lists(st.sampled_from(SCOPES), max_size=6)
        document["grant"] = draw(st.fixed_dictionaries({}, optional={"scopes": scopes}))
    return document


@dataclass(frozen=True)
class Case:
    """One request and what every package answers to it; a scope that stands not in `packages` is unmapped."""

    document: dict[str, Any]
    gate: Rules
    packages: dict[str, Rules] = field(default_factory=dict)
    ceiling: int | None = None

    def decide(self) -> Decision:
        question = Question(self.document, NOW_MS, self.ceiling)
        verdicts = {scope: read(scope, rules) for scope, rules in self.packages.items()}
        return combine(question, read("issuance.gate", self.gate), verdicts)


def read(package: str, rules: Rules) -> Verdict:
    """As the bridge reads an answer of the engine."""
    if rules is FAILED:
        return Verdict(package, error=FAILED)
    return read_verdict(package, rules, NOW_MS)


@st.composite
def _case(draw: st.DrawFn) -> Case:
    gate = draw(rules) if rarely(draw, 3) else {"allow": True}
    unmapped = draw(st.sets(st.sampled_from(SCOPES), max_size=3)) if rarely(draw, 5) else set()
    ceiling = draw(st.sampled_from([None, None, 1, 120, 3600]))
    return Case(draw(_document()), gate, {s: draw(rules) for s in SCOPES if s not in unmapped}, ceiling)


cases = _case()

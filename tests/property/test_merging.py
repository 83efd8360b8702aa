"""Merging against a second reading of the contract, and the laws that hold whatever the packages say."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.model.decision import Decision
from bridge.pdp.wire import limit_json
from tests.property import oracle
from tests.property.questions import FAILED, NOW_MS, SCOPES, Case, Rules, arbitrary_json, cases, read, rules

DENIAL = {"code": "added"}
assert settings.default is not None
THOROUGH = settings(max_examples=3 * settings.default.max_examples)


def unordered(values: Any) -> list[str]:
    return sorted(json.dumps(value, sort_keys=True) for value in values)


def denying(said: Rules) -> Rules:
    """The same package with one more denial in it."""
    if not isinstance(said, dict):
        return said
    before = said.get("deny", [])
    return {**said, "deny": [*before, DENIAL] if isinstance(before, list) else [DENIAL]}


@THOROUGH
@given(cases)
def test_merging_agrees_with_a_second_reading_of_the_contract(case: Case) -> None:
    decision, expected = case.decide(), oracle.expect(case)
    assert {scope: answer.outcome.value for scope, answer in decision.scopes.items()} == expected.scopes
    assert (decision.outcome.value, list(decision.granted_scopes)) == (expected.outcome, expected.granted)
    assert unordered(decision.require) == unordered(expected.require)
    assert decision.limit.token_lifetime == expected.lifetime
    assert unordered(decision.limit.audience or ()) == unordered(set(expected.audience or []))
    assert (decision.limit.audience is None) == (expected.audience is None)
    assert unordered(decision.limit.authorization_details or ()) == unordered(expected.details or [])
    assert oracle.same(dict(decision.claims), expected.claims)
    assert set(decision.crit) == expected.crit


@given(cases)
def test_every_granted_scope_is_permitted_by_its_own_package_and_by_the_gate(case: Case) -> None:
    details = case.document.get("authorization_details") or []
    for scope in case.decide().granted_scopes:
        for said in (case.gate, case.packages[scope]):
            assert oracle.sound(said, details)
            assert oracle.allows(said)
            assert not oracle.denies(said)
            assert all(oracle.holds(need, case.document, scope) for need in said.get("require", []))


@given(cases, st.data())
def test_denial_added_to_a_scope_never_grants_that_scope(case: Case, data: st.DataObject) -> None:
    scope = data.draw(st.sampled_from(sorted(case.packages)))
    worse = replace(case, packages={**case.packages, scope: denying(case.packages[scope])})
    answer = worse.decide().scopes.get(scope)
    assert answer is None or answer.outcome == "deny"


@given(cases)
def test_denial_added_to_the_gate_grants_nothing(case: Case) -> None:
    decision = replace(case, gate=denying(case.gate)).decide()
    assert decision.outcome == "deny"
    assert decision.granted_scopes == ()
    assert all(answer.outcome == "deny" for answer in decision.scopes.values())
    assert (dict(decision.claims), limit_json(decision.limit), decision.require) == ({}, {}, ())


@given(cases, st.data())
def test_package_that_fails_denies_its_own_scope(case: Case, data: st.DataObject) -> None:
    scope = data.draw(st.sampled_from(sorted(case.packages)))
    answer = replace(case, packages={**case.packages, scope: FAILED}).decide().scopes.get(scope)
    assert answer is None or answer.outcome == "deny"


@given(cases, st.data())
def test_order_never_matters(case: Case, data: st.DataObject) -> None:
    scopes = data.draw(st.permutations(case.document["scopes"]))
    packages = dict(data.draw(st.permutations(list(case.packages.items()))))
    turned = {scope: _turned(said) for scope, said in packages.items()}
    other = replace(case, document={**case.document, "scopes": scopes}, packages=turned, gate=_turned(case.gate))
    assert _told(other.decide()) == _told(case.decide())


def _turned(said: Rules) -> Rules:
    """Sets come in whatever order: turn them round."""
    if not isinstance(said, dict):
        return said
    return {k: v[::-1] if k != "claims" and isinstance(v, list) else v for k, v in reversed(said.items())}


def _told(decision: Decision) -> dict[str, Any]:
    return {
        "outcome": decision.outcome,
        "granted": set(decision.granted_scopes),
        "scopes": {s: (a.outcome, unordered(f.code for f in a.findings)) for s, a in decision.scopes.items()},
        "limit": limit_json(decision.limit),
        "require": unordered(decision.require),
        "claims": json.dumps(dict(decision.claims), sort_keys=True),
        "crit": decision.crit,
    }


@given(cases)
def test_nothing_is_broader_than_what_was_asked_for(case: Case) -> None:
    decision, document = case.decide(), case.document
    assert set(decision.granted_scopes) <= set(document["scopes"])
    assert decision.scopes.keys() == set(document["scopes"])
    if document.get("audience") and decision.limit.audience is not None:
        assert set(decision.limit.audience) <= set(document["audience"])
    for detail in decision.limit.authorization_details or ():
        assert oracle.covered(detail, document.get("authorization_details") or [])
    if decision.outcome == "deny":
        assert decision.granted_scopes == ()


@given(cases)
def test_details_asked_for_are_never_granted_in_silence(case: Case) -> None:
    """A token with details asked for and no `authorization_details` in the limit would carry them all."""
    details = case.document.get("authorization_details") or [{"type": "acc"}, {"type": "acc", "locations": ["x"]}]
    decision = replace(case, document={**case.document, "authorization_details": details}).decide()
    if decision.outcome == "allow" or decision.granted_scopes:
        assert decision.limit.authorization_details


@given(cases)
def test_lifetime_is_the_smallest_of_all_that_count(case: Case) -> None:
    decision = case.decide()
    if decision.outcome == "allow" or decision.granted_scopes:
        counting = [case.gate, *(case.packages[scope] for scope in decision.granted_scopes)]
        said = [r["limit"]["token_lifetime"] for r in counting if "token_lifetime" in r.get("limit", {})]
        bounds = [*said, *([case.ceiling] if case.ceiling is not None else [])]
        assert decision.limit.token_lifetime == (min(bounds) if bounds else None)
        assert decision.limit.token_lifetime != 0


@given(cases)
def test_conditional_only_for_a_user_and_only_for_requirements(case: Case) -> None:
    decision = case.decide()
    waiting = [scope for scope, answer in decision.scopes.items() if answer.outcome == "conditional"]
    if decision.outcome != "conditional":
        assert not waiting
        return
    assert case.document["subject"]["type"] == "user"
    assert decision.require
    details = case.document.get("authorization_details") or []
    for scope in waiting:
        said = case.packages[scope]
        assert oracle.sound(said, details)
        assert oracle.allows(said)
        assert not oracle.denies(said)
        assert not all(
            oracle.holds(need, case.document, scope)
            for need in [*case.gate.get("require", []), *said.get("require", [])]
        )


@given(cases)
def test_what_waits_alone_is_granted_once_its_requirements_hold(case: Case) -> None:
    """Conditional is a promise: a step-up that is kept leads to no other requirement, finding or limit of its own."""
    shown = {"acr": "hi", "amr": ["otp"], "auth_time": NOW_MS // 1000}
    for scope, answer in case.decide().scopes.items():
        if answer.outcome == "conditional":
            alone = {**case.document, "scopes": [scope], "consented_scopes": [scope], "authentication": shown}
            after = replace(case, document=alone).decide()
            # What the request as a whole lacks shows only when there is something to grant.
            beyond = {"no_audience", "claims_conflict", "details_denied"}
            assert after.granted_scopes == (scope,) or {f.code for f in after.findings} <= beyond


@given(cases)
def test_claims_of_two_packages_agree_to_the_type(case: Case) -> None:
    decision = case.decide()
    for said in (case.packages[scope] for scope in decision.granted_scopes):
        for name, value in said.get("claims", {}).items():
            assert oracle.same(decision.claims[name], value)


@given(arbitrary_json, st.dictionaries(st.sampled_from(SCOPES), arbitrary_json | rules), cases)
def test_merging_answers_whatever_packages_say(gate: Any, packages: dict[str, Any], case: Case) -> None:
    decision = replace(case, gate=gate, packages=packages).decide()
    assert decision.scopes.keys() == set(case.document["scopes"])
    if not (isinstance(gate, dict) and oracle.allows(gate)):
        assert decision.granted_scopes == ()


def _case(packages: dict[str, Rules], **document: Any) -> Case:
    subject = {"type": "user", "id": "u"}
    base = {"grant_type": "authorization_code", "client": {"id": "app"}, "subject": subject, "scopes": list(packages)}
    return Case({**base, **document}, {"allow": True}, packages)


def test_denied_scope_takes_its_limits_and_claims_along_and_frees_another() -> None:
    """Wanted: a limit is a condition of its own scope's grant, so without the grant it narrows nothing."""
    packages = {
        "a": {
            "allow": True,
            "limit": {"token_lifetime": 60, "granted_scope": "a", "audience": ["https://r1.example"]},
            "claims": {"t": 1},
            "crit": ["t"],
        },
        "b": {"allow": True, "limit": {"token_lifetime": 900}, "claims": {"u": 2}},
    }
    first = _case(packages).decide()
    assert (first.granted_scopes, first.scopes["b"].findings[0].code) == (("a",), "narrowed")
    assert (first.limit.token_lifetime, dict(first.claims), first.crit) == (60, {"t": 1}, ("t",))
    freed = _case({**packages, "a": denying(packages["a"])}).decide()
    assert freed.granted_scopes == ("b",)
    assert (limit_json(freed.limit), dict(freed.claims), freed.crit) == ({"token_lifetime": 900}, {"u": 2}, ())


@pytest.mark.parametrize("other", [True, 1.0, "1", [1], None, {"n": 1}])
def test_claims_conflict_is_told_by_type(other: Any) -> None:
    packages = {"a": {"allow": True, "claims": {"t": 1}}, "b": {"allow": True, "claims": {"t": other}}}
    decision = _case(packages).decide()
    assert (decision.outcome, [f.code for f in decision.findings]) == ("deny", ["claims_conflict"])
    assert dict(decision.claims) == {}


def test_claims_of_a_scope_that_only_waits_conflict_with_nothing() -> None:
    packages = {
        "a": {"allow": True, "claims": {"t": 1}},
        "b": {"allow": True, "claims": {"t": 2}, "require": ["consent"]},
    }
    decision = _case(packages).decide()
    assert (decision.outcome, decision.granted_scopes, dict(decision.claims)) == ("conditional", ("a",), {"t": 1})


def test_member_order_makes_no_conflict() -> None:
    packages = {
        "a": {"allow": True, "claims": {"t": {"x": 1, "y": [1, 2]}}},
        "b": {"allow": True, "claims": {"t": {"y": [1, 2], "x": 1}}},
    }
    assert _case(packages).decide().granted_scopes == ("a", "b")


@pytest.mark.parametrize("kind", ["client", "workload"])
def test_requirement_is_unmeetable_without_a_user(kind: str) -> None:
    decision = _case({"a": {"allow": True, "require": ["consent"]}}, subject={"type": kind, "id": "x"}).decide()
    assert (decision.outcome, decision.require) == ("deny", ())
    assert [f.code for f in decision.scopes["a"].findings] == ["requirement_unmeetable"]


@pytest.mark.parametrize(
    ("kind", "shown", "outcome"),
    [
        ("user", {}, "conditional"),
        ("client", {}, "deny"),
        ("user", {"acr": "hi"}, "allow"),
        ("client", {"acr": "hi"}, "allow"),
    ],
)
def test_gate_requirement_counts_for_a_request_without_scopes(kind: str, shown: dict[str, str], outcome: str) -> None:
    required = [{"acr_values": ["hi"]}]
    case = _case({}, subject={"type": kind, "id": "x"}, authentication=shown)
    decision = replace(case, gate={"allow": True, "require": required, "limit": {"token_lifetime": 60}}).decide()
    assert decision.outcome == outcome
    assert list(decision.require) == (required if outcome == "conditional" else [])
    assert decision.limit.token_lifetime == (60 if outcome == "allow" else None)
    consent = replace(case, gate={"allow": True, "require": ["consent"]}).decide()
    assert consent.outcome != "allow", "nobody can consent to a scope that is none"


@pytest.mark.parametrize(("kind", "outcome"), [("user", "conditional"), ("client", "deny"), ("workload", "deny")])
def test_gate_requirement_counts_for_every_scope(kind: str, outcome: str) -> None:
    case = _case(
        {"a": {"allow": True}, "b": {"allow": True}}, subject={"type": kind, "id": "x"}, consented_scopes=["a"]
    )
    decision = replace(case, gate={"allow": True, "require": ["consent"]}).decide()
    assert (decision.granted_scopes, decision.scopes["b"].outcome) == (("a",), outcome)


GATES: dict[str, tuple[Rules, str]] = {
    "silent": ({}, "no_allow"),
    "failing": (FAILED, "policy_error"),
    "of a wrong type": ({"allow": True, "limit": 7}, "policy_error"),
    "zero lifetime": ({"allow": True, "limit": {"token_lifetime": 0}}, "zero_lifetime"),
    "denying": ({"allow": True, "deny": [{"code": "mine"}]}, "mine"),
    "not an object": ([True], "policy_error"),
}


@pytest.mark.parametrize("name", GATES)
@pytest.mark.parametrize("scopes", [["a", "b"], []])
def test_gate_that_does_not_allow_denies_all(name: str, scopes: list[str]) -> None:
    gate, code = GATES[name]
    case = replace(_case({"a": {"allow": True}, "b": {"allow": True}}, scopes=scopes), gate=gate)
    decision = case.decide()
    assert (decision.outcome, [f.code for f in decision.findings]) == ("deny", [code])
    assert {tuple(f.code for f in a.findings) for a in decision.scopes.values()} <= {("gate_denied",)}


@pytest.mark.parametrize("wrong", [{"limit": 7}, {"limit": {"authorization_details": [{"type": "t"}]}}, {"x": 1}])
def test_what_a_package_denies_is_kept_beside_what_is_wrong_with_it(wrong: dict[str, Any]) -> None:
    """An auditor must see the denial, not only that the package failed."""
    said = {"allow": True, "deny": [{"code": "mine"}, {"code": "yours"}], **wrong}
    decision = _case({"a": said, "b": {"allow": True}}).decide()
    assert [f.code for f in decision.scopes["a"].findings] == ["mine", "yours", "policy_error"]
    assert decision.granted_scopes == ("b",)
    decision = replace(_case({"b": {"allow": True}}), gate=said).decide()
    assert [f.code for f in decision.findings] == ["mine", "yours", "policy_error"]


REASONS: dict[str, tuple[Callable[[], Case], str]] = {
    "no package": (lambda: _case({}, scopes=["a"]), "unmapped_scope"),
    "not in the grammar": (lambda: _case({}, scopes=["two words"]), "invalid_scope"),
    "a reserved name": (lambda: _case({"issue:x": {"allow": True}}), "invalid_scope"),
    "nothing allows": (lambda: _case({"a": {}}), "no_allow"),
    "a package that failed": (lambda: _case({"a": FAILED}), "policy_error"),
    "a zero lifetime": (lambda: _case({"a": {"allow": True, "limit": {"token_lifetime": 0}}}), "zero_lifetime"),
    "a limit of its own": (lambda: _case({"a": {"allow": True, "limit": {"granted_scope": ""}}}), "narrowed"),
    "beyond the grant": (
        lambda: _case({"a": {"allow": True}}, grant_type="refresh_token", grant={"scopes": ["b"]}),
        "exceeds_grant",
    ),
    "a grant without scopes": (
        lambda: _case({"a": {"allow": True}}, grant_type="refresh_token", grant={}),
        "exceeds_grant",
    ),
    "no audience left": (
        lambda: _case(
            {"a": {"allow": True, "limit": {"audience": ["https://r1.example"]}}}, audience=["https://r2.example"]
        ),
        "no_audience",
    ),
    "no details returned": (
        lambda: _case({"a": {"allow": True}}, authorization_details=[{"type": "t"}]),
        "details_denied",
    ),
    "broader details": (
        lambda: _case(
            {"a": {"allow": True, "limit": {"authorization_details": [{"type": "t", "actions": ["read", "write"]}]}}},
            authorization_details=[{"type": "t", "actions": ["read"]}, {"type": "t", "actions": ["write"]}],
        ),
        "policy_error",
    ),
}


@pytest.mark.parametrize("name", REASONS)
def test_reason_of_a_denied_scope(name: str) -> None:
    make, code = REASONS[name]
    (answer,) = make().decide().scopes.values()
    assert (answer.outcome, [f.code for f in answer.findings]) == ("deny", [code])


def test_audience_limits_bind_the_default_where_none_was_asked_for() -> None:
    packages = {
        "a": {"allow": True, "limit": {"audience": ["https://r1.example", "https://r2.example"]}},
        "b": {"allow": True, "limit": {"audience": ["https://r2.example", "https://r3.example"]}},
    }
    assert _case(packages).decide().limit.audience == ("https://r2.example",)


def test_reading_is_what_merging_rests_on() -> None:
    """The oracle takes raw JSON, so a failed package must be one for both readings."""
    assert read("p", FAILED).error is not None
    assert read("p", {"allow": True}).error is None

"""Reading a package's answer is total, and what it lets pass is of the contract's form."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.model.limit import PROTOCOL_CLAIMS
from bridge.model.scope import is_scope_token, split
from bridge.model.verdict import FIELDS, read_verdict
from tests.property import oracle
from tests.property.questions import NOW_MS, arbitrary_json, rules

# Any JSON at all, under the names that mean something and beside them.
_NAMES = st.sampled_from(
    [
        *FIELDS,
        *("code", "title", "exception", "effective_on", "kind", "id", "approved_by", "expires"),
        *(
            "acr_values",
            "amr",
            "max_age",
            "token_lifetime",
            "granted_scope",
            "audience",
            "authorization_details",
            "type",
        ),
    ]
)
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(["consent", "waiver", "2026-12-31T00:00:00Z", "2027-01-01", "a b", "x"])
)
anything = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES | st.text(max_size=3), inner, max_size=4),
    max_leaves=25,
)
answers = anything | st.dictionaries(st.sampled_from(FIELDS), anything) | rules | arbitrary_json


@given(answers)
def test_reading_never_raises_and_permits_only_what_the_contract_permits(answer: Any) -> None:
    verdict = read_verdict("p", answer, NOW_MS)
    permits = bool(verdict.allow) and not verdict.deny and verdict.error is None
    if permits:
        assert isinstance(answer, dict)
        assert answer["allow"] is True or (isinstance(answer["allow"], list) and answer["allow"])
        assert not answer.get("deny") or verdict.warn
    if verdict.error is None:
        _of_the_contract(verdict)
    else:
        assert verdict.error
        json.dumps(verdict.error).encode()


def _of_the_contract(verdict: Any) -> None:
    limit = verdict.limit
    assert limit.token_lifetime is None or (type(limit.token_lifetime) is int and limit.token_lifetime >= 0)
    assert all(split(scope) == (scope,) for scope in limit.granted_scope or ())
    assert all(isinstance(a, str) and a for a in limit.audience or ())
    assert all(isinstance(d["type"], str) for d in limit.authorization_details or ())
    assert not PROTOCOL_CLAIMS & verdict.claims.keys()
    assert set(verdict.crit) <= verdict.claims.keys()
    assert all(need == "consent" or need.keys() <= {"acr_values", "amr", "max_age"} for need in verdict.require)
    for finding in (*verdict.allow, *verdict.deny, *verdict.warn, *verdict.dropped):
        assert 0 < len(finding.code) <= 256


@given(rules)
def test_reading_agrees_with_a_second_one(answer: Any) -> None:
    """Where the request brings no details into it, a package is sound for both readings or for neither."""
    verdict = read_verdict("p", answer, NOW_MS)
    if isinstance(answer, dict) and isinstance(limit := answer.get("limit"), dict):
        limit.pop("authorization_details", None)
        verdict = read_verdict("p", answer, NOW_MS)
    assert (verdict.error is None) == oracle.sound(answer, [])
    assert bool(verdict.deny) == oracle.denies(answer)
    if verdict.error is None:
        assert bool(verdict.allow) == oracle.allows(answer)


@given(answers, st.randoms(use_true_random=False))
def test_what_deny_said_is_read_whatever_the_other_rules_are(answer: Any, random: Any) -> None:
    before = answer if isinstance(answer, dict) else {}
    denied = read_verdict("p", {**before, "deny": [{"code": "mine"}, random.choice([1, "x", None])]}, NOW_MS)
    assert {f.code for f in denied.deny} == {"deny", "mine"}


@given(st.text())
def test_scope_tokens_are_what_splitting_keeps(text: str) -> None:
    if is_scope_token(text):
        assert split(text) == (text,)

"""What a dialect cannot say is a denial; what it can say whole, or need not say, is the decision as it is."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from bridge.model.decision import Code, Decision, Outcome
from bridge.model.dialect import ANY, Dialect
from bridge.pdp.combine import combine
from bridge.pdp.gather import Terms
from bridge.pdp.question import Question
from tests.property.questions import NOW_MS, Case, cases, read

dialects = st.builds(
    Dialect,
    scopes=st.booleans(),
    lifetime=st.none() | st.sampled_from([(300, 86_400), (1, 100), (61, 900)]),
    lives=st.none() | st.sampled_from([60, 300, 3600]),
    audience=st.booleans(),
    details=st.booleans(),
    claims=st.frozensets(st.sampled_from(sorted(ANY))),
    claim_names=st.none() | st.frozensets(st.sampled_from(["t", "u"])),
    withheld=st.frozensets(st.sampled_from(["t", "u"]), max_size=1),
    plain_names=st.booleans(),
    standing=st.booleans(),
    waiting=st.booleans(),
)


def decided(case: Case, dialect: Dialect | None) -> Decision:
    question = Question(case.document, NOW_MS, case.ceiling, Terms(dialect=dialect))
    verdicts = {scope: read(scope, rules) for scope, rules in case.packages.items()}
    return combine(question, read("issuance.gate", case.gate), verdicts)


def broader(case: Case, whole: Decision, dialect: Dialect) -> list[str]:
    """What a server that knows this dialect alone would mint beyond the decision `whole`."""
    document, found = case.document, list[str]()
    if set(whole.granted_scopes) != set(document["scopes"]) and not (dialect.scopes and whole.granted_scopes):
        found.append("scopes")
    limit = whole.limit
    if (most := limit.token_lifetime) is not None:
        lives = 10**9 if dialect.lives is None else dialect.lives
        settable = dialect.lifetime is not None and most >= dialect.lifetime[0]
        if lives > most and not settable:
            found.append("lifetime")
    if limit.audience is not None and not dialect.audience:
        asked = document.get("audience", ())
        if not asked or not set(asked) <= set(limit.audience):
            found.append("audience")
    if limit.authorization_details is not None and not dialect.details:
        asked_details = sorted(json.dumps(one, sort_keys=True) for one in document["authorization_details"])
        if sorted(json.dumps(one, sort_keys=True) for one in limit.authorization_details) != asked_details:
            found.append("details")
    return found


@given(cases, dialects)
def test_no_dialect_says_a_broader_yes(case: Case, dialect: Dialect) -> None:
    whole, said = decided(case, None), decided(case, dialect)
    lost = broader(case, whole, dialect)
    carried = dialect.carries_claims(whole.claims)
    if whole.outcome is Outcome.DENY or (whole.outcome is Outcome.ALLOW and not lost and carried):
        event("said whole")
        assert said == whole
    elif said.outcome is Outcome.DENY:
        event("denied")
        assert lost or not carried or whole.outcome is Outcome.CONDITIONAL
        assert said.granted_scopes == ()
        assert said.findings[0].code == Code.INEXPRESSIBLE
        assert all(answer.outcome is Outcome.DENY for answer in said.scopes.values())
    else:
        assert said == whole
        assert said.outcome is Outcome.CONDITIONAL
        assert dialect.waiting if not said.granted_scopes else (lost, carried, dialect.scopes) == ([], True, True)


@given(cases)
def test_a_dialect_that_carries_all_says_every_yes(case: Case) -> None:
    whole = decided(case, None)
    said = decided(case, Dialect(scopes=True, lifetime=(0, 10**9), audience=True, details=True, claims=ANY))
    waits = whole.outcome is Outcome.CONDITIONAL and not whole.granted_scopes
    assert said == whole if not waits else said.outcome is Outcome.DENY
    told = decided(
        case, Dialect(scopes=True, lifetime=(0, 10**9), audience=True, details=True, claims=ANY, waiting=True)
    )
    assert told == whole


@pytest.mark.parametrize(
    ("has", "withheld", "said"),
    [
        ({"t": "acme"}, {"t"}, True),
        ({"t": "other"}, {"t"}, False),
        ({"t": "other"}, (), True),
        ({"t": ["acme"]}, {"t"}, False),
        (None, {"t"}, False),
        ("acme", {"t"}, False),
    ],
)
@pytest.mark.parametrize("standing", [True, False])
def test_a_claim_that_the_token_has_anyway_needs_no_words(
    has: Any, withheld: set[str], said: bool, standing: bool
) -> None:
    document = {"scopes": [], "subject": {"type": "client", "id": "c"}, "context": {"claims": has}}
    dialect = Dialect(claims=frozenset({"string"}), withheld=frozenset(withheld), standing=standing)
    question = Question(document, NOW_MS, None, Terms(dialect=dialect))
    decision = combine(question, read("issuance.gate", {"allow": True, "claims": {"t": "acme"}}), {})
    assert (decision.outcome is Outcome.ALLOW) is (said if standing else not withheld)


@pytest.mark.parametrize(("name", "said"), [("a.b:c", True), ("https://x", False), ("a~b", False)])
def test_plain_names(name: str, said: bool) -> None:
    assert Dialect(claims=ANY, plain_names=True).carries_claims({name: 1}) is said
    assert Dialect(claims=ANY).carries_claims({name: 1}) is True


@given(dialects)
def test_a_dialect_is_written_down_and_read_again(dialect: Dialect) -> None:
    assert Dialect.read(json.loads(json.dumps(dialect.document()))) == dialect


@pytest.mark.parametrize(
    ("value", "kinds", "carried"),
    [
        ("a", {"string"}, True),
        ("a", {"strings", "number"}, False),
        (True, {"number"}, False),
        (True, {"boolean"}, True),
        (1, {"number"}, True),
        (1.5, {"number"}, True),
        ([], {"strings"}, True),
        (["a", "b"], {"strings"}, True),
        (["a", 1], {"strings"}, False),
        ({"a": 1}, {"string", "strings", "number", "boolean"}, False),
        ({"a": 1}, {"any"}, True),
        (None, {"string", "strings", "number", "boolean"}, False),
        (None, {"any"}, True),
    ],
)
def test_claims_by_the_kind_of_their_value(value: Any, kinds: set[str], carried: bool) -> None:
    dialect = Dialect(claims=frozenset(kinds))
    assert dialect.carries_claims({"x": value}) is carried
    assert dialect.carries_claims({}) is True
    assert replace(dialect, claim_names=frozenset("y")).carries_claims({"x": value}) is False

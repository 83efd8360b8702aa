"""What a decision hung on, written down and read again: the same question."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.decision import Code
from bridge.model.entry import canonical
from bridge.model.times import rfc3339
from bridge.pdp.gather import NATIVE, Bare, Terms
from bridge.pdp.question import Question
from bridge.pdp.terms import read_terms, terms_json
from tests.property.questions import NOW_MS, RESOURCES, SCOPES
from tests.property.test_dialects import dialects

_scopes = st.lists(st.sampled_from(SCOPES), unique=True, max_size=4)
_targets = st.lists(st.sampled_from(RESOURCES), unique=True, max_size=3)


@st.composite
def _questions(draw: st.DrawFn) -> tuple[Question, frozenset[str | None]]:
    document: dict[str, Any] = {"scopes": draw(_scopes), "time": rfc3339(NOW_MS)}
    if draw(st.booleans()):
        document["audience"] = draw(_targets)
    terms = Terms(
        scopes=draw(st.none() | _scopes.map(tuple)),
        targets=draw(st.none() | _targets.map(tuple)),
        crit=draw(st.booleans()),
        bare=draw(st.none() | st.builds(Bare, st.none() | st.integers(0, 3600))),
        gate_alone=draw(st.booleans()),
        dialect=draw(st.none() | dialects),
        refused=draw(st.none() | st.sampled_from(Code)),
    )
    within = draw(st.none() | _scopes.map(frozenset))
    denies = draw(st.frozensets(st.none() | st.sampled_from(SCOPES), max_size=3))
    return Question(document, NOW_MS, draw(st.none() | st.integers(1, 86400)), terms, within), denies


@given(_questions())
def test_what_is_written_is_read_again(asked: tuple[Question, frozenset[str | None]]) -> None:
    question, denies = asked
    told = orjson.loads(canonical(terms_json(question, denies)))
    read, took = read_terms(told, question.document)
    assert took == denies
    for name in ("scopes", "audience", "is_authzen", "leaves_scopes_to_others", "now_ms", "within"):
        assert getattr(read, name) == getattr(question, name)
    assert read.max_token_lifetime_s == question.max_token_lifetime_s
    for name in ("crit", "bare", "gate_alone", "dialect", "refused"):
        assert getattr(read.terms, name) == getattr(question.terms, name)


def test_an_ordinary_decision_hangs_on_nothing_else() -> None:
    document = {"scopes": ["a"], "time": rfc3339(NOW_MS)}
    assert terms_json(Question(document, NOW_MS, None, NATIVE), frozenset()) == {}


@pytest.mark.parametrize("pointer", [("audience",), ("audience", "0"), ("audience", "*"), ("*",)])
def test_a_masked_audience_is_not_told(pointer: tuple[str, ...]) -> None:
    document = {"scopes": ["a"], "audience": ["x"], "time": rfc3339(NOW_MS)}
    own, others = (Question(document, NOW_MS, None, Terms(targets=targets)) for targets in (("x",), ("x", "y")))
    assert terms_json(own, frozenset(), [pointer]) == {"targets": "audience"}
    assert terms_json(others, frozenset(), [pointer]) == {"targets": "***"}
    with pytest.raises(ValueError, match="texts"):
        read_terms({"targets": "***"}, document)


@pytest.mark.parametrize(
    "told",
    [
        *({"scopes": "a"}, {"scopes": [7]}, {"targets": 7}, {"within": {}}, {"max_token_lifetime": "60"}),
        *({"max_token_lifetime": True}, {"bare": []}, {"source_failed": {}}, {"source_failed": {"scopes": []}}),
        {"refused": "because"},
    ],
)
def test_what_no_bridge_has_written_is_not_read(told: dict[str, Any]) -> None:
    document = {"scopes": ["a"], "audience": ["x"], "time": rfc3339(NOW_MS)}
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        read_terms(told, document)
    with pytest.raises(ValueError, match="time"):
        read_terms({}, {**document, "time": "soon"})

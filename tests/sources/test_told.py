"""What the sources of many documents come to together, and what a failed one denies whatever was said."""

import pytest

from bridge.model.policy import PolicySet
from bridge.model.source import Declared, fall_back
from bridge.model.verdict import Finding, Verdict
from bridge.pdp.enrich import MAX_MESSAGE, Informed, _exception, summed, without_failed
from bridge.pdp.evaluate import Verdicts

EMPTY = PolicySet("", "", {}, {}, {}, (), b"")
SAID = Verdicts(EMPTY, Verdict("gate", (Finding("open"),)), {"a": Verdict("a", (Finding("yes"),))})


@pytest.mark.parametrize("failed", [(True, False), (False, True), (True, True), (False, False)])
def test_one_document_that_failed_is_a_search_that_failed(failed: tuple[bool, ...]) -> None:
    assert summed(Informed(failed=one) for one in failed).failed is any(failed)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("scope", [True, False])
def test_what_failed_is_denied_at_the_gate_and_in_its_scope_alone(gate: bool, scope: bool) -> None:
    at_gate, own = (Informed(denies=frozenset(uses)) for uses in ([None] * gate, ["a"] * scope))
    left = without_failed(SAID, at_gate, own)
    assert [bool(left.gate.deny), bool(left.scopes["a"].deny)] == [gate, scope]
    assert (left.gate.allow, left.scopes["a"].allow) == (SAID.gate.allow, SAID.scopes["a"].allow)


def test_the_words_of_a_fault_are_bounded() -> None:
    assert len(_exception(fall_back(Declared("s", "o", ()), None, 0, "x" * 5000))["message"]) == MAX_MESSAGE

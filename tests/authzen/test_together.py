"""Which documents of one batch narrow each other: those that one token comes of, and no others."""

from typing import Any

from tests.support.bridge import RunningBridge

from .asking import batch, decisions, gate, item, party, says, shaping, user
from .asking import items as items_of

OTHER = "https://other.example"
EXCHANGE = gate(grant_type="token_exchange")


def narrows(*scopes: str) -> dict[str, Any]:
    return {"allow": True, "limit": {"granted_scope": " ".join(scopes)}}


def told(**rules: Any) -> dict[str, Any]:
    """`rules` by who at which target; `_at_` and `_gate` stand for what a name cannot hold."""
    context = says()
    context["says"] = {f"{who}@{target} gate": said for name, said in rules.items() for who, target in [_place(name)]}
    return context


def _place(name: str) -> tuple[str, str]:
    who, _, where = name.partition("_at_")
    return who, {"api": "https://api.example", "other": OTHER}[where]


def test_subjects_are_questions_of_their_own(bridge: RunningBridge) -> None:
    context = told(alice_at_api=narrows("s:a"), bob_at_api=narrows("s:b"))
    asked = [item(name, user(who)) for who in ("alice", "bob") for name in (gate(), "s:a", "s:b")]
    assert decisions(bridge, batch(*asked, context=context)) == [True, True, False, True, False, True]


def test_targets_are_questions_of_their_own(bridge: RunningBridge) -> None:
    context = told(alice_at_api=narrows("s:a"), alice_at_other=narrows("s:b"))
    asked = [item(name, target=target) for target in (None, OTHER) for name in (gate(), "s:a", "s:b")]
    assert decisions(bridge, batch(*asked, context=context)) == [True, True, False, True, False, True]


def test_both_gates_of_an_exchange_narrow_its_scopes(bridge: RunningBridge) -> None:
    context = told(alice_at_api=narrows("s:a", "s:b"), edge_at_api=narrows("s:b", "s:c"))
    asked = [EXCHANGE, item(EXCHANGE, party("workload", "edge")), "s:a", "s:b", "s:c"]
    assert decisions(bridge, batch(*asked, context=context)) == [True, True, False, True, False]


def test_the_gates_of_an_exchange_narrow_its_second_level(bridge: RunningBridge) -> None:
    context = told(alice_at_api={"allow": True}, edge_at_api=narrows("s:b"))
    asked = [EXCHANGE, item(EXCHANGE, party("workload", "edge")), item("s:a", target=OTHER), item("s:b", target=OTHER)]
    assert decisions(bridge, batch(*asked, context=context)) == [True, True, False, True]


def test_a_second_kind_of_token_narrows_the_first(bridge: RunningBridge) -> None:
    refresh = gate("refresh_token")
    context = says()
    context["says"] = {"gate": narrows("s:a", "s:b"), "s:a": {"allow": True}, "s:b": narrows("s:b")}
    answers = items_of(bridge, batch(gate(), refresh, context=context))
    assert [shaping(one) for one in answers] == [{"granted_scope": "s:a s:b"}] * 2
    assert decisions(bridge, batch(gate(), refresh, "s:a", "s:b", "s:c", context=context)) == [
        *(True, True),
        *(False, True, False),
    ]

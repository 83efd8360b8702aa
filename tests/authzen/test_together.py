"""Which documents of one batch narrow each other: those that one token comes of, and no others."""

from typing import Any

import pytest

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


def test_two_exchanges_at_one_target_are_two(bridge: RunningBridge) -> None:
    edge, hub = (item(EXCHANGE, party("workload", name)) for name in ("edge", "hub"))
    context = told(alice_at_api=narrows("s:a"), bob_at_api=narrows("s:b"), hub_at_api=narrows("s:b", "s:c"))
    scopes = [item(name, user(who)) for who in ("alice", "bob") for name in ("s:a", "s:b", "s:c")]
    asked = [EXCHANGE, edge, item(EXCHANGE, user("bob")), hub, *scopes]
    assert decisions(bridge, batch(*asked, context=context)) == [True] * 4 + [True, False, False, False, True, False]
    # What narrows the party of both narrows both, and neither subject the other.
    asked = [EXCHANGE, edge, item(EXCHANGE, user("bob")), edge, *scopes]
    context = told(alice_at_api=narrows("s:a", "s:c"), bob_at_api=narrows("s:b"), edge_at_api=narrows("s:a", "s:b"))
    assert decisions(bridge, batch(*asked, context=context)) == [True] * 4 + [True, False, False, False, True, False]


@pytest.mark.parametrize("grant_type", ["token_exchange", "jwt_bearer", "saml2_bearer"])
def test_two_users_are_never_the_parties_of_one_token(bridge: RunningBridge, grant_type: str) -> None:
    opened = gate(grant_type=grant_type)
    context = told(alice_at_api=narrows("s:a"), bob_at_api=narrows("s:b"))
    asked = [item(name, user(who)) for who in ("alice", "bob") for name in (opened, "s:a", "s:b")]
    assert decisions(bridge, batch(*asked, context=context)) == [True, True, False, True, False, True]


def test_a_gate_alone_tells_what_it_grants_whoever_else_asks_for_scopes(bridge: RunningBridge) -> None:
    """Without it the server would grant its defaults, which policy has narrowed."""
    context = told(alice_at_api=narrows("s:a"))
    for other in (user("bob"), party("workload", "edge")):
        for target in (None, OTHER):
            asked = [gate(), item(gate(), other, target), item("s:b", other, target)]
            answers = items_of(bridge, batch(*asked, context=context))
            assert [one["decision"] for one in answers] == [True, True, True]
            assert [shaping(one) for one in answers] == [{"granted_scope": "s:a"}, None, None]
    asked = [gate(), item(gate(), target=OTHER), item("s:b", target=OTHER)]
    assert shaping(items_of(bridge, batch(*asked, context=context))[0]) == {"granted_scope": "s:a"}
    context = told(alice_at_api=narrows())
    assert decisions(bridge, batch(*asked, context=context)) == [False, True, True]


def test_details_that_a_gate_alone_does_not_return_are_denied_whoever_else_asks_for_scopes(
    bridge: RunningBridge,
) -> None:
    """No word about them would leave the requested ones standing."""
    details = [{"type": "payment"}]
    bob = {"allow": True, "limit": {"authorization_details": details}}
    context = {**told(alice_at_api={"allow": True}, bob_at_api=bob), "authorization_details": details}
    asked = [gate(), item(gate(), user("bob")), item("s:b", user("bob"))]
    assert decisions(bridge, batch(*asked, context=context)) == [False, True, True]


def test_what_comes_back_since_another_is_narrowed_narrows_too(bridge: RunningBridge) -> None:
    """`s:y` keeps `s:x` out, `s:z` of another document keeps `s:y` out, and `s:x` that one."""
    context = says(s_x=narrows("s:x", "s:y"), s_y=narrows("s:y", "s:z"), s_z=narrows("s:x", "s:z"))
    own = item("s:z", context={**context, "own": 1})
    for asked in ((gate(), "s:x", "s:y", own), (gate(), own, "s:y", "s:x")):
        answers = items_of(bridge, batch(*asked, context=context))
        names = [one if isinstance(one, str) else one["action"]["name"] for one in asked]
        granted = {name for name, one in zip(names, answers, strict=True) if one["decision"]} - {gate()}
        assert granted <= {"s:x"}


def test_an_audience_is_within_what_is_asked_for_on_behalf_of_the_same_subject(bridge: RunningBridge) -> None:
    """A target that only somebody else asks for would make the token broader than the wish."""
    elsewhere = {"allow": True, "limit": {"audience": [OTHER]}}
    context = told(alice_at_api=elsewhere)
    asked = [gate(), "s:a", item(gate(), user("bob"), OTHER), item("s:a", user("bob"), OTHER)]
    assert decisions(bridge, batch(*asked, context=context)) == [False, False, True, True]
    edge = party("workload", "edge")
    asked = [EXCHANGE, item(EXCHANGE, edge), item(EXCHANGE, user("bob"), OTHER), item(EXCHANGE, edge, OTHER)]
    assert decisions(bridge, batch(*asked, context=context)) == [False, True, True, True]
    # Of the second level, and by the requesting party of the same exchange.
    for narrowed in ("alice_at_api", "edge_at_api"):
        asked = [EXCHANGE, item(EXCHANGE, edge), item("s:a", target=OTHER)]
        answers = items_of(bridge, batch(*asked, context=told(**{narrowed: elsewhere})))
        assert [one["decision"] for one in answers] == [True, True, True]
        assert {"audience": [OTHER]} in [shaping(one) for one in answers[:2]]

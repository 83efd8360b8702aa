"""What goes out with a permit: six keys, exact types, never broader than asked, and nothing on a denied item."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.model.limit import PROTOCOL_CLAIMS
from tests.authzen.asking import (
    EVALUATION,
    TARGET,
    URN,
    batch,
    code,
    decisions,
    gate,
    item,
    items,
    party,
    says,
    shaping,
    user,
    values,
    write_saying,
)
from tests.support.bridge import LocalBridge, RunningBridge, local_bridge

OTHER = "https://other.example"
EXCHANGE = gate(grant_type="token_exchange")
EDGE = party("workload", "wl://edge")
PAY = {"type": "pay", "actions": ["read", "write"], "max": 10}
LESS = {"type": "pay", "actions": ["read"], "max": 10}


def yes(**rules: Any) -> dict[str, Any]:
    return {"allow": True, **rules}


def limit(**limits: Any) -> dict[str, Any]:
    return yes(limit=limits)


def shaped(bridge: RunningBridge, *actions: Any, **told: Any) -> list[Any]:
    """Of each item: what shapes it, or why it is denied."""
    reply = items(bridge, batch(*actions, context=says(**told)))
    return [shaping(one) if one["decision"] else code(one) for one in reply]


def test_each_item_carries_what_its_own_package_says(bridge: RunningBridge) -> None:
    told = shaped(
        bridge,
        *(gate(), "s:a", "s:b"),
        gate=limit(token_lifetime=600),
        s_a=yes(limit={"token_lifetime": 60, "audience": [TARGET]}, claims={"n": [1, {"x": 0.5}]}, crit=["n"]),
    )
    assert told == [
        {"token_lifetime": 600},
        {"token_lifetime": 60, "audience": [TARGET], "claims": {"n": [1, {"x": 0.5}]}, "crit": ["n"]},
        None,
    ]


def test_a_permit_without_shaping_is_a_bare_one(bridge: RunningBridge) -> None:
    reply = items(bridge, batch(gate(), "s:a"))
    assert reply[0]["context"].keys() == {"issuance_ext"}
    assert reply[1] == {"decision": True}


@pytest.mark.parametrize(
    "wrong",
    [
        *({"token_lifetime": value} for value in values(-1, 1.5, 60.0, "60", True, None, [60], 2**60)),
        *({"audience": value} for value in values(TARGET, [1], [""], {}, None, [[TARGET]])),
        *({"granted_scope": value} for value in values(["s:a"], 1, None, "s:a  s:b", " s:a", 's:"')),
        *({"authorization_details": value} for value in values({}, [1], [{}], "x", None, [{"type": 1}])),
        *({"lifetime": 60}, {"token_lifetime": 60, "scope": "s:a"}),
    ],
)
def test_a_malformed_limit_denies_and_is_never_dropped(bridge: RunningBridge, wrong: dict[str, Any]) -> None:
    assert shaped(bridge, gate(), "s:a", "s:b", s_a=yes(limit=wrong)) == [None, "policy_error", None]
    assert shaped(bridge, gate(), "s:a", gate=yes(limit=wrong)) == ["policy_error", "gate_denied"]


@pytest.mark.parametrize("name", sorted(PROTOCOL_CLAIMS))
def test_reserved_claims_deny(bridge: RunningBridge, name: str) -> None:
    assert shaped(bridge, gate(), "s:a", "s:b", s_a=yes(claims={name: "x"})) == [None, "policy_error", None]
    assert shaped(bridge, gate(), "s:a", gate=yes(claims={"fine": 1, name: "x"})) == ["policy_error", "gate_denied"]


@pytest.mark.parametrize("wrong", [yes(claims=[1]), yes(claims="x"), yes(crit=["n"]), yes(claims={"n": 1}, crit="n")])
def test_malformed_claims_and_crit_deny(bridge: RunningBridge, wrong: dict[str, Any]) -> None:
    assert shaped(bridge, gate(), "s:a", s_a=wrong) == [None, "policy_error"]


def test_a_lifetime_of_nothing_is_a_denial(bridge: RunningBridge) -> None:
    zero = limit(token_lifetime=0)
    assert shaped(bridge, gate(), "s:a", "s:b", s_a=zero) == [None, "zero_lifetime", None]
    assert shaped(bridge, gate(), "s:a", gate=zero) == ["zero_lifetime", "gate_denied"]


def test_an_audience_is_within_the_targets_of_the_batch(bridge: RunningBridge) -> None:
    two = [gate(), item(gate(), target=OTHER), "s:a", item("s:a", target=OTHER)]
    assert shaped(bridge, *two, s_a=limit(audience=[OTHER, "https://third.example", TARGET])) == [
        *(None, None),
        *({"audience": [TARGET, OTHER]}, {"audience": [TARGET, OTHER]}),
    ]
    assert shaped(bridge, *two, s_a=limit(audience=[OTHER])) == [
        None,
        None,
        {"audience": [OTHER]},
        {"audience": [OTHER]},
    ]
    for nothing in (["https://third.example"], []):
        assert shaped(bridge, *two, s_a=limit(audience=nothing)) == [None, None, "no_audience", "no_audience"]
        assert shaped(bridge, *two, gate=limit(audience=nothing)) == [
            *("no_audience", "no_audience"),
            *("gate_denied", "gate_denied"),
        ]
    # Byte for byte: no slash, case or prefix is made up for.
    for near in (TARGET + "/", TARGET.upper(), TARGET[:-1]):
        assert shaped(bridge, *two, s_a=limit(audience=[near]))[2] == "no_audience"


def test_limits_that_exclude_each_other_in_one_document_deny_it(bridge: RunningBridge) -> None:
    told = {"gate": limit(audience=[TARGET]), "s_a": limit(audience=[OTHER])}
    assert shaped(bridge, gate(), "s:a", item(gate(), target=OTHER), **told)[:2] == ["no_audience"] * 2
    conflict = {"s_a": yes(claims={"n": 1}), "s_b": yes(claims={"n": True})}
    assert shaped(bridge, gate(), "s:a", "s:b", "s:c", **conflict) == ["claims_conflict"] * 4
    assert (
        shaped(bridge, gate(), "s:a", s_a=yes(claims={"n": 1}), gate=yes(claims={"n": 1})) == [{"claims": {"n": 1}}] * 2
    )


def test_a_granted_scope_goes_out_where_no_scope_is_asked_for(bridge: RunningBridge) -> None:
    narrow = limit(granted_scope="s:b s:a", token_lifetime=5)
    assert shaped(bridge, gate(), gate=narrow) == [{"granted_scope": "s:a s:b", "token_lifetime": 5}]
    single = {"subject": user(), "action": {"name": gate()}, "resource": {"type": "audience", "id": TARGET}}
    response = bridge.client.post(EVALUATION, json={**single, "context": says(gate=narrow)})
    assert shaping(response.json()) == {"granted_scope": "s:a s:b", "token_lifetime": 5}
    assert shaped(bridge, gate(), "s:a", "s:c", gate=narrow) == [{"token_lifetime": 5}, None, "narrowed"]


def test_a_granted_scope_that_names_nothing_is_no_permit(bridge: RunningBridge) -> None:
    assert shaped(bridge, gate(), gate=limit(granted_scope="")) == ["narrowed"]
    assert shaped(bridge, gate(), "s:a", gate=limit(granted_scope="")) == [None, "narrowed"]


def test_two_gates_without_scopes_narrow_each_other(bridge: RunningBridge) -> None:
    """The server adds up the sets that it is told, so each one must already be within the other."""
    told = {"alice@https://api.example gate": limit(granted_scope="s:a s:b")}
    edge = "wl://edge@https://api.example gate"
    two = [EXCHANGE, item(EXCHANGE, EDGE)]
    assert shaped(bridge, *two, **told, **{edge: limit(granted_scope="s:b s:c")}) == [{"granted_scope": "s:b"}] * 2
    assert shaped(bridge, *two, **told, **{edge: limit(granted_scope="s:c")}) == ["narrowed"] * 2
    assert shaped(bridge, *two, **told, **{edge: {"deny": ["no"]}}) == [{"granted_scope": "s:a s:b"}, "no"]


def test_what_a_second_gate_narrows_holds_for_the_scopes_of_the_first(bridge: RunningBridge) -> None:
    told = {"wl://edge@https://api.example gate": limit(granted_scope="s:a")}
    two = [EXCHANGE, item(EXCHANGE, EDGE), "s:a", "s:b", item("s:b", target=OTHER)]
    assert shaped(bridge, *two, **told) == [None, None, None, "narrowed", "narrowed"]
    for refused in ({"deny": ["no"]}, {"require": [{"acr_values": ["hi"]}]}):  # one that does not count narrows nothing
        edge = {"wl://edge@https://api.example gate": {**limit(granted_scope="s:a"), **refused}}
        reply = items(bridge, batch(*two, context=says(**edge)))
        assert [one["decision"] for one in reply] == [True, False, True, True, True]
    types = [gate(), gate("refresh_token"), "s:a", "s:b"]
    reply = items(bridge, batch(*types, context=says(gate=limit(granted_scope="s:a"))))
    assert [one["decision"] for one in reply] == [True, True, True, False]


@pytest.mark.parametrize("grant_type", ["jwt_bearer", "saml2_bearer"])
def test_what_the_gate_of_who_redeems_narrows_holds_for_the_subject(bridge: RunningBridge, grant_type: str) -> None:
    redeem = gate(grant_type=grant_type)
    told = {"wl://edge@https://api.example gate": limit(granted_scope="s:a")}
    assert shaped(bridge, redeem, item(redeem, EDGE), "s:a", "s:b", **told) == [None, None, None, "narrowed"]


def test_what_a_scope_narrows_holds_at_the_second_level(bridge: RunningBridge) -> None:
    asked = [gate(), "s:a", item("s:b", target=OTHER), item("s:c", target=OTHER)]
    assert shaped(bridge, *asked, s_a=limit(granted_scope="s:a s:c")) == [None, None, "narrowed", None]
    both = {"s_a": limit(granted_scope="s:a"), "s_b": limit(granted_scope="s:b")}
    assert shaped(bridge, gate(), "s:a", item("s:b", target=OTHER), **both) == [None, None, "narrowed"]
    # With a context of its own it is at the same target still, and both leave each other out.
    own = item("s:b", context=says(**both))
    assert shaped(bridge, gate(), "s:a", own, **both) == [None, "narrowed", "narrowed"]
    assert shaped(bridge, gate(), "s:a", own) == [None, "narrowed", None]
    denied = {"s_a": {**limit(granted_scope="s:a"), "deny": ["no"]}}
    assert shaped(bridge, *asked, **denied) == [None, "no", None, None]


def test_a_narrowed_scope_stands_so_on_record(bridge: RunningBridge) -> None:
    before = len(bridge.entries())
    shaped(bridge, gate(), "s:a", item("s:b", target=OTHER), s_a=limit(granted_scope="s:a"))
    first, second = bridge.entries()[before:]
    assert (first["outcome"], first["granted_scopes"]) == ("allow", ["s:a"])
    assert (second["outcome"], second["granted_scopes"]) == ("deny", [])
    assert second["scopes"]["s:b"]["findings"] == [{"code": "narrowed"}]


CRIT = yes(claims={"cap": 5}, crit=["cap"])


@pytest.mark.parametrize(
    "declared",
    [
        *(None, {}, {"capabilities": []}, {"capabilities": URN}, {"capabilities": {URN: True}}, {"capabilities": None}),
        *(
            [URN],
            URN,
            {"capabilities": [URN.upper()]},
            {"capabilities": [URN + " "]},
            {"capabilities": [[URN]]},
            {"x": [URN]},
        ),
    ],
)
def test_crit_goes_to_nobody_who_did_not_declare_it(bridge: RunningBridge, declared: Any) -> None:
    context = {**says(capable=False, s_a=CRIT), **({} if declared is None else {"issuance": declared})}
    reply = items(bridge, batch(gate(), "s:a", "s:b", context=context))
    assert [one["decision"] for one in reply] == [True, False, True]
    assert code(reply[1]) == "crit_undeclared"
    assert "cap" not in json.dumps(reply)
    context["says"] = {"gate": CRIT}
    assert decisions(bridge, batch(gate(), "s:a", context=context)) == [False, False]


def test_crit_goes_to_those_who_declared_it_and_changes_nothing_else(bridge: RunningBridge) -> None:
    assert shaped(bridge, gate(), "s:a", s_a=CRIT) == [None, {"claims": {"cap": 5}, "crit": ["cap"]}]
    more = {**says(s_a=CRIT), "issuance": {"capabilities": [1, "urn:x", URN]}}
    assert decisions(bridge, batch(gate(), "s:a", context=more)) == [True, True]
    claims_only = batch(gate(), "s:a", context=says(capable=False, s_a=yes(claims={"cap": 5})))
    assert decisions(bridge, claims_only) == [True, True]


def test_crit_hangs_on_the_context_that_the_item_has(bridge: RunningBridge) -> None:
    bare = item("s:a", context=says(capable=False, s_a=CRIT))
    assert decisions(bridge, batch(gate(), bare, "s:a", context=says(s_a=CRIT))) == [True, False, True]


async def test_any_configured_capability_is_one(tmp_path: Path) -> None:
    urns = ["urn:openid:authzen:capability:x", URN]
    policies = write_saying(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, authzen={"capabilities": urns}) as bridge:
        for urn, expected in ((urns[0], True), (urns[1], True), ("urn:other", False)):
            context = {**says(s_a=CRIT), "issuance": {"capabilities": [urn]}}
            assert [one["decision"] for one in await _items(bridge, batch(gate(), "s:a", context=context))] == [
                True,
                expected,
            ]


async def _items(bridge: LocalBridge, body: Any) -> list[dict[str, Any]]:
    async with bridge.session.post("/access/v1/evaluations", json=body) as response:
        assert response.status == 200, await response.text()
        found: list[dict[str, Any]] = (await response.json())["evaluations"]
        return found


async def test_the_operators_ceiling_goes_out_with_every_gate(tmp_path: Path) -> None:
    policies = write_saying(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, policy={"path": str(policies), "max_token_lifetime_s": 300}) as bridge:
        for own, expected in ((None, 300), (900, 300), (60, 60)):
            told = says() if own is None else says(gate=limit(token_lifetime=own), s_a=limit(token_lifetime=own))
            two = batch(gate(), gate("refresh_token"), "s:a", context=told)
            shapes = [shaping(one) for one in await _items(bridge, two)]
            assert shapes == [{"token_lifetime": expected}] * 2 + [None if own is None else {"token_lifetime": own}]
        denied = await _items(bridge, batch(gate(), context=says(gate={"deny": ["no"]})))
        assert "issuance" not in denied[0]["context"]


def test_nothing_shapes_a_denied_item(bridge: RunningBridge) -> None:
    full = {
        "limit": {"token_lifetime": 9, "audience": [TARGET], "granted_scope": "s:a"},
        "claims": {"secret": 7},
        "crit": ["secret"],
    }
    refusals: list[dict[str, Any]] = [
        {"deny": ["no"]},
        {"allow": False},
        {"require": ["consent"]},
        {"x": 1, "allow": []},
    ]
    for refused in refusals:
        for name in ("gate", "s_a"):
            reply = items(bridge, batch(gate(), "s:a", context=says(**{name: {**yes(**full), **refused}})))
            assert reply[0 if name == "gate" else 1]["decision"] is False
            assert "secret" not in json.dumps(reply)
            assert all("issuance" not in one.get("context", {}) for one in reply if not one["decision"])


def test_only_the_six_keys_go_out(bridge: RunningBridge) -> None:
    full = yes(
        limit={"token_lifetime": 9, "audience": [TARGET], "granted_scope": "s:a", "authorization_details": [PAY]},
        claims={"c": 1},
        crit=["c"],
    )
    (told,) = shaped(bridge, gate(), gate=full)
    assert told == {
        "token_lifetime": 9,
        "audience": [TARGET],
        "granted_scope": "s:a",
        "authorization_details": [PAY],
        "claims": {"c": 1},
        "crit": ["c"],
    }
    assert [type(told[name]) for name in ("token_lifetime", "audience", "granted_scope")] == [int, list, str]


UNMET = [{"acr_values": ["hi"]}, {"amr": ["otp"]}, {"max_age": 300}, "consent"]


@pytest.mark.parametrize("need", UNMET)
def test_what_waits_is_false_and_tells_for_what(bridge: RunningBridge, need: Any) -> None:
    reply = items(bridge, batch(gate(), "s:a", "s:b", context=says(s_a=yes(require=[need]))))
    assert [one["decision"] for one in reply] == [True, False, True]
    assert reply[1]["context"] == {"issuance_ext": {"require": [need]}}
    reply = items(bridge, batch(gate(), "s:a", context=says(gate=yes(require=[need]))))
    assert [one["decision"] for one in reply] == [False, False]
    assert [one["context"]["issuance_ext"]["require"] for one in reply] == [[need], [need]]
    for kind in ("client", "workload"):
        reply = items(bridge, batch(gate(), "s:a", subject=party(kind, "x"), context=says(s_a=yes(require=[need]))))
        assert [code(one) for one in reply] == [None, "requirement_unmeetable"]


def test_what_is_shown_meets_what_is_required(bridge: RunningBridge) -> None:
    needs = [{"acr_values": ["hi"], "amr": ["otp"]}]
    context = {**says(gate=yes(require=needs), s_a=yes(require=needs)), "acr": "hi", "amr": ["pwd", "otp"]}
    assert decisions(bridge, batch(gate(), "s:a", context=context)) == [True, True]


def test_details_that_are_not_shown_are_passed_on(bridge: RunningBridge) -> None:
    for details in ([PAY], [PAY, {"type": "other"}], []):
        told = shaped(bridge, gate(), "s:a", s_a=limit(authorization_details=details))
        assert told == [None, {"authorization_details": details}]
    assert shaped(bridge, gate(), gate=limit(authorization_details=[PAY])) == [{"authorization_details": [PAY]}]


def test_details_that_are_shown_bind(bridge: RunningBridge) -> None:
    def told(*actions: Any, **rules: Any) -> list[Any]:
        reply = items(bridge, batch(*actions, context={**says(**rules), "authorization_details": [PAY]}))
        return [shaping(one) if one["decision"] else code(one) for one in reply]

    assert told(gate(), "s:a", s_a=limit(authorization_details=[LESS])) == [None, {"authorization_details": [LESS]}]
    broader = {**PAY, "max": 11}
    assert told(gate(), "s:a", gate=limit(authorization_details=[PAY]), s_a=limit(authorization_details=[broader])) == [
        {"authorization_details": [PAY]},
        "policy_error",
    ]
    assert told(gate(), "s:a", gate=limit(authorization_details=[broader])) == ["policy_error", "gate_denied"]
    assert told(gate(), "s:a") == ["details_denied"] * 2
    assert told(gate()) == ["details_denied"]
    deep = [gate(), item("s:a", target=OTHER)]
    assert told(*deep) == [None, "details_denied"]
    assert told(*deep, s_a=limit(authorization_details=[LESS])) == [None, {"authorization_details": [LESS]}]

"""The enforcer at the real door: whatever policy says, what it mints is never broader than the wish, nor than policy.

The policies answer what `cnf.says` tells them to: the enforcer's context has no other room for it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.limit import PROTOCOL_CLAIMS
from bridge.pep import Enforcer, Exchange, Mint, NoDecision, Party, Pdp, Refusal, Understood, Wish
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.policies import write_policies

SCOPES = ("s:a", "s:b", "s:c")
TARGETS = ("https://t1.example", "https://t2.example")
BEHIND = "https://behind.example"
DETAILS: tuple[dict[str, Any], ...] = (
    {"type": "pay", "actions": ["r", "w"], "max": 10},
    {"type": "pay", "actions": ["r"], "max": 10},
    {"type": "pay", "max": 10},
    {"type": "other"},
)
_SAY = """
said := object.get(input.cnf.says, NAME, {"allow": true})
allow := said.allow
deny := said.deny
require := said.require
limit := said.limit
claims := said.claims
crit := said.crit
"""
POLICIES = {
    "issuance.gate": _SAY.replace("NAME", '"gate"'),
    'issuance.scope_prefix["s:"]': _SAY.replace("NAME", "input.scope"),
}
UNDERSTOOD = Understood(claims=frozenset({"cap"}))

limits = st.fixed_dictionaries(
    {},
    optional={
        "token_lifetime": st.sampled_from([0, 5, 60, 600, -1, 1.5, True, "60"]),
        "granted_scope": st.sampled_from(["s:a", "s:a s:b", "s:a s:b s:c s:d", "", " s:a", ["s:a"]]),
        "audience": st.sampled_from([[TARGETS[0]], list(TARGETS), ["https://evil.example"], [], "https://t1.example"]),
        "authorization_details": st.lists(st.sampled_from(DETAILS), max_size=2) | st.just("pay"),
        "unknown": st.just(1),
    },
)
allows = st.sampled_from(
    [True, True, True, False, [{"code": "yes"}], [{"title": "no code"}], [], "yes", {"code": "yes"}, None]
)
rules = st.fixed_dictionaries(
    {"allow": allows},
    optional={
        "deny": st.sampled_from([False, [], True, [{"code": "no"}], "no"]),
        "require": st.sampled_from([[], ["consent"], [{"acr_values": ["gold"]}], [{"acr_values": ["silver"]}], ["x"]]),
        "limit": limits,
        "claims": st.dictionaries(st.sampled_from(["cap", "team", "sub", "act"]), st.sampled_from([1, True, "x"])),
        "crit": st.sampled_from([[], ["cap"], ["team"], ["absent"]]),
    },
)
says = st.dictionaries(st.sampled_from(["gate", *SCOPES]), rules, max_size=2)
scopes = st.lists(st.sampled_from(SCOPES), max_size=3).map(tuple)


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    exchange = draw(st.booleans())
    resources = draw(st.sampled_from([(), (BEHIND,)]))
    return Wish(
        subject=Party("user", "nina"),
        client_id="edge",
        grant_type="token_exchange" if exchange else "authorization_code",
        token_type=draw(st.sampled_from(["access_token", "txn_token"])) if exchange else "access_token",
        audience=TARGETS[: draw(st.integers(1, 2))],
        scopes=draw(scopes),
        default_scopes=draw(scopes),
        grantable_scopes=draw(scopes),
        lifetime=draw(st.sampled_from([None, 30, 3600])),
        authorization_details=tuple(draw(st.lists(st.sampled_from(DETAILS[:2]), max_size=1))),
        acr="gold",
        cnf={"says": draw(says)},
        exchange=Exchange(resources=resources) if exchange else None,
    )


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("enforced")
    policies = write_policies(folder / "rego", POLICIES)
    server, engine = {"deadline_ms": 20_000}, {"deadline_ms": 10_000}  # a busy machine is not what is tested
    with running_bridge(folder, policies=policies, server=server, engine=engine) as running:
        yield running


@pytest.fixture(scope="module")
def enforcer(bridge: RunningBridge) -> Iterator[Enforcer]:
    with Enforcer(Pdp.at(bridge.url, deadline_s=30), UNDERSTOOD) as running:
        yield running


seen: dict[str, int] = {}


@given(wish=wishes())
def test_never_broader_than_the_wish_and_the_policies(enforcer: Enforcer, wish: Wish) -> None:
    answer = enforcer.ask(wish)  # never a fault: whatever policy says, the door's reply is well-formed
    kind = type(answer).__name__
    seen[kind] = seen.get(kind, 0) + 1
    if isinstance(answer, Mint):
        within_the_wish(wish, answer)
        within_the_policies(wish, answer)


def test_the_property_saw_both() -> None:
    assert min(seen.get("Mint", 0), seen.get("Refusal", 0)) > 20, seen


def within_the_wish(wish: Wish, mint: Mint) -> None:
    offered = wish.scopes or wish.default_scopes or wish.grantable_scopes
    assert set(mint.scopes) <= set(offered)
    assert mint.audience and set(mint.audience) <= set(wish.audience)
    assert set(mint.resources) <= set(wish.resources)
    assert wish.lifetime is None or (mint.lifetime is not None and mint.lifetime <= wish.lifetime)
    assert not PROTOCOL_CLAIMS & mint.claims.keys()
    assert set(mint.crit) <= UNDERSTOOD.claims
    for returned in mint.authorization_details:
        assert any(_covers(asked, returned) for asked in wish.authorization_details)
    assert bool(mint.authorization_details) or not wish.authorization_details


def within_the_policies(wish: Wish, mint: Mint) -> None:
    assert wish.cnf is not None
    said: Mapping[str, Any] = wish.cnf["says"]
    asked = bool(wish.scopes or wish.default_scopes)
    for name in ("gate", *(mint.scopes if asked else ())):
        rules = said.get(name, {"allow": True})
        assert rules["allow"] is True or rules["allow"] == [{"code": "yes"}]
        assert rules.get("deny", False) in (False, [])
        assert rules.get("require", []) in ([], [{"acr_values": ["gold"]}])
        limit = rules.get("limit", {})
        assert "unknown" not in limit
        if "token_lifetime" in limit:
            assert mint.lifetime is not None and 0 < mint.lifetime <= limit["token_lifetime"]
        if "audience" in limit:
            assert set(mint.audience) <= set(limit["audience"])
        if "granted_scope" in limit:
            assert set(mint.scopes) <= set(limit["granted_scope"].split())
        if "crit" in rules:
            assert set(rules["crit"]) <= set(mint.crit)
            assert all(mint.claims[one] == rules["claims"][one] for one in rules["crit"])


def _covers(asked: Mapping[str, Any], returned: Mapping[str, Any]) -> bool:
    same = asked.keys() == returned.keys() and all(asked[n] == returned[n] for n in asked if n != "actions")
    return same and set(returned.get("actions", ())) <= set(asked.get("actions", ()))


def test_a_step_up_is_told_without_the_words_of_policy(enforcer: Enforcer) -> None:
    gate = {"allow": True, "require": [{"acr_values": ["silver"]}]}
    wish = Wish(
        subject=Party("user", "nina"),
        client_id="edge",
        grant_type="authorization_code",
        audience=TARGETS[:1],
        scopes=("s:a",),
        endpoint="authorization",
        acr="gold",
        cnf={"says": {"gate": gate}},
    )
    answer = enforcer.ask(wish)
    assert isinstance(answer, Refusal)
    assert answer.told()["error"] == "unmet_authentication_requirements"


def test_a_bridge_that_is_gone_is_no_decision(tmp_path: Path) -> None:
    with running_bridge(tmp_path, policies=write_policies(tmp_path / "rego", POLICIES)) as gone:
        url = gone.url
    wish = Wish(Party("user", "nina"), "edge", "authorization_code", TARGETS[:1], cnf={"says": {}})
    with Enforcer(Pdp.at(url, deadline_s=2)) as enforcer, pytest.raises(NoDecision):
        enforcer.ask(wish)


def test_without_objections_everything_is_minted(enforcer: Enforcer) -> None:
    wish = Wish(Party("user", "nina"), "edge", "authorization_code", TARGETS, SCOPES, lifetime=60, cnf={"says": {}})
    answer = enforcer.ask(wish)
    assert isinstance(answer, Mint)
    assert (answer.scopes, answer.audience, answer.lifetime) == (SCOPES, TARGETS, 60)

"""Whatever a PDP says over the wire, what is minted is never broader than the wish, and nothing else is raised."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.pep import Enforcer, EnforcerFault, Exchange, Mint, Party, Pdp, Refusal, Understood, Wish
from bridge.pep.batch import Asked, Batch, build
from bridge.pep.shape import RESERVED_CLAIMS
from tests.pep.pdp import StandIn, stand_in

SCOPES = ("a", "b", "c")
TARGETS = ("https://t1.example", "https://t2.example", "https://r1.example", "https://r2.example")
DETAILS: tuple[dict[str, Any], ...] = (
    {"type": "pay", "actions": ["r", "w"], "max": 10},
    {"type": "pay", "actions": ["r"], "max": 10},
    {"type": "pay", "actions": [], "max": 10},
    {"type": "pay", "max": 10},
    {"type": "acc"},
)
NINA = Party("user", "nina")
UNDERSTOOD = Understood(claims=frozenset({"cap"}), own_claims=frozenset({"acr"}))

some_scopes = st.lists(st.sampled_from(SCOPES), max_size=3).map(tuple)
wishes = st.builds(
    Wish,
    subject=st.sampled_from([NINA, Party("client", "shop")]),
    client_id=st.just("shop"),
    grant_type=st.just("token_exchange"),
    token_type=st.sampled_from(["access_token", "txn_token", "id_jag"]),
    audience=st.lists(st.sampled_from(TARGETS[:2]), min_size=1, max_size=2).map(tuple),
    scopes=some_scopes,
    default_scopes=some_scopes,
    grantable_scopes=some_scopes,
    lifetime=st.none() | st.integers(1, 9),
    authorization_details=st.lists(st.sampled_from(DETAILS[:2]), max_size=2).map(tuple),
    exchange=st.builds(Exchange, resources=st.lists(st.sampled_from(TARGETS[2:]), max_size=2).map(tuple)),
) | st.builds(
    Wish,
    subject=st.just(NINA),
    client_id=st.just("shop"),
    grant_type=st.just("authorization_code"),
    audience=st.just(TARGETS[:1]),
    scopes=some_scopes,
    lifetime=st.none() | st.integers(1, 9),
    authorization_details=st.lists(st.sampled_from(DETAILS[:2]), max_size=1).map(tuple),
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["type", "decision", "context"]), inner)
    ),
    max_leaves=5,
)
plausible: dict[str, st.SearchStrategy[Any]] = {
    "token_lifetime": st.sampled_from([0, 3, 6, 12]),
    "granted_scope": st.lists(st.sampled_from([*SCOPES, "d"]), min_size=1, max_size=3).map(" ".join),
    "audience": st.lists(st.sampled_from([*TARGETS[:2], *TARGETS, "https://evil.example"]), min_size=1, max_size=3),
    "authorization_details": st.lists(st.sampled_from(DETAILS), max_size=2),
    "claims": st.dictionaries(st.sampled_from(["cap", "team", "who", "sub", "acr"]), st.sampled_from([1, True, "x"])),
    "crit": st.lists(st.sampled_from(["cap", "team"]), max_size=1),
}
wild = {**{name: values | anything for name, values in plausible.items()}, "max_uses": anything}


@st.composite
def shaping(draw: st.DrawFn) -> dict[str, Any]:
    """One or two keys, so that one strange thing is not hidden behind another."""
    known = wild if draw(st.integers(0, 19)) == 7 else plausible
    names = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=2, unique=True))
    return {name: draw(known[name]) for name in names}


requirement = st.sampled_from(["consent", {"max_age": 60}, {"acr_values": ["gold"]}, {}, "x"])
contexts = st.fixed_dictionaries(
    {}, optional={"issuance": shaping(), "issuance_ext": st.fixed_dictionaries({"require": st.lists(requirement)})}
)
items = st.fixed_dictionaries({"decision": st.just(False)}, optional={"context": contexts}) | st.fixed_dictionaries(
    {"decision": st.just(True), "context": st.fixed_dictionaries({"issuance": shaping()})}
)


@dataclass(frozen=True)
class Case:
    wish: Wish
    batch: Batch
    reply: Any


@st.composite
def cases(draw: st.DrawFn) -> Case:
    wish = draw(wishes)
    batch = build(wish)
    assert isinstance(batch, Batch)
    if draw(st.integers(0, 29)) == 7:
        return Case(
            wish, batch, draw(anything | st.fixed_dictionaries({"evaluations": st.lists(items | anything, max_size=4)}))
        )
    # Mostly permits, so that what is disturbed at a few places gets far.
    disturbed = draw(st.lists(st.integers(0, len(batch.tuples) - 1), max_size=2))
    said: list[Any] = [draw(items) if n in disturbed else {"decision": True} for n in range(len(batch.tuples))]
    if wish.authorization_details and said[0] == {"decision": True}:
        returned = draw(st.lists(st.sampled_from(DETAILS), max_size=2) | st.just(list(wish.authorization_details)))
        said[0]["context"] = {"issuance": {"authorization_details": returned}}
    return Case(wish, batch, said[0] if batch.single else {"evaluations": said})


@pytest.fixture(scope="module")
def pdp() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture(scope="module")
def enforcer(pdp: StandIn) -> Iterator[Enforcer]:
    with Enforcer(Pdp.at(pdp.url, deadline_s=20), UNDERSTOOD) as running:
        yield running


outcomes: dict[str, int] = {}


@settings(max_examples=max(600, settings().max_examples))
@given(case=cases())
def test_never_broader_than_the_wish(pdp: StandIn, enforcer: Enforcer, case: Case) -> None:
    pdp.says(case.reply)
    pdp.requests.clear()
    try:
        answer = enforcer.ask(case.wish)
    except EnforcerFault as fault:
        outcomes[type(fault).__name__] = outcomes.get(type(fault).__name__, 0) + 1
        return
    outcomes[type(answer).__name__] = outcomes.get(type(answer).__name__, 0) + 1
    if isinstance(answer, Mint):
        check(case, answer)
    else:
        assert isinstance(answer, Refusal)
        assert set(answer.told()) == {"error", "error_description"}


def test_the_property_saw_all_three() -> None:
    assert outcomes.keys() == {"Mint", "Refusal", "BadReply"}
    assert outcomes["Mint"] > 200, outcomes


def check(case: Case, mint: Mint) -> None:
    """Against the raw reply, without any of the library's own reading."""
    wish = case.wish
    said = [case.reply] if case.batch.single else case.reply["evaluations"]
    yes = {asked for asked, item in zip(case.batch.tuples, said, strict=True) if item["decision"] is True}
    shapes = [item.get("context", {}).get("issuance", {}) for item in said if item["decision"] is True]
    assert all(asked in yes for asked in case.batch.tuples if asked.scope is None)
    asked_for = wish.scopes or wish.default_scopes
    assert set(mint.scopes) <= set(asked_for or wish.grantable_scopes)
    assert mint.scopes or not asked_for
    parties = {wish.subject}
    if wish.token_type == "txn_token":
        parties.add(Party("client", "shop"))
    if asked_for:
        for scope in mint.scopes:
            reached = [(1, target) for target in wish.audience] + [(2, resource) for resource in mint.resources]
            assert all(
                Asked(party, scope, target, scope, level) in yes for level, target in reached for party in parties
            )
    assert mint.audience
    assert set(mint.audience) <= set(wish.audience)
    assert set(mint.resources) <= set(wish.exchange.resources if wish.exchange else ())
    for shape in shapes:
        assert set(mint.audience) <= set(shape.get("audience", mint.audience))
        assert shape.get("token_lifetime") != 0
    ceilings = [s["token_lifetime"] for s in shapes if "token_lifetime" in s] + (
        [wish.lifetime] if wish.lifetime else []
    )
    assert mint.lifetime == min(ceilings, default=None)
    assert bool(mint.authorization_details) == bool(wish.authorization_details)
    for entry in mint.authorization_details:
        # Of these few entries, what covers what can be told by eye.
        first = entry in wish.authorization_details
        assert first or (entry == DETAILS[1] and DETAILS[0] in wish.authorization_details)
    assert not mint.claims.keys() & (RESERVED_CLAIMS | {"acr"})
    assert set(mint.crit) <= {"cap"} & mint.claims.keys()

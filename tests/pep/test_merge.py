"""What is minted, rule by rule (token-issuance profile, section 2.5; token exchange)."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bridge.pep import Exchange, Mint, Party, Refusal, StepUp, Understood, Wish
from bridge.pep.batch import Batch, build
from bridge.pep.merge import merge
from bridge.pep.reply import read
from bridge.pep.shape import RESERVED_CLAIMS
from tests.pep.pdp import OTHER, TARGET, wish

NINA, EDGE = Party("user", "nina"), Party("workload", "wl://edge")
R1, R2 = "https://r1.example", "https://r2.example"
NO: dict[str, Any] = {"decision": False}
YES: dict[str, Any] = {"decision": True}


def yes(**issuance: Any) -> dict[str, Any]:
    return {"decision": True, "context": {"issuance": issuance}}


def wait(*require: Any) -> dict[str, Any]:
    return {"decision": False, "context": {"issuance_ext": {"require": list(require)}}}


def answered(wanted: Wish, *items: Any, understood: Understood | None = None) -> Mint | Refusal:
    """What comes of `items`, in the order of the batch."""
    batch = build(wanted)
    assert isinstance(batch, Batch)
    said = items[0] if batch.single else {"evaluations": list(items)}
    return merge(wanted, batch, read(json.dumps(said).encode(), batch), understood or Understood())


def minted(wanted: Wish, *items: Any, **options: Any) -> Mint:
    mint = answered(wanted, *items, **options)
    assert isinstance(mint, Mint), mint
    return mint


def refused(wanted: Wish, *items: Any, **options: Any) -> str:
    refusal = answered(wanted, *items, **options)
    assert isinstance(refusal, Refusal), refusal
    return refusal.error


def user(*scopes: str, **members: Any) -> Wish:
    return wish(*scopes, **{"subject": NINA, "client_id": "shop", "grant_type": "authorization_code", **members})


def exchange(*scopes: str, resources: tuple[str, ...] = (), **members: Any) -> Wish:
    return user(*scopes, **{"grant_type": "token_exchange", "exchange": Exchange(EDGE, resources), **members})


class TestScopes:
    def test_all(self) -> None:
        mint = minted(wish("a", "b", lifetime=3600), YES, YES, YES)
        assert mint == Mint(("a", "b"), state_scope=False, audience=(TARGET,), lifetime=3600)

    def test_some_and_the_response_must_say_so(self) -> None:
        mint = minted(wish("b", "a", "c"), YES, YES, NO, YES)
        assert (mint.scopes, mint.state_scope) == (("b", "c"), True)

    def test_none(self) -> None:
        assert refused(wish("a", "b"), YES, NO, NO) == "invalid_scope"

    def test_defaults_must_be_stated(self) -> None:
        mint = minted(wish(default_scopes=("a", "b")), YES, NO, YES)
        assert (mint.scopes, mint.state_scope) == (("b",), True)

    def test_the_gate_is_closed(self) -> None:
        assert refused(wish("a"), NO, YES) == "access_denied"
        assert refused(wish(), NO) == "access_denied"

    def test_a_gate_alone(self) -> None:
        assert minted(wish(), YES) == Mint((), state_scope=False, audience=(TARGET,))


class TestGrantedScope:
    def test_a_gate_alone_names_what_the_server_would_grant(self) -> None:
        wanted = wish(grantable_scopes=("a", "b"))
        mint = minted(wanted, yes(granted_scope="c b"))
        assert (mint.scopes, mint.state_scope) == (("b",), True)
        assert minted(wanted, YES).scopes == ()
        assert minted(wanted, yes(granted_scope="")).scopes == ()
        assert refused(wanted, yes(granted_scope="c")) == "invalid_scope"
        assert refused(wish(), yes(granted_scope="a")) == "invalid_scope"

    def test_two_gates_unite(self) -> None:
        mint = minted(exchange(grantable_scopes=("a", "b", "c")), yes(granted_scope="a"), yes(granted_scope="b"))
        assert mint.scopes == ("a", "b")

    def test_where_a_scope_must_be_permitted_twice_it_must_be_named_twice(self) -> None:
        both = yes(granted_scope="a b"), yes(granted_scope="b c")
        grantable = ("a", "b", "c")
        assert minted(wish(audience=(TARGET, OTHER), grantable_scopes=grantable), *both).scopes == ("b",)
        assert minted(exchange(token_type="txn_token", grantable_scopes=grantable), *both).scopes == ("b",)
        apart = yes(granted_scope="a"), yes(granted_scope="b")
        assert refused(wish(audience=(TARGET, OTHER), grantable_scopes=grantable), *apart) == "invalid_scope"

    def test_beside_scope_tuples_it_narrows(self) -> None:
        assert minted(wish("a", "b"), yes(granted_scope="b"), YES, YES).scopes == ("b",)
        assert minted(wish("a", "b", "c"), YES, yes(granted_scope="a"), yes(granted_scope="b"), YES).scopes == (
            "a",
            "b",
        )
        assert refused(wish("a", "b"), yes(granted_scope="b"), YES, NO) == "invalid_scope"
        assert refused(wish("a"), yes(granted_scope=""), YES) == "invalid_scope"

    def test_broader_is_a_denial(self) -> None:
        assert refused(wish("a"), yes(granted_scope="a b"), YES) == "access_denied"
        assert refused(wish(default_scopes=("a",)), yes(granted_scope="b a"), YES) == "access_denied"


class TestLifetime:
    def test_the_minimum_of_permitted_items(self) -> None:
        wanted = wish("a", "b", lifetime=3600)
        denied = {"decision": False, "context": {"issuance": {"token_lifetime": 1}}}
        assert minted(wanted, yes(token_lifetime=600), yes(token_lifetime=300), denied).lifetime == 300
        assert minted(wanted, yes(token_lifetime=7200), YES, YES).lifetime == 3600
        assert minted(wish("a"), yes(token_lifetime=7200), YES).lifetime == 7200
        assert minted(wish("a"), YES, YES).lifetime is None

    def test_zero_is_a_denial(self) -> None:
        assert refused(wish("a"), yes(token_lifetime=0), YES) == "access_denied"
        assert refused(wish("a", "b"), YES, yes(token_lifetime=0), YES) == "access_denied"


class TestAudience:
    WANTED = wish("a", audience=(TARGET, OTHER))

    def test_the_intersection(self) -> None:
        both = yes(audience=[OTHER, TARGET])
        assert minted(self.WANTED, both, YES, yes(audience=[OTHER]), YES).audience == (OTHER,)
        assert minted(self.WANTED, both, both, both, both).audience == (TARGET, OTHER)
        assert refused(self.WANTED, yes(audience=[TARGET]), yes(audience=[OTHER]), YES, YES) == "invalid_target"
        assert refused(self.WANTED, yes(audience=[]), YES, YES, YES) == "invalid_target"

    def test_broader_is_a_denial(self) -> None:
        for odd in ([R1], [TARGET, R1], [TARGET + "/"]):
            assert refused(self.WANTED, yes(audience=odd), YES, YES, YES) == "access_denied"

    def test_a_scope_must_be_permitted_at_every_target(self) -> None:
        wanted = wish("a", "b", audience=(TARGET, OTHER))
        assert minted(wanted, YES, YES, YES, YES, YES, NO).scopes == ("a",)
        assert refused(wanted, YES, YES, NO, YES, YES, NO) == "invalid_scope"

    def test_a_gate_that_is_closed_at_one_target_ends_it(self) -> None:
        assert refused(self.WANTED, YES, NO, YES, YES) == "access_denied"


PAY: dict[str, Any] = {"type": "pay", "actions": ["read", "write"], "locations": ["x", "y"], "max": 10}


class TestDetails:
    WANTED = wish("a", "b", authorization_details=(PAY, {"type": "bare"}))

    @pytest.mark.parametrize(
        "entry",
        [
            PAY,
            {**PAY, "actions": ["write"]},
            {**PAY, "locations": ["y", "x", "y"], "actions": ["read"]},
            {"type": "bare"},
        ],
    )
    def test_narrower(self, entry: Any) -> None:
        mint = minted(self.WANTED, yes(authorization_details=[entry]), YES, YES)
        assert mint.authorization_details == (entry,)

    @pytest.mark.parametrize(
        "entry",
        [
            {"type": "other"},
            {**PAY, "actions": ["read", "delete"]},
            {**PAY, "actions": []},
            {**PAY, "actions": "read"},
            {**PAY, "max": 9},
            {**PAY, "max": True},
            {**PAY, "max": 10.0},
            {**PAY, "extra": 1},
            {**PAY, "datatypes": ["x"]},
            {name: value for name, value in PAY.items() if name != "locations"},
            {name: value for name, value in PAY.items() if name != "max"},
            {"type": "bare", "actions": ["read"]},
        ],
    )
    def test_not_narrower(self, entry: Any) -> None:
        error = refused(self.WANTED, yes(authorization_details=[{"type": "bare"}, entry]), YES, YES)
        assert error == "invalid_authorization_details"

    def test_one_entry_must_cover_it(self) -> None:
        wanted = wish("a", authorization_details=({"type": "t", "actions": ["r"]}, {"type": "t", "actions": ["w"]}))
        both = [{"type": "t", "actions": ["r", "w"]}]
        assert refused(wanted, yes(authorization_details=both), YES) == "invalid_authorization_details"

    def test_the_union_of_what_counts(self) -> None:
        small = {**PAY, "actions": ["read"]}
        items = (YES, yes(authorization_details=[PAY, small]), yes(authorization_details=[small, {"type": "bare"}]))
        assert minted(self.WANTED, *items).authorization_details == (PAY, small, {"type": "bare"})
        denied = {"decision": False, "context": {"issuance": {"authorization_details": [PAY]}}}
        assert minted(self.WANTED, YES, denied, items[2]).authorization_details == (small, {"type": "bare"})

    def test_nothing_returned_is_nothing_granted(self) -> None:
        assert refused(self.WANTED, YES, YES, YES) == "invalid_authorization_details"
        assert refused(self.WANTED, yes(authorization_details=[]), YES, YES) == "invalid_authorization_details"

    def test_none_asked_for(self) -> None:
        assert refused(wish("a"), yes(authorization_details=[{"type": "x"}]), YES) == "invalid_authorization_details"
        assert minted(wish("a"), yes(authorization_details=[]), YES).authorization_details == ()

    def test_a_validator_knows_its_type(self) -> None:
        def lower(requested: Mapping[str, Any], returned: Mapping[str, Any]) -> bool:
            return type(returned.get("max")) is int and returned["max"] <= requested["max"]

        knows = Understood(details={"pay": lower})
        less, more = {**PAY, "max": 9}, {**PAY, "max": 11}
        assert minted(self.WANTED, yes(authorization_details=[less]), YES, YES, understood=knows).authorization_details
        for odd in (more, {**less, "actions": ["delete"]}, {**less, "actions": []}):
            error = refused(self.WANTED, yes(authorization_details=[odd]), YES, YES, understood=knows)
            assert error == "invalid_authorization_details"


class TestClaims:
    KNOWS = Understood(claims=frozenset({"cap", "team"}))

    def test_merged(self) -> None:
        mint = minted(wish("a"), yes(claims={"team": "ops"}), yes(claims={"team": "ops", "cap": 50}))
        assert (mint.claims, mint.crit) == ({"team": "ops", "cap": 50}, ())

    @pytest.mark.parametrize("other", [True, 1.0, "1", None, [1]])
    def test_two_values_for_one_claim(self, other: Any) -> None:
        assert refused(wish("a"), yes(claims={"n": 1}), yes(claims={"n": other})) == "access_denied"

    def test_only_of_targets_that_are_kept(self) -> None:
        wanted = wish("a", audience=(TARGET, OTHER))
        elsewhere = yes(claims={"n": 2})
        mint = minted(wanted, yes(audience=[TARGET], claims={"n": 1}), elsewhere, YES, elsewhere)
        assert (mint.audience, mint.claims) == ((TARGET,), {"n": 1})

    def test_only_of_what_is_granted(self) -> None:
        denied = {"decision": False, "context": {"issuance": {"claims": {"n": 2}}}}
        assert minted(wish("a", "b"), yes(claims={"n": 1}), YES, denied).claims == {"n": 1}
        narrowed = yes(claims={"n": 2})
        assert minted(wish("a", "b"), yes(claims={"n": 1}, granted_scope="a"), YES, narrowed).claims == {"n": 1}

    @pytest.mark.parametrize("name", sorted(RESERVED_CLAIMS))
    def test_reserved(self, name: str) -> None:
        assert refused(wish("a"), yes(claims={name: "x"}), YES) == "access_denied"

    def test_there_are_thirteen_reserved_and_the_servers_own(self) -> None:
        assert len(RESERVED_CLAIMS) == 13
        own = Understood(own_claims=frozenset({"acr"}))
        assert refused(wish("a"), yes(claims={"acr": "gold"}), YES, understood=own) == "access_denied"

    def test_critical(self) -> None:
        both = (yes(claims={"cap": 1}, crit=["cap"]), yes(claims={"team": "ops"}, crit=["team"]))
        assert minted(wish("a"), *both, understood=self.KNOWS).crit == ("cap", "team")
        assert refused(wish("a"), *both, understood=Understood(claims=frozenset({"cap"}))) == "access_denied"
        assert refused(wish("a"), *both) == "access_denied"

    def test_critical_and_not_set(self) -> None:
        assert refused(wish("a"), yes(crit=["cap"]), YES, understood=self.KNOWS) == "access_denied"


class TestExchange:
    def test_either_gate_and_nobody_is_told_which(self) -> None:
        wanted = exchange("a")
        assert minted(wanted, YES, YES, YES).scopes == ("a",)
        told = [answered(wanted, *items, YES) for items in ((NO, YES), (YES, NO), (NO, NO), (wait("consent"), YES))]
        assert all(isinstance(one, Refusal) and one.told() == told[0].told() for one in told)  # type: ignore[union-attr]  # the line before has looked
        assert refused(wanted, YES, NO, YES) == "invalid_request"

    def test_even_when_both_are_one(self) -> None:
        wanted = exchange("a", subject=EDGE)
        assert refused(wanted, NO, YES) == "invalid_request"

    def test_shaping_of_both_gates_counts(self) -> None:
        assert minted(exchange("a"), yes(token_lifetime=300), yes(token_lifetime=60), YES).lifetime == 60

    def test_a_transaction_token_needs_both(self) -> None:
        wanted = exchange("a", "b", token_type="txn_token")
        assert minted(wanted, YES, YES, YES, YES, YES, NO).scopes == ("a",)
        assert minted(wanted, YES, YES, NO, YES, YES, YES).scopes == ("b",)
        assert refused(wanted, YES, YES, YES, NO, NO, YES) == "invalid_scope"

    def test_what_is_permitted_to_one_of_them_adds_nothing(self) -> None:
        wanted = exchange("a", "b", token_type="txn_token")
        assert minted(wanted, YES, YES, yes(claims={"n": 1}), YES, NO, YES).claims == {}

    def test_the_second_level_narrows(self) -> None:
        wanted = exchange("a", "b", token_type="id_jag", resources=(R1, R2))
        mint = minted(wanted, YES, YES, YES, YES, YES, YES, NO, NO)
        assert (mint.scopes, mint.audience, mint.resources) == (("a", "b"), (TARGET,), (R1,))
        mint = minted(wanted, YES, YES, YES, YES, YES, YES, YES, NO)
        assert (mint.scopes, mint.resources) == (("a",), (R1, R2))
        mint = minted(wanted, YES, YES, YES, NO, YES, NO, NO, YES)
        assert (mint.scopes, mint.resources) == (("a",), (R1,))

    def test_nothing_left_of_a_level(self) -> None:
        wanted = exchange("a", "b", token_type="id_jag", resources=(R1, R2))
        assert refused(wanted, YES, YES, YES, YES, NO, NO, NO, NO) == "invalid_target"
        assert refused(wanted, YES, YES, YES, YES, YES, NO, NO, YES) == "invalid_scope"
        assert refused(wanted, YES, YES, NO, NO, YES, YES, YES, YES) == "invalid_scope"
        assert refused(wanted, YES, NO, YES, YES, YES, YES, YES, YES) == "invalid_request"

    def test_audience_narrows_both_levels(self) -> None:
        wanted = exchange("a", resources=(R1, R2))
        mint = minted(wanted, yes(audience=[TARGET, R2]), YES, YES, YES, YES)
        assert (mint.audience, mint.resources) == ((TARGET,), (R2,))
        assert refused(wanted, yes(audience=[R1, R2]), YES, YES, YES, YES) == "invalid_target"
        assert refused(wanted, yes(audience=[TARGET]), YES, YES, YES, YES) == "invalid_target"
        assert refused(wanted, yes(audience=[TARGET, R2]), YES, YES, YES, NO) == "invalid_request"

    def test_resources_without_scopes_were_not_asked_about(self) -> None:
        mint = minted(exchange(resources=(R1,), grantable_scopes=("a",)), yes(granted_scope="a"), YES)
        assert (mint.scopes, mint.resources) == (("a",), (R1,))


class TestStepUp:
    def test_at_the_token_endpoint(self) -> None:
        wanted = user("a", "b")
        assert refused(wanted, YES, wait("consent"), NO) == "invalid_grant"
        assert refused(wanted, wait({"max_age": 300}), NO, NO) == "invalid_grant"

    def test_at_the_authorization_endpoint(self) -> None:
        wanted = user("a", endpoint="authorization")
        assert refused(wanted, YES, wait("consent")) == "consent_required"
        assert refused(wanted, YES, wait("consent", {"amr": ["otp"]})) == "unmet_authentication_requirements"
        assert refused(wanted, wait({"acr_values": ["gold"]}), NO) == "unmet_authentication_requirements"

    def test_all_requirements_at_once(self) -> None:
        refusal = answered(
            user("a", "b"),
            YES,
            wait("consent", {"acr_values": ["gold", "silver"], "max_age": 300}),
            wait({"acr_values": ["silver", "tin"], "max_age": 60, "amr": ["otp"]}),
        )
        assert isinstance(refusal, Refusal)
        assert refusal.step_up == StepUp(consent=True, acr_values=("silver",), max_age=60, amr=("otp",))

    def test_gate_and_scopes_in_one_sign_in_where_one_will_do(self) -> None:
        refusal = answered(user("a", "b"), wait({"max_age": 60}), wait("consent"), NO)
        assert isinstance(refusal, Refusal)
        assert refusal.step_up == StepUp(consent=True, max_age=60)
        refusal = answered(user("a"), wait({"acr_values": ["gold"]}), wait({"acr_values": ["tin"]}))
        assert isinstance(refusal, Refusal)
        assert refusal.step_up == StepUp(acr_values=("gold",))

    def test_what_no_sign_in_can_meet(self) -> None:
        assert refused(user("a"), YES, wait({"acr_values": ["gold"]}, {"acr_values": ["tin"]})) == "invalid_scope"

    def test_a_client_cannot_sign_in(self) -> None:
        assert refused(wish("a"), YES, wait("consent")) == "invalid_scope"
        assert refused(wish("a"), wait("consent"), NO) == "access_denied"

    def test_what_is_granted_is_minted_and_what_waits_is_told(self) -> None:
        mint = minted(user("a", "b", "c"), YES, YES, wait({"max_age": 60}), NO)
        assert (mint.scopes, mint.waiting) == (("a",), StepUp(max_age=60))
        assert minted(user("a", "c"), YES, YES, NO).waiting is None

    def test_in_vain_where_another_target_denies_flatly(self) -> None:
        wanted = user("a", audience=(TARGET, OTHER))
        assert refused(wanted, YES, YES, wait("consent"), NO) == "invalid_scope"
        assert refused(wanted, YES, YES, wait("consent"), YES) == "invalid_grant"
        assert refused(wanted, wait("consent"), NO, YES, YES) == "access_denied"


def test_decision_ids_are_kept_and_policys_texts_are_not_told() -> None:
    said = {"issuance_ext": {"decision_id": "d-1"}, "reason_user": {"en": "SECRET"}, "reason_admin": {"403": "SECRET"}}
    mint = minted(wish("a"), {**YES, "context": said}, YES)
    assert mint.decision_ids == ("d-1",)
    for items in (
        ({**NO, "context": said}, NO),
        ({**YES, "context": said}, {**NO, "context": {"error": {"message": "SECRET"}}}),
    ):
        refusal = answered(wish("a"), *items)
        assert isinstance(refusal, Refusal)
        assert refusal.decision_ids == ("d-1",)
        assert "SECRET" not in repr(refusal)
        assert refusal.told().keys() == {"error", "error_description"}

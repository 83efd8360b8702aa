"""Which replies are decisions: exactly those on what was asked, understood to the last word."""

import json
from typing import Any

import pytest

from bridge.pep.batch import Batch, build
from bridge.pep.fault import BadReply
from bridge.pep.reply import Issuance, Item, read
from tests.pep.pdp import wish

PERMIT: dict[str, Any] = {"decision": True}


def batch(*scopes: str) -> Batch:
    built = build(wish(*scopes))
    assert isinstance(built, Batch)
    return built


def each(name: str, *values: Any) -> list[dict[str, Any]]:
    return [{name: value} for value in values]


def one(item: Any) -> Item:
    """The item, read as the answer to a gate alone."""
    (read_item,) = read(json.dumps(item).encode(), batch())
    return read_item


def shaped(**issuance: Any) -> Item:
    return one({"decision": True, "context": {"issuance": issuance}})


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"true", b'"x"', b"{}", b'{"decision":true}{}', b'{"decision":true},'),
        *(b'{"decision":true,"decision":true}', b'{"decision":true,"context":{"a":1,"a":1}}'),
        *(b'{"decision":true,"n":NaN}', b'{"decision":true,"n":Infinity}', b'{"decision":true,"n":1e999}'),
        *(b'{"decision":true,"n":"\xff"}', '{"decision":true}'.encode("utf-16"), b'\xef\xbb\xbf{"decision":true}'),
        *(b'{"decision":true,"n":"\\ud800"}', b'{"decision":true,"n":"\n"}', b"{'decision':true}"),
        b'{"decision":true,"n":' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"decision":true,"n":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"decision":true,"n":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_strict_json_or_no_decision(body: bytes) -> None:
    with pytest.raises(BadReply) as raised:
        read(body, batch())
    assert raised.value.error == "server_error"


@pytest.mark.parametrize("decision", [1, 0, "true", "True", None, [], {}, [True]])
def test_only_true_and_false_decide(decision: Any) -> None:
    with pytest.raises(BadReply):
        one({"decision": decision})
    with pytest.raises(BadReply):
        read(json.dumps({"evaluations": [PERMIT, {"decision": decision}]}).encode(), batch("a"))


@pytest.mark.parametrize(
    "value",
    [
        PERMIT,
        {"evaluations": None},
        {"evaluations": {"0": PERMIT, "1": PERMIT}},
        {"evaluations": []},
        {"evaluations": [PERMIT]},
        {"evaluations": [PERMIT, PERMIT, PERMIT]},
        {"evaluations": [PERMIT, True]},
        {"evaluations": [PERMIT, None]},
        {"evaluations": [PERMIT, {}]},
        {"evaluations": [PERMIT, PERMIT], "decision": False},
        {"evaluations": [PERMIT, PERMIT], "decision": "true"},
    ],
)
def test_as_many_items_as_were_asked_for(value: Any) -> None:
    with pytest.raises(BadReply):
        read(json.dumps(value).encode(), batch("a"))


def test_a_batch_in_the_place_of_one_evaluation() -> None:
    for value in ({"evaluations": [PERMIT]}, {"decision": True, "evaluations": [{"decision": False}]}):
        with pytest.raises(BadReply):
            one(value)


def test_unknown_members_outside_issuance_are_ignored() -> None:
    whole = {
        "decision": True,
        "evaluations": [{**PERMIT, "x": 1, "context": {"reason_admin": {"en": "no"}}}, PERMIT],
        "y": 2,
    }
    assert read(json.dumps(whole).encode(), batch("a")) == (Item(permitted=True), Item(permitted=True))


@pytest.mark.parametrize("context", [None, [], "x", 1, True])
def test_a_context_is_an_object(context: Any) -> None:
    with pytest.raises(BadReply):
        one({"decision": True, "context": context})


def test_all_six_keys() -> None:
    detail = {"type": "pay", "max": 1}
    item = shaped(
        token_lifetime=60,
        granted_scope="a b a",
        audience=["x", "y", "x"],
        authorization_details=[detail],
        claims={"team": "ops"},
        crit=["team"],
    )
    assert item.issuance == Issuance(60, frozenset("ab"), ("x", "y"), (detail,), {"team": "ops"}, ("team",))
    assert shaped(granted_scope="", audience=[], token_lifetime=0).issuance == Issuance(0, frozenset(), ())


@pytest.mark.parametrize(
    "issuance",
    [
        *(None, [], "x", True),
        *each("token_lifetime", -1, 1.0, 60.5, "60", True, None, [60]),
        *each("granted_scope", ["a"], None, 1, " ", "a  b", "a ", " a", "a\tb", 'a"', "ü"),
        *each("audience", "x", None, [1], [None], [""], [["x"]], {"x": 1}),
        *each("authorization_details", {}, None, "x", ["x"], [{}], [{"type": 1}], [[]]),
        *each("claims", [], None, "x", 1),
        *each("crit", "x", None, {}, [1], [""]),
        *({name: 1} for name in ("Token_Lifetime", "max_uses", "", "scope", "token_lifetime ")),
    ],
)
def test_whatever_in_issuance_is_not_understood(issuance: Any) -> None:
    with pytest.raises(BadReply):
        one({"decision": True, "context": {"issuance": issuance}})
    # On a denied item it says nothing about any token.
    assert one({"decision": False, "context": {"issuance": issuance}}) == Item(permitted=False)


@pytest.mark.parametrize(
    "require",
    [
        ["consent"],
        [{"acr_values": ["gold"]}],
        [{"amr": ["otp", "hwk"], "max_age": 0}],
        ["consent", {"max_age": 300}, {"acr_values": ["a", "b"]}],
    ],
)
def test_a_step_up_of_a_denied_item(require: Any) -> None:
    said = {"issuance_ext": {"require": require}}
    assert one({"decision": False, "context": said}).require == tuple(require)
    assert one({"decision": True, "context": said}) == Item(permitted=True)


@pytest.mark.parametrize(
    "require",
    [
        *(None, [], {}, "consent", ["sign-in"], [None], [{}], [[]], ["consent", {}]),
        *([{"max_age": value}] for value in (-1, "300", True, 1.5, None)),
        *([{"acr_values": value}] for value in ([], "gold", [1], [""], ["a b"], ["ü"], ["a\nb"])),
        *([{"amr": value}] for value in ([], "otp", [None])),
        [{"max_age": 300, "prompt": "login"}],
    ],
)
def test_an_ill_formed_step_up_is_a_plain_denial(require: Any) -> None:
    assert one({"decision": False, "context": {"issuance_ext": {"require": require}}}) == Item(permitted=False)


@pytest.mark.parametrize("decision", [True, False])
def test_the_decision_id_is_advisory(decision: bool) -> None:
    def said(aside: Any) -> str | None:
        return one({"decision": decision, "context": {"issuance_ext": aside}}).decision_id

    assert said({"decision_id": "01a2"}) == "01a2"
    odd: Any
    for odd in (None, 1, "", [], "x" * 129):
        assert said({"decision_id": odd}) is None
    for odd in (None, "x", []):
        assert said(odd) is None

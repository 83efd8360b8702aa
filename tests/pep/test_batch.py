"""What goes out to the PDP, for every wish."""

import itertools
import json
from typing import Any

import pytest

from bridge.pep import Exchange, Misuse, Party, Refusal, Wish
from bridge.pep.batch import CAPABILITY, build
from bridge.pep.batch import Batch as BuiltBatch
from tests.pep.pdp import OTHER, TARGET, wish

TOKEN_TYPES = ("access_token", "refresh_token", "id_token", "id_jag", "txn_token", "jwt", "saml1", "saml2")
GRANTS = (
    "authorization_code",
    "client_credentials",
    "refresh_token",
    "token_exchange",
    "device_code",
    "jwt_bearer",
    "saml2_bearer",
)
NINA, EDGE = Party("user", "nina"), Party("workload", "wl://edge")


def built(wanted: Wish, **options: Any) -> BuiltBatch:
    batch = build(wanted, **options)
    assert isinstance(batch, BuiltBatch), batch
    return batch


def sent(wanted: Wish) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(built(wanted).body)
    return body


def tuples(wanted: Wish) -> list[tuple[str, str, str]]:
    """(subject, action, target) of each item, the defaults filled in as a PDP does; checked against the batch."""
    body, batch = sent(wanted), built(wanted)
    items = body.get("evaluations", [{}])
    assert items, "an empty array would be a single evaluation"
    whole = [{**body, **item} for item in items]
    seen = [(item["subject"]["id"], item["action"]["name"], item["resource"]["id"]) for item in whole]
    assert all(item["resource"]["type"] == "audience" for item in whole)
    assert seen == [(asked.subject.id, asked.action, asked.target) for asked in batch.tuples]
    return seen


def exchange(*scopes: str, **members: Any) -> Wish:
    """Nina's token, exchanged by the workload `wl://edge`."""
    base: dict[str, Any] = {"subject": NINA, "client_id": "edge", "grant_type": "token_exchange"}
    return wish(*scopes, **{**base, "exchange": Exchange(EDGE), **members})


@pytest.mark.parametrize("subject_type", ["user", "client", "workload"])
@pytest.mark.parametrize(("token_type", "grant"), list(itertools.product(TOKEN_TYPES, GRANTS)))
def test_every_registered_gate(token_type: str, grant: str, subject_type: Any) -> None:
    subject = Party(subject_type, "s")
    exchanged = Exchange(EDGE) if grant == "token_exchange" else None
    wanted = wish("a", "b", subject=subject, token_type=token_type, grant_type=grant, exchange=exchanged)
    gate = f"issue:{token_type}:{grant}"
    gates = [("s", gate, TARGET)] + ([("wl://edge", gate, TARGET)] if exchanged else [])
    scopes = [("s", scope, TARGET) for scope in "ab"]
    if exchanged and token_type == "txn_token":
        scopes += [("wl://edge", scope, TARGET) for scope in "ab"]
    assert tuples(wanted) == gates + scopes
    types = {item.get("subject", {}).get("type") for item in [sent(wanted), *sent(wanted)["evaluations"]]} - {None}
    assert types == {subject_type} | ({"workload"} if exchanged else set())


def test_the_whole_body() -> None:
    wanted = wish("metrics.push", "metrics.wipe", cnf={"jkt": "k"})
    assert sent(wanted) == {
        "subject": {"type": "client", "id": "nightly-job"},
        "resource": {"type": "audience", "id": TARGET},
        "context": {"client_id": "nightly-job", "cnf": {"jkt": "k"}, "issuance": {"capabilities": [CAPABILITY]}},
        "evaluations": [
            {"action": {"name": "issue:access_token:client_credentials"}},
            {"action": {"name": "metrics.push"}},
            {"action": {"name": "metrics.wipe"}},
        ],
        "options": {"evaluations_semantic": "execute_all"},
    }


def test_a_gate_alone_is_one_evaluation_and_only_without_defaults() -> None:
    alone = built(wish())
    assert alone.single
    assert json.loads(alone.body) == {
        "subject": {"type": "client", "id": "nightly-job"},
        "action": {"name": "issue:access_token:client_credentials"},
        "resource": {"type": "audience", "id": TARGET},
        "context": {"client_id": "nightly-job", "issuance": {"capabilities": [CAPABILITY]}},
    }
    named = built(wish(default_scopes=("a", "b")))
    assert not named.single
    assert [asked.action for asked in named.tuples][1:] == ["a", "b"]
    assert [asked.action for asked in built(wish("c", default_scopes=("a",))).tuples][1:] == ["c"]
    assert [asked.action for asked in built(wish(grantable_scopes=("a",))).tuples][1:] == []


def test_two_gates_without_scopes_are_a_batch() -> None:
    wanted = exchange(token_type="id_jag")
    assert not built(wanted).single
    assert tuples(wanted) == [(who, "issue:id_jag:token_exchange", TARGET) for who in ("nina", "wl://edge")]


def test_the_client_is_the_requesting_party_when_there_is_no_actor() -> None:
    wanted = exchange("a", exchange=Exchange())
    gate = "issue:access_token:token_exchange"
    assert tuples(wanted) == [("nina", gate, TARGET), ("edge", gate, TARGET), ("nina", "a", TARGET)]
    assert sent(wanted)["evaluations"][1]["subject"] == {"type": "client", "id": "edge"}


@pytest.mark.parametrize("party", [None, Party("client", "edge", {"seen": 1})])
def test_one_gate_when_both_parties_are_the_same(party: Party | None) -> None:
    wanted = exchange(subject=Party("client", "edge"), exchange=Exchange(party))
    assert tuples(wanted) == [("edge", "issue:access_token:token_exchange", TARGET)]
    assert built(wanted).single
    other_type = exchange(subject=Party("workload", "edge"), exchange=Exchange(party))
    assert len(tuples(other_type)) == 2


def test_an_assertion_may_have_a_requesting_party() -> None:
    gate = "issue:access_token:jwt_bearer"
    assert tuples(exchange("a", grant_type="jwt_bearer", exchange=None)) == [
        ("nina", gate, TARGET),
        ("nina", "a", TARGET),
    ]
    alone = exchange("a", grant_type="jwt_bearer", exchange=Exchange(subject_token={"iss": "i"}))
    assert tuples(alone) == [("nina", gate, TARGET), ("nina", "a", TARGET)]
    both = exchange("a", grant_type="jwt_bearer")
    assert tuples(both) == [("nina", gate, TARGET), ("wl://edge", gate, TARGET), ("nina", "a", TARGET)]


def test_several_targets() -> None:
    gate = "issue:access_token:token_exchange"
    assert tuples(exchange("a", "b", audience=(TARGET, OTHER, TARGET))) == [
        ("nina", gate, TARGET),
        ("wl://edge", gate, TARGET),
        ("nina", gate, OTHER),
        ("wl://edge", gate, OTHER),
        *(("nina", scope, target) for target in (TARGET, OTHER) for scope in "ab"),
    ]


def test_two_levels() -> None:
    behind = ("https://r1.example", "https://r2.example", TARGET)
    wanted = exchange("a", token_type="id_jag", exchange=Exchange(EDGE, behind))
    gate = "issue:id_jag:token_exchange"
    assert tuples(wanted) == [
        ("nina", gate, TARGET),
        ("wl://edge", gate, TARGET),
        *(("nina", "a", target) for target in (TARGET, *behind[:2])),
    ]
    assert [asked.level for asked in built(wanted).tuples] == [1, 1, 1, 2, 2]


def test_the_context_holds_registered_names_only() -> None:
    wanted = exchange(
        "a",
        acr="gold",
        amr=("pwd", "otp"),
        auth_time=7,
        cnf={"jkt": "k"},
        authorization_details=({"type": "pay"},),
        exchange=Exchange(EDGE, (), "urn:st", "urn:at", {"scope": "a"}, {"sub": "x"}, {"sub": "y"}),
    )
    assert sent(wanted)["context"] == {
        "client_id": "edge",
        "acr": "gold",
        "amr": ["pwd", "otp"],
        "auth_time": 7,
        "cnf": {"jkt": "k"},
        "authorization_details": [{"type": "pay"}],
        "subject_token_type": "urn:st",
        "actor_token_type": "urn:at",
        "subject_token": {"scope": "a"},
        "act": {"sub": "x"},
        "may_act": {"sub": "y"},
        "issuance": {"capabilities": [CAPABILITY]},
    }
    assert json.loads(built(wanted, capabilities=("urn:other",)).body)["context"]["issuance"] == {
        "capabilities": ["urn:other"]
    }
    assert "issuance" not in json.loads(built(wanted, capabilities=()).body)["context"]


def test_properties_travel_and_scopes_go_verbatim_and_once() -> None:
    odd = ("https://s.example/a.b", "x[1]", "%2e", "*", "#", "../..")
    wanted = wish(*odd, "*", subject=Party("user", "nina", {"roles": ["r"]}), grant_type="authorization_code")
    assert [action for _, action, _ in tuples(wanted)][1:] == list(odd)
    assert sent(wanted)["subject"] == {"type": "user", "id": "nina", "properties": {"roles": ["r"]}}


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        *(
            (wish("a", odd), "invalid_scope")
            for odd in ("issue:access_token:x", "issue:", "two words", "", 'q"', "\\", "ü", "\n")
        ),
        (wish("a", audience=(TARGET, "")), "invalid_target"),
        (exchange("a", exchange=Exchange(EDGE, ("",))), "invalid_target"),
        (wish("a", authorization_details=({"kind": "pay"},)), "invalid_authorization_details"),
        (wish("a", authorization_details=("pay",)), "invalid_authorization_details"),
        (wish(*map(str, range(300))), "invalid_request"),
        (wish(*map(str, range(100)), audience=tuple(f"https://{n}.example" for n in range(3))), "invalid_request"),
    ],
)
def test_refused_before_asking(wanted: Wish, error: str) -> None:
    refused = build(wanted)
    assert isinstance(refused, Refusal)
    assert refused.error == error


def test_two_hundred_items_are_ordinary() -> None:
    assert len(built(wish(*map(str, range(199)))).tuples) == 200
    assert isinstance(build(wish(*map(str, range(4))), max_tuples=4), Refusal)
    assert len(built(wish(*map(str, range(3))), max_tuples=4).tuples) == 4


@pytest.mark.parametrize(
    "members",
    [
        {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"},
        {"grant_type": "Client"},
        {"token_type": ""},
        {"token_type": "a" * 31, "grant_type": "b" * 31},
        {"grant_type": "token_exchange"},
        {"exchange": Exchange()},
        {"audience": ()},
        {"audience": TARGET},
        {"scopes": "a b"},
        {"default_scopes": ("issue:x",)},
        {"grantable_scopes": ("a b",)},
        {"lifetime": 0},
        {"lifetime": True},
        {"request_id": "a\r\nb"},
        {"request_id": ""},
        {"endpoint": "device"},
    ],
)
def test_misuse(members: Any) -> None:
    with pytest.raises(Misuse):
        wish(**members)


def test_misuse_of_a_party_and_of_what_is_no_json() -> None:
    for kind, name in (("group", "g"), ("user", "")):
        with pytest.raises(Misuse):
            Party(kind, name)  # type: ignore[arg-type]  # wrong on purpose
    for cnf in ({"jkt": b"k"}, {"jkt": float("nan")}):
        with pytest.raises(Misuse):
            build(wish("a", cnf=cnf))

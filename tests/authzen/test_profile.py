"""The token-issuance profile: whose document a tuple belongs to, whose gate counts; every gate gets a decision."""

from typing import Any

import pytest

from bridge.model.gate import GRANT_TYPES, TOKEN_TYPES
from tests.authzen.asking import (
    EVALUATION,
    TARGET,
    ask,
    batch,
    code,
    decisions,
    gate,
    item,
    items,
    party,
    post,
    says,
    user,
    values,
)
from tests.support.bridge import RunningBridge

OTHER = "https://other.example"
EXCHANGE = gate(grant_type="token_exchange")
NO = {"allow": True, "deny": ["no"]}
EDGE = party("workload", "wl://edge")


def documents(bridge: RunningBridge, body: Any) -> list[dict[str, Any]]:
    """The input documents of this batch, as the engine saw them, by their first item."""
    before = len(bridge.entries())
    items(bridge, body)
    new = [entry for entry in bridge.entries()[before:] if entry["kind"] == "decision"]
    new.sort(key=lambda entry: entry["batch"]["items"][0])
    return [{**bridge.input_of(entry["id"]), "batch": entry["batch"]} for entry in new]


@pytest.mark.parametrize("kind", ["user", "client", "workload"])
@pytest.mark.parametrize("grant_type", GRANT_TYPES)
@pytest.mark.parametrize("token_type", TOKEN_TYPES)
def test_every_registered_gate_gets_a_decision(
    bridge: RunningBridge, token_type: str, grant_type: str, kind: str
) -> None:
    name, subject = gate(token_type, grant_type), party(kind, "someone")
    single = {"subject": subject, "action": {"name": name}, "resource": {"type": "audience", "id": TARGET}}
    reply = ask(bridge, single, EVALUATION)
    assert reply["decision"] is True
    document = bridge.input_of(reply["context"]["issuance_ext"]["decision_id"])
    assert (document["token_type"], document["grant_type"], document["subject"]) == (token_type, grant_type, subject)
    assert (document["scopes"], document["audience"], document["phase"]) == ([], [TARGET], "token")
    assert ("client" in document) == (kind != "user")
    body = batch(name, "s:a", "unmapped", subject=subject)
    assert decisions(bridge, body) == [True, True, False]
    denied = {"says": {"gate": NO}}
    assert ask(bridge, {**single, "context": denied}, EVALUATION)["decision"] is False
    assert decisions(bridge, {**body, "context": denied}) == [False, False, False]


VERBATIM = ["s:a/b", "s:a.b", "s:[x]", "s:%2e%2E", "s:*", "s:#x", "s:a'b", "s:{}", "s:$.x", "s:..", "s:A", "s:a", "s::"]
VERBATIM += ["https://api.example/auth/read", "odd/`x`", "s:" + "x" * 400, "s:input", "s:~!@&()+,;<=>?^_|-"]


def test_scopes_reach_the_policies_verbatim(bridge: RunningBridge) -> None:
    (document,) = documents(bridge, batch(gate(), *VERBATIM))
    assert document["scopes"] == VERBATIM
    assert decisions(bridge, batch(gate(), *VERBATIM)) == [True] * (1 + len(VERBATIM))
    for one in VERBATIM:  # each is told apart from all others
        told = {"says": {one: NO}}
        assert [n for n, yes in enumerate(decisions(bridge, batch(gate(), *VERBATIM, context=told))) if not yes] == [
            1 + VERBATIM.index(one)
        ]


HOSTILE = [
    "",
    " ",
    "s:a b",
    's:"',
    "s:\\",
    "s:\x00",
    "s:\n",
    "s:a\n",
    "s:\x7f",
    "s:é",
    "ѕ:a",
    "s:a\u200b",
    "s：a",
    "\ufeffs:a",
]
RESERVED = ["issue:", "issue:x", "issue:access_token", "issue:access_token:", "issue::", "issue:a:b:c", "issue:A:b"]
RESERVED += [
    "issue:access_token:authorization_code ",
    "issue:access_token:authorization_code\n",
    "issue:1:b",
    "issue:a:b-c",
]
RESERVED += ["issue:" + "a" * 30 + ":" + "b" * 14, "issue:" + "a" * 32 + ":b", "issue:аccess_token:authorization_code"]


def test_hostile_scopes_are_denied_and_their_neighbours_are_not(bridge: RunningBridge) -> None:
    assert len(RESERVED[-3]) == 51
    odd = [*HOSTILE, *RESERVED]
    reply = items(bridge, batch(gate(), *odd, "s:a"))
    assert [one["decision"] for one in reply] == [True, *[False] * len(odd), True]
    assert {code(one) for one in reply[1:-1]} == {"invalid_scope"}
    for one in odd:
        single = {"subject": user(), "action": {"name": one}, "resource": {"type": "audience", "id": TARGET}}
        reply = ask(bridge, single, EVALUATION)
        assert (reply["decision"], code(reply)) == (False, "gate_missing")


def test_the_longest_gate_is_one(bridge: RunningBridge) -> None:
    name = "issue:" + "a" * 30 + ":" + "b" * 13
    assert len(name) == 50
    assert decisions(bridge, batch(name, "s:a")) == [True, True]


@pytest.mark.parametrize("length", [8000, 100_000])
def test_very_long_scopes_are_an_answer(bridge: RunningBridge, length: int) -> None:
    response = post(bridge, batch(gate(), "x" * length, "s:a"))
    if length < 8192:
        assert [one["decision"] for one in response.json()["evaluations"]] == [True, False, True]
    else:  # an entry could not hold it
        assert response.status_code == 400
        assert "8192 bytes" in response.json()["error"]


TYPES = ["", "Audience", "audience ", "audience\u200b", "аudience", 'aud"ience', "scope", "x" * 2000, "audience\n"]


def test_other_resource_types_are_not_about_issuance(bridge: RunningBridge) -> None:
    evaluations = [item(gate()), *(item("s:a", resource={"type": one, "id": TARGET}) for one in TYPES), item("s:a")]
    reply = items(bridge, batch(*evaluations))
    assert [one["decision"] for one in reply] == [True, *[False] * len(TYPES), True]
    assert {code(one) for one in reply[1:-1]} == {"unmapped_resource"}


def test_a_gate_at_another_kind_of_resource_is_no_gate(bridge: RunningBridge) -> None:
    reply = items(bridge, batch(item(gate(), resource={"type": "door", "id": TARGET}), "s:a"))
    assert [one["decision"] for one in reply] == [True, False]  # alice may do anything to a door
    assert code(reply[1]) == "gate_missing"
    assert "issuance" not in reply[0].get("context", {})


def test_a_subject_without_a_gate_is_denied(bridge: RunningBridge) -> None:
    for stranger in (user("bob"), party("client", "alice"), user("alice "), user("Alice")):
        reply = items(bridge, batch(gate(), item("s:a", stranger), "s:b"))
        assert [one["decision"] for one in reply] == [True, False, True]
        assert code(reply[1]) == "gate_missing"
    reply = items(bridge, batch("s:a", "s:b"))
    assert [code(one) for one in reply] == ["gate_missing"] * 2


def test_a_denied_gate_takes_its_scopes_along(bridge: RunningBridge) -> None:
    for told in (NO, {}, {"allow": "yes"}, {"allow": True, "limit": {"x": 1}}, {"allow": True, "deny": [1]}):
        reply = items(bridge, batch(gate(), "s:a", "s:b", context={"says": {"gate": told}}))
        assert [one["decision"] for one in reply] == [False] * 3
        assert [code(one) for one in reply[1:]] == ["gate_denied"] * 2


def test_scopes_hang_on_the_first_of_two_gates(bridge: RunningBridge) -> None:
    first, second = gate(), gate("refresh_token")
    body = batch(first, second, "s:a")
    found = documents(bridge, body)
    assert [(one["token_type"], one["batch"]["items"]) for one in found] == [
        ("access_token", [0, 2]),
        ("refresh_token", [1]),
    ]
    assert decisions(bridge, batch(second, "s:a", first)) == [True] * 3
    assert [one["batch"]["items"] for one in documents(bridge, batch(second, "s:a", first))] == [[0, 1], [2]]


def test_gates_that_come_last_count_all_the_same(bridge: RunningBridge) -> None:
    assert decisions(bridge, batch("s:a", gate())) == [True, True]
    assert decisions(bridge, batch("s:a", gate(), context={"says": {"gate": NO}})) == [False, False]


def test_each_target_and_each_subject_has_its_own_gate(bridge: RunningBridge) -> None:
    body = batch(
        *(item(gate(), subject, target) for target in (TARGET, OTHER) for subject in (user(), user("bob"))),
        *(item("s:a", subject, target) for target in (TARGET, OTHER) for subject in (user(), user("bob"))),
    )
    assert decisions(bridge, body) == [True] * 8
    for number, (target, name) in enumerate((t, n) for t in (TARGET, OTHER) for n in ("alice", "bob")):
        denied = decisions(bridge, {**body, "context": {"says": {f"{name}@{target} gate": NO}}})
        assert [n for n, yes in enumerate(denied) if not yes] == [number, 4 + number]
        denied = decisions(bridge, {**body, "context": {"says": {f"{name}@{target} s:a": NO}}})
        assert [n for n, yes in enumerate(denied) if not yes] == [4 + number]
    for one in documents(bridge, body):
        assert one["scopes"] == ["s:a"]


def test_the_second_level_takes_its_subjects_first_gate(bridge: RunningBridge) -> None:
    peer, deep = "https://peer.example", ("https://r1.example", "https://r2.example")
    idp = gate("id_jag", "token_exchange")
    items_ = [item(idp, user(), peer), item(idp, EDGE, peer), item("s:a", user(), peer)]
    body = batch(*items_, *(item("s:b", user(), target) for target in deep))
    found = documents(bridge, body)
    assert [one["batch"]["items"] for one in found] == [[0, 2], [1], [3], [4]]
    assert [one["batch"].get("gate_decision") for one in found] == [None, None, found[0]["id"], found[0]["id"]]
    assert len({one["batch"]["id"] for one in found}) == 1
    assert [one["audience"] for one in found] == [[peer], [peer], [deep[0]], [deep[1]]]
    assert {one["token_type"] for one in found} == {"id_jag"}
    assert decisions(bridge, body) == [True] * 5
    at_peer = {"says": {f"alice@{peer} gate": NO}}
    assert decisions(bridge, {**body, "context": at_peer}) == [False, True, False, False, False]
    # No gate was asked at the second level, so nothing that it would say counts.
    below = {"says": {f"alice@{deep[0]} gate": NO, f"alice@{deep[1]} s:b": NO}}
    assert decisions(bridge, {**body, "context": below}) == [True, True, True, True, False]


def test_a_denied_gate_stands_on_record_at_the_second_level(bridge: RunningBridge) -> None:
    body = batch(gate(), item("s:a", target=OTHER), context={"says": {"gate": NO}})
    before = len(bridge.entries())
    assert [code(one) for one in items(bridge, body)] == ["no", "gate_denied"]
    first, second = bridge.entries()[before:]
    assert second["batch"]["gate_decision"] == first["id"]
    assert second["scopes"]["s:a"]["findings"] == [{"code": "gate_denied"}]


def test_in_an_exchange_the_second_gates_subject_is_the_actor(bridge: RunningBridge) -> None:
    both = batch(item(EXCHANGE), item(EXCHANGE, EDGE), "s:a", item("s:a", target=OTHER))
    found = documents(bridge, both)
    assert [one.get("actor") for one in found] == [EDGE] * 3
    assert [one["subject"]["id"] for one in found] == ["alice", "wl://edge", "alice"]
    assert all("client" not in one for one in found if one["subject"]["type"] == "user")
    # One that is given by another grant has none, whoever else is there.
    assert all("actor" not in one for one in documents(bridge, batch(gate(), item(gate(), EDGE), "s:a")))


def test_each_exchange_of_a_batch_has_its_own_actor(bridge: RunningBridge) -> None:
    hub, bob = {"type": "workload", "id": "wl://hub"}, user("bob")

    def actors(*asked: tuple[Any, str]) -> list[tuple[str, str | None]]:
        found = documents(bridge, batch(*(item(EXCHANGE, subject, target) for subject, target in asked)))
        return [(one["subject"]["id"], one.get("actor", {}).get("id")) for one in found]

    alice = user()
    two = [("alice", "wl://edge"), ("wl://edge", "wl://edge"), ("bob", "wl://hub"), ("wl://hub", "wl://hub")]
    for target in (TARGET, OTHER):
        assert actors((alice, TARGET), (EDGE, TARGET), (bob, target), (hub, target)) == two
    crossed = actors((alice, TARGET), (bob, OTHER), (EDGE, TARGET), (hub, OTHER))
    assert sorted(crossed) == sorted(two)
    # One subject by two parties: two documents, and a scope belongs to the first.
    twice = batch(*(item(EXCHANGE, one) for one in (alice, EDGE, alice, hub)), "s:a")
    found = [(one["subject"]["id"], one["actor"]["id"], one["scopes"]) for one in documents(bridge, twice)]
    assert [(who, by) for who, by, _ in found] == [
        *(("alice", "wl://edge"), ("wl://edge", "wl://edge")),
        *(("alice", "wl://hub"), ("wl://hub", "wl://hub")),
    ]


def test_a_user_is_never_the_actor(bridge: RunningBridge) -> None:
    """A gate that denies impersonation would take the user itself, or another one, for the one who acts."""
    for first, second in ((EDGE, user()), (user(), user("bob"))):
        found = documents(bridge, batch(item(EXCHANGE, first), item(EXCHANGE, second), item("s:a", second)))
        assert all("actor" not in one for one in found if one["subject"]["type"] == "user")


def test_a_malformed_second_gate_makes_nobody_the_actor(bridge: RunningBridge) -> None:
    broken = {"type": "workload", "id": "a\nb"}
    asked = batch(*(item(EXCHANGE, one) for one in (EDGE, broken, {"type": "client", "id": "c"})))
    found = documents(bridge, asked)
    assert [(one["subject"]["id"], one.get("actor", {}).get("id")) for one in found] == [
        ("wl://edge", None),
        ("c", "c"),
    ]


def test_one_gate_for_both_parties(bridge: RunningBridge) -> None:
    named: list[tuple[Any, Any, bool]] = [
        (EDGE, None, True),
        (EDGE, {"client_id": "wl://edge"}, True),
        (EDGE, {"client_id": None, "x": 1}, True),
        (EDGE, {"client_id": "other"}, False),
        (user(), None, False),
        (user(), {"client_id": "alice"}, False),
    ]
    for subject, context, acts in named:
        (document,) = documents(bridge, batch(EXCHANGE, "s:a", subject=subject, context=context))
        assert document.get("actor") == (subject if acts else None)


def test_several_targets_of_an_exchange(bridge: RunningBridge) -> None:
    body = batch(
        *(item(EXCHANGE, subject, target) for subject in (user(), EDGE) for target in (TARGET, OTHER)),
        *(item("s:a", user(), target) for target in (TARGET, OTHER)),
    )
    assert [one["actor"]["id"] for one in documents(bridge, body)] == ["wl://edge"] * 4
    assert decisions(bridge, {**body, "context": {"says": {f"wl://edge@{OTHER} gate": NO}}}) == [
        *(True, True, True, False),
        *(True, True),  # each tuple for itself: the server composes
    ]


def test_a_transaction_token_asks_for_the_scopes_of_both(bridge: RunningBridge) -> None:
    txn = gate("txn_token", "token_exchange")
    body = batch(item(txn), item(txn, EDGE), "s:a", "s:b", item("s:a", EDGE), item("s:b", EDGE))
    assert decisions(bridge, body) == [True] * 6
    assert decisions(bridge, {**body, "context": {"says": {"wl://edge@https://api.example s:b": NO}}}) == [True] * 5 + [
        False
    ]
    gate_no = {"says": {"wl://edge@https://api.example gate": NO}}
    assert decisions(bridge, {**body, "context": gate_no}) == [True, False, True, True, False, False]


def test_context_reaches_the_policies_and_its_registered_keys_their_places(bridge: RunningBridge) -> None:
    context = {
        "client_id": "app",
        "acr": "hi",
        "amr": ["otp"],
        "auth_time": 1_700_000_000,
        "cnf": {"jkt": "x"},
        "authorization_details": [{"type": "pay", "n": 1.5}],
        "subject_token": {"iss": "https://idp.example", "scope": "s:a"},
        "act": {"sub": "wl://edge"},
        "may_act": {"sub": "wl://edge"},
        "subject_token_type": "urn:x",
        "actor_token_type": "urn:y",
        "free": [1, {"x": None}],
    }
    told = {"says": {"gate": {"allow": True, "limit": {"authorization_details": context["authorization_details"]}}}}
    (document,) = documents(bridge, batch(EXCHANGE, "s:a", context={**context, **told}))
    assert document["client"] == {"id": "app"}
    assert document["authentication"] == {"acr": "hi", "amr": ["otp"], "auth_time": 1_700_000_000}
    for name in ("cnf", "authorization_details", "subject_token"):
        assert document[name] == context[name]
    assert document["context"] == {**context, **told}
    assert "may_act" not in document
    assert "actor" not in document, "what may act is advice, and no party of the request"


CONTEXTS: list[dict[str, Any]] = [
    *({"client_id": value} for value in values(1, "", [], {}, "a\nb", "x" * 513)),
    *({"acr": value} for value in values(1, [], {}, True)),
    *({"amr": value} for value in values("otp", [1], {}, ["otp", None])),
    *({"auth_time": value} for value in values("1", 1.5, True, [], 1e3)),
    *({"cnf": value} for value in values("x", [], 1, True)),
    *(
        {"authorization_details": value}
        for value in values("x", {}, [1], [{}], [{"type": 1}], [None], [{"type": "a"}, {}])
    ),
    *({"subject_token": value} for value in values("eyJhbGciOi", [], 1)),
]


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_registered_key_of_another_type(bridge: RunningBridge, context: dict[str, Any]) -> None:
    """In the default it is a 400 for all, in an item's own the item's error; other tuples do not care."""
    (name,) = context
    for body in (
        batch(gate(), "s:a", context=context),
        batch(gate(), "s:a", {**item("s:b"), "context": {}}, context=context),
    ):
        response = post(bridge, body)
        assert response.status_code == 400
        assert f"context.{name}" in response.json()["error"]
        assert "eyJ" not in response.text
    single = {"subject": user(), "action": {"name": gate()}, "resource": {"type": "audience", "id": TARGET}}
    assert post(bridge, {**single, "context": context}, EVALUATION).status_code == 400
    reply = items(bridge, batch(gate(), item("s:a", context=context), "s:b"))
    assert [one["decision"] for one in reply] == [True, False, True]
    assert reply[1]["context"]["error"]["status"] == 400
    assert name in reply[1]["context"]["error"]["message"]
    door = {"subject": user(), "action": {"name": "open"}, "resource": {"type": "door", "id": "d"}, "context": context}
    assert ask(bridge, door, EVALUATION)["decision"] is True


def test_null_in_a_registered_key_is_absent(bridge: RunningBridge) -> None:
    names = ["client_id", "acr", "amr", "auth_time", "cnf", "authorization_details", "subject_token"]
    client = party("client", "app")
    (document,) = documents(bridge, batch(gate(), "s:a", subject=client, context=dict.fromkeys(names)))
    assert document["client"] == {"id": "app"}
    assert not document.keys() & {"authentication", "cnf", "authorization_details", "subject_token"}


def test_no_other_gate_stands_in_for_a_malformed_one(bridge: RunningBridge) -> None:
    wrong = item(gate(), context={"acr": 1})
    for others in ([item(gate("refresh_token"))], [item(gate(), target=OTHER)], [item(gate())]):
        reply = items(bridge, batch(wrong, *others, "s:a"))
        assert [one["decision"] for one in reply] == [False, True, False]
        assert reply[0]["context"]["error"]["status"] == 400
        assert code(reply[2]) == "gate_denied"
    assert decisions(bridge, batch(item(gate()), wrong, "s:a")) == [True, False, True]


def test_an_items_own_context_makes_its_own_document(bridge: RunningBridge) -> None:
    own = {"says": {"gate": NO}, "note": "own"}
    body = batch(gate(), "s:a", item("s:b", context=own), item("s:c", context={}), context={"note": "all"})
    found = documents(bridge, body)
    assert [(one.get("context"), one["batch"]["items"]) for one in found] == [
        ({"note": "all"}, [0, 1]),
        (own, [2]),
        (None, [3]),
    ]
    assert [one["batch"].get("gate_decision") for one in found] == [None, found[0]["id"], found[0]["id"]]
    assert all(one["scopes"] == ["s:a", "s:b", "s:c"] for one in found)
    assert decisions(bridge, body) == [True] * 4  # the gate was asked in the gate's own context


def test_what_an_item_shows_of_the_sign_in_does_not_open_its_gate(bridge: RunningBridge) -> None:
    step_up = {"gate": {"allow": True, "require": [{"acr_values": ["hi"]}]}}
    body = batch(gate(), item("s:a", context={"says": step_up, "acr": "hi"}), "s:b", context={"says": step_up})
    before = len(bridge.entries())
    reply = items(bridge, body)
    assert [one["decision"] for one in reply] == [False] * 3
    told = [entry["granted_scopes"] for entry in bridge.entries()[before:] if entry["kind"] == "decision"]
    assert told == [[], []], "denied on record, and not overruled afterwards"
    assert reply[0]["context"]["issuance_ext"]["require"] == [{"acr_values": ["hi"]}]


def test_equal_tuples_share_a_document_whatever_the_order_of_their_members(bridge: RunningBridge) -> None:
    twice = [item("s:a", user("alice", n=1)), item("s:a", user("alice", n=1)), item("s:b", user("alice", n=1))]
    found = documents(bridge, batch(item(gate(), user("alice", n=1)), item(gate(), user("alice", n=1)), *twice))
    assert [one["batch"]["items"] for one in found] == [[0, 1, 2, 3, 4]]
    assert found[0]["scopes"] == ["s:a", "s:b"]


def test_properties_that_differ_do_not_part_a_subject_from_its_gate(bridge: RunningBridge) -> None:
    body = batch(gate(), item("s:a", user("alice", level=9)), context=says(gate=NO))
    assert decisions(bridge, body) == [False, False]
    found = documents(bridge, batch(gate(), item("s:a", user("alice", level=9))))
    assert [one["subject"] for one in found] == [user(), user("alice", level=9)]
    assert found[1]["batch"]["gate_decision"] == found[0]["id"]


@pytest.mark.parametrize("kind", ["group", "", "User", "user "])
def test_a_subject_of_another_type_is_denied(bridge: RunningBridge, kind: str) -> None:
    reply = items(bridge, batch(item(gate(), party(kind, "x")), item("s:a", party(kind, "x")), gate()))
    assert [one["decision"] for one in reply] == [False, False, True]


@pytest.mark.parametrize("wrong", ["", "a\nb", "\u0000", "x" * 513])
def test_identifiers_beyond_what_an_entry_holds_are_the_items_error(bridge: RunningBridge, wrong: str) -> None:
    for one in (item(gate(), user(wrong)), item(gate(), target=wrong)):
        reply = items(bridge, batch(one, gate(), "s:a"))
        assert [one["decision"] for one in reply] == [False, True, True]
        assert reply[0]["context"]["error"]["status"] == 400


def test_documents_are_bounded_together_however_they_are_multiplied(bridge: RunningBridge) -> None:
    large = {"x": "x" * 100_000}
    many = [f"https://t{n}.example" for n in range(100)]
    door = {"action": {"name": "open"}, "resource": {"type": "door", "id": "d"}}
    for body in (
        batch(*(item(gate(), target=target) for target in many), context=large),
        batch(*(item(gate(), target=target) for target in many), subject=user("alice", **large)),
        {"subject": user(), **door, "context": large, "evaluations": [{}] * 100},
        {"subject": user("alice", **large), **door, "evaluations": [{}] * 100},
    ):
        response = post(bridge, body)
        assert response.status_code == 413, response.text[:200]
        assert "input documents" in response.json()["error"]
    # What all items share stands in one document.
    body = batch(gate(), *(f"s:{n}" for n in range(150)), context={"x": "x" * 1_000_000})
    assert decisions(bridge, body) == [True] * 151


def test_two_hundred_items_of_one_request(bridge: RunningBridge) -> None:
    scopes = [f"s:{n}" for n in range(199)]
    assert decisions(bridge, batch(gate(), *scopes)) == [True] * 200
    assert post(bridge, batch(gate(), *scopes, "s:one-more")).status_code == 400
    wide = batch(*(item(gate(), target=f"https://t{n}.example") for n in range(100)), *(f"s:{n}" for n in range(100)))
    assert decisions(bridge, wide) == [True] * 100 + [True] * 100

"""Evaluation and evaluations of the Authorization API 1.0: alice and bob, record-1 and record-2."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.authzen.asking import EVALUATION, EVALUATIONS, ask, post, values
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.policies import write_policies

RECORDS = """
rights := {"alice": {"can_read": {"record-1", "record-2"}, "can_update": {"record-1"}},
    "bob": {"can_read": {"record-1"}}}
allow if input.resource.id in rights[input.subject.id][input.action.name]
"""
READ, UPDATE = {"name": "can_read"}, {"name": "can_update"}
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
ONE, TWO = {"type": "record", "id": "record-1"}, {"type": "record", "id": "record-2"}
EIGHT = [
    (ALICE, READ, ONE, True),
    (ALICE, READ, TWO, True),
    (ALICE, UPDATE, ONE, True),
    (ALICE, UPDATE, TWO, False),
    (BOB, READ, ONE, True),
    (BOB, READ, TWO, False),
    (BOB, UPDATE, ONE, False),
    (BOB, UPDATE, TWO, False),
]
BROKEN = {"resource": {"id": "record-1"}}
"""An item whose resource replaces the default whole, and so has no type."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("records")
    policies = write_policies(
        folder / "rego", {"issuance.gate": "allow := true", 'authzen.resource["record"]': RECORDS}
    )
    with running_bridge(folder, policies) as running:
        yield running


def asked(subject: Any, action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "action": action, "resource": resource, **more}


def told(bridge: RunningBridge, body: dict[str, Any]) -> list[bool]:
    return [one["decision"] for one in ask(bridge, body)["evaluations"]]


@pytest.mark.parametrize(("subject", "action", "resource", "expected"), EIGHT)
@pytest.mark.parametrize("path", [EVALUATION, EVALUATIONS])
def test_the_eight_decisions(
    records: RunningBridge, path: str, subject: Any, action: Any, resource: Any, expected: bool
) -> None:
    reply = ask(records, asked(subject, action, resource), path)
    assert reply["decision"] is expected
    assert "evaluations" not in reply


def test_the_eight_decisions_in_one_batch(records: RunningBridge) -> None:
    body = {"evaluations": [asked(*one[:3]) for one in EIGHT]}
    reply = ask(records, body)
    assert [one["decision"] for one in reply["evaluations"]] == [one[3] for one in EIGHT]
    assert reply.keys() == {"evaluations"}


def test_defaults_are_inherited_and_replaced_whole(records: RunningBridge) -> None:
    body = asked(ALICE, READ, TWO, evaluations=[{}, {"subject": BOB}, {"action": UPDATE}, {"resource": ONE}, BROKEN])
    assert told(records, body) == [True, False, False, True, False]
    broken = ask(records, body)["evaluations"][4]
    assert broken["context"]["error"]["status"] == 400
    assert "resource.type" in broken["context"]["error"]["message"]


@pytest.mark.parametrize("missing", ["subject", "action", "resource"])
def test_an_item_may_bring_what_has_no_default(records: RunningBridge, missing: str) -> None:
    whole = asked(ALICE, READ, ONE)
    body = {**{k: v for k, v in whole.items() if k != missing}, "evaluations": [{missing: whole[missing]}, {}]}
    assert told(records, body) == [True, False]
    without = {"evaluations": [{k: v for k, v in whole.items() if k != missing}, whole]}
    assert told(records, without) == [False, True]


SEMANTICS = [
    ("execute_all", [TWO, ONE, TWO], [False, True, False]),
    ("deny_on_first_deny", [ONE, ONE, TWO, ONE], [True, True, False]),
    ("deny_on_first_deny", [ONE, ONE], [True, True]),
    ("permit_on_first_permit", [TWO, ONE, TWO], [False, True]),
    ("permit_on_first_permit", [TWO, TWO], [False, False]),
]


@pytest.mark.parametrize(("semantic", "resources", "expected"), SEMANTICS)
def test_the_three_semantics(records: RunningBridge, semantic: str, resources: list[Any], expected: list[bool]) -> None:
    options = {"evaluations_semantic": semantic, "another": 7}
    evaluations = [{"resource": one} for one in resources]
    assert told(records, {"subject": BOB, "action": READ, "evaluations": evaluations, "options": options}) == expected


def test_an_item_that_failed_ends_what_a_denial_ends_and_nothing_else(records: RunningBridge) -> None:
    body = {"subject": BOB, "action": READ, "evaluations": [BROKEN, {"resource": ONE}, {"resource": ONE}]}
    semantic = {name: {**body, "options": {"evaluations_semantic": name}} for name in [s[0] for s in SEMANTICS]}
    assert told(records, semantic["execute_all"]) == [False, True, True]
    assert told(records, semantic["deny_on_first_deny"]) == [False]
    assert told(records, semantic["permit_on_first_permit"]) == [False, True]


@pytest.mark.parametrize("options", [None, {}, {"evaluations_semantic": None}, {"unknown": [1]}])
def test_without_a_semantic_all_are_answered(records: RunningBridge, options: Any) -> None:
    body = {"subject": BOB, "action": READ, "evaluations": [{"resource": TWO}, {"resource": ONE}], "options": options}
    assert told(records, body) == [False, True]


@pytest.mark.parametrize("semantic", ["", "EXECUTE_ALL", "first_wins", 1, True, ["execute_all"], {}])
def test_an_unknown_semantic_is_a_400(records: RunningBridge, semantic: Any) -> None:
    body = asked(ALICE, READ, ONE, evaluations=[{}], options={"evaluations_semantic": semantic})
    assert post(records, body).status_code == 400


@pytest.mark.parametrize("empty", [{}, {"evaluations": []}, {"evaluations": None}])
def test_without_items_the_batch_is_the_single_form(records: RunningBridge, empty: dict[str, Any]) -> None:
    assert ask(records, asked(ALICE, READ, ONE, **empty)) == {"decision": True}
    reply = ask(records, asked(BOB, READ, TWO, **empty))
    assert reply["decision"] is False
    assert "evaluations" not in reply
    assert post(records, {"subject": BOB, "action": READ, **empty}).status_code == 400


def test_unknown_members_are_passed_over_at_every_level(records: RunningBridge) -> None:
    odd = {"x-new": {"deep": [1, None]}, "type2": 3}
    entity = asked({**ALICE, **odd}, {**READ, **odd}, {**ONE, **odd}, **odd)
    assert ask(records, entity, EVALUATION) == {"decision": True}
    body = {**entity, "options": odd, "evaluations": [odd, {**asked({**BOB, **odd}, UPDATE, ONE), **odd}]}
    assert told(records, body) == [True, False]


def test_null_context_and_properties_are_absent_and_a_null_entity_is_missing(records: RunningBridge) -> None:
    body = asked({**ALICE, "properties": None}, {**READ, "properties": None}, {**ONE, "properties": None}, context=None)
    assert ask(records, body, EVALUATION) == {"decision": True}
    for name in ("subject", "action", "resource"):
        assert post(records, {**body, name: None}, EVALUATION).status_code == 400
        assert told(records, {**body, "evaluations": [{name: None}, {}]}) == [False, True]
        assert told(records, {name: None, "evaluations": [body]}) == [True]


WRONG: list[tuple[dict[str, Any], str]] = [
    *(({name: value}, name) for name in ("subject", "action", "resource") for value in values("x", 1, [], True)),
    *(({"subject": {**ALICE, "type": value}}, "subject.type") for value in values(1, None, True, [], {})),
    *(({"subject": {**ALICE, "id": value}}, "subject.id") for value in values(1, None, {})),
    *(({"action": {"name": value}}, "action.name") for value in values(1, None, ["can_read"])),
    *(({"resource": {**ONE, "id": value}}, "resource.id") for value in values(1.5, None, False)),
    *(({"resource": {**ONE, "type": value}}, "resource.type") for value in values(1, None)),
    *(
        ({n: {**e, "properties": v}}, n)
        for n, e in (("subject", ALICE), ("action", READ))
        for v in values([], "x", 1, False)
    ),
    *(({"context": value}, "context") for value in values([], "x", 1, False)),
    ({"subject": {"id": "alice"}}, "subject.type"),
    ({"resource": {"type": "record"}}, "resource.id"),
    ({"action": {}}, "action.name"),
]


@pytest.mark.parametrize(("member", "named"), WRONG)
def test_an_entity_of_the_wrong_shape_is_a_400_and_of_an_item_the_items_own(
    records: RunningBridge, member: dict[str, Any], named: str
) -> None:
    body = asked(ALICE, READ, ONE)
    for path, wrong in ((EVALUATION, {**body, **member}), (EVALUATIONS, {**body, **member})):
        response = post(records, wrong, path)
        assert response.status_code == 400
        assert response.headers["Content-Type"].startswith("application/json")
        assert named in response.json()["error"]
    reply = ask(records, {**body, "evaluations": [member, {}]})["evaluations"]
    assert [one["decision"] for one in reply] == [False, True]
    assert reply[0]["context"]["error"]["status"] == 400
    assert named in reply[0]["context"]["error"]["message"]


@pytest.mark.parametrize("evaluations", [{}, "x", 1, True, [1], [None], [[]], [{}, "x"]])
def test_items_that_are_no_objects_are_a_400(records: RunningBridge, evaluations: Any) -> None:
    assert post(records, asked(ALICE, READ, ONE, evaluations=evaluations)).status_code == 400


def test_two_hundred_items_are_a_batch_and_one_more_is_a_400(records: RunningBridge) -> None:
    body = asked(ALICE, READ, ONE, evaluations=[{}, {"action": UPDATE, "resource": TWO}] * 100)
    assert told(records, body) == [True, False] * 100
    response = post(records, {**body, "evaluations": [{}] * 201})
    assert response.status_code == 400
    assert "200" in response.json()["error"]


def test_types_nobody_has_a_package_for_are_denied(records: RunningBridge) -> None:
    odd = ["", "Record", "record ", 'rec"ord', "record.x", "re]c[ord", "issuance", "réc", "rec\u0000", "x" * 3000]
    body = asked(ALICE, READ, ONE, evaluations=[{"resource": {**ONE, "type": one}} for one in odd])
    reply = ask(records, body)["evaluations"]
    assert [one["context"]["reason_admin"]["403"] for one in reply] == ["unmapped_resource"] * len(odd)

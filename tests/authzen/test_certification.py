"""The certification scenario of the Authorization API 1.0, by the numbers of its tests (OpenID AuthZEN WG, 2026).

Its fixture is `RECORDS`; the eight decisions are rules 1 to 8 of its section 1.4, the searches S1 to S6 of its 1.5.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.authzen.asking import ask, post
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.policies import write_policies

RECORDS = """
_users := {"alice", "bob"}
_records := {"record-1", "record-2"}

allow if _may(input.subject, input.action, input.resource)

_known(subject) if {
    subject.type == "user"
    subject.id in _users
}

_archived(resource) if resource.properties.status == "archived"

_may(subject, action, _) if {
    _known(subject)
    action.name == "read"
}

_may(subject, action, resource) if {
    action.name == "write"
    subject.id == "alice"
    not _archived(resource)
}

_may(subject, action, resource) if {
    _known(subject)
    action.name == "write"
    subject.properties.role == "admin"
    _archived(resource)
}

_may(subject, action, _) if {
    subject.id == "alice"
    action.name == "delete"
    action.properties.soft == true
}

# What the scenario says of them: a search names a type only.
_told_users := {"alice": {}, "bob": {"properties": {"role": "admin"}}}
_told_records := {"record-1": {"properties": {"status": "active"}}, "record-2": {"properties": {"status": "archived"}}}

subjects contains {"type": "user", "id": id} if {
    some id, told in _told_users
    _may(object.union({"type": "user", "id": id}, told), input.action, input.resource)
}

resources contains {"type": "record", "id": id} if {
    some id, told in _told_records
    _may(input.subject, input.action, object.union({"type": "record", "id": id}, told))
}

actions contains {"name": name} if {
    some name in {"read", "write"}
    _may(input.subject, {"name": name}, input.resource)
}
"""
PDP = "https://pdp.example"
ONE, MANY = "/access/v1/evaluation", "/access/v1/evaluations"
CONTEXT = {"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}


def user(name: str | None = None, **properties: Any) -> dict[str, Any]:
    return entity("user", name, properties)


def record(name: str | None = None, **properties: Any) -> dict[str, Any]:
    return entity("record", name, properties)


def entity(kind: str, name: str | None, properties: dict[str, Any]) -> dict[str, Any]:
    identified = {} if name is None else {"id": name}
    return {"type": kind, **identified, **({"properties": properties} if properties else {})}


def action(name: str, **properties: Any) -> dict[str, Any]:
    return {"name": name, **({"properties": properties} if properties else {})}


ALICE, BOB, ADMIN = user("alice"), user("bob"), user("bob", role="admin")
READ, WRITE = action("read"), action("write")
FIRST, SECOND = record("record-1"), record("record-2")
ACTIVE, ARCHIVED = record("record-1", status="active"), record("record-2", status="archived")


def asked(**members: Any) -> dict[str, Any]:
    """A request with these members; None leaves one out."""
    return {name: value for name, value in members.items() if value is not None}


def single(subject: Any = ALICE, act: Any = READ, resource: Any = FIRST, **more: Any) -> dict[str, Any]:
    return asked(subject=subject, action=act, resource=resource, **more)


@pytest.fixture(scope="module")
def pdp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("scenario")
    packages = {"issuance.gate": "allow := true", 'authzen.resource["record"]': RECORDS}
    key = folder / "metadata.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    settings = {"pdp": PDP, "metadata_key": str(key)}
    with running_bridge(folder, write_policies(folder / "rego", packages), authzen=settings) as running:
        yield running


BASIC = {
    "2.2.1, rule 1": (single(), True),
    "rule 2": (single(act=WRITE), True),
    "rule 3": (single(BOB), True),
    "2.2.2, rule 4": (single(BOB, WRITE), False),
    "2.2.3": (single(context=CONTEXT), True),
    "2.2.4, rule 5": (single(ALICE, WRITE, ARCHIVED), False),
    "2.2.5, rule 6": (single(ADMIN, WRITE, ARCHIVED), True),
    "2.2.6, rule 7": (single(act=action("delete", soft=True)), True),
    "2.2.7, rule 8": (single(act=action("delete", soft=False)), False),
    "2.2.8": (
        single(
            user("alice", department="Sales", role="manager"),
            action("read", method="GET"),
            record("record-1", status="active", owner="bob"),
        ),
        True,
    ),
    "2.2.9": (single(foo="bar", futureField={"nested": True}), True),
}


@pytest.mark.parametrize("number", BASIC)
def test_2_a_request_gets_its_decision(pdp: RunningBridge, number: str) -> None:
    body, expected = BASIC[number]
    reply = ask(pdp, body, ONE)
    assert reply["decision"] is expected
    assert isinstance(reply.get("context", {}), dict)


@pytest.mark.parametrize(
    "body",
    [
        single(None),
        single(act=None),
        single(resource=None),
        single({"id": "alice"}),
        single(user()),
        single(act={}),
        single(resource={"id": "record-1"}),
        single(resource=record()),
        single("alice"),
        single(act={"name": 123}),
        b'{"subject": ',
        b"",
    ],
)
def test_2_4_what_is_no_request_is_a_400(pdp: RunningBridge, body: Any) -> None:
    assert post(pdp, body, ONE).status_code == 400


def test_2_4_3_another_content_type_is_a_400(pdp: RunningBridge) -> None:
    assert post(pdp, single(), ONE, headers={"Content-Type": "text/plain"}).status_code == 400


def test_2_5_a_request_id_is_echoed(pdp: RunningBridge) -> None:
    assert post(pdp, single(), ONE, headers={"X-Request-ID": "bfe9eb29"}).headers["X-Request-ID"] == "bfe9eb29"
    assert post(pdp, single(), ONE).status_code == 200


def test_2_6_the_same_request_gets_the_same_decision(pdp: RunningBridge) -> None:
    assert [ask(pdp, single(BOB, WRITE), ONE)["decision"] for _ in range(5)] == [False] * 5


def items(*some: dict[str, Any]) -> list[dict[str, Any]]:
    return list(some)


BATCH: dict[str, tuple[dict[str, Any], list[bool | None]]] = {
    "3.2.1": (
        asked(subject=ALICE, action=READ, evaluations=items({"resource": FIRST}, {"resource": SECOND})),
        [None] * 2,
    ),
    "3.2.2, rules 3 and 4": (
        asked(subject=BOB, resource=FIRST, evaluations=items({"action": READ}, {"action": WRITE})),
        [True, False],
    ),
    "3.2.3, rules 2 and 5": (
        asked(subject=ALICE, action=WRITE, evaluations=items({"resource": ACTIVE}, {"resource": ARCHIVED})),
        [True, False],
    ),
    "3.2.4, rules 5 and 6": (
        asked(action=WRITE, resource=ARCHIVED, evaluations=items({"subject": ALICE}, {"subject": ADMIN})),
        [False, True],
    ),
    "3.2.5": (asked(evaluations=items(single(), single(BOB, WRITE))), [True, False]),
    "3.2.6": (
        asked(
            subject=ALICE,
            action=READ,
            context={"time": "2025-06-27T18:03-07:00"},
            evaluations=items({"resource": FIRST}, {"resource": SECOND, "context": {"source": "batch-override"}}),
        ),
        [None] * 2,
    ),
    "3.2.7": (single(ALICE, WRITE, ACTIVE, evaluations=items({}, {"resource": ARCHIVED})), [True, False]),
    "3.4.1": (
        asked(
            subject=ALICE,
            action=READ,
            options={"evaluations_semantic": "execute_all"},
            evaluations=items({"resource": FIRST}, {}),
        ),
        [True, False],
    ),
}
"""None: any decision; the scenario looks at the shape only."""


@pytest.mark.parametrize("number", BATCH)
def test_3_a_batch_gets_its_decisions_in_order(pdp: RunningBridge, number: str) -> None:
    body, expected = BATCH[number]
    reply = ask(pdp, body, MANY)
    assert reply.keys() == {"evaluations"}
    assert len(reply["evaluations"]) == len(expected)
    for item, decision in zip(reply["evaluations"], expected, strict=True):
        assert isinstance(item["decision"], bool)
        assert decision is None or item["decision"] is decision
        assert isinstance(item.get("context", {}), dict)


@pytest.mark.parametrize("evaluations", [None, []])
def test_3_4_without_items_it_is_the_single_form(pdp: RunningBridge, evaluations: Any) -> None:
    assert ask(pdp, single(evaluations=evaluations), MANY) == {"decision": True}


SEARCHES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]]]] = {
    "4.2.1, S1": ("subject", single(user()), [ALICE, BOB]),
    "4.2.2": ("subject", single(user(), context=CONTEXT), [ALICE, BOB]),
    "4.2.3": ("subject", single(ALICE), [ALICE, BOB]),
    "4.2.4, S4": ("subject", single(user(), WRITE, ARCHIVED), [BOB]),
    "4.3.1, S2": ("resource", single(resource=record()), [FIRST, SECOND]),
    "4.3.2": ("resource", single(resource=record(), context=CONTEXT), [FIRST, SECOND]),
    "4.3.3": ("resource", single(), [FIRST, SECOND]),
    "4.3.4, S5": ("resource", single(ADMIN, WRITE, record()), [SECOND]),
    "4.4.1, S3": ("action", single(act=None), [READ, WRITE]),
    "4.4.2": ("action", single(act=None, context=CONTEXT), [READ, WRITE]),
    "4.4.3, S6": ("action", single(ADMIN, None, ARCHIVED), [READ, WRITE]),
    "4.5.1": ("subject", single(user(), page={"limit": 10}), [ALICE, BOB]),
    "4.6.1, action": ("action", single(user("nonexistent-user"), None), []),
    "4.6.1, resource": ("resource", single(user("nonexistent-user"), READ, record()), []),
    "4.6.1, subject": ("subject", single(user(), action("nonexistent"), FIRST), []),
    "4.6.2, subject": ("subject", single({"type": "spaceship"}), []),
    "4.6.2, resource": ("resource", single(resource={"type": "spaceship"}), []),
    "4.6.2, action": ("action", single(act=None, resource={"type": "spaceship", "id": "x"}), []),
}


@pytest.mark.parametrize("number", SEARCHES)
def test_4_a_search_finds_what_is_permitted(pdp: RunningBridge, number: str) -> None:
    kind, body, expected = SEARCHES[number]
    assert search(pdp, kind, body)["results"] == expected


def search(pdp: RunningBridge, kind: str, body: dict[str, Any]) -> Any:
    return ask(pdp, body, f"/access/v1/search/{kind}")


def test_4_5_pages_follow_each_other_and_end_with_an_empty_token(pdp: RunningBridge) -> None:
    first = search(pdp, "subject", single(user(), page={"limit": 1}))
    second = search(pdp, "subject", single(user(), page={"token": first["page"]["next_token"], "limit": 1}))
    assert [first["results"], second["results"]] == [[ALICE], [BOB]]
    assert second["page"]["next_token"] == ""


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("subject", single(user(), None)),
        ("resource", single(None, READ, record())),
        ("action", single(ALICE, None, None)),
        ("subject", single(user(), READ, record())),
        ("resource", single(user(), READ, record())),
        ("action", single(user(), None)),
    ],
)
def test_4_7_an_input_entity_that_is_not_whole_is_a_400(pdp: RunningBridge, kind: str, body: dict[str, Any]) -> None:
    assert post(pdp, body, f"/access/v1/search/{kind}").status_code == 400


def test_6_the_metadata_tell_what_is_served(pdp: RunningBridge) -> None:
    response = pdp.client.get("/.well-known/authzen-configuration")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("application/json")
    told = response.json()
    assert told["policy_decision_point"] == PDP
    endpoints = {name: url for name, url in told.items() if name.endswith("_endpoint")}
    assert endpoints.keys() == {
        "access_evaluation_endpoint",
        "access_evaluations_endpoint",
        "search_subject_endpoint",
        "search_resource_endpoint",
        "search_action_endpoint",
    }
    assert all(url.startswith(f"{PDP}/access/v1/") for url in endpoints.values())
    assert all(isinstance(capability, str) for capability in told["capabilities"])
    assert told["signed_metadata"].count(".") == 2

"""Searches of the Authorization API 1.0: what is found, what is nothing, and what is a fault and never `[]`."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bridge.audit.disclosed import holders
from bridge.evidence.files import DATABASE
from bridge.model.entry import MAX_ENTRY_BYTES, canonical
from tests.docs.pages import DOCS, blocks
from tests.engines.servers import free_port
from tests.support.bridge import LocalBridge, caller, local_bridge, run_cli
from tests.support.evidence import reading
from tests.support.policies import write_policies

from .searching import results, searched, searches

RECORDS = """
may := {"alice": {"record-1": ["can_read", "can_update"], "record-2": ["can_read"]}, "bob": {"record-1": ["can_read"]}}
allow if input.action.name in may[input.subject.id][input.resource.id]
subjects contains {"type": "user", "id": id} if {
    some id, records in may
    input.action.name in records[input.resource.id]
}
subjects contains {"type": "group", "id": "auditors"}
resources contains {"type": "record", "id": id, "properties": {"by": input.subject.id}} if {
    some id, names in may[input.subject.id]
    input.action.name in names
}
actions contains {"name": name} if some name in may[input.subject.id][input.resource.id]
"""
POLICIES = {
    "issuance.gate": "allow := true",
    'authzen.resource["record"]': RECORDS,
    'authzen.resource["mute"]': "allow := true",
    'authzen.resource["numbered"]': """
resources := [{"type": "numbered", "id": sprintf("n-%03d", [n]), "x": 1, "properties": {"n": n}} |
    some n in array.concat(numbers.range(1, 40), numbers.range(20, 30))]
""",
    'authzen.resource["many"]': """
resources := {{"type": "many", "id": sprintf("%06d", [n])} | some n in numbers.range(1, 3000)}
""",
    'authzen.resource["failing"]': 'subjects contains {"type": "user", "id": x} if x := to_number(input.subject.type)',
    'authzen.resource["text"]': 'subjects := "alice"\nresources contains "r-1"\nactions contains {"name": 1}',
    'authzen.resource["half"]': """
subjects contains {"type": "user"}
resources contains {"type": "half", "id": "r", "properties": []}
""",
    'authzen.resource["slow"]': """
subjects contains {"type": "user", "id": "x"} if {
    count([1 | some x in numbers.range(1, 20000); some y in numbers.range(1, 20000); x * y == -1]) == 0
}
""",
}
ALICE, BOB = {"type": "user", "id": "alice"}, {"type": "user", "id": "bob"}
R1, R2 = {"type": "record", "id": "record-1"}, {"type": "record", "id": "record-2"}
READ, UPDATE = {"name": "can_read"}, {"name": "can_update"}


def who(resource: dict[str, Any], action: dict[str, Any] = READ, **more: Any) -> dict[str, Any]:
    return {"subject": {"type": "user"}, "action": action, "resource": resource, **more}


def what(subject: dict[str, Any], action: dict[str, Any] = READ, kind: str = "record", **more: Any) -> dict[str, Any]:
    return {"subject": subject, "action": action, "resource": {"type": kind}, **more}


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, authzen={"max_results": 2000}) as bridge:
        yield bridge


def by(subject: dict[str, Any], *records: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "properties": {"by": subject["id"]}} for record in records]


@pytest.mark.parametrize(
    ("kind", "body", "expected"),
    [
        ("subject", who(R1), [ALICE, BOB]),
        ("subject", who(R1, UPDATE), [ALICE]),
        ("subject", who(R2, UPDATE), []),
        ("resource", what(ALICE), by(ALICE, R1, R2)),
        ("resource", what(BOB), by(BOB, R1)),
        ("resource", what(BOB, UPDATE), []),
        ("action", {"subject": ALICE, "resource": R1}, [READ, UPDATE]),
        ("action", {"subject": ALICE, "resource": R2}, [READ]),
        ("action", {"subject": BOB, "resource": R2}, []),
    ],
)
async def test_what_alice_and_bob_may_do(
    bridge: LocalBridge, kind: str, body: dict[str, Any], expected: list[dict[str, Any]]
) -> None:
    assert await results(bridge, kind, body) == expected


async def test_each_result_evaluates_to_a_permit(bridge: LocalBridge) -> None:
    permitted = set()
    for action in (READ, UPDATE):
        for resource in (R1, R2):
            for subject in await results(bridge, "subject", who(resource, action)):
                permitted.add((subject["id"], action["name"], resource["id"]))
    for subject in (ALICE, BOB):
        for action in (READ, UPDATE):
            for resource in (R1, R2):
                body = {"subject": subject, "action": action, "resource": resource}
                async with bridge.session.post("/access/v1/evaluation", json=body) as response:
                    decision = (await response.json())["decision"]
                assert decision is ((subject["id"], action["name"], resource["id"]) in permitted)


async def test_only_the_searched_type_is_told(bridge: LocalBridge) -> None:
    assert await results(bridge, "subject", {**who(R1), "subject": {"type": "group"}}) == [
        {"type": "group", "id": "auditors"}
    ]


@pytest.mark.parametrize(
    "more", [{"subject": {"type": "user", "id": "nobody"}}, {"subject": {"type": "user", "id": 7}}, {"else": [1]}]
)
async def test_the_searched_identifier_and_unknown_members_are_passed_over(
    bridge: LocalBridge, more: dict[str, Any]
) -> None:
    assert await results(bridge, "subject", {**who(R1), **more}) == [ALICE, BOB]


@pytest.mark.parametrize("action", [{"name": "edit"}, "edit", 7, {"name": 7}])
async def test_an_action_search_has_no_action(bridge: LocalBridge, action: Any) -> None:
    assert await results(bridge, "action", {"subject": ALICE, "resource": R1, "action": action}) == [READ, UPDATE]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("subject", who({"type": "unheard-of", "id": "x"})),
        ("subject", who({"type": "mute", "id": "x"})),
        ("subject", {**who(R1), "subject": {"type": "robot"}}),
        ("resource", what(ALICE, kind="unheard-of")),
        ("resource", what({"type": "user", "id": "nobody"})),
        ("action", {"subject": ALICE, "resource": {"type": "record", "id": "unknown"}}),
        ("action", {"subject": {"type": "robot", "id": "r"}, "resource": {"type": "audience", "id": "https://a"}}),
    ],
)
async def test_nothing_found_is_an_empty_list(bridge: LocalBridge, kind: str, body: dict[str, Any]) -> None:
    assert await results(bridge, kind, body) == []


@pytest.mark.parametrize(
    ("kind", "body", "named"),
    [
        ("subject", {**who(R1), "subject": {}}, "subject.type"),
        ("subject", {**who(R1), "subject": None}, "subject is missing"),
        ("subject", {**who(R1), "subject": "user"}, "subject must be an object"),
        ("subject", {**who(R1), "subject": {"type": 1}}, "subject.type"),
        ("subject", who({"type": "record"}), "resource.id"),
        ("subject", {**who(R1), "action": {}}, "action.name"),
        ("resource", what({"type": "user"}), "subject.id"),
        ("resource", {**what(ALICE), "resource": {"id": "x"}}, "resource.type"),
        ("resource", what(ALICE, context=[]), "context"),
        ("action", {"subject": ALICE}, "resource is missing"),
        ("action", {"subject": ALICE, "resource": {**R1, "properties": 1}}, "resource.properties"),
        ("subject", who(R1, page=[]), "page must be"),
        ("subject", who(R1, page={"limit": -1}), "page.limit"),
        ("subject", who(R1, page={"limit": True}), "page.limit"),
        ("subject", who(R1, page={"limit": 1.5}), "page.limit"),
        ("subject", who(R1, page={"token": 7}), "page.token"),
        ("subject", who(R1, page={"properties": 7}), "page.properties"),
    ],
)
async def test_what_is_missing_or_of_another_type_is_a_400(
    bridge: LocalBridge, kind: str, body: dict[str, Any], named: str
) -> None:
    assert named in (await searched(bridge, kind, body, status=400))["error"]
    assert searches(bridge) == []


async def test_results_stand_once_and_in_order(bridge: LocalBridge) -> None:
    found = await results(bridge, "resource", what(ALICE, kind="numbered"))
    assert [one["id"] for one in found] == [f"n-{n:03}" for n in range(1, 41)]
    assert found[0] == {"type": "numbered", "id": "n-001", "properties": {"n": 1}}


@pytest.mark.parametrize(
    ("kind", "resource_type"),
    [("subject", "failing"), ("subject", "text"), ("resource", "text"), ("action", "text"), ("subject", "half")],
)
async def test_a_failing_or_ill_shaped_policy_is_a_500(bridge: LocalBridge, kind: str, resource_type: str) -> None:
    body: dict[str, Any] = {"subject": ALICE, "action": READ, "resource": {"type": resource_type, "id": "r-1"}}
    reply = await searched(bridge, kind, body, status=500)
    (entry,) = searches(bridge)
    assert reply == {"error": f"policy_error; the log tells more under {entry['id']}"}
    assert entry["reply"] == {"outcome": "failed", "code": "policy_error"}
    (why,) = entry["exceptions"]
    assert (why["path"], why["package"]) == ("policy_error", f'authzen.resource["{resource_type}"]')
    assert entry["results"] == []


async def test_properties_that_are_no_object_are_a_policy_error(bridge: LocalBridge) -> None:
    await searched(bridge, "resource", what(ALICE, kind="half"), status=500)


async def test_who_may_search(tmp_path: Path) -> None:
    callers = [
        caller("as"),
        caller("audit", "auditor"),
        caller("ops", "operator"),
        caller("reader", "auditor", doors=["log"]),
    ]
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, callers=callers) as bridge:
        for kind, body in (("subject", who(R1)), ("action", {"subject": ALICE, "resource": R1})):
            await results(bridge, kind, body, caller="audit")
            for name in ("as", "ops", "reader"):
                await searched(bridge, kind, body, caller=name, status=403)
        for name in ("as", "audit"):
            assert len(await results(bridge, "resource", what(ALICE), caller=name)) == 2
        for name in ("ops", "reader"):
            await searched(bridge, "resource", what(ALICE), caller=name, status=403)
        async with bridge.session.post("/access/v1/search/subject", json=who(R1)) as response:
            assert (response.status, await response.json()) == (401, {"error": "unknown caller"})
            assert "WWW-Authenticate" in response.headers


async def test_other_methods_and_types_are_refused_and_the_request_id_comes_back(bridge: LocalBridge) -> None:
    async with bridge.session.get("/access/v1/search/subject") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    headers = {"X-Request-ID": "r-7", "Content-Type": "text/plain"}
    async with bridge.session.post("/access/v1/search/subject", data=json.dumps(who(R1)), headers=headers) as response:
        assert (response.status, response.headers["X-Request-ID"]) == (400, "r-7")
    headers["Content-Type"] = "application/json"
    async with bridge.session.post("/access/v1/search/subject", data=json.dumps(who(R1)), headers=headers) as response:
        assert (response.status, response.headers["X-Request-ID"]) == (200, "r-7")
    assert searches(bridge)[0]["request_id"] == "r-7"


async def test_an_engine_that_is_not_there_is_a_503(tmp_path: Path) -> None:
    engine = {"kind": "opa", "url": f"http://127.0.0.1:{free_port()}"}
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), engine=engine) as bridge:
        for resource in (R1, {"type": "audience", "id": "https://a"}):
            for kind in ("subject", "resource", "action"):
                body = {"subject": {"type": "client", "id": "c"}, "action": READ, "resource": resource}
                status = 501 if resource["type"] == "audience" and kind != "action" else 503
                assert "error" in await searched(bridge, kind, body, status=status)
        codes = [entry["reply"]["code"] for entry in searches(bridge)]
        assert codes[:3] == ["engine_unavailable"] * 3
        assert [entry["exceptions"][0]["path"] for entry in searches(bridge)[:3]] == ["fail_closed"] * 3


async def test_a_late_engine_is_a_503(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, authzen={"search_deadline_ms": 400}) as bridge:
        began = asyncio.get_running_loop().time()
        await searched(bridge, "subject", who({"type": "slow", "id": "x"}), status=503)
        assert asyncio.get_running_loop().time() - began < 5
        assert searches(bridge)[0]["reply"] == {"outcome": "failed", "code": "deadline"}


async def test_a_log_that_takes_nothing_is_a_503(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, authzen={"search_deadline_ms": 600}) as bridge:
        with closing(sqlite3.connect(bridge.evidence / DATABASE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            reply = await searched(bridge, "subject", who(R1), status=503)
            assert "error" in reply
            other.execute("ROLLBACK")
        assert await results(bridge, "subject", who(R1)) == [ALICE, BOB]


async def test_too_many_at_once_is_a_503(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    sections: dict[str, Any] = {"server": {"max_in_flight": 1}, "authzen": {"search_deadline_ms": 1000}}
    async with local_bridge(tmp_path, policies, **sections) as bridge:
        slow = asyncio.create_task(searched(bridge, "subject", who({"type": "slow", "id": "x"}), status=503))
        while not bridge.bridge.admission.in_flight:
            await asyncio.sleep(0.005)
        assert "overloaded" in (await searched(bridge, "subject", who(R1), status=503))["error"]
        await slow


async def test_a_search_is_one_entry(bridge: LocalBridge) -> None:
    body = who(R1, context={"access_token": "secret-7", "hour": 0.5}, page={"limit": 1})
    reply = await searched(bridge, "subject", body)
    (entry,) = searches(bridge)
    assert entry["search"] == "subject"
    assert entry["request"] == {
        "subject": {"type": "user"},
        "action": READ,
        "resource": R1,
        "issuer": "local",
        "context": {"access_token": "***", "hour": {"number": "0.5"}},
        "page": {"limit": 1, "follows": False},
    }
    assert (entry["found"], entry["told"], entry["results"]) == (2, 1, reply["results"])
    assert entry["results_digest"] == hashlib.sha256(canonical(reply["results"])).hexdigest()
    assert entry["reply"] == {"outcome": "answered", "code": None}
    assert (entry["door"], entry["caller"], entry["exceptions"]) == ("authzen", "local", [])
    assert entry["rules"][0]["package"] == 'authzen.resource["record"]'
    assert entry["rules"][0]["code"] == "subjects"
    assert entry["policy"]["digest"]
    assert bridge.input_of(entry["id"])["context"] == {"access_token": "***", "hour": 0.5}


async def test_of_many_results_the_entry_has_as_many_as_fit_and_a_digest_over_all(bridge: LocalBridge) -> None:
    reply = await searched(bridge, "resource", what(ALICE, kind="many", context={"pad": "x" * 20_000}))
    assert len(reply["results"]) == 2000
    (entry,) = searches(bridge)
    assert len(canonical(entry)) <= MAX_ENTRY_BYTES
    assert (entry["found"], entry["told"]) == (3000, 2000)
    assert 100 < len(entry["results"]) < 2000
    assert entry["results"] == reply["results"][: len(entry["results"])]
    assert entry["results_digest"] == hashlib.sha256(canonical(reply["results"])).hexdigest()


@pytest.mark.parametrize("kind", ["subject", "resource", "action"])
async def test_personal_values_are_hidden_in_what_was_asked_and_in_what_was_found(tmp_path: Path, kind: str) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, evidence={"personal": ["/subject/id"]}) as bridge:
        reply = await results(bridge, kind, {"subject": ALICE, "action": READ, "resource": R1})
        (entry,) = searches(bridge)
        text = json.dumps(entry)
        assert "alice" not in text
        if kind == "subject":
            assert reply == [ALICE, BOB]
            assert "bob" not in text
            assert entry["results"][0]["type"] == "user"
            with reading(bridge.evidence) as reader:
                assert len(holders(reader.db, ("subject", "id"), [b'"bob"'])) == 1
            told: list[str | Path] = [
                "--subject",
                "bob",
                "--reason",
                "asked",
                "--by",
                "dpo",
                "--config",
                tmp_path / "bridge.toml",
            ]
            done = await asyncio.to_thread(run_cli, "log", "erase", *told)
            assert done.returncode == 0, done.stderr
            with reading(bridge.evidence) as reader:
                assert holders(reader.db, ("subject", "id"), [b'"bob"']) == []
        else:
            assert entry["results_digest"] != hashlib.sha256(canonical(reply)).hexdigest()  # salted


async def test_masked_values_are_masked_in_results_too(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, evidence={"mask": ["/subject/id"]}) as bridge:
        await results(bridge, "subject", who(R1))
        assert searches(bridge)[0]["results"] == [{"type": "user", "id": "***"}] * 2


async def test_what_came_of_searches_is_counted(bridge: LocalBridge) -> None:
    await results(bridge, "subject", who(R1))
    await searched(bridge, "subject", who({"type": "failing", "id": "x"}), status=500)
    for result in ("answered", "policy_error"):
        name = f'issuance_searches_total{{result="{result}",search="subject"}}'
        assert await bridge.metric(name) == 1


async def test_searches_over_plain_scope_tuples_are_told_to_be_none(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies) as bridge:
        assert await results(bridge, "resource", what(ALICE, {"name": "ask"}, "scope")) == []
    env = f"[{json.dumps({'resource_type': 'scope', 'action': 'ask', 'grant_type': 'client_credentials'})}]"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("BRIDGE__AUTHZEN__PLAIN_SCOPES", env)
        async with local_bridge(tmp_path, policies) as bridge:
            await searched(bridge, "resource", what(ALICE, {"name": "ask"}, "scope"), status=501)
            await searched(bridge, "action", {"subject": ALICE, "resource": {"type": "scope", "id": "x"}}, status=501)
            assert await results(bridge, "resource", what(ALICE, {"name": "other"}, "scope")) == []


async def test_the_documented_policy_gives_the_claim_groups(tmp_path: Path) -> None:
    (policy,) = (b.text for b in blocks(DOCS / "policy-engineers.md") if 'package authzen.resource["group"]' in b.text)
    policies = write_policies(
        tmp_path / "rego", {"issuance.gate": "allow := true"}, {"members": {"alice": ["staff", "books"]}}
    )
    (policies / "group.rego").write_text(policy)
    async with local_bridge(tmp_path, policies) as bridge:
        member = {"name": "member"}
        found = await results(bridge, "resource", what(ALICE, member, "group", context={"audience": ["https://a"]}))
        assert found == [{"type": "group", "id": "books"}, {"type": "group", "id": "staff"}]
        assert await results(bridge, "resource", what(BOB, member, "group")) == []


async def test_few_searches_ask_the_engine_at_once(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take it for seconds, where a decision has a quarter of one."""
    engine, under_way, most = bridge.bridge.engine, 0, 0
    query = engine.query

    async def slow(items: bytes, timeout_s: float) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(0.05)
            return await query(items, timeout_s)
        finally:
            under_way -= 1

    monkeypatch.setattr(engine, "query", slow)
    found = await asyncio.gather(*(results(bridge, "resource", what(ALICE)) for _ in range(24)))
    assert found == [by(ALICE, R1, R2)] * 24
    assert most == 4

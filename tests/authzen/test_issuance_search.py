"""Who could get what now: each result is what an evaluation permits, and nothing else that it permits is left out."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import load_settings
from bridge.model.gate import registered_gates
from bridge.model.registry import RegisteredClient, registered_clients
from bridge.pdp import trials
from tests.engines.servers import free_port
from tests.support.bridge import LocalBridge, caller, local_bridge
from tests.support.policies import write_policies

from .searching import results, searched, searches

A, B = "https://a.example", "https://b.example"
GATES = [str(gate) for gate in registered_gates()]
PASSWORD = [f"issue:{kind}:password" for kind in dict.fromkeys(gate.split(":")[1] for gate in GATES)]
CODE_GATE = "issue:access_token:authorization_code"
REGISTRY: dict[str, dict[str, list[str]]] = {
    "web": {"grant_types": ["authorization_code", "refresh_token"], "scopes": ["read", "t:x"], "audience": [A]},
    "batch": {"grant_types": ["client_credentials"], "scopes": ["read", "pay", "t:x", "t:y"], "audience": [A, B]},
    "edge": {"grant_types": ["token_exchange", "password"], "scopes": ["read"], "audience": [B]},
    "bare": {},
}
POLICIES = {
    "issuance.gate": """
client := data.registry.clients[input.issuer][input.client.id]
allow contains {"code": "ok"} if input.grant_type in client.grant_types
allow contains {"code": "ok"} if client == {}
deny contains {"code": "empty_id"} if { input.token_type == "id_token"; not "openid" in input.scopes }
deny contains {"code": "impersonation"} if { input.grant_type == "token_exchange"; not input.actor }
deny contains {"code": "elsewhere"} if { input.client.id == "web"; input.audience != ["https://a.example"] }
limit := {"token_lifetime": 0} if input.token_type == "saml1"
""",
    "issuance.scope.openid": 'allow contains {"code": "ok"} if input.token_type == "id_token"',
    "issuance.scope.read": """
allow contains {"code": "ok"} if "read" in data.registry.clients[input.issuer][input.client.id].scopes
""",
    "issuance.scope.pay": """
allow contains {"code": "ok"}
require contains {"acr_values": ["high"]}
limit := {"audience": ["https://b.example"]}
""",
    "issuance.scope.sealed": 'allow contains {"code": "ok"}\nclaims := {"a": 1}\ncrit contains "a"',
    'issuance.scope["urn:x/*"]': 'allow contains {"code": "ok"} if input.grant_type == "password"',
    "issuance.scope.never": 'deny contains {"code": "no"}',
    'issuance.scope_prefix["t:"]': """
allow contains {"code": "ok"} if input.scope in data.registry.clients[input.issuer][input.client.id].scopes
""",
}
SCOPES = ["openid", "read", "pay", "sealed", "urn:x/*", "never", "t:x", "t:y", "unmapped"]
DECLARED = {"issuance": {"capabilities": ["urn:ietf:params:authzen:token-issuance"]}}
Entity = dict[str, Any]
# A busy machine is not what is tested.
PATIENT: dict[str, dict[str, Any]] = {
    "server": {"deadline_ms": 20_000},
    "engine": {"deadline_ms": 10_000},
    "authzen": {"search_deadline_ms": 40_000},
}


def policies_of(folder: Path, policies: dict[str, str] = POLICIES, issuer: str = "local") -> Path:
    return write_policies(folder, policies, {"registry": {"clients": {issuer: REGISTRY}}})


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego"), **PATIENT) as bridge:
        yield bridge


async def permitted(bridge: LocalBridge, subject: Entity, target: str, *names: str, **more: Any) -> list[bool]:
    """What an evaluation of these actions says, in one batch."""
    body = {
        "subject": subject,
        "resource": {"type": "audience", "id": target},
        "evaluations": [{"action": {"name": name}} for name in names],
        **more,
    }
    async with bridge.session.post("/access/v1/evaluations", json=body) as response:
        assert response.status == 200, await response.text()
        return [item["decision"] for item in (await response.json())["evaluations"]]


async def by_evaluation(
    bridge: LocalBridge, subject: Entity, target: str, gates: Iterable[str] = GATES, **more: Any
) -> set[str]:
    """Every gate and scope that some evaluation permits: a gate alone, a scope with one gate before it."""
    gates = list(gates)
    alone = await asyncio.gather(*(permitted(bridge, subject, target, gate, **more) for gate in gates))
    found = {gate for gate, said in zip(gates, alone, strict=True) if said == [True]}
    for gate in gates:
        left = [scope for scope in SCOPES if scope not in found]
        behind = await asyncio.gather(*(permitted(bridge, subject, target, gate, scope, **more) for scope in left))
        found |= {scope for scope, said in zip(left, behind, strict=True) if said == [True, True]}
    return found


@pytest.mark.parametrize(
    ("subject", "target", "context"),
    [
        ({"type": "client", "id": "batch"}, A, {}),
        ({"type": "workload", "id": "edge"}, B, {}),
        ({"type": "user", "id": "nina"}, A, {"client_id": "web", "acr": "high", **DECLARED}),
        ({"type": "user", "id": "nina"}, B, {"client_id": "bare", "acr": "low"}),
        ({"type": "user", "id": "nina"}, A, {}),
        ({"type": "client", "id": "stranger"}, A, {}),
    ],
)
async def test_the_actions_are_what_evaluations_permit(
    bridge: LocalBridge, subject: Entity, target: str, context: dict[str, Any]
) -> None:
    body = {"subject": subject, "resource": {"type": "audience", "id": target}, "context": context}
    found = [one["name"] for one in await results(bridge, "action", body)]
    gates = [*GATES, *(PASSWORD if subject["id"] == "edge" else ())]
    assert found == sorted(await by_evaluation(bridge, subject, target, gates, context=context))


async def test_a_scope_that_only_an_id_token_can_have_is_found(bridge: LocalBridge) -> None:
    """Its gate alone is denied, so looking for scopes under permitted gates only would leave it out."""
    body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
    found = {one["name"] for one in await results(bridge, "action", body)}
    assert "openid" in found
    assert "issue:id_token:client_credentials" not in found
    assert "pay" not in found  # it waits for a better sign-in, which no client can show
    assert "t:y" in found


@pytest.mark.parametrize("kind", ["client", "workload"])
@pytest.mark.parametrize("action", ["read", "t:x", "openid", "never", CODE_GATE, "issue:x"])
async def test_the_subjects_are_the_registered_clients_that_evaluations_permit(
    bridge: LocalBridge, kind: str, action: str
) -> None:
    for target in (A, B):
        resource = {"type": "audience", "id": target}
        body = {"subject": {"type": kind}, "action": {"name": action}, "resource": resource}
        found = await results(bridge, "subject", body)
        expected = []
        for client, registered in sorted(REGISTRY.items()):
            subject = {"type": kind, "id": client}
            grants = registered.get("grant_types")
            own = [g for g in [*GATES, *PASSWORD] if grants is None or g.rpartition(":")[2] in grants]
            asked = [[action]] if action in GATES else [[gate, action] for gate in own]
            answers = await asyncio.gather(*(permitted(bridge, subject, target, *names) for names in asked))
            if any(all(answer) for answer in answers):
                expected.append(subject)
        assert found == expected


@pytest.mark.parametrize("action", ["read", "issue:access_token:client_credentials", "issue:access_token:device_code"])
async def test_the_targets_are_the_registered_audiences_that_evaluations_permit(
    bridge: LocalBridge, action: str
) -> None:
    for subject, context in (
        ({"type": "client", "id": "batch"}, {}),
        ({"type": "user", "id": "nina"}, {"client_id": "web"}),
        ({"type": "client", "id": "bare"}, {}),
    ):
        body = {"subject": subject, "action": {"name": action}, "resource": {"type": "audience"}, "context": context}
        found = await results(bridge, "resource", body)
        expected = []
        for target in (A, B):
            names = [[action]] if action in GATES else [[gate, action] for gate in GATES]
            answers = await asyncio.gather(
                *(permitted(bridge, subject, target, *one, context=context) for one in names)
            )
            if any(all(answer) for answer in answers):
                expected.append({"type": "audience", "id": target})
        assert found == expected


async def test_users_cannot_be_listed(bridge: LocalBridge) -> None:
    body = {"subject": {"type": "user"}, "action": {"name": "read"}, "resource": {"type": "audience", "id": A}}
    assert "users" in (await searched(bridge, "subject", body, status=501))["error"]
    assert searches(bridge)[0]["reply"] == {"outcome": "failed", "code": "not_enumerable"}


async def test_an_issuer_without_registered_clients_is_not_answered_with_nobody(tmp_path: Path) -> None:
    policies = policies_of(tmp_path / "rego", issuer="https://as.example")
    callers = [
        caller("as", issuer="https://as.example"),
        caller("audit", "auditor", issuer="https://as.example"),
        caller("lost", "auditor"),
        caller("narrow", "auditor", issuer="https://as.example", grant_types=["authorization_code"]),
    ]
    subject, resource = {"type": "client"}, {"type": "audience", "id": A}
    body = {"subject": subject, "action": {"name": "read"}, "resource": resource}
    async with local_bridge(tmp_path, policies, callers=callers, **PATIENT) as bridge:
        found = [one["id"] for one in await results(bridge, "subject", body, caller="audit")]
        assert found == ["batch", "edge", "web"]
        reply = await searched(bridge, "subject", body, caller="lost", status=501)
        assert "no client is registered with the issuer lost" in reply["error"]
        assert [one["id"] for one in await results(bridge, "subject", body, caller="narrow")] == ["web"]
        gate = {**body, "action": {"name": "issue:access_token:client_credentials"}}
        await searched(bridge, "subject", gate, caller="narrow", status=403)
        targets = {**body, "subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience"}}
        assert await results(bridge, "resource", targets, caller="as") == [
            {"type": "audience", "id": target} for target in (A, B)
        ]


@pytest.mark.parametrize("context", [{"acr": 1}, {"amr": "pwd"}, {"client_id": 7}])
async def test_a_context_of_another_type_is_a_400(bridge: LocalBridge, context: dict[str, Any]) -> None:
    body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}, "context": context}
    assert "context" in (await searched(bridge, "action", body, status=400))["error"]


async def test_what_would_stand_in_each_document_is_bounded(bridge: LocalBridge) -> None:
    body: dict[str, Any] = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
    assert (
        "bytes" in (await searched(bridge, "action", {**body, "context": {"pad": "x" * 65_536}}, status=413))["error"]
    )
    assert await results(bridge, "action", {**body, "context": {"pad": "x" * 60_000}})


@pytest.mark.parametrize("package", ["issuance.gate", "issuance.scope.read"])
async def test_a_failing_package_is_a_500_and_not_a_part(tmp_path: Path, package: str) -> None:
    broken = POLICIES[package] + '\ndeny contains "x" if to_number(input.client.id) > 0'
    policies = policies_of(tmp_path / "rego", {**POLICIES, package: broken})
    async with local_bridge(tmp_path, policies) as bridge:
        body = {"subject": {"type": "client"}, "action": {"name": "read"}, "resource": {"type": "audience", "id": A}}
        await searched(bridge, "subject", body, status=500)
        (entry,) = searches(bridge)
        assert entry["reply"]["code"] == "policy_error"
        assert entry["exceptions"][0]["message"].startswith(
            f"{package}: /" if package.endswith("gate") else 'issuance.scope["read"]: /'
        )
        assert (entry["found"], entry["results"]) == (0, [])


async def test_a_gate_that_always_fails_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "CHUNK", 8)
    policies = policies_of(tmp_path / "rego", {**POLICIES, "issuance.gate": 'allow if to_number("x") > 0'})
    async with local_bridge(tmp_path, policies) as bridge:
        body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
        await searched(bridge, "action", body, status=500)
        assert searches(bridge)[0]["tried"] == 8


async def test_what_one_gate_permits_no_failure_of_another_takes_away(tmp_path: Path) -> None:
    failing = 'deny contains "x" if { input.grant_type == "authorization_code"; to_number("x") > 0 }'
    changed = {"issuance.gate": POLICIES["issuance.gate"] + failing, "issuance.scope.free": "allow := true"}
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego", {**POLICIES, **changed}), **PATIENT) as bridge:
        subject = {"type": "client", "id": "bare"}
        body = {"subject": subject, "action": {"name": "free"}, "resource": {"type": "audience"}}
        found = [{"type": "audience", "id": target} for target in (A, B)]
        assert await results(bridge, "resource", body) == found
        assert searches(bridge)[0]["tried"] == 4
        await searched(bridge, "resource", {**body, "action": {"name": "never"}}, status=500)


async def test_what_is_not_done_in_time_is_a_503_and_not_a_part(tmp_path: Path) -> None:
    slow = "allow if count([1 | some x in numbers.range(1, 3000); some y in numbers.range(1, 300); x * y == -1]) == 0"
    policies = policies_of(tmp_path / "rego", {**POLICIES, "issuance.gate": slow})
    async with local_bridge(tmp_path, policies, authzen={"search_deadline_ms": 500}) as bridge:
        body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
        began = time.monotonic()
        await searched(bridge, "action", body, status=503)
        assert time.monotonic() - began < 5
        assert searches(bridge)[0]["reply"] == {"outcome": "failed", "code": "deadline"}


async def test_an_engine_that_is_not_there_is_a_503(tmp_path: Path) -> None:
    engine = {"kind": "opa", "url": f"http://127.0.0.1:{free_port()}"}
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego"), engine=engine) as bridge:
        action = {"name": "read"}
        for kind, subject, resource in (
            ("subject", {"type": "client"}, {"type": "audience", "id": A}),
            ("action", {"type": "client", "id": "batch"}, {"type": "audience", "id": A}),
            ("resource", {"type": "client", "id": "batch"}, {"type": "audience"}),
        ):
            body = {"subject": subject, "action": action, "resource": resource}
            await searched(bridge, kind, body, status=503)
        assert {entry["reply"]["code"] for entry in searches(bridge)} == {"engine_unavailable"}


async def test_a_policy_set_that_changes_meanwhile_is_asked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "CHUNK", 2)
    policies = policies_of(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, **PATIENT) as bridge:
        body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
        before, found = bridge.bridge.policies.current, set[str]()
        policies_of(policies, {**POLICIES, "issuance.scope.never": "allow := true"})
        while bridge.bridge.policies.current is before:
            found = {one["name"] for one in await results(bridge, "action", body)}
        found |= {one["name"] for one in await results(bridge, "action", body)}
        assert "never" in found
        current = bridge.bridge.policies.current
        assert current is not None
        for entry in searches(bridge):
            new = entry["policy"]["digest"] == current.digest
            assert ({"name": "never"} in entry["results"]) is new


async def test_decisions_go_on_beside_a_large_search(tmp_path: Path) -> None:
    scopes = {f'issuance.scope["s:{n}"]': "allow := input.client.id == 'none'".replace("'", '"') for n in range(80)}
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego", {**POLICIES, **scopes}), **PATIENT) as bridge:
        body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}
        search = asyncio.create_task(results(bridge, "action", body))
        asked = 0
        while not search.done():
            reply = await bridge.ask(
                {"grant_type": "client_credentials", "client": {"id": "batch"}, "scopes": ["read"], "audience": [A]}
            )
            assert reply["outcome"] == "allow"
            asked += 1
        assert asked > 5
        assert {"name": "read"} in await search
        assert searches(bridge)[0]["tried"] > 80 * len(GATES)


async def test_searches_that_wait_for_each_other_leave_places_for_decisions(tmp_path: Path) -> None:
    scopes = {f'issuance.scope["s:{n}"]': "allow := input.client.id == 'none'".replace("'", '"') for n in range(80)}
    policies = policies_of(tmp_path / "rego", {**POLICIES, **scopes})
    patient = {**PATIENT, "server": {**PATIENT["server"], "max_in_flight": 8}}
    async with local_bridge(tmp_path, policies, **patient) as bridge:
        body = {"subject": {"type": "client", "id": "batch"}, "resource": {"type": "audience", "id": A}}

        async def search() -> int:
            async with bridge.session.post("/access/v1/search/action", json=body) as response:
                return response.status

        searching = [asyncio.create_task(search()) for _ in range(16)]
        await asyncio.wait(searching, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(5):
            reply = await bridge.ask(
                {"grant_type": "client_credentials", "client": {"id": "batch"}, "scopes": ["read"], "audience": [A]}
            )
            assert reply["outcome"] == "allow", reply["findings"]
            assert not all(one.done() for one in searching)
        statuses = await asyncio.gather(*searching)
        assert statuses.count(503) == 12 and statuses.count(200) == 4


async def test_pages_of_an_issuance_search(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, policies_of(tmp_path / "rego"), authzen={"max_results": 20}) as bridge:
        body: dict[str, Any] = {"subject": {"type": "client", "id": "bare"}, "resource": {"type": "audience", "id": A}}
        reply, names = await searched(bridge, "action", body), list[str]()
        while True:
            names += [one["name"] for one in reply["results"]]
            if not (token := reply["page"]["next_token"]):
                break
            reply = await searched(bridge, "action", {**body, "page": {"token": token}})
        assert len(names) == len(set(names)) == reply["page"]["total"] > 10


def test_registered_clients_are_read_as_far_as_they_can_be() -> None:
    data = {
        "registry": {
            "clients": {
                "as": {
                    "a": {"grant_types": ["x", 1, "x"], "scopes": ["s"], "audience": ["t"]},
                    "b": "odd",
                    "c": {"grant_types": "x", "scopes": {"s": 1}},
                },
                "odd": 7,
            }
        }
    }
    assert registered_clients(data) == {
        "as": {
            "a": RegisteredClient(("x",), ("s",), ("t",)),
            "b": RegisteredClient(),
            "c": RegisteredClient(),
        }
    }
    odds: tuple[Any, ...] = ({}, {"registry": 1}, {"registry": {"clients": []}}, {"registry": None})
    for odd in odds:
        assert registered_clients(odd) == {}


def test_the_deadline_is_configurable(tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text("[authzen]\nsearch_deadline_ms = 99\n")
    with pytest.raises(Exception, match="search_deadline_ms"):
        load_settings(file)

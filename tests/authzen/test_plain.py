"""Scope tuples without a gate (`authzen.plain_scopes`): the gate is asked all the same, and yes means yes without more.

The requests are those of servers that send one `resource {type: "scope"}` for each scope and read nothing but
`decision`.
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.bridge import LocalBridge, bearer, caller, local_bridge
from tests.support.policies import POLICIES, write_policies

PATH = "/access/v1/evaluations"
DID = "did:web:hospital.example:iam:4f1c"
FORM = {"resource_type": "scope", "action": "request_scope", "grant_type": "client_credentials"}
SUBJECT = {"type": "organization", "id": DID, "properties": {"organization": {"name": "Hospital", "city": "Lund"}}}


def batch(*scopes: str, **members: Any) -> dict[str, Any]:
    """One token request of such a server."""
    return {
        "subject": SUBJECT,
        "action": {"name": "request_scope"},
        "context": {"policy": "care"},
        "evaluations": [{"resource": {"type": "scope", "id": scope}} for scope in scopes],
        **members,
    }


def with_policies(tmp_path: Path, **more: str) -> Path:
    """The usual ones; `more`: rules of further scopes, `gate` those of the gate."""
    added = {"issuance.gate" if name == "gate" else f"issuance.scope.{name}": rules for name, rules in more.items()}
    return write_policies(tmp_path / "rego", {**POLICIES, **added})


async def ask(bridge: LocalBridge, body: Any, **options: Any) -> list[Any]:
    async with bridge.session.post(PATH, json=body, **options) as response:
        text = await response.text()
        assert response.status == 200, text
        items: list[Any] = (await response.json())["evaluations"]
        return items


def yes(items: list[Any]) -> list[bool]:
    return [item["decision"] for item in items]


def codes(item: Mapping[str, Any]) -> str:
    found: str = item["context"]["reason_admin"]["403"]
    return found


async def decisions(bridge: LocalBridge) -> list[dict[str, Any]]:
    return [entry for entry in await asyncio.to_thread(bridge.entries) if entry["kind"] == "decision"]


def form(**members: Any) -> dict[str, Any]:
    return {"plain_scopes": [{**FORM, **members}]}


async def test_each_scope_is_decided_on_and_the_gate_with_the_configured_grant_type(tmp_path: Path) -> None:
    gate = 'allow := true\ndeny contains {"code": "wrong_grant"} if input.grant_type != "client_credentials"'
    async with local_bridge(tmp_path, with_policies(tmp_path, gate=gate), authzen=form()) as bridge:
        items = await ask(bridge, batch("read", "never", "tenant:a", "unknown"))
        assert yes(items) == [True, False, True, False]
        assert codes(items[1]) == "not_for_you"
        assert codes(items[3]) == "unmapped_scope"
        (entry,) = await decisions(bridge)
        assert entry["door"] == "authzen"
        assert entry["batch"]["items"] == [0, 1, 2, 3]
        assert entry["granted_scopes"] == ["read", "tenant:a"]
        document = await asyncio.to_thread(bridge.input_of, entry["id"])
        assert document["grant_type"] == "client_credentials"
        assert document["token_type"] == "access_token"
        assert document["phase"] == "token"
        assert document["subject"] == {**SUBJECT, "type": "client"}
        assert document["client"] == {"id": DID}
        assert document["scopes"] == ["read", "never", "tenant:a", "unknown"]
        assert document["context"] == {"policy": "care"}
        assert "audience" not in document


@pytest.mark.parametrize("gate", ['deny contains {"code": "closed"}', "allow := false", "allow contains 1", ""])
async def test_a_gate_that_does_not_allow_denies_every_scope(tmp_path: Path, gate: str) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path, gate=gate), authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("read", "tenant:a"))) == [False, False]
        (entry,) = await decisions(bridge)
        assert entry["outcome"] == "deny"


INEXPRESSIBLE = {
    "lifetime": 'allow := true\nlimit := {"token_lifetime": 300}',
    "audience": 'allow := true\nlimit := {"audience": ["https://a.example"]}',
    "claims": 'allow := true\nclaims := {"tenant": "acme"}',
    "critical": 'allow := true\nclaims := {"tenant": "acme"}\ncrit contains "tenant"',
}


@pytest.mark.parametrize("name", INEXPRESSIBLE)
async def test_what_a_yes_cannot_carry_is_a_denial_and_stands_in_the_entry(tmp_path: Path, name: str) -> None:
    policies = with_policies(tmp_path, special=INEXPRESSIBLE[name])
    async with local_bridge(tmp_path, policies, authzen=form()) as bridge:
        items = await ask(bridge, batch("special", "read"))
        assert yes(items) == [False, True]
        assert codes(items[0]) == "inexpressible"
        (entry,) = await decisions(bridge)
        assert entry["scopes"]["special"]["findings"] == [{"code": "inexpressible"}]
        assert entry["granted_scopes"] == ["read"]
        assert (entry["limit"], entry["claims"], entry["crit"]) == ({}, {}, [])


@pytest.mark.parametrize("name", INEXPRESSIBLE)
async def test_what_the_gate_demands_counts_for_every_scope(tmp_path: Path, name: str) -> None:
    policies = with_policies(tmp_path, gate=INEXPRESSIBLE[name])
    async with local_bridge(tmp_path, policies, authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("read", "tenant:a"))) == [False, False]
        (entry,) = await decisions(bridge)
        assert entry["findings"] == [{"code": "inexpressible"}]
        assert entry["reply"] == {"outcome": "deny", "code": "inexpressible"}


@pytest.mark.parametrize(
    ("configured", "limit", "granted"),
    [
        ({"token_lifetime": 300}, {"token_lifetime": 300}, True),
        ({"token_lifetime": 301}, {"token_lifetime": 300}, False),
        ({"audience": ["https://a.example"]}, {"audience": ["https://a.example", "https://b.example"]}, True),
        ({"audience": ["https://a.example", "https://c.example"]}, {"audience": ["https://a.example"]}, False),
        ({"audience": ["https://a.example"]}, {"audience": []}, False),
        ({"token_lifetime": 1}, {"token_lifetime": 0}, False),
        ({"audience": ["https://a.example"]}, {"audience": ["https://a.example"], "token_lifetime": 9}, False),
    ],
)
async def test_a_limit_that_the_servers_tokens_keep_to_anyway_is_no_hindrance(
    tmp_path: Path, configured: dict[str, Any], limit: dict[str, Any], granted: bool
) -> None:
    rules = f"allow := true\nlimit := {str(limit).replace(chr(39), chr(34))}"
    policies = with_policies(tmp_path, special=rules)
    async with local_bridge(tmp_path, policies, authzen=form(**configured)) as bridge:
        items = await ask(bridge, batch("special"))
        assert yes(items) == [granted]
        assert "issuance" not in items[0].get("context", {})  # nobody would read it


@pytest.mark.parametrize(
    ("lives", "granted"), [({}, False), ({"token_lifetime": 601}, False), ({"token_lifetime": 600}, True)]
)
async def test_the_operators_ceiling_is_a_limit_too(tmp_path: Path, lives: dict[str, int], granted: bool) -> None:
    policies = with_policies(tmp_path)
    bounded = {"path": str(policies), "max_token_lifetime_s": 600}
    async with local_bridge(tmp_path, policies, policy=bounded, authzen=form(**lives)) as bridge:
        assert yes(await ask(bridge, batch("read"))) == [granted]


async def test_a_step_up_is_a_no(tmp_path: Path) -> None:
    step_up = 'allow := true\nrequire contains {"acr_values": ["high"]}'
    async with local_bridge(tmp_path, with_policies(tmp_path, special=step_up), authzen=form()) as bridge:
        user = batch("special", "read", subject={"type": "user", "id": "u"})
        assert yes(await ask(bridge, user)) == [False, True]
        assert yes(await ask(bridge, {**user, "context": {"acr": "high"}})) == [True, True]
        client = batch("special", subject={"type": "client", "id": "c"}, context={"acr": "low"})
        (item,) = await ask(bridge, client)
        assert codes(item) == "requirement_unmeetable"


async def test_narrowing_holds_within_the_batch_and_across_its_documents(tmp_path: Path) -> None:
    narrow = 'allow := true\nlimit := {"granted_scope": "narrow"}'
    async with local_bridge(tmp_path, with_policies(tmp_path, narrow=narrow), authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("narrow", "read"))) == [True, False]
        assert yes(await ask(bridge, batch("read"))) == [True]
        apart = batch("narrow", "read")
        apart["evaluations"][1]["context"] = {"policy": "other"}
        assert yes(await ask(bridge, apart)) == [True, False]
        apart["evaluations"][1] = {"resource": {"type": "scope", "id": "read"}, "subject": {"type": "user", "id": "u"}}
        assert yes(await ask(bridge, apart)) == [True, True]  # another subject is another token


async def test_what_the_gate_narrows_in_one_document_holds_in_the_others(tmp_path: Path) -> None:
    gate = 'allow := true\nlimit := {"granted_scope": "read"} if input.context.policy == "care"'
    async with local_bridge(tmp_path, with_policies(tmp_path, gate=gate), authzen=form()) as bridge:
        apart = batch("read", "tenant:a")
        apart["evaluations"][1]["context"] = {"policy": "other"}
        assert yes(await ask(bridge, apart))[1] is False
        (first, second) = await decisions(bridge)
        assert first["request"]["scopes"] == second["request"]["scopes"] == ["read", "tenant:a"]


async def test_authorization_details_that_are_asked_for_are_never_granted_by_a_plain_yes(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        details = {"context": {"authorization_details": [{"type": "payment", "amount": 5}]}}
        assert yes(await ask(bridge, batch("read", "tenant:a", **details))) == [False, False]
        items = await ask(bridge, batch("read", "detailed", **details))
        assert yes(items) == [False, False]
        assert codes(items[1]) == "inexpressible"


async def test_a_pair_that_is_not_configured_is_no_issuance(tmp_path: Path) -> None:
    """Not even where a policy for such resources says yes: the entry says what was asked."""
    policies = write_policies(tmp_path / "rego", {**POLICIES, 'authzen.resource["scope"]': "allow := true"})
    async with local_bridge(tmp_path, policies, authzen=form(action="other")) as bridge:
        items = await ask(bridge, batch("read"))
        assert items == [{"decision": True}]
        assert await decisions(bridge) == []
    async with local_bridge(tmp_path / "without", authzen=form(resource_type="scopes")) as bridge:
        (item,) = await ask(bridge, batch("read"))
        assert (item["decision"], codes(item)) == (False, "unmapped_resource")


async def test_beside_gated_tuples_each_keeps_to_its_own_rules(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        subject = {"type": "client", "id": "c"}
        target = {"type": "audience", "id": "https://pay.example"}
        mixed = [
            {"resource": {"type": "scope", "id": "write"}, "action": {"name": "request_scope"}},
            {"resource": target, "action": {"name": "issue:access_token:client_credentials"}},
            {"resource": target, "action": {"name": "write"}},
            {"resource": {"type": "scope", "id": "read"}, "action": {"name": "request_scope"}},
            {"resource": {"type": "thing", "id": "1"}, "action": {"name": "look"}},
        ]
        items = await ask(bridge, {"subject": subject, "evaluations": mixed})
        assert yes(items) == [False, True, True, True, False]
        assert codes(items[0]) == "inexpressible"  # 60 s: the gated form can say that
        assert items[2]["context"]["issuance"] == {"token_lifetime": 60}
        assert [entry["batch"]["items"] for entry in await decisions(bridge)] == [[1, 2], [0, 3]]


@pytest.mark.parametrize(
    ("subject", "context", "client"),
    [
        ({"type": "organization", "id": DID}, {"client_id": "c-1"}, {"id": "c-1"}),
        ({"type": "workload", "id": "w"}, {}, {"id": "w"}),
        ({"type": "user", "id": "u"}, {"client_id": "c-1"}, {"id": "c-1"}),
        ({"type": "user", "id": "u"}, {}, None),
    ],
)
async def test_the_client_is_that_of_the_context_or_the_subject_itself(
    tmp_path: Path, subject: dict[str, Any], context: dict[str, Any], client: dict[str, Any] | None
) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        await ask(bridge, batch("read", subject=subject, context=context))
        (entry,) = await decisions(bridge)
        assert (await asyncio.to_thread(bridge.input_of, entry["id"])).get("client") == client


async def test_a_client_that_is_not_shown_passes_no_gate_that_looks_for_it(tmp_path: Path) -> None:
    gate = "allow if input.client.id"
    async with local_bridge(tmp_path, with_policies(tmp_path, gate=gate), authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("read", subject={"type": "user", "id": "u"}))) == [False]
        assert yes(await ask(bridge, batch("read"))) == [True]


async def test_the_callers_grant_types_bind_the_configured_one(tmp_path: Path) -> None:
    callers = [caller("may", grant_types=["client_credentials"]), caller("not", grant_types=["authorization_code"])]
    async with local_bridge(tmp_path, with_policies(tmp_path), callers=callers, authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("read"), headers=bearer("may"))) == [True]
        async with bridge.session.post(PATH, json=batch("read"), headers=bearer("not")) as response:
            assert response.status == 403
            assert await response.json() == {"error": "not allowed"}
        assert len(await decisions(bridge)) == 1


async def test_duplicates_are_answered_each_and_decided_once(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        assert yes(await ask(bridge, batch("read", "never", "read"))) == [True, False, True]
        (entry,) = await decisions(bridge)
        assert entry["granted_scopes"] == ["read"]
        assert entry["batch"]["items"] == [0, 1, 2]


HOSTILE = [
    "issue:access_token:client_credentials",
    "",
    "a b",
    "read ",
    "läs",
    'r"',
    "a\\b",
    "read\x00",
    "x" * 513,
    "data.x",
]


async def test_a_hostile_id_is_denied_and_answered_in_its_place(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        items = await ask(bridge, batch("read", *HOSTILE, "read"))
        assert yes(items) == [True, *[False] * len(HOSTILE), True]


@pytest.mark.parametrize(
    "item", [{}, {"resource": None}, {"resource": {"type": "scope"}}, {"resource": {"type": "scope", "id": 7}}]
)
async def test_a_malformed_item_is_a_no_in_its_place(tmp_path: Path, item: dict[str, Any]) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        body = batch("read", "x", "read")
        body["evaluations"][1] = item
        assert yes(await ask(bridge, body)) == [True, False, True]


async def test_a_context_of_the_wrong_type_is_the_requests_fault(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        async with bridge.session.post(PATH, json=batch("read", context={"acr": 5})) as response:
            assert response.status == 400
        body = batch("read", "read")
        body["evaluations"][1]["context"] = {"acr": 5}
        assert yes(await ask(bridge, body)) == [True, False]


async def test_without_an_engine_all_is_denied_and_answered(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        await bridge.bridge.engine.close()
        items = await ask(bridge, batch("read", "tenant:a"))
        assert yes(items) == [False, False]
        assert {codes(item) for item in items} <= {"engine_unavailable", "deadline"}


async def test_a_default_that_many_documents_would_repeat_is_bounded(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, with_policies(tmp_path), authzen=form()) as bridge:
        body = batch(*["read"] * 100, context={"policy": "x" * 200_000})
        for number, item in enumerate(body["evaluations"]):
            item["subject"] = {"type": "client", "id": f"c-{number}"}
        async with bridge.session.post(PATH, json=body) as response:
            assert response.status == 413

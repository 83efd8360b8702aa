"""Sources behind the AuthZEN doors: each document of a batch has its own, equal keys are asked once; searches too."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.authzen.searching import results, searched, searches
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.policies import write_policies
from tests.support.sources import source, source_server, text

A = "https://a.example"
GATE = "issue:access_token:client_credentials"
POLICIES = {
    "issuance.gate": 'allow contains {"code": "open"}',
    "issuance.scope.seen": 'allow contains {"code": "managed"} if input.sources.posture.value.managed',
    "issuance.scope.other": 'allow contains {"code": "always"}',
}
CLIENTS = {
    name: {"grant_types": ["client_credentials"], "scopes": ["seen", "other"], "audience": [A]} for name in "abc"
}
DATA = {"registry": {"clients": {"local": CLIENTS}}}


def tuples(client: str, *actions: str) -> list[dict[str, Any]]:
    return [
        {
            "subject": {"type": "client", "id": client},
            "action": {"name": action},
            "resource": {"type": "audience", "id": A},
        }
        for action in (GATE, *actions)
    ]


async def decisions(bridge: LocalBridge, items: list[dict[str, Any]]) -> list[bool]:
    async with bridge.session.post("/access/v1/evaluations", json={"evaluations": items}) as response:
        assert response.status == 200
        return [item["decision"] for item in (await response.json())["evaluations"]]


async def test_each_document_of_a_batch_has_its_own_answer(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES)
    async with (
        source_server({"a": {"managed": True}, "b": {"managed": False}}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        items = [*tuples("a", "seen", "other"), *tuples("b", "seen", "other")]
        assert await decisions(bridge, items) == [True, True, True, True, False, True]
        assert sorted(key["/client/id"] for key in server.asked) == ["a", "b"]
        entries = await asyncio.to_thread(bridge.entries)
        assert [len(entry["sources"]) for entry in entries] == [1, 1]
        assert entries[0]["sources"][0]["digest"] != entries[1]["sources"][0]["digest"]


async def test_equal_keys_of_a_batch_are_asked_once(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES)
    async with source_server({"a": {"managed": True}}) as server:
        table = source(server.url, max_age_s=0)
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            elsewhere = [
                {**item, "resource": {"type": "audience", "id": "https://b.example"}} for item in tuples("a", "seen")
            ]
            assert await decisions(bridge, [*tuples("a", "seen"), *elsewhere]) == [True] * 4
            assert len(server.asked) == 1


async def test_a_failed_source_of_the_gate_takes_the_scopes_of_its_batch_along(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES)
    async with source_server() as server:
        server.answer = text("{}", status=500)
        async with local_bridge(tmp_path, policies, sources=[source(server.url, "gate")]) as bridge:
            elsewhere = {**tuples("a", "other")[1], "resource": {"type": "audience", "id": "https://b.example"}}
            assert await decisions(bridge, [*tuples("a", "other"), elsewhere]) == [False] * 3


async def test_a_search_asks_the_sources_of_its_candidates(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES, DATA)
    async with (
        source_server({"a": {"managed": True}, "b": {"managed": False}, "c": {"managed": True}}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        about = {
            "subject": {"type": "client"},
            "action": {"name": "seen"},
            "resource": {"type": "audience", "id": A},
        }
        assert [one["id"] for one in await results(bridge, "subject", about)] == ["a", "c"]
        (entry,) = await asyncio.to_thread(searches, bridge)
        (told,) = entry["sources"]
        assert {k: told[k] for k in ("name", "owner", "status")} == {
            "name": "posture",
            "owner": "device team",
            "status": "fresh",
        }
        assert told["count"] >= 3


async def test_a_search_whose_source_fails_is_no_answer(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES, DATA)
    async with source_server({"a": {"managed": True}}) as server:
        server.answer = text("{}", status=500)
        async with local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge:
            about = {
                "subject": {"type": "client"},
                "action": {"name": "seen"},
                "resource": {"type": "audience", "id": A},
            }
            reply = await searched(bridge, "subject", about, status=503)
            assert "source_failed" in reply["error"]
            (entry,) = await asyncio.to_thread(searches, bridge)
            assert entry["reply"] == {"outcome": "failed", "code": "source_failed"}
            assert [(e["path"], e["source"]) for e in entry["exceptions"]] == [("fail_closed", "posture")]


async def test_a_search_that_shows_no_key_finds_what_an_evaluation_would_permit(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", POLICIES, DATA)
    async with source_server() as server:
        table = source(server.url, key=["/context/device"])
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            about = {
                "subject": {"type": "client"},
                "action": {"name": "seen"},
                "resource": {"type": "audience", "id": A},
            }
            assert await results(bridge, "subject", about) == []
            other = {**about, "action": {"name": "other"}}
            assert [one["id"] for one in await results(bridge, "subject", other)] == ["a", "b", "c"]


DOCUMENTS = {
    **POLICIES,
    'authzen.resource["document"]': """
allow if input.sources.posture.value.open
resources contains {"type": "document", "id": id} if some id in input.sources.posture.value.list
""",
}


def document(name: str, kind: str = "document") -> dict[str, Any]:
    subject = {"type": "user", "id": "nina"}
    return {"subject": subject, "action": {"name": "read"}, "resource": {"type": kind, "id": name}}


async def test_other_tuples_use_the_sources_of_their_resource_type(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", DOCUMENTS)
    async with source_server({"a": {"open": True}, "b": {"open": False}}) as server:
        table = {**source(server.url, key=["/resource/id"], resource_types=["document"]), "scopes": []}
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            items = [document("a"), document("b"), document("a"), document("a", "other")]
            assert await decisions(bridge, items) == [True, False, True, False]
            assert sorted(key["/resource/id"] for key in server.asked) == ["a", "b"]
            (entry,) = await asyncio.to_thread(bridge.entries)
            assert [(told["item"], told["status"]) for told in entry["sources"]] == [(n, "fresh") for n in range(3)]
            assert entry["sources"][0]["digest"] == entry["sources"][2]["digest"] != entry["sources"][1]["digest"]
            assert "open" not in json.dumps(entry["request"])
            server.answer = text("{}", status=500)
            assert await decisions(bridge, [document("new"), document("a")]) == [False, True]
            entry = (await asyncio.to_thread(bridge.entries))[-1]
            assert [(e["path"], e["item"]) for e in entry["exceptions"]] == [("fail_closed", 0)]


async def test_scopes_that_begin_like_the_name_of_a_package_are_scopes_alone(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", {**POLICIES, 'authzen.resource["document"]': "allow := true"})
    async with source_server() as server:
        table = {**source(server.url, key=["/subject/id"], scope_prefixes=["auth"]), "scopes": []}
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            assert await decisions(bridge, [document("a")]) == [True]
            assert server.asked == []
            (entry,) = await asyncio.to_thread(bridge.entries)
            assert entry.get("sources", []) == []


async def test_a_failed_source_outweighs_what_the_package_of_the_type_says(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", {**POLICIES, 'authzen.resource["document"]': "allow := true"})
    table = {**source("http://127.0.0.1:9/", key=["/resource/id"], resource_types=["document"]), "scopes": []}
    async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
        assert await decisions(bridge, [document("a")]) == [False]
        (entry,) = await asyncio.to_thread(bridge.entries)
        assert entry["decisions"][0]["code"] == "source_failed"


async def test_a_search_about_other_things_has_its_source_or_is_no_answer(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", DOCUMENTS)
    async with source_server({"nina": {"list": ["a", "b"]}}) as server:
        table = {**source(server.url, key=["/subject/id"], resource_types=["document"], max_age_s=0), "scopes": []}
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            about = {**document("x"), "resource": {"type": "document"}}
            assert [one["id"] for one in await results(bridge, "resource", about)] == ["a", "b"]
            server.answer = text("{}", status=500)
            await searched(bridge, "resource", about, status=503)
            entries = await asyncio.to_thread(searches, bridge)
            assert [entry["sources"][0]["status"] for entry in entries] == ["fresh", "failed"]
            assert [e["path"] for e in entries[1]["exceptions"]] == ["fail_closed"]
            assert "sources" not in entries[0]["request"]

"""The policies that docs/policy-engineers.md shows for sources do what it says of them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bridge.pdp import enrich
from tests.authzen.searching import results
from tests.docs.pages import DOCS, blocks
from tests.support.bridge import local_bridge, request
from tests.support.policies import write_policies
from tests.support.sources import source, source_server, text

GATE = {"issuance.gate": 'allow contains {"code": "open"}'}
SHOWN = [b.text for b in blocks(DOCS / "policy-engineers.md") if 'input.sources["device-posture"]' in b.text]


def codes(reply: Any) -> list[str]:
    return [finding["code"] for finding in reply["scopes"]["seen"]["findings"]]


async def test_the_documented_rules_look_at_every_status(tmp_path: Path) -> None:
    assert len(SHOWN) == 2
    rules = "import data.issuance.lib\n\n" + "\n".join(SHOWN)
    policies = write_policies(tmp_path / "p", {**GATE, "issuance.scope.seen": rules})
    absent = {"name": "device-posture", "on_failure": "absent", "max_age_s": 0}
    stale = {"name": "device-posture", "on_failure": "stale", "max_age_s": 0, "max_stale_s": 60}
    async with source_server({"c": {"managed": True, "blocked": False}}) as server:
        for mode, faulty in ((absent, ["unknown_device"]), (stale, ["stale_device"])):
            server.answer = None
            async with local_bridge(tmp_path, policies, sources=[source(server.url, **mode)]) as bridge:
                server.values["c"] = {"managed": True, "blocked": True}
                assert codes(await bridge.ask(request("seen"))) == ["blocked_device"]
                server.values["c"] = {"managed": False, "blocked": False}
                assert codes(await bridge.ask(request("seen"))) == ["no_allow"]
                server.values["c"] = None
                assert codes(await bridge.ask(request("seen"))) == ["unknown_device"]
                server.values["c"] = {"managed": True, "blocked": False}
                assert codes(await bridge.ask(request("seen"))) == ["managed_device"]
                server.answer = text("{}", status=500)
                assert codes(await bridge.ask(request("seen"))) == faulty


async def test_one_request_cannot_pile_up_values_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrich, "MAX_BYTES", 100_000)
    policies = write_policies(
        tmp_path / "p", {**GATE, "issuance.scope.seen": 'allow contains {"code": "ok"} if input.sources.posture.value'}
    )
    big = "x" * 60_000
    async with (
        source_server({"a": big, "b": big}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        body = {"evaluations": [*items("a"), *items("b")]}
        async with bridge.session.post("/access/v1/evaluations", json=body) as response:
            answers = [item["decision"] for item in (await response.json())["evaluations"]]
        assert answers == [True, True, True, False]
        entries = await asyncio.to_thread(bridge.entries)
        assert [entry["sources"][0]["status"] for entry in entries] == ["fresh", "failed"]


def items(client: str) -> list[dict[str, Any]]:
    about = {"subject": {"type": "client", "id": client}, "resource": {"type": "audience", "id": "https://a"}}
    return [{**about, "action": {"name": n}} for n in ("issue:access_token:client_credentials", "seen")]


async def test_the_schema_of_the_environment_is_that_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies = write_policies(
        tmp_path / "p", {**GATE, 'authzen.resource["group"]': "resources := input.sources.groups.value"}
    )
    file = tmp_path / "groups.json"
    file.write_text('{"nina": [{"type": "group", "id": "payers"}]}')
    table = {"name": "groups", "owner": "o", "url": f"file:{file}", "key": ["/subject/id"], "resource_types": ["group"]}
    monkeypatch.setenv("BRIDGE__SOURCES", json.dumps([table]))
    async with local_bridge(tmp_path, policies) as bridge:
        about = {"subject": {"type": "user", "id": "nina"}, "action": {"name": "member"}, "resource": {"type": "group"}}
        assert await results(bridge, "resource", about) == [{"type": "group", "id": "payers"}]

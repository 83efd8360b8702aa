"""`issuance-bridge sources` and what `check` says about sources: run for real, on a log that a bridge wrote."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from tests.support.bridge import local_bridge, request, run_cli, write_config
from tests.support.policies import write_policies
from tests.support.sources import source, source_server, text

POLICIES = {
    "issuance.gate": 'allow contains {"code": "open"}',
    "issuance.scope.seen": 'allow contains {"code": "managed"} if input.sources.posture.value.managed',
    'issuance.scope_prefix["t:"]': 'allow contains {"code": "t"}',
}
OWNER = "device <team> | floor 3"


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return write_policies(tmp_path / "policies", POLICIES)


async def cli(*arguments: str | Path) -> tuple[int, str]:
    done = await asyncio.to_thread(run_cli, *arguments)
    return done.returncode, done.stdout + done.stderr


async def test_the_register_tells_whose_who_uses_it_and_how_it_did(tmp_path: Path, policies: Path) -> None:
    async with source_server({"c": {"managed": True}}) as server:
        tables = [
            source(server.url, "seen", "gone", owner=OWNER, scope_prefixes=["t:", "u:"], max_age_s=0),
            source("file:people.json", "gate", name="people", on_failure="absent"),
        ]
        async with local_bridge(tmp_path, policies, sources=[*tables, source(server.url, name="former")]) as bridge:
            await bridge.ask(request("seen"))
            server.answer = text("{}", status=500)
            last = await bridge.ask(request("seen"))
            at = (await asyncio.to_thread(bridge.entry_of, last["decision_id"]))["time"]
    config = write_config(tmp_path, policies, sources=tables)

    code, out = await cli("sources", "--json", "--config", config)
    assert code == 0, out
    posture, people, former = map(json.loads, out.splitlines())
    assert posture["used_by"] == [
        {"scope": "seen", "package": 'issuance.scope["seen"]'},
        {"scope": "gone", "package": None},
        {"scope": "t:…", "package": 'issuance.scope_prefix["t:"]'},
        {"scope": "u:…", "package": None},
    ]
    assert posture["evidence"] == {"fresh": 1, "stale": 0, "failed": 1, "absent": 0}
    assert posture["last"] == {"status": "failed", "time": at}
    assert (posture["owner"], posture["url"], posture["on_failure"]) == (OWNER, tables[0]["url"], "deny")
    assert people["evidence"] == {"fresh": 0, "stale": 0, "failed": 0, "absent": 2}
    assert (former["declared"], former["name"], former["last"]["status"]) == (False, "former", "fresh")

    code, out = await cli("sources", "--config", config)
    assert code == 0 and "device &lt;team&gt; \\| floor 3" in out
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {9}
    assert "gone (no package)" in rows[2] and f"1 fresh, 1 failed | failed, {at}" in rows[2]

    code, out = await cli("sources", "--html", "--config", config)
    assert code == 0 and out.startswith("<!doctype html>") and "<team>" not in out and "&lt;team&gt;" in out
    assert out.count("<tr>") == 4

    assert (await cli("sources", "--html", "--json", "--config", config))[0] == 2


async def test_the_register_needs_no_log_and_no_sources(tmp_path: Path, policies: Path) -> None:
    config = write_config(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1")])
    code, out = await cli("sources", "--json", "--config", config)
    assert code == 0 and json.loads(out)["last"] is None
    config = write_config(tmp_path, policies)
    assert await cli("sources", "--json", "--config", config) == (0, "")


async def test_check_looks_at_sources(tmp_path: Path, policies: Path) -> None:
    people = tmp_path / "people.json"
    people.write_text("{}")
    async with source_server() as server, source_server() as refusing:
        refusing.answer = text("{}", status=404)
        tables = [
            source(server.url, "seen", "gone"),
            source(refusing.url, name="refusing"),
            source("http://127.0.0.1:9/v1", name="down"),
            source(f"file:{people}", name="people", key=["/context/device_token"]),
            source(f"file:{tmp_path}/none.json", name="none"),
            source(server.url.replace("http:", "https:"), name="no-token", token_file=str(tmp_path / "no")),
        ]
        tables.append(source("http://posture.invalid/v1", name="clear"))
        config = write_config(tmp_path, policies, sources=tables)
        code, out = await cli("check", "--json", "--config", config)
    assert code == 1
    told = [json.loads(line) for line in out.splitlines()]
    lines = [f"{line['state']} {line['text']}" for line in told if line["check"] == "sources"]

    def says(*parts: str) -> bool:
        return any(all(part in line for part in parts) for line in lines)

    assert says("warn posture: no package answers for gone")
    assert says("warn clear: ", "use https") and says("bad clear: ")
    assert says("warn people: /context/device_token leads to a secret")
    assert says("good posture: ", "answers")
    assert says("warn refusing: ", "status 404")
    assert says("bad down: ", "ask its owner, device team")
    assert says("good people: ")
    assert says("bad none: ", "cannot be read")
    assert says("bad sources: no-token: token_file")
    assert server.asked == [{"/client/id": "issuance-bridge-check"}]

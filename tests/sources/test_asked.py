"""External sources on the decision road: who is asked when, what policies see, what is on record."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.bridge import LocalBridge, local_bridge, request, run_cli, write_config
from tests.support.evidence import all_entries
from tests.support.policies import write_policies
from tests.support.sources import source, source_server, text

POLICIES = {
    "issuance.gate": 'allow contains {"code": "open"}',
    "issuance.scope.seen": """
allow contains {"code": "managed"} if input.sources.posture.value.managed == true
allow contains {"code": "unknown_is_fine"} if input.sources.posture.status == "absent"
deny contains {"code": "stale"} if {
	input.sources.posture.status == "stale"
	input.context.strict == true
}
""",
    "issuance.scope.plain": 'allow contains {"code": "always"} if not input.sources',
    "issuance.scope.other": 'allow contains {"code": "always"}',
}


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    return write_policies(tmp_path / "policies", POLICIES)


def codes(reply: Any, scope: str) -> list[str]:
    return [finding["code"] for finding in reply["scopes"][scope]["findings"]]


async def entry_and_input(bridge: LocalBridge, reply: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return await asyncio.to_thread(
        lambda: (bridge.entry_of(reply["decision_id"]), bridge.input_of(reply["decision_id"]))
    )


async def test_a_policy_sees_what_the_source_says_and_the_entry_tells_it(tmp_path: Path, policies: Path) -> None:
    value = {"managed": True, "api_token": "s3cret", "score": 0.5}
    async with (
        source_server({"c": value}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        reply = await bridge.ask(request("seen", "other"))
        assert reply["granted_scopes"] == ["seen", "other"]
        assert server.asked == [{"/client/id": "c"}]
        entry, seen = await entry_and_input(bridge, reply)
        shown = {"managed": True, "api_token": "***", "score": 0.5}
        assert seen["sources"]["posture"]["value"] == shown
        assert seen["sources"]["posture"]["status"] == "fresh"
        (told,) = entry["sources"]
        canonical = json.dumps({**shown, "score": {"number": "0.5"}}, sort_keys=True, separators=(",", ":"))
        assert told.pop("age_ms") == seen["sources"]["posture"]["age_ms"] >= 0
        assert told == {
            "name": "posture",
            "owner": "device team",
            "status": "fresh",
            "digest": hashlib.sha256(canonical.encode()).hexdigest(),
        }
        assert entry["exceptions"] == []
        assert "sources" not in entry["request"]
        assert "s3cret" not in json.dumps([entry, seen])
        assert await bridge.metric('issuance_source_answers_total{source="posture",status="fresh"}') == 1


async def test_only_who_uses_a_source_asks_it(tmp_path: Path, policies: Path) -> None:
    async with (
        source_server({"c": {"managed": True}}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        reply = await bridge.ask(request("plain", "other"))
        assert reply["granted_scopes"] == ["plain", "other"]
        assert server.asked == []
        entry, seen = await entry_and_input(bridge, reply)
        assert entry["sources"] == [] and "sources" not in seen


async def test_an_answer_is_kept_for_its_maximal_age_and_no_longer(tmp_path: Path, policies: Path) -> None:
    async with (
        source_server({"c": {"managed": True}}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url, max_age_s=1)]) as bridge,
    ):
        for _ in range(3):
            assert (await bridge.ask(request("seen")))["outcome"] == "allow"
        assert len(server.asked) == 1
        server.values["c"] = {"managed": False}
        await asyncio.sleep(1.05)
        assert (await bridge.ask(request("seen")))["outcome"] == "deny"
        assert len(server.asked) == 2


async def test_a_source_without_a_value_is_fresh_and_says_nothing(tmp_path: Path, policies: Path) -> None:
    async with (
        source_server() as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        reply = await bridge.ask(request("seen"))
        assert codes(reply, "seen") == ["no_allow"]
        entry, seen = await entry_and_input(bridge, reply)
        assert seen["sources"]["posture"].keys() == {"status", "age_ms"}
        assert "digest" not in entry["sources"][0]


async def redirect(_: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest/meta-data/")


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'"')
    for _ in range(50):
        await response.write(b"x" * 1024 * 1024)
    await response.write(b'"')
    return response


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100"})
    await response.prepare(request)
    await response.write(b'{"managed": true')
    assert request.transport is not None
    request.transport.abort()
    return response


async def slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(2)
    return web.json_response({"managed": True})


FAULTS = {
    "slow": (slow, "no answer within 400 ms"),
    "cut": (cut, "Error"),
    "redirecting": (redirect, "status 307"),
    "50 MB": (flood, "longer than 65536 bytes"),
    "not JSON": (text("<managed/>"), "strict JSON"),
    "a name twice": (text('{"managed": false, "managed": true}'), "strict JSON"),
    "two values": (text('{"managed": true} {}'), "strict JSON"),
    "deep": (text("[" * 40 + "]" * 40), "strict JSON"),
    "packed": (text(b"\x1f\x8b", encoding="gzip"), "encoding"),
    "not found": (text("{}", status=404), "status 404"),
    "created": (text('{"managed": true}', status=201), "status 201"),
    "broken": (text('{"managed": true}', status=500), "status 500"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_source_at_fault_denies_its_scopes_alone(tmp_path: Path, policies: Path, fault: str) -> None:
    answer, message = FAULTS[fault]
    async with (
        source_server() as server,
        local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge,
    ):
        server.answer = answer
        reply = await bridge.ask(request("seen", "other"))
        assert reply["granted_scopes"] == ["other"]
        assert codes(reply, "seen") == ["source_failed", "no_allow"] or codes(reply, "seen") == ["source_failed"]
        entry, seen = await entry_and_input(bridge, reply)
        assert seen["sources"] == {"posture": {"status": "failed"}}
        assert entry["sources"] == [{"name": "posture", "owner": "device team", "status": "failed"}]
        (exception,) = entry["exceptions"]
        assert {k: exception[k] for k in ("path", "source", "code")} == {
            "path": "fail_closed",
            "source": "posture",
            "code": "source_failed",
        }
        assert message in exception["message"]


async def test_a_source_that_is_down_denies(tmp_path: Path, policies: Path) -> None:
    async with local_bridge(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1")]) as bridge:
        reply = await bridge.ask(request("seen", "other"))
        assert (reply["granted_scopes"], codes(reply, "seen")[0]) == (["other"], "source_failed")


async def test_the_denial_of_a_failed_source_outweighs_the_policy(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "p", {**POLICIES, "issuance.scope.seen": 'allow contains {"code": "yes"}'})
    async with local_bridge(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1")]) as bridge:
        reply = await bridge.ask(request("seen"))
        assert (reply["outcome"], codes(reply, "seen")) == ("deny", ["source_failed"])


async def test_a_failed_source_of_the_gate_denies_everything(tmp_path: Path, policies: Path) -> None:
    async with local_bridge(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1", "gate")]) as bridge:
        reply = await bridge.ask(request("plain", "other"))
        assert reply["outcome"] == "deny" and reply["granted_scopes"] == []
        assert [finding["code"] for finding in reply["findings"]] == ["source_failed"]
        assert codes(reply, "other") == ["gate_denied"]
        entry, _ = await entry_and_input(bridge, reply)
        assert entry["reply"] == {"outcome": "deny", "code": "source_failed"}
        assert (await bridge.ask(request()))["outcome"] == "deny"


async def test_an_absent_source_is_left_to_the_policy(tmp_path: Path, policies: Path) -> None:
    table = source("http://127.0.0.1:9/v1", on_failure="absent")
    async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
        reply = await bridge.ask(request("seen"))
        assert codes(reply, "seen") == ["unknown_is_fine"]
        entry, seen = await entry_and_input(bridge, reply)
        assert seen["sources"] == {"posture": {"status": "absent"}}
        assert [(e["path"], e["source"]) for e in entry["exceptions"]] == [("absent_source", "posture")]


async def test_a_stale_value_serves_within_its_bound_and_no_longer(tmp_path: Path, policies: Path) -> None:
    async with source_server({"c": {"managed": True}}) as server:
        table = source(server.url, max_age_s=0, on_failure="stale", max_stale_s=1)
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            assert (await bridge.ask(request("seen")))["outcome"] == "allow"
            server.answer = text("{}", status=500)
            reply = await bridge.ask(request("seen"))
            assert reply["outcome"] == "allow"
            entry, seen = await entry_and_input(bridge, reply)
            assert seen["sources"]["posture"]["status"] == "stale"
            assert (entry["sources"][0]["status"], len(entry["sources"][0]["digest"])) == ("stale", 64)
            (exception,) = entry["exceptions"]
            assert (exception["path"], exception["source"]) == ("stale_source", "posture")
            assert exception["age_ms"] == seen["sources"]["posture"]["age_ms"]
            strict = await bridge.ask(request("seen", context={"strict": True}))
            assert codes(strict, "seen") == ["stale"]
            await asyncio.sleep(1.1)
            assert codes(await bridge.ask(request("seen")), "seen")[0] == "source_failed"
            assert codes(await bridge.ask(request("seen", client={"id": "new"})), "seen")[0] == "source_failed"


async def test_a_key_that_the_request_lacks_is_a_failure(tmp_path: Path, policies: Path) -> None:
    async with source_server() as server:
        table = source(server.url, key=["/client/id", "/context/device"])
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            for context in ({}, {"device": ""}, {"device": 7}, {"device": ["x"]}, {"device": "***"}):
                reply = await bridge.ask(request("seen", context=context))
                assert codes(reply, "seen")[0] == "source_failed"
                entry, _ = await entry_and_input(bridge, reply)
                assert "/context/device" in entry["exceptions"][0]["message"]
            assert server.asked == []
            await bridge.ask(request("seen", context={"device": "d/1 &x"}))
            assert server.asked == [{"/client/id": "c", "/context/device": "d/1 &x"}]


async def test_a_masked_secret_is_no_key(tmp_path: Path, policies: Path) -> None:
    async with source_server({"***": {"managed": True}}) as server:
        table = source(server.url, key=["/context/device_token"])
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            reply = await bridge.ask(request("seen", context={"device_token": "abc"}))
            assert codes(reply, "seen")[0] == "source_failed" and server.asked == []


async def test_sources_are_asked_side_by_side(tmp_path: Path, policies: Path) -> None:
    async with source_server({"c": {"managed": True}}) as server:
        server.delay_s = 0.15
        tables = [source(server.url, name=f"s{n}", max_age_s=0) for n in range(6)]
        async with local_bridge(tmp_path, policies, sources=[*tables, source(server.url)]) as bridge:
            before = asyncio.get_running_loop().time()
            reply = await bridge.ask(request("seen"))
            assert reply["outcome"] == "allow" and len(server.asked) == 7
            assert asyncio.get_running_loop().time() - before < 0.6


async def test_a_slow_source_leaves_time_for_the_query(tmp_path: Path, policies: Path) -> None:
    async with source_server() as server:
        server.delay_s = 5
        table = source(server.url, timeout_ms=5000)
        async with local_bridge(tmp_path, policies, sources=[table], server={"deadline_ms": 800}) as bridge:
            reply = await bridge.ask(request("seen", "other"))
            assert reply["granted_scopes"] == ["other"] and "evidence" in reply
            entry, _ = await entry_and_input(bridge, reply)
            assert "deadline" in entry["exceptions"][0]["message"]
            assert entry["duration_us"] < 800_000


async def test_a_prefix_names_all_scopes_that_begin_so(tmp_path: Path) -> None:
    policies = write_policies(
        tmp_path / "p",
        {
            **POLICIES,
            'issuance.scope_prefix["t:"]': 'allow contains {"code": "t"} if input.sources.posture.value.managed',
        },
    )
    async with source_server({"c": {"managed": True}}) as server:
        table = {**source(server.url, scope_prefixes=["t:"]), "scopes": []}
        async with local_bridge(tmp_path, policies, sources=[table]) as bridge:
            assert (await bridge.ask(request("t:1", "other")))["granted_scopes"] == ["t:1", "other"]
            assert len(server.asked) == 1


async def test_a_request_cannot_bring_sources_of_its_own(tmp_path: Path, policies: Path) -> None:
    async with local_bridge(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1")]) as bridge:
        body = request("seen", sources={"posture": {"status": "fresh", "value": {"managed": True}}})
        async with bridge.session.post("/v1/issuance/decisions", json=body) as response:
            assert response.status == 400
        smuggled = {"sources": body["sources"], "url": "http://169.254.169.254/"}
        reply = await bridge.ask(request("seen", context=smuggled))
        assert codes(reply, "seen")[0] == "source_failed"


async def test_the_log_of_all_this_verifies(tmp_path: Path, policies: Path) -> None:
    async with (
        source_server({"c": {"managed": True}}) as server,
        local_bridge(tmp_path, policies, sources=[source(server.url, max_age_s=0)]) as bridge,
    ):
        await bridge.ask(request("seen"))
        server.answer = text("{}", status=500)
        await bridge.ask(request("seen"))
    config = write_config(tmp_path, policies)
    done = await asyncio.to_thread(run_cli, "log", "verify", "--config", config)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_redirect_is_not_followed_anywhere(tmp_path: Path, policies: Path) -> None:
    async with source_server({"c": {"managed": True}}) as inner, source_server() as server:

        async def there(_: web.Request) -> web.StreamResponse:
            raise web.HTTPPermanentRedirect(inner.url)

        server.answer = there
        async with local_bridge(tmp_path, policies, sources=[source(server.url)]) as bridge:
            assert (await bridge.ask(request("seen")))["outcome"] == "deny"
        assert (len(server.asked), inner.asked) == (1, [])


async def test_personal_values_are_not_to_be_guessed_by_a_digest(tmp_path: Path, policies: Path) -> None:
    value = {"managed": True, "email": "nina@people.example"}
    async with (
        source_server({"nina": value}) as server,
        local_bridge(
            tmp_path,
            policies,
            sources=[source(server.url, key=["/subject/id"])],
            evidence={"personal": ["/subject/id", "/sources/posture/value/email"]},
        ) as bridge,
    ):
        subject = {"type": "user", "id": "nina"}
        body = {"grant_type": "authorization_code", "client": {"id": "c"}, "subject": subject, "scopes": ["seen"]}
        reply = await bridge.ask(body)
        assert reply["outcome"] == "allow"
        entry, seen = await entry_and_input(bridge, reply)
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
        assert entry["sources"][0]["name"] == "posture"
        assert entry["sources"][0]["digest"] == hashlib.sha256((seen["salt"] + canonical).encode()).hexdigest()
        assert "nina" not in json.dumps(entry)


async def test_as_many_failing_sources_as_there_may_be_fit_an_entry(tmp_path: Path) -> None:
    scopes = [f"s:{n:03}:{'x' * 20}" for n in range(256)]
    policies = write_policies(
        tmp_path / "p", {**POLICIES, 'issuance.scope_prefix["s:"]': 'allow contains {"code": "s"}'}
    )
    tables = [
        source("file:none.json", name=f"{n:02}{'n' * 62}", owner="ö" * 128, scope_prefixes=["s:"]) for n in range(32)
    ]
    async with local_bridge(tmp_path, policies, sources=tables) as bridge:
        reply = await bridge.ask(request(*scopes))
        assert reply["outcome"] == "deny"
        entry, _ = await entry_and_input(bridge, reply)
        assert len(entry["sources"]) == 32 and "sources" in entry["shortened"]
        assert [e["path"] for e in entry["exceptions"]] == ["fail_closed"] * 32
        assert {f["code"] for f in reply["scopes"][scopes[0]]["findings"]} == {"source_failed"}


async def test_changed_sources_are_on_record(tmp_path: Path, policies: Path) -> None:
    table = source("https://posture.example/v1")
    async with local_bridge(tmp_path, policies, sources=[table]):
        pass
    async with local_bridge(tmp_path, policies, sources=[{**table, "on_failure": "absent"}]) as bridge:
        told = await asyncio.to_thread(all_entries, bridge.evidence)
    changes = [change for entry in told if entry["kind"] == "config" for change in entry["changes"]]
    assert {"key": "sources.posture.on_failure", "from": "deny", "to": "absent"} in changes

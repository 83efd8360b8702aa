"""Health, for probes and for operators; metrics."""

from pathlib import Path
from typing import Any

import pytest

from bridge.evidence import turn
from bridge.policy import watch
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request
from tests.support.evidence import all_entries
from tests.support.policies import write_policies
from tests.support.waiting import until

CALLERS = [caller("as"), caller("operator", "operator"), caller("auditor", "auditor")]


async def ready(bridge: LocalBridge, who: str | None = None) -> tuple[int, dict[str, Any]]:
    async with bridge.session.get("/health/ready", headers=bearer(who) if who else None) as response:
        body: dict[str, Any] = await response.json()
        return response.status, body


async def until_ready_is(bridge: LocalBridge, status: str) -> dict[str, Any]:
    async def found() -> dict[str, Any] | None:
        _, body = await ready(bridge, "operator")
        return body if body["status"] == status else None

    body = await until(found)
    assert body is not None
    return body


async def test_good_is_good_without_credentials(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, callers=CALLERS) as bridge:
        assert await ready(bridge) == (200, {"status": "ready"})
        assert await ready(bridge, "operator") == (200, {"status": "ready"})
        async with bridge.session.get("/health/live") as response:
            assert (response.status, await response.json()) == (200, {"status": "live"})


async def test_without_an_engine_it_is_live_and_not_ready(tmp_path: Path, unused_tcp_port: int) -> None:
    nowhere = {"kind": "opa", "url": f"http://127.0.0.1:{unused_tcp_port}"}
    async with local_bridge(tmp_path, callers=CALLERS, engine=nowhere) as bridge:
        for who in (None, "as", "auditor"):
            assert await ready(bridge, who) == (503, {"status": "not_ready"})
        status, body = await ready(bridge, "operator")
        assert (status, body["status"]) == (503, "not_ready")
        (reason,) = body["reasons"]
        assert reason.startswith("engine: ")
        async with bridge.session.get("/health/live") as response:
            assert response.status == 200
        reply = await bridge.ask(request("read"), headers=bearer("as"))
        assert reply["outcome"] == "deny"
        assert reply["findings"] == [{"code": "engine_unavailable"}]
        assert bridge.entry_of(reply["decision_id"])["exceptions"][0]["path"] == "fail_closed"


async def test_a_broken_set_on_disk_degrades_and_the_reason_is_for_operators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.1)
    policies = write_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, callers=CALLERS) as bridge:
        (policies / "broken.rego").write_text("package issuance.scope.new\n\nallow if secret_owner_name(\n")
        body = await until_ready_is(bridge, "degraded")
        assert any("broken.rego:" in reason for reason in body["reasons"])
        for who in (None, "as", "auditor"):
            assert await ready(bridge, who) == (200, {"status": "ready"})
        assert (await bridge.ask(request("read"), headers=bearer("as")))["granted_scopes"] == ["read"]
        (policies / "broken.rego").write_text("package issuance.scope.new\n\nallow := true\n")
        assert await until_ready_is(bridge, "ready") == {"status": "ready"}
        reply = await bridge.ask(request("new"), headers=bearer("as"))
        assert reply["granted_scopes"] == ["new"]


async def test_a_log_that_cannot_be_written_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_bridge(tmp_path, callers=CALLERS) as bridge:
        # The lock file goes bad as it would on a disk that is gone; below SQLite it is done in tests/faults.
        monkeypatch.setattr(turn.Turn, "taken", _no_disk)
        reply = await bridge.ask(request("read"), headers=bearer("as"))
        assert (reply["outcome"], reply["findings"]) == ("deny", [{"code": "evidence_unavailable"}])
        assert "evidence" not in reply
        assert await ready(bridge) == (503, {"status": "not_ready"})
        assert any(reason.startswith("log: ") for reason in (await ready(bridge, "operator"))[1]["reasons"])
        monkeypatch.undo()
        await until_ready_is(bridge, "ready")
        assert (await bridge.ask(request("read"), headers=bearer("as")))["outcome"] == "allow"
    assert [entry["kind"] for entry in bridge.entries()] == ["gap", "decision"]


def _no_disk(_: turn.Turn) -> Any:
    raise OSError(5, "Input/output error")


async def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as bridge:
        for scopes in (["read"], ["read"], ["never"], []):
            await bridge.ask(request(*scopes))
        user = {"grant_type": "authorization_code", "subject": {"type": "user", "id": "a"}}
        await bridge.ask(request("pay", **user))
        async with bridge.session.post("/v1/issuance/decisions", data=b"{") as response:
            assert response.status == 415
        count = 'issuance_decisions_total{door="native",outcome="%s"}'
        assert await bridge.metric(count % "allow") == 3
        assert await bridge.metric(count % "deny") == 1
        assert await bridge.metric(count % "conditional") == 1
        assert await bridge.metric('issuance_decision_seconds_count{door="native"}') == 5
        for step in ("engine", "record"):
            assert await bridge.metric(f'issuance_step_seconds_count{{step="{step}"}}') == 5
        written = len(all_entries(bridge.evidence))
        assert await bridge.metric('issuance_step_seconds_count{step="sync"}') == written
        assert await bridge.metric("issuance_log_batch_entries_sum") == written
        assert await bridge.metric('issuance_refused_calls_total{reason="malformed"}') == 1
        assert await bridge.metric("issuance_engine_ready") == 1
        assert await bridge.metric("issuance_log_ready") == 1
        assert await bridge.metric("issuance_in_flight") == 0
        assert await bridge.metric("issuance_denied_unrecorded_total") == 0
        assert await bridge.metric('issuance_policy_loads_total{result="accepted"}') == 1
        current = bridge.bridge.policies.current
        assert current is not None
        assert await bridge.metric(f'issuance_policy_info{{revision="{current.revision}"}}') == 1


async def loads(bridge: LocalBridge, result: str, count: int) -> bool:
    return await bridge.metric(f'issuance_policy_loads_total{{result="{result}"}}') == count


async def test_metrics_show_engine_and_policy_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.1)
    policies = write_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies) as bridge:
        before = bridge.bridge.policies.current
        (policies / "broken.rego").write_text("package issuance.scope.new\n\nallow if\n")
        await until(lambda: loads(bridge, "refused", 1))
        (policies / "broken.rego").write_text("package issuance.scope.new\n\nallow := true\n")
        await until(lambda: loads(bridge, "accepted", 2))
        after = bridge.bridge.policies.current
        assert before is not None
        assert after is not None
        assert await bridge.metric(f'issuance_policy_info{{revision="{before.revision}"}}') == 0
        assert await bridge.metric(f'issuance_policy_info{{revision="{after.revision}"}}') == 1


async def test_metrics_speak_prometheus(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as bridge, bridge.session.get("/metrics") as response:
        assert response.headers["Content-Type"].startswith("text/plain")
        text = await response.text()
    assert text.count("# HELP issuance_") == text.count("# TYPE issuance_") > 8


async def test_what_a_caller_sends_is_no_label(tmp_path: Path) -> None:
    """Labels are bounded: an attacker must not be able to fill the memory with new ones."""
    async with local_bridge(tmp_path) as bridge:

        async def series() -> int:
            async with bridge.session.get("/metrics") as response:
                return len((await response.text()).splitlines())

        await bridge.ask(request("s"))
        async with bridge.session.get("/nowhere"):
            pass
        before = await series()
        for number in range(30):
            await bridge.ask(request(f"s{number}", grant_type="client_credentials", token_type=f"t{number}"))
            async with bridge.session.get(f"/nowhere{number}", headers={"Host": f"h{number}.example"}) as response:
                assert response.status == 404
        assert await series() == before

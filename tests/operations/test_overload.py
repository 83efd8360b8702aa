"""`max_in_flight`: what is beyond is denied at once, and summed up on record."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.pdp import admit
from tests.operations.slow import PATIENT, write_slow_policies
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request
from tests.support.waiting import until

SERVER = {**PATIENT["server"], "max_in_flight": 2}


async def overloads(bridge: LocalBridge) -> list[dict[str, Any]]:
    return [entry for entry in bridge.entries() if entry["kind"] == "overloaded"]


async def in_flight(bridge: LocalBridge, count: int) -> bool:
    return bridge.bridge.admission.in_flight == count


async def test_beyond_the_limit_is_a_denial_at_once(tmp_path: Path) -> None:
    policies = write_slow_policies(tmp_path / "rego")
    callers = [caller("a"), caller("b"), caller("operator", "operator")]
    async with local_bridge(tmp_path, policies, server=SERVER, engine=PATIENT["engine"], callers=callers) as bridge:
        places = [asyncio.create_task(bridge.ask(request("slow"), headers=bearer("a"))) for _ in range(2)]
        await until(lambda: in_flight(bridge, 2))
        started = time.monotonic()
        refused = [await bridge.ask(request("read", "never"), headers=bearer(name)) for name in ("a", "b", "b")]
        took = time.monotonic() - started
        for reply in refused:
            assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
            assert reply["findings"] == [{"code": "overloaded"}]
            assert reply["scopes"].keys() == {"read", "never"}
            assert all(answer["findings"] == [{"code": "overloaded"}] for answer in reply["scopes"].values())
            assert "evidence" not in reply
        assert not any(place.done() for place in places), "the places must still be taken"
        assert took < 0.5

        assert [(await place)["outcome"] for place in places] == ["allow", "allow"]
        assert bridge.bridge.admission.in_flight == 0
        assert (await bridge.ask(request("read"), headers=bearer("b")))["outcome"] == "allow"
        (entry,) = await until(lambda: overloads(bridge), 5)
        assert entry["denied"] == 3
        assert sorted(entry["callers"], key=str) == [
            {"caller": "a", "door": "native", "denied": 1},
            {"caller": "b", "door": "native", "denied": 2},
        ]
        assert entry["outcome"] == "deny"
        assert entry["reply"] == {"outcome": "deny", "code": "overloaded"}
        assert entry["from"] <= entry["to"] == entry["time"]
    assert len(await overloads(bridge)) == 1


async def test_a_malformed_request_takes_no_place(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, server={"max_in_flight": 1}) as bridge:
        for _ in range(5):
            async with bridge.session.post("/v1/issuance/decisions", json={"scopes": 1}) as response:
                assert response.status == 400
        assert bridge.bridge.admission.in_flight == 0
        assert (await bridge.ask(request("read")))["outcome"] == "allow"


async def test_one_summary_a_second_and_none_when_there_is_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admit, "SUMMARY_INTERVAL_S", 0.3)
    policies = write_slow_policies(tmp_path / "rego", rounds=1_000_000)
    server = {**SERVER, "max_in_flight": 1}
    async with local_bridge(tmp_path, policies, server=server, engine=PATIENT["engine"]) as bridge:
        place = asyncio.create_task(bridge.ask(request("slow")))
        await until(lambda: in_flight(bridge, 1))
        asked, started = 0, time.monotonic()
        while not place.done() and time.monotonic() - started < 1.0:
            reply = await bridge.ask(request("read"))
            asked += reply["findings"] == [{"code": "overloaded"}]
        assert (await place)["outcome"] == "allow"
        await asyncio.sleep(0.5)
        told = await overloads(bridge)
        assert 1 <= len(told) <= 5
        assert sum(entry["denied"] for entry in told) == asked > 10
        await asyncio.sleep(0.7)
        assert len(await overloads(bridge)) == len(told)


async def test_what_was_refused_just_before_the_end_is_told_too(tmp_path: Path) -> None:
    policies = write_slow_policies(tmp_path / "rego")
    server = {**SERVER, "max_in_flight": 1}
    async with local_bridge(tmp_path, policies, server=server, engine=PATIENT["engine"]) as bridge:
        place = asyncio.create_task(bridge.ask(request("slow")))
        await until(lambda: in_flight(bridge, 1))
        await bridge.ask(request("read"))
        await place
    (entry,) = await overloads(bridge)
    assert entry["denied"] == 1


async def test_the_metric_tells_how_many_are_in_flight(tmp_path: Path) -> None:
    policies = write_slow_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, server=SERVER, engine=PATIENT["engine"]) as bridge:
        place = asyncio.create_task(bridge.ask(request("slow")))
        await until(lambda: in_flight(bridge, 1))
        assert await bridge.metric("issuance_in_flight") == 1
        await place
        assert await bridge.metric("issuance_in_flight") == 0

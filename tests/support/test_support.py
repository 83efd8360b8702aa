"""The helpers themselves: what they promise to other tests."""

from pathlib import Path

import psutil

from tests.support.bridge import bearer, caller, local_bridge, request, running_bridge


def test_a_process_answers_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with running_bridge(tmp_path, callers=[caller("as")]) as bridge:
        reply = bridge.ask(request("read"), headers=bearer("as"))
        family = bridge.family()
        assert reply["granted_scopes"] == ["read"]
        assert bridge.entry_of(reply["decision_id"])["caller"] == "as"
        assert bridge.input_of(reply["decision_id"])["issuer"] == "as"
    assert len(family) >= 2  # the bridge and its OPA
    assert not [p for p in family if psutil.pid_exists(p.pid)]


async def test_a_local_bridge_answers(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as bridge:
        reply = await bridge.ask(request("read", "never"))
        assert reply["granted_scopes"] == ["read"]
        assert await bridge.metric('issuance_decisions_total{door="native",outcome="allow"}') == 1.0
    assert [entry["kind"] for entry in bridge.entries()] == ["decision"]

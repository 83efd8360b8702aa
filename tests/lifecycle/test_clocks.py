"""A new beginning by a clock that is behind brings nothing back that began before the ending."""

from pathlib import Path

import pytest

from bridge.model.ended import Effect, Name, What
from bridge.model.times import now_ms
from bridge.pdp.lifecycle import Order
from tests.support.bridge import local_bridge, request
from tests.support.policies import write_policies

POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
HOUR_S = 3600


async def test_a_clock_that_is_behind_when_it_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, now = Name(What.CLIENT, "local", ("c",)), now_ms()
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES)) as bridge:
        await bridge.bridge.lifecycle(Order(name, Effect.ENDED, "a test", "ops"))
        with monkeypatch.context() as behind:
            behind.setattr("bridge.pdp.lifecycle.now_ms", lambda: now - HOUR_S * 1000)
            await bridge.bridge.lifecycle(Order(name, Effect.REINSTATED, "a test", "ops"))
        refresh = request("read", grant_type="refresh_token", subject={"type": "user", "id": "alice"})
        for started, expected in ((now // 1000 - HOUR_S // 2, "deny"), (now // 1000 + 30, "allow")):
            grant = {"scopes": ["read"], "started": started}
            assert (await bridge.ask({**refresh, "grant": grant}))["outcome"] == expected

"""The engine's bad days through a whole bridge: not there, slow, stopped, killed in the middle, behind a slow wire.

Whatever happens: each reply is a whole answer or a denial with the right code, each has its entry, and what is broken
for a while comes back without anybody's help.
"""

import asyncio
import itertools
import os
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from bridge.engines import managed
from tests.engines.servers import free_port, opa_server, policy_set
from tests.support.bridge import LocalBridge, local_bridge, request
from tests.support.policies import POLICIES, write_policies

from .wire import honest, hostile_server, http, slow_proxy

STEPS = "some x in numbers.range(1, 20000); some y in numbers.range(1, 20000); x * y == -1"
WITH_SLOW = {**POLICIES, "issuance.scope.slow": f"allow if count([1 | {STEPS}]) == 0"}
FAST_WATCH = {"LIVENESS_INTERVAL_S": 0.1, "LIVENESS_TIMEOUT_S": 0.2, "LIVENESS_STRIKES": 3}


@pytest.fixture
async def bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", WITH_SLOW)) as bridge:
        yield bridge


def child_pid(bridge: LocalBridge) -> int:
    """The OPA child that is asked now."""
    engine: Any = bridge.bridge.engine
    return int(engine._current.process.pid)


async def until(happens: Callable[[], Awaitable[object]], timeout_s: float = 15.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await happens():
            await asyncio.sleep(0.05)


async def allowed(bridge: LocalBridge) -> bool:
    return bool((await bridge.ask(request("read")))["outcome"] == "allow")


async def ready(bridge: LocalBridge) -> bool:
    async with bridge.session.get("/health/ready") as response:
        return response.status == 200


async def assert_denied(bridge: LocalBridge, *codes: str, scopes: tuple[str, ...] = ("read",)) -> None:
    """Denied with one of `codes` within the request's deadline, and on record with the same one."""
    began = asyncio.get_running_loop().time()
    reply = await bridge.ask(request(*scopes))
    assert asyncio.get_running_loop().time() - began < 1.2
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    (finding,) = reply["findings"]
    assert finding["code"] in codes
    entry = bridge.entry_of(reply["decision_id"])
    assert entry["reply"] == {"outcome": "deny", "code": finding["code"]}
    assert [e["path"] for e in entry["exceptions"]] == ["fail_closed"]


async def test_it_is_not_there_and_then_it_is(tmp_path: Path) -> None:
    policies, port = write_policies(tmp_path / "rego"), free_port()
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_bytes(policy_set(policies, POLICIES).bundle)
    async with local_bridge(tmp_path, policies, engine={"kind": "opa", "url": f"http://127.0.0.1:{port}"}) as bridge:
        for _ in range(8):  # the breaker opens on the way
            await assert_denied(bridge, "engine_unavailable")
        assert not await ready(bridge)
        async with opa_server("--bundle", bundle, port=port):
            await until(lambda: ready(bridge))
            assert await allowed(bridge)
        await assert_denied(bridge, "engine_unavailable")
        await until(lambda: _not(ready(bridge)))


async def _not(what: Awaitable[bool]) -> bool:
    return not await what


async def test_a_policy_that_does_not_come_to_an_end(bridge: LocalBridge) -> None:
    """One query has one deadline: with the gate in it, everything waits for it; what asks for others goes on."""
    slow = asyncio.create_task(assert_denied(bridge, "deadline", scopes=("read", "slow")))
    while not slow.done():
        reply = await bridge.ask(request("read"))
        assert bridge.entry_of(reply["decision_id"])["outcome"] == reply["outcome"]
    await slow
    await until(lambda: allowed(bridge))


async def test_it_is_stopped_and_goes_on(bridge: LocalBridge) -> None:
    assert await allowed(bridge)
    os.kill(child_pid(bridge), signal.SIGSTOP)
    await asyncio.gather(*(assert_denied(bridge, "deadline") for _ in range(20)))
    os.kill(child_pid(bridge), signal.SIGCONT)
    await until(lambda: allowed(bridge))


async def test_it_is_stopped_for_good(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any]) -> None:
    for name, value in FAST_WATCH.items():
        monkeypatch.setattr(managed, name, value)
    assert await allowed(bridge)
    stopped = child_pid(bridge)
    os.kill(stopped, signal.SIGSTOP)
    await assert_denied(bridge, "deadline", "engine_unavailable")
    await until(lambda: allowed(bridge))
    assert child_pid(bridge) != stopped
    assert [e["reason"] for e in logged if e["event"] == "engine_lost"] == ["OPA hangs"]


async def assert_whole_under(
    bridge: LocalBridge, trouble: Callable[[], Awaitable[None]], codes: set[str]
) -> list[dict[str, Any]]:
    """Asks from eight sides while there is `trouble`: every reply is the policies' own or a denial, and on record."""
    stop, replies = asyncio.Event(), list[dict[str, Any]]()

    async def keep_asking(side: int) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            client = "blocked" if (side + number) % 3 == 0 else "c"
            replies.append({"client": client, **await bridge.ask(request("read", "never", client={"id": client}))})

    sides = [asyncio.create_task(keep_asking(side)) for side in range(8)]
    await asyncio.gather(trouble(), return_exceptions=False)
    stop.set()
    await asyncio.gather(*sides)
    entries = {entry["id"]: entry for entry in bridge.entries() if entry["kind"] == "decision"}
    for reply in replies:
        entry = entries[reply["decision_id"]]
        assert (entry["outcome"], entry["granted_scopes"]) == (reply["outcome"], reply["granted_scopes"])
        said = {finding["code"] for finding in reply["findings"]}
        if reply["outcome"] == "allow":
            assert reply["client"] == "c"
            assert reply["granted_scopes"] == ["read"]
            assert {rule["code"] for rule in entry["rules"]} == {"open", "reader", "not_for_you"}
        else:
            assert said <= codes or (reply["client"], said) == ("blocked", {"client_blocked"})
    assert {"allow", "deny"} == {reply["outcome"] for reply in replies}
    return replies


async def test_it_is_killed_in_the_middle(bridge: LocalBridge) -> None:
    engine: Any = bridge.bridge.engine

    async def kill_again_and_again() -> None:
        for number in range(4):
            before = engine.restarts
            await asyncio.sleep(0.2 + number / 50)
            os.kill(child_pid(bridge), signal.SIGKILL)
            async with asyncio.timeout(15):
                while engine.restarts == before:
                    await asyncio.sleep(0.02)

    replies = await assert_whole_under(bridge, kill_again_and_again, {"engine_unavailable", "deadline"})
    assert engine.restarts == 4
    assert any(f["code"] == "engine_unavailable" for reply in replies for f in reply["findings"])
    assert await allowed(bridge)


async def test_a_server_that_comes_and_goes(tmp_path: Path) -> None:
    policies, port = write_policies(tmp_path / "rego"), free_port()
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_bytes(policy_set(policies, POLICIES).bundle)
    async with local_bridge(tmp_path, policies, engine={"kind": "opa", "url": f"http://127.0.0.1:{port}"}) as bridge:

        async def come_and_go() -> None:
            for how in (signal.SIGKILL, signal.SIGTERM):
                async with opa_server("--bundle", bundle, port=port) as server:
                    await until(lambda: allowed(bridge))
                    await asyncio.sleep(0.2)
                    server.process.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(0.3)
                    server.process.send_signal(signal.SIGCONT)
                    await until(lambda: allowed(bridge))
                    server.process.send_signal(how)
                    await asyncio.sleep(0.3)

        await assert_whole_under(bridge, come_and_go, {"engine_unavailable", "deadline"})


async def test_a_slow_wire(tmp_path: Path) -> None:
    policies, delay = write_policies(tmp_path / "rego"), [0.0]
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_bytes(policy_set(policies, POLICIES).bundle)
    async with opa_server("--bundle", bundle) as server:
        host, port = server.url.removeprefix("http://").split(":")
        async with (
            slow_proxy(host, int(port), lambda: delay[0]) as url,
            local_bridge(tmp_path, policies, engine={"kind": "opa", "url": url}) as bridge,
        ):
            assert await allowed(bridge)
            delay[0] = 0.1  # slow, and within the deadline
            assert await allowed(bridge)
            delay[0] = 0.5
            for _ in range(4):
                await assert_denied(bridge, "deadline")
            for _ in range(4):  # beyond five in a row nobody waits any more
                await assert_denied(bridge, "deadline", "engine_unavailable")
            delay[0] = 0.0
            await until(lambda: allowed(bridge))
            await until(lambda: ready(bridge))


async def test_a_server_that_nobody_vouches_for(tmp_path: Path) -> None:
    """It answers in the right shape over TLS; its certificate is of no authority that we know."""
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with hostile_server(tls) as server:
        async with local_bridge(tmp_path, engine={"kind": "opa", "url": server.url}) as bridge:
            current = bridge.bridge.policies.current
            assert current is not None
            server.reply = lambda asked: http(honest(asked, current.digest))
            await assert_denied(bridge, "engine_unavailable")
            assert not await ready(bridge)
        assert server.questions == 0

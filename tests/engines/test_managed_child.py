"""The OPA child of `managed`: alone, watched, ended with us, and nobody else's to write to."""

import asyncio
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import psutil
import pytest

from bridge.engines import managed
from bridge.engines.managed import ManagedOpa
from bridge.errors import EngineUnavailable
from bridge.policy.opa import find_opa
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.policies import POLICIES, write_policies

from .servers import policy_set


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where the bridge keeps its socket; short, since a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="h-") as folder:
        yield Path(folder)


@pytest.fixture
def bridge(tmp_path: Path, scratch: Path) -> Iterator[RunningBridge]:
    env = {"TMPDIR": str(scratch), "SECRET_OF_OURS": "never to be handed on"}
    with running_bridge(tmp_path, env=env) as bridge:
        yield bridge


def child_of(bridge: RunningBridge) -> psutil.Process:
    (child,) = (p for p in psutil.Process(bridge.process.pid).children() if p.name() == "opa")
    return child


def socket_of(child: psutil.Process) -> Path:
    command = child.cmdline()
    return Path(command[command.index("--addr") + 1].removeprefix("unix://"))


def until(happens: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def allowed(bridge: RunningBridge) -> bool:
    return bool(bridge.ask(request("read"))["outcome"] == "allow")


def test_it_is_alone(bridge: RunningBridge, scratch: Path) -> None:
    child = child_of(bridge)
    socket = socket_of(child)
    assert socket.parent.parent == scratch
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert [file.name for file in socket.parent.iterdir()] == ["opa.sock"]
    assert child.environ().keys() <= {"GOMAXPROCS", "GOGC"}
    assert child.net_connections(kind="inet") == []
    open_files = [os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")]  # noqa: PTH115, PTH208 - what /proc has is no path
    assert not [name for name in open_files if str(bridge.evidence) in name]
    listeners = [c for c in psutil.Process(bridge.process.pid).net_connections(kind="inet") if c.status == "LISTEN"]
    assert [c.laddr.port for c in listeners] == [bridge.port]


def test_what_it_says_is_in_our_log_and_it_is_replaced(bridge: RunningBridge) -> None:
    assert allowed(bridge)
    lost = child_of(bridge)
    lost.send_signal(signal.SIGQUIT)  # a Go program writes down its stacks and ends
    until(lambda: bridge.log_events("engine_restarted"))
    assert allowed(bridge)
    assert any("SIGQUIT" in event["line"] for event in bridge.log_events("opa_output"))
    assert [event["reason"] for event in bridge.log_events("engine_lost")] == ["OPA ended"]
    assert child_of(bridge).pid != lost.pid


def test_it_ends_with_us(bridge: RunningBridge, scratch: Path) -> None:
    assert allowed(bridge)
    child = child_of(bridge)
    assert bridge.stop(signal.SIGTERM) == 0
    assert not child.is_running()
    assert list(scratch.iterdir()) == []


def test_it_ends_with_us_even_when_we_are_killed(bridge: RunningBridge) -> None:
    assert allowed(bridge)
    child = child_of(bridge)
    assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running()


def test_a_cleaner_of_temporary_files(bridge: RunningBridge, scratch: Path) -> None:
    """Its socket is gone, while it runs: found out, and started anew."""
    assert allowed(bridge)
    lost = child_of(bridge)
    socket = socket_of(lost)
    socket.unlink()
    socket.parent.rmdir()
    os.kill(lost.pid, signal.SIGKILL)  # what is still connected would go on for a while
    until(lambda: bridge.log_events("engine_restarted"))
    assert allowed(bridge)


WRITES = [
    ("PUT", "/v1/policies/evil", "package issuance.scope.never\nallow := true"),
    ("PUT", "/v1/policies/evil", 'package issuance.scope["never"]\nallow := true'),
    ("PUT", "/v1/policies/evil", "package issuance.gate\nallow := true"),
    ("PUT", "/v1/policies/evil", "package issuance.kernel.more\nx := 1"),
    ("PUT", "/v1/policies/evil", "package issuance\nscope.never.allow := true"),
    ("PUT", "/v1/data/issuance/index/digest", '"0"'),
    ("PUT", "/v1/data/issuance/index/scopes/new", '"issuance.scope.read"'),
    ("PUT", "/v1/data/issuance/scope/new", '{"allow": true}'),
    ("PUT", "/v1/data/registry", '{"clients": {}}'),
    ("PUT", "/v1/data", "{}"),
    ("PATCH", "/v1/data", '[{"op": "replace", "path": "/issuance/index/digest", "value": "0"}]'),
    ("DELETE", "/v1/data/issuance", ""),
]


def test_a_second_writer_is_refused(tmp_path: Path, scratch: Path) -> None:
    """Even who may open the socket cannot change what decides: the bundle owns it."""
    folder = write_policies(tmp_path / "rego", POLICIES, {"registry": {"clients": {"a": 1}}})
    with running_bridge(tmp_path, folder, env={"TMPDIR": str(scratch)}) as bridge:
        before = bridge.entry_of(bridge.ask(request("read", "never"))["decision_id"])
        transport = httpx.HTTPTransport(uds=str(socket_of(child_of(bridge))))
        with httpx.Client(transport=transport, base_url="http://opa") as opa:
            modules = [module["id"] for module in opa.get("/v1/policies").json()["result"]]
            assert len(modules) == len(POLICIES) + 2
            for method, path, content in [
                *WRITES,
                *(("DELETE", f"/v1/policies/{quote(m, safe='')}", "") for m in modules),
            ]:
                assert opa.request(method, path, content=content).status_code in (400, 404), (method, path)
        after = bridge.entry_of(bridge.ask(request("read", "never"))["decision_id"])
        for member in ("scopes", "rules", "policy", "granted_scopes"):
            assert after[member] == before[member]


async def test_it_waits_longer_each_time_it_does_not_help(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An OPA that no longer starts is not started as fast as the machine can; it is taken back once it does."""
    monkeypatch.setattr(managed, "BACK_OFF_S", (0.02, 0.05, 0.1, 0.4))
    monkeypatch.setattr(managed, "STEADY_S", 0.3)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    opa, broken, starts = scratch / "opa", scratch / "broken", scratch / "starts"
    opa.write_text(f'#!/bin/sh\necho >>{starts}\nif [ -e {broken} ]; then exit 1; fi\nexec {find_opa()} "$@"\n')
    opa.chmod(0o755)
    first = policy_set(tmp_path / "rego", {"issuance.gate": "allow := true"})
    engine = ManagedOpa(opa)
    try:
        await engine.start(first)
        await asyncio.sleep(0.4)
        broken.touch()
        assert engine._current is not None
        engine._current.process.kill()
        await asyncio.sleep(2.0)
        assert 3 <= len(starts.read_text()) - 1 <= 9
        assert not engine.status().ready
        with pytest.raises(EngineUnavailable, match="no OPA is running"):
            await engine.query(b"[]", 1.0)
        broken.unlink()
        async with asyncio.timeout(5):
            while not engine.status().ready:
                await asyncio.sleep(0.02)
        assert (await engine.query(b"[]", 1.0))["digest"] == first.digest
        assert len(list(scratch.glob("issuance-opa-*"))) == 1, "nothing of the failed starts is left behind"
    finally:
        await engine.close()

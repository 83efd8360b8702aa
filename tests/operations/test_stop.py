"""The end of a bridge: polite, rude, and of its parts."""

import json
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.operations.slow import PATIENT, write_slow_policies
from tests.support.bridge import PATH, RunningBridge, request, running_bridge, starting_bridge
from tests.support.waiting import wait_until


def busy(bridge: RunningBridge) -> bool:
    """Whether an OPA works on something."""
    return any(p.name() == "opa" and p.cpu_percent(0.05) > 30 for p in bridge.family())


def gone(processes: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Those of `processes` that still run after this time."""
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    return [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_is_answered_and_on_record(tmp_path: Path, workers: int, how: int) -> None:
    policies = write_slow_policies(tmp_path / "rego")
    server = {**PATIENT["server"], "workers": workers}
    with (
        running_bridge(tmp_path, policies, server=server, engine=PATIENT["engine"]) as bridge,
        ThreadPoolExecutor(4) as pool,
    ):
        family = bridge.family()
        asked: list[Future[Any]] = [pool.submit(_ask_alone, bridge.port, request("slow")) for _ in range(4)]
        wait_until(lambda: busy(bridge))
        assert not any(future.done() for future in asked)
        assert bridge.stop(how) == 0
        replies = [future.result() for future in asked]
        assert [reply["outcome"] for reply in replies] == ["allow"] * 4
        for reply in replies:
            assert bridge.entry_of(reply["decision_id"])["outcome"] == "allow"
        assert not gone(family, 1)
        assert "Traceback" not in bridge.log_text()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", bridge.port))


def _ask_alone(port: int, body: dict[str, Any]) -> dict[str, Any]:
    """One request on a connection of its own, so that workers share them."""
    content = json.dumps(body).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        raw = b""
        while chunk := connection.recv(65536):
            raw += chunk
    reply: dict[str, Any] = json.loads(raw.partition(b"\r\n\r\n")[2])
    return reply


def test_clients_that_say_nothing_do_not_hold_up_the_end(tmp_path: Path) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    with running_bridge(tmp_path) as bridge:
        connections = [socket.create_connection(("127.0.0.1", bridge.port)) for _ in range(3)]
        try:
            connections[1].sendall(head[:30])
            connections[2].sendall(head + b"Content-Length: 100\r\n\r\n{")
            assert bridge.get("/health/live").status_code == 200
            started = time.monotonic()
            assert bridge.stop() == 0
            assert time.monotonic() - started < 10
        finally:
            for connection in connections:
                connection.close()
        assert "Traceback" not in bridge.log_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_survives_a_bridge_that_is_killed(tmp_path: Path, workers: int) -> None:
    with running_bridge(tmp_path, server={"workers": workers}) as bridge:
        family = bridge.family()
        assert len(family) == (2 if workers == 1 else 5)
        replies = [bridge.ask(request("read")) for _ in range(5)]
        bridge.process.kill()
        assert not gone(family, 5)
        assert [bridge.entry_of(reply["decision_id"])["outcome"] for reply in replies] == ["allow"] * 5
    with running_bridge(tmp_path, server={"workers": workers}) as again:
        reply = again.ask(request("read"))
        assert reply["evidence"]["index"] > max(before["evidence"]["index"] for before in replies)
        assert again.entry_of(reply["decision_id"])["epoch"] == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_an_end_while_starting_leaves_nothing(tmp_path: Path, workers: int) -> None:
    own = {"PYTHONUNBUFFERED": "1"}  # not forked: importing is a part of its start, too
    for delay in (0.1, 0.3, 0.45, 0.55, 0.65):
        with starting_bridge(tmp_path / str(delay), env=own, server={"port": 0, "workers": workers}) as starting:
            time.sleep(delay)
            family = starting.look()
            starting.process.terminate()
            assert starting.process.wait(10) in (0, -signal.SIGTERM)  # the latter before it could ask to be told
            assert not gone(family, 2)
            assert "Traceback" not in starting.log_file.read_text()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_next_start_is_the_next_epoch_on_the_same_port_at_once(tmp_path: Path, workers: int) -> None:
    server: dict[str, Any] = {"workers": workers, "port": 0}
    for epoch in (1, 2, 3):
        with running_bridge(tmp_path, server=server) as bridge:
            server["port"] = bridge.port
            entries = [bridge.entry_of(bridge.ask(request("read"))["decision_id"]) for _ in range(3)]
            first = entries[0]["iseq"]
            assert {(entry["epoch"], entry["iseq"]) for entry in entries} == {(epoch, first + n) for n in range(3)}
            assert bridge.stop() == 0
            assert [event["event"] for event in bridge.log_events("denied_unrecorded_at_stop")] == []
        # Two workers that close at the same moment may both leave the WAL to the next start.
        assert workers == 2 or not (bridge.evidence / "evidence.sqlite-wal").exists(), "not closed cleanly"
        assert len(bridge.entries()) == 3 * epoch

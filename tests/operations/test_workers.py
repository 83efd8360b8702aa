"""Several workers: one port, one log, no entry lost or twice, and a worker that ends is started again."""

import json
import socket
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.bridge import PATH, RunningBridge, caller, request, run_cli, running_bridge, write_config
from tests.support.evidence import OF_THE_BRIDGE, all_entries
from tests.support.waiting import wait_until

TWO = {"workers": 2, "deadline_ms": 10_000}
PATIENT = {"deadline_ms": 5_000}


def workers_of(bridge: RunningBridge) -> list[psutil.Process]:
    return [p for p in psutil.Process(bridge.process.pid).children() if "bridge" in p.cmdline()]


def ask_on_a_connection_of_its_own(bridge: RunningBridge, count: int) -> list[dict[str, Any]]:
    """The kernel deals connections out to the workers: many of them reach both."""
    with httpx.Client(base_url=bridge.url, trust_env=False, timeout=30) as client:
        replies = [client.post(PATH, json=request("read", "never")) for _ in range(count)]
    assert {reply.status_code for reply in replies} == {200}
    return [reply.json() for reply in replies]


def assert_one_log(folder: Path, replies: list[dict[str, Any]]) -> dict[str, int]:
    """Every reply has its entry, the index is dense, and iseq has no hole; how many entries each instance has."""
    log = all_entries(folder)
    assert len({entry["id"] for entry in log}) == len(log)
    for reply in replies:
        assert log[reply["evidence"]["index"]]["id"] == reply["decision_id"]
        assert log[reply["evidence"]["index"]]["granted_scopes"] == reply["granted_scopes"]
    assert len({reply["evidence"]["index"] for reply in replies}) == len(replies)
    sequences: dict[tuple[str, int], list[int]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for entry in log:
        sequences[entry["instance"], entry["epoch"]].append(entry["iseq"])
        counts[entry["instance"]] += entry["kind"] not in OF_THE_BRIDGE
    for run, sequence in sequences.items():
        assert sequence == list(range(len(sequence))), run
    return counts


def test_two_workers_write_one_log_without_a_hole(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        assert len({event["port"] for event in bridge.log_events("listening")}) == 1
        assert len(workers_of(bridge)) == 2
        with ThreadPoolExecutor(12) as pool:
            asked = list(pool.map(lambda _: ask_on_a_connection_of_its_own(bridge, 20), range(24)))
        replies = [reply for some in asked for reply in some]
        assert [reply["granted_scopes"] for reply in replies] == [["read"]] * 480
        counts = assert_one_log(bridge.evidence, replies)
        assert sum(counts.values()) == 480
        assert counts.keys() == {"bridge/0", "bridge/1"}
        assert bridge.log_text().count("Ask it something") == 1


def test_a_scrape_of_one_worker_tells_of_all(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        for _ in range(20):
            ask_on_a_connection_of_its_own(bridge, 1)
        assert len(assert_one_log(bridge.evidence, [])) == 2
        # Each worker brings its gauges up to date once a second, whoever is scraped.
        wait_until(lambda: "issuance_in_flight 0.0" in httpx.get(f"{bridge.url}/metrics", trust_env=False).text, 5)
        for _ in range(6):
            text = httpx.get(f"{bridge.url}/metrics", trust_env=False).text
            assert 'issuance_decisions_total{door="native",outcome="allow"} 20.0' in text
            assert "issuance_engine_ready 1.0" in text
            assert "issuance_log_ready 1.0" in text


def test_a_worker_that_is_killed_is_started_again(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        replies = [reply for _ in range(10) for reply in ask_on_a_connection_of_its_own(bridge, 1)]
        victim = workers_of(bridge)[0]
        its_engine = victim.children()
        victim.kill()
        wait_until(lambda: len(bridge.log_events("listening")) == 3, 20)
        assert bridge.process.poll() is None
        assert [event["code"] for event in bridge.log_events("worker_lost")] == [-9]
        assert not psutil.wait_procs(its_engine, timeout=2)[1]
        assert len(workers_of(bridge)) == 2
        replies += [reply for _ in range(20) for reply in ask_on_a_connection_of_its_own(bridge, 1)]
        assert_one_log(bridge.evidence, replies)
        epochs = {(entry["instance"], entry["epoch"]) for entry in bridge.entries()}
        assert len(epochs) == 3
        assert "issuance_engine_ready 1.0" in bridge.get("/metrics").text


def test_no_acknowledged_entry_is_lost_when_workers_are_killed_under_load(tmp_path: Path) -> None:
    replies: list[dict[str, Any]] = []
    stop = threading.Event()

    def load(port: int) -> None:
        """Asks until told to stop; a connection that breaks is no answer, and one that is refused is tried again."""
        while not stop.is_set():
            try:
                replies.append(_ask(port))
            except (ConnectionError, ValueError, IndexError):
                time.sleep(0.02)

    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        threads = [threading.Thread(target=load, args=(bridge.port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for number in range(2):
                before = len(replies)
                wait_until(lambda before=before: len(replies) > before + 50)  # type: ignore[misc]  # a default binds the loop variable
                workers_of(bridge)[number].kill()
                wait_until(lambda number=number: len(bridge.log_events("listening")) == 3 + number, 20)  # type: ignore[misc]  # a default binds the loop variable
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert {reply["outcome"] for reply in replies} == {"allow"}
        assert_one_log(bridge.evidence, replies)


def _ask(port: int) -> dict[str, Any]:
    body = json.dumps(request("read")).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        raw = b""
        while chunk := connection.recv(65536):
            raw += chunk
    reply: dict[str, Any] = json.loads(raw.split(b"\r\n\r\n", 1)[1])
    return reply


def test_a_broken_set_on_disk_keeps_no_worker_from_deciding(tmp_path: Path) -> None:
    """A worker that cannot start again must not take the others, which decide with the set before, with it."""
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        (tmp_path / "rego" / "broken.rego").write_text("package issuance.scope.new\n\nallow if\n")
        workers_of(bridge)[0].kill()
        wait_until(lambda: len(bridge.log_events("worker_lost")) >= 2, 20)
        assert bridge.process.poll() is None
        assert ask_on_a_connection_of_its_own(bridge, 1)[0]["outcome"] == "allow"
        (tmp_path / "rego" / "broken.rego").unlink()
        wait_until(lambda: len(bridge.log_events("listening")) == 3, 20)


@pytest.mark.parametrize("theirs", [1, 2])
def test_no_other_bridge_gets_a_share_of_the_port(tmp_path: Path, theirs: int) -> None:
    """The port is shared among our workers by SO_REUSEPORT: others with an own log must not slip in by it."""
    with running_bridge(tmp_path / "a", server={"workers": 2}) as bridge:
        other = write_config(tmp_path / "b", server={"workers": theirs, "port": bridge.port})
        done = run_cli("serve", "--config", other, timeout=30)
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {bridge.port}: " in done.stderr
        assert "address already in use" in done.stderr.lower()
        assert bridge.ask(request("read"))["outcome"] == "allow"
    assert theirs == 1 or not (tmp_path / "b" / "evidence" / "evidence.sqlite").exists()


def test_a_host_that_is_none_is_named(tmp_path: Path) -> None:
    server = {"host": "no-such-host.invalid", "behind_tls_proxy": True, "port": 0, "workers": 2}
    done = run_cli("serve", "--config", write_config(tmp_path, server=server, callers=[caller("as")]), timeout=40)
    assert done.returncode == 1
    assert "cannot listen on no-such-host.invalid port 0: " in done.stderr
    assert "Traceback" not in done.stderr

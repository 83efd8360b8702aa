"""kill -9 under load and while starting, again and again on one evidence folder: what was acknowledged is there, and
every checkpoint that was ever published still holds."""

import contextlib
import http.client
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.evidence.files import VKEY
from tests.support.bridge import PATH, clean_environment, read_events, request, running_bridge, write_config
from tests.support.nursery import Child, nursery
from tests.support.policies import POLICIES, write_policies
from tests.support.waiting import wait_until
from tests.tree.logs import audit, entries_of, expected_tiles, signed_sizes, tiles_in

from .whole import assert_acknowledged, assert_dense, rows

ROUNDS, CLIENTS = 100, 4
SHORT_S, LONG_S = 0.1, 0.6
"""How long a round lasts at most; a long one begins with a new checkpoint, and another one follows in half a second."""
WHILE_STARTING, LONG = 5, 4
"""Every fifth round ends before the bridge listens, or at about that time; every fourth of the others is a long one."""
PATIENT: dict[str, Any] = {"server": {"deadline_ms": 20_000}, "engine": {"deadline_ms": 15_000}}


class Victims:
    """Bridges on one configuration, one after the other, each to be killed."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._config, self.log_file = config, folder / "bridge.log"
        self._running: Child | None = None

    def start(self) -> None:
        words = ["serve", "--config", str(self._config)]
        with self.log_file.open("wb") as log:
            self._running = nursery().start(words, clean_environment(), out=log, err=log, cwd=Path.cwd())

    def port(self) -> int | None:
        """Where it listens; None while it does not yet."""
        events = read_events(self.log_file, "listening")
        assert "issuance-bridge: " not in self.log_file.read_text()
        return int(events[0]["port"]) if events else None

    def engines(self) -> list[psutil.Process]:
        assert self._running
        return psutil.Process(self._running.pid).children()

    def kill(self) -> None:
        assert self._running
        self._running.kill()
        assert self._running.wait(20) == -signal.SIGKILL, self.log_file.read_text()

    def close(self) -> None:
        if self._running:
            self._running.kill()  # of a round that failed


class Load:
    """Clients that ask until nobody answers any more, and an auditor; `replies` and `checkpoints` are whole ones."""

    def __init__(self, port: int) -> None:
        self.replies: list[dict[str, Any]] = []
        self.checkpoints: list[bytes] = []
        self._port = port
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._look_on))
        for thread in self._threads:
            thread.start()

    @contextlib.contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            yield connection

    def _ask_on(self) -> None:
        body = json.dumps(request("read"))
        with self._connection() as connection:
            while True:
                connection.request("POST", PATH, body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                data = response.read()
                assert response.status == 200, data
                self.replies.append(json.loads(data))

    def _look_on(self) -> None:
        with self._connection() as connection:
            while True:
                connection.request("GET", "/log/checkpoint")
                response = connection.getresponse()
                data = response.read()
                if response.status == 200 and data not in self.checkpoints[-1:]:
                    self.checkpoints.append(data)
                time.sleep(0.02)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def gone(process: psutil.Process) -> bool:
    """Gone, or only waiting to be reaped by whoever inherited it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.timeout(600)
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    policies = write_policies(
        tmp_path / "rego", {name: POLICIES[name] for name in ("issuance.gate", "issuance.scope.read")}
    )
    folder = tmp_path / "evidence"
    victims = Victims(tmp_path, write_config(tmp_path, policies, **PATIENT))
    chance = random.Random(20)
    acknowledged: list[dict[str, Any]] = []
    checkpoints: list[bytes] = []
    engines: list[psutil.Process] = []
    started_s = 1.0
    with contextlib.closing(victims):
        for number in range(ROUNDS):
            victims.start()
            began = time.monotonic()
            if number % WHILE_STARTING == 1:
                time.sleep(chance.uniform(0, started_s))
                victims.kill()
                continue
            port = wait_until(victims.port, 40)
            started_s = time.monotonic() - began
            assert port is not None
            engines += victims.engines()
            load = Load(port)
            wait_until(lambda load=load: len(load.replies) >= CLIENTS, 40)  # type: ignore[misc]  # a default binds the loop variable
            if number % LONG == 0:
                wait_until(lambda load=load: load.checkpoints and load.checkpoints[-1] != load.checkpoints[0])  # type: ignore[misc]  # a default binds the loop variable
            time.sleep(chance.uniform(0, SHORT_S if number % LONG else LONG_S))
            victims.kill()
            load.join()
            assert {reply["outcome"] for reply in load.replies} == {"allow"}
            acknowledged += load.replies
            checkpoints += load.checkpoints
        wait_until(lambda: all(map(gone, engines)), 15)
    assert all("evidence" in reply for reply in acknowledged)
    with running_bridge(tmp_path, policies, **PATIENT) as bridge:
        assert bridge.ask(request("read"))["outcome"] == "allow"
        assert bridge.stop() == 0
    log = rows(folder)
    assert_dense(log)
    assert_acknowledged(log, acknowledged)
    runs = list(dict.fromkeys((row.instance, row.epoch) for row in log))
    assert runs == sorted(runs)
    assert len({instance for instance, _ in runs}) == 1
    assert ROUNDS * (WHILE_STARTING - 1) // WHILE_STARTING < len(runs) <= ROUNDS + 1
    # The load was under way at every kill: some entries were written whose replies nobody got to read.
    decisions = sum(row.entry["kind"] == "decision" for row in log)
    assert decisions > len(acknowledged) > CLIENTS * len(runs) // 2
    report = audit(folder, (folder / VKEY).read_text(), *dict.fromkeys(checkpoints))
    assert report.problems == []
    assert report.entries == len(log)
    assert len(set(checkpoints)) >= ROUNDS // LONG * (WHILE_STARTING - 1) // WHILE_STARTING
    assert tiles_in(folder) == expected_tiles(entries_of(folder), signed_sizes(folder))

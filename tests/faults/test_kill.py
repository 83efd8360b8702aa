"""kill -9 under load and while starting, again and again on one evidence folder: what was acknowledged is there, and
every checkpoint that was ever published still holds."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.evidence.files import VKEY
from tests.support.bridge import PATH, clean_environment, read_events, request, running_bridge, write_config
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

# One process that has imported the bridge, and forks one at each line: half of a start is importing.
NURSERY = """
import os, sys
import bridge.cli.main, bridge.cli.serve
for line in sys.stdin:
    log, config = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        null, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND)
        for source, target in ((null, 0), (out, 1), (out, 2)):
            os.dup2(source, target)
        sys.argv = ["issuance-bridge", "serve", "--config", config]
        bridge.cli.main.run()
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Nursery:
    """Starts bridges on one configuration, one after the other, each to be killed."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._config, self.log_file = config, folder / "bridge.log"
        self._process = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environment(),
        )
        self._pid = 0

    def start(self) -> None:
        assert self._process.stdin
        self.log_file.write_bytes(b"")
        print(self.log_file, self._config, sep="\t", file=self._process.stdin, flush=True)
        self._pid = int(self._answer())

    def port(self) -> int | None:
        """Where it listens; None while it does not yet."""
        events = read_events(self.log_file, "listening")
        assert "issuance-bridge: " not in self.log_file.read_text()
        return int(events[0]["port"]) if events else None

    def engines(self) -> list[psutil.Process]:
        return psutil.Process(self._pid).children()

    def kill(self) -> None:
        pid, self._pid = self._pid, 0
        os.kill(pid, signal.SIGKILL)
        assert int(self._answer()) == -signal.SIGKILL, self.log_file.read_text()

    def close(self) -> None:
        if self._pid:  # a round that failed
            os.kill(self._pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


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
    nursery = Nursery(tmp_path, write_config(tmp_path, policies, **PATIENT))
    chance = random.Random(20)
    acknowledged: list[dict[str, Any]] = []
    checkpoints: list[bytes] = []
    engines: list[psutil.Process] = []
    started_s = 1.0
    with contextlib.closing(nursery):
        for number in range(ROUNDS):
            nursery.start()
            began = time.monotonic()
            if number % WHILE_STARTING == 1:
                time.sleep(chance.uniform(0, started_s))
                nursery.kill()
                continue
            port = wait_until(nursery.port, 40)
            started_s = time.monotonic() - began
            assert port is not None
            engines += nursery.engines()
            load = Load(port)
            wait_until(lambda load=load: len(load.replies) >= CLIENTS, 40)  # type: ignore[misc]  # a default binds the loop variable
            if number % LONG == 0:
                wait_until(lambda load=load: load.checkpoints and load.checkpoints[-1] != load.checkpoints[0])  # type: ignore[misc]  # a default binds the loop variable
            time.sleep(chance.uniform(0, SHORT_S if number % LONG else LONG_S))
            nursery.kill()
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

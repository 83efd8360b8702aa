"""kill -9 under load, again and again on one evidence folder: what was acknowledged is there."""

import contextlib
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.policies import POLICIES, write_policies
from tests.support.waiting import wait_until

from .whole import assert_acknowledged, assert_dense, rows

ROUNDS, CLIENTS = 20, 8
MOST_OF_A_ROUND_S = 0.3


class Load:
    """Clients that ask until nobody answers any more; `replies` are whole ones only."""

    def __init__(self, bridge: RunningBridge) -> None:
        self.replies: list[dict[str, Any]] = []
        self._bridge = bridge
        self._clients = [threading.Thread(target=self._ask_on) for _ in range(CLIENTS)]
        for client in self._clients:
            client.start()

    def _ask_on(self) -> None:
        with httpx.Client(base_url=self._bridge.url, timeout=10, trust_env=False) as client:
            bridge = RunningBridge(**{**vars(self._bridge), "client": client})
            with contextlib.suppress(httpx.TransportError):
                while True:
                    self.replies.append(bridge.ask(request("read")))

    def wait_for_all(self) -> None:
        wait_until(lambda: len(self.replies) >= CLIENTS)

    def join(self) -> None:
        for client in self._clients:
            client.join(20)
            assert not client.is_alive()


def gone_in_time(engine: psutil.Process) -> None:
    """Gone, or only waiting to be reaped by whoever inherited it."""

    def gone() -> bool:
        try:
            return engine.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(gone, 3)


@pytest.mark.timeout(240)
def test_what_was_acknowledged_survives_every_kill(tmp_path: Path) -> None:
    policies = write_policies(
        tmp_path / "rego", {name: POLICIES[name] for name in ("issuance.gate", "issuance.scope.read")}
    )
    chance = random.Random(20)
    acknowledged: list[dict[str, Any]] = []
    with contextlib.ExitStack() as rounds:
        for _ in range(ROUNDS):
            bridge = rounds.enter_context(running_bridge(tmp_path, policies))
            (engine,) = bridge.family()[1:]
            load = Load(bridge)
            load.wait_for_all()
            time.sleep(chance.uniform(0, MOST_OF_A_ROUND_S))
            bridge.process.kill()
            assert bridge.process.wait() == -signal.SIGKILL
            gone_in_time(engine)
            load.join()
            assert {reply["outcome"] for reply in load.replies} == {"allow"}
            acknowledged += load.replies
    assert all("evidence" in reply for reply in acknowledged)
    log = rows(tmp_path / "evidence")
    assert_dense(log)
    assert_acknowledged(log, acknowledged)
    assert list(dict.fromkeys((row.instance, row.epoch) for row in log)) == [
        (log[0].instance, epoch) for epoch in range(1, ROUNDS + 1)
    ]
    # The load was under way at every kill: some entries were written whose replies nobody got to read.
    assert len(log) > len(acknowledged) > ROUNDS * CLIENTS

"""kill -9 under load: every acknowledged entry is in the log afterwards, and no OPA child stays behind."""

import base64
import hashlib
import json
import signal
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.evidence import all_found

ROUNDS = 20
CLIENTS = 8
LOAD_S = 0.4
Receipt = tuple[str, int, str]


def _ask_until_dead(bridge: RunningBridge, acknowledged: list[Receipt]) -> None:
    with httpx.Client(base_url=bridge.url, timeout=10, trust_env=False) as client:
        while True:
            try:
                reply = client.post("/v1/issuance/decisions", json=request("read")).json()
            except httpx.HTTPError:
                return
            evidence = reply["evidence"]
            acknowledged.append((reply["decision_id"], evidence["index"], evidence["leaf_hash"]))


@pytest.mark.timeout(180)
def test_twenty_kills_under_load_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: list[Receipt] = []
    for _ in range(ROUNDS):
        before = len(acknowledged)
        with running_bridge(tmp_path) as bridge:  # on its way out it asserts that nothing of it stays behind
            clients = [threading.Thread(target=_ask_until_dead, args=(bridge, acknowledged)) for _ in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(LOAD_S)
            assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL
            for client in clients:
                client.join()
        assert len(acknowledged) > before, "a round without load shows nothing"
    log = all_found(tmp_path / "evidence")
    for decision_id, index, leaf_hash in acknowledged:
        assert log[index].entry["id"] == decision_id
        assert base64.b64encode(hashlib.sha256(b"\x00" + log[index].data).digest()).decode() == leaf_hash
    places = [(one.index, one.entry["epoch"], one.entry["iseq"]) for one in log]
    assert [index for index, _, _ in places] == list(range(len(log)))
    by_epoch: dict[int, list[int]] = {}
    for _, epoch, iseq in places:
        by_epoch.setdefault(epoch, []).append(iseq)
    assert list(by_epoch) == list(range(1, ROUNDS + 1))
    assert all(iseqs == list(range(len(iseqs))) for iseqs in by_epoch.values())
    assert json.loads(log[-1].data)["kind"] == "decision"

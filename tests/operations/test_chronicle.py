"""What the log tells of the bridge itself: start, heartbeats, stop, changes, and who reads it."""

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.evidence import access, chronicle
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Signer
from tests.support.bridge import PATH, bearer, caller, local_bridge, request, run_cli, running_bridge, write_config
from tests.support.evidence import all_entries
from tests.support.policies import POLICIES, write_policies
from tests.support.waiting import wait_until

SCOPE = """# METADATA
# authors:
#   - {owner}
# custom:
#   risk: {risk}
package issuance.scope["late"]

allow := true
"""


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [entry for entry in all_entries(folder) if entry["kind"] == kind]


def test_a_run_begins_with_start_and_ends_with_stop(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        bridge.ask(request("read"))
        bridge.ask(request("never"))
        assert bridge.stop() == 0
    entries = all_entries(tmp_path / "evidence")
    assert [entry["kind"] for entry in entries] == ["start", "config", "key", "policy", "decision", "decision", "stop"]
    assert [entry["iseq"] for entry in entries] == list(range(7))
    start, config, key, policy, *_, stop = entries
    assert start["worker"] == 0
    assert {item["key"] for item in config["changes"]} >= {"server.port", "evidence.origin", "policy.path"}
    assert key["vkey"] == (tmp_path / "evidence" / "log" / "vkey").read_text().strip()
    assert policy["brought_by"] == {"path": str(tmp_path / "rego")}
    assert {item["change"] for item in policy["changes"]} == {"added"}
    assert {'issuance.scope["read"]', "issuance.gate"} <= {item.get("package") for item in policy["changes"]}
    assert stop["outcomes"] == {"allow": 1, "deny": 1}
    assert stop["last_iseq"] == 5
    assert stop["policy"] == policy["policy"]


def test_a_second_run_tells_only_what_changed(tmp_path: Path) -> None:
    with running_bridge(tmp_path):
        pass
    with running_bridge(tmp_path, server={"deadline_ms": 900}):
        pass
    config = of_kind(tmp_path / "evidence", "config")
    assert [item for item in config[1]["changes"] if item["key"] == "server.deadline_ms"] == [
        {"key": "server.deadline_ms", "from": 1000, "to": 900}
    ]
    assert len(of_kind(tmp_path / "evidence", "key")) == len(of_kind(tmp_path / "evidence", "policy")) == 1


async def test_a_heartbeat_counts_since_the_last_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chronicle, "INTERVAL_S", 0.3)
    callers = [caller("as"), caller("reader", "auditor")]
    async with local_bridge(tmp_path, callers=callers) as bridge:
        for name in ("as", "as", "reader"):
            async with bridge.session.post(PATH, json=request("read"), headers=bearer(name)) as response:
                assert response.status == (200 if name == "as" else 403)
        async with bridge.session.post(PATH, json=request("read"), headers=bearer("nobody")) as response:
            assert response.status == 401
        await wait(lambda: sum(beat["outcomes"].get("allow", 0) for beat in beats(bridge.evidence)) == 2)
        await wait(lambda: len(beats(bridge.evidence)) >= 4)
    told = beats(bridge.evidence)
    assert [sum(beat["refused"].get(name, 0) for beat in told) for name in ("reader", "(unknown)")] == [1, 1]
    assert told[-1]["outcomes"] == {}
    assert max(beat["queue_peak"] for beat in told) >= 1
    for beat in told:
        assert 0 <= beat["last_iseq"] < beat["iseq"]
        assert beat["policy"] == of_kind(bridge.evidence, "policy")[-1]["policy"]
    assert told[-1]["checkpoint"]["size"] >= 1


def beats(folder: Path) -> list[dict[str, Any]]:
    return of_kind(folder, "heartbeat")


async def wait(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.05)


def test_a_policy_that_changes_is_told_with_its_owner(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    with running_bridge(tmp_path, policies) as bridge:

        def told(count: int) -> dict[str, Any]:
            wait_until(lambda: len(of_kind(bridge.evidence, "policy")) == count, 15)
            last = of_kind(bridge.evidence, "policy")[-1]
            (item,) = last["changes"]
            assert last["previous"] == of_kind(bridge.evidence, "policy")[-2]["policy"]
            return dict(item)

        (policies / "late.rego").write_text(SCOPE.format(owner="Payments", risk="high"))
        one = {"package": 'issuance.scope["late"]', "file": "late.rego", "owner": "Payments", "risk": "high"}
        assert told(2) == {"change": "added", **one}
        (policies / "late.rego").write_text(SCOPE.format(owner="Somebody", risk="low"))
        changed = told(3)
        assert changed["marks"] == ["owner_changed", "risk_lowered"]
        assert changed["was"] == {"owner": "Payments", "risk": "high"}
        (policies / "late.rego").unlink()
        assert told(4) == {"change": "removed", **one, "owner": "Somebody", "risk": "low"}


def test_another_signing_key_is_told(tmp_path: Path) -> None:
    with running_bridge(tmp_path):
        pass
    before = Signer.parse((tmp_path / "evidence" / "signing.key").read_text())
    after, key = Signer(before.name, Ed25519PrivateKey.generate()), tmp_path / "new.key"
    key.write_text(f"{after}\n")
    key.chmod(0o600)
    evidence: dict[str, Any] = {"path": str(tmp_path / "evidence"), "key": str(key)}
    refused = run_cli("serve", "--config", write_config(tmp_path, evidence=evidence))
    assert refused.returncode == 1
    assert "A key that was replaced is named in evidence.retired_keys" in refused.stderr
    with running_bridge(tmp_path, evidence={**evidence, "retired_keys": [str(before.verifier)]}) as bridge:
        bridge.ask(request("read"))
    _, change = of_kind(tmp_path / "evidence", "key")
    assert (change["previous"], change["vkey"]) == (str(before.verifier), str(after.verifier))


def test_a_history_that_a_foreign_key_signed_is_not_gone_on_with(tmp_path: Path) -> None:
    """Whoever can write to the database could name a key of their own in it: only the configuration is asked."""
    with running_bridge(tmp_path) as bridge:
        bridge.ask(request("read"))
        config = bridge.config
    folder = tmp_path / "evidence"
    name = Signer.parse((folder / "signing.key").read_text()).name
    forger = Signer(name, Ed25519PrivateKey.generate())
    with contextlib.closing(sqlite3.connect(folder / "evidence.sqlite")) as db, db:
        size, root = db.execute("SELECT size, root FROM checkpoint ORDER BY size DESC LIMIT 1").fetchone()
        note = str(forger.sign(str(Checkpoint(name, size, root)))).encode()
        db.execute("INSERT INTO key VALUES (?, '')", (str(forger.verifier),))
        db.execute("UPDATE checkpoint SET note = ? WHERE size = ?", (note, size))
    shutil.rmtree(folder / "log")
    done = run_cli("serve", "--config", config)
    assert done.returncode == 1
    assert "the last checkpoint in the database does not hold" in done.stderr


def test_one_of_two_workers_tells_of_changes_and_both_of_themselves(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server={"workers": 2}) as bridge:
        assert bridge.stop() == 0
    entries = all_entries(tmp_path / "evidence")
    for kind, instances in (("start", 2), ("stop", 2), ("policy", 1), ("config", 1), ("key", 1)):
        assert len({entry["instance"] for entry in entries if entry["kind"] == kind}) == instances


def test_who_reads_entries_is_on_record(tmp_path: Path) -> None:
    callers = [caller("as"), caller("auditor", "auditor")]
    with running_bridge(tmp_path, callers=callers) as bridge:
        with httpx.Client(base_url=bridge.url, trust_env=False) as client:
            wait_until(lambda: client.get("/log/checkpoint", headers=bearer("auditor")).status_code == 200, 5)
            size = client.get("/log/checkpoint", headers=bearer("auditor")).text.split("\n")[1]
            path = f"tile/entries/000.p/{size}"
            for _ in range(2):
                reply = client.get(f"/log/{path}", headers=bearer("auditor"))
                assert reply.status_code == 200
            assert client.get(f"/log/{path}", headers=bearer("as")).status_code == 403
            assert client.get(f"/log/{path}").status_code == 401
            far = "tile/0/" + "x001/" * 1000 + "001"  # longer than any name of a file
            assert client.get(f"/log/{far}", headers=bearer("auditor")).status_code == 404
        wait_until(lambda: bool(of_kind(bridge.evidence, "access")), 5)
    told = [item for entry in of_kind(tmp_path / "evidence", "access") for item in entry["accesses"]]
    assert {(item["caller"], item["door"], item["read"]) for item in told} == {("auditor", "log", path)}
    assert sum(item["count"] for item in told) == 2


def test_a_large_configuration_with_a_login_in_it_is_told_and_published(tmp_path: Path) -> None:
    names = [f"{'x' * 300}-{n}" for n in range(400)]
    engine = {"url": "http://planted-user:planted-word@127.0.0.1:8181"}
    with running_bridge(tmp_path, server={"secret_names": names}, engine=engine) as bridge:
        wait_until(lambda: "OK " in bridge.cli("log", "verify").stdout, 10)
        config = of_kind(bridge.evidence, "config")
        (told,) = [item for entry in config for item in entry["changes"] if item["key"] == "server.secret_names"]
        assert list(told["to"]) == ["sha256"]
        assert len({entry["id"] for entry in config}) == len(config)
        kept = [path.read_bytes() for path in bridge.evidence.rglob("*") if path.is_file()]
        assert not any(b"planted" in data for data in kept)
        assert "planted" not in bridge.log_text()


async def test_what_could_not_be_told_while_the_log_was_down_is_told_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused calls and readings, however many: in one entry each, which fits."""
    monkeypatch.setattr(chronicle, "INTERVAL_S", 0.2)
    async with local_bridge(tmp_path, callers=[caller("as"), caller("reader", "auditor")]) as bridge:
        database = bridge.evidence / "evidence.sqlite"
        database.rename(database.with_name("away"))
        async with bridge.session.post(PATH, json=request("read"), headers=bearer("as")) as response:
            assert (await response.json())["outcome"] == "deny"
        for round_ in range(20):
            async with bridge.session.post(PATH, json=request("read"), headers=bearer("nobody")) as response:
                assert response.status == 401
            for n in range(64):
                bridge.bridge.accesses.note("reader", "log", f"tile/entries/x{round_:03}/{n:03}")
            await bridge.bridge.accesses.tell()
        await asyncio.sleep(0.5)  # two heartbeats that are lost
        assert bridge.bridge.journal.fault is not None
        database.with_name("away").rename(database)
        await wait(lambda: bridge.bridge.journal.fault is None)
        await wait(lambda: sum(beat["refused"].get("(unknown)", 0) for beat in beats(bridge.evidence)) == 20)
        await bridge.bridge.accesses.tell()
    told = of_kind(bridge.evidence, "access")
    assert sum(item["count"] for entry in told for item in entry["accesses"]) == 20 * 64
    assert max(len(entry["accesses"]) for entry in told) <= access.MAX_NAMED + 1
    assert sum(beat["outcomes"].get("deny", 0) for beat in beats(bridge.evidence)) == 1

"""Every step of the road x every fault: never a yes, never a stack trace to a caller, and always on record.

Seams of our own are made to fail inside a running bridge; requests go over HTTP as ever. Where the log itself is at
fault the record is the process log, the counter, and the `gap` entry that comes first after the recovery.
"""

import asyncio
import concurrent.futures
import errno
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from bridge import errors
from bridge.ports import Receipt
from tests.support.bridge import PATH, LocalBridge, local_bridge, request
from tests.support.evidence import all_entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAULTS: dict[str, BaseException] = {
    "RuntimeError": RuntimeError("secret-of-the-inside"),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError("secret-of-the-inside"),
    "ValueError": ValueError("secret-of-the-inside"),
    "KeyError": KeyError("secret-of-the-inside"),
    "AssertionError": AssertionError(),
    "StopIteration": StopIteration(),
    "OSError": OSError(errno.ENOSPC, "secret-of-the-inside"),
    "TimeoutError": TimeoutError(),
    "CancelledError": asyncio.CancelledError(),
    "ExceptionGroup": ExceptionGroup("secret-of-the-inside", [RuntimeError()]),
    "EngineUnavailable": errors.EngineUnavailable("secret-of-the-inside"),
    "EngineTimeout": errors.EngineTimeout("secret-of-the-inside"),
    "EvaluationFailed": errors.EvaluationFailed("secret-of-the-inside"),
    "PolicyMismatch": errors.PolicyMismatch("secret-of-the-inside"),
    "PolicyRefused": errors.PolicyRefused(["secret-of-the-inside"]),
    "EvidenceUnavailable": errors.EvidenceUnavailable("secret-of-the-inside"),
    "MalformedRequest": errors.MalformedRequest([("/scopes", "secret-of-the-inside")]),
}
# Where each step's work is done: an object or module, found through the bridge, and the name that is made to fail.
Seam = tuple[Callable[[LocalBridge], Any], str]
ROAD: dict[str, Seam] = {
    "gather": (lambda b: "bridge.pdp.decide", "gather"),
    "encode": (lambda b: "bridge.pdp.decide", "encode"),
    "evaluate": (lambda b: "bridge.pdp.ask", "evaluate"),
    "query": (lambda b: b.bridge.engine, "query"),
    "accepted": (lambda b: b.bridge.engine, "accepted"),
    "read": (lambda b: "bridge.pdp.evaluate", "read_verdict"),
    "combine": (lambda b: "bridge.pdp.decide", "combine"),
    "status": (lambda b: b.bridge.engine, "status"),
    "record": (lambda b: b.bridge.decide._recorder, "record"),
}
LOG: dict[str, Seam] = {
    "append": (lambda b: b.bridge.journal, "append"),
    "commit": (lambda b: store(b), "commit"),
}
DOOR: dict[str, Seam] = {
    "authenticate": (lambda b: "bridge.doors._callers.Callers", "authenticate"),
    "read": (lambda b: "bridge.doors.native", "read_body"),
    "parse": (lambda b: "bridge.doors.native", "parse"),
    "reply": (lambda b: "bridge.doors.native", "reply"),
    "encode": (lambda b: "bridge.doors.native", "encode"),
}


def store(bridge: LocalBridge) -> Any:
    return bridge.bridge.journal._store


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalBridge]:
    folder = tmp_path_factory.mktemp("injector")
    async with local_bridge(folder, server={"deadline_ms": 600}, engine={"deadline_ms": 200}) as bridge:
        yield bridge


@pytest_asyncio.fixture(loop_scope="module")
async def bridge(running: LocalBridge) -> AsyncIterator[LocalBridge]:
    """The bridge, well before the test and well again after it."""
    await until_well(running)
    yield running
    await until_well(running)


async def until_well(bridge: LocalBridge) -> None:
    async with asyncio.timeout(10):
        while (await bridge.ask(request("read", "write")))["granted_scopes"] != ["read", "write"]:
            await asyncio.sleep(0.05)


def break_seam(monkeypatch: pytest.MonkeyPatch, bridge: LocalBridge, seam: Seam, fault: BaseException) -> None:
    found, name = seam
    target = found(bridge)

    def fail(*arguments: Any, **named: Any) -> Any:
        raise fault

    async def fail_later(*arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        raise fault

    broken = fail_later if name in ("evaluate", "query", "read_body") else fail
    if isinstance(target, str):
        monkeypatch.setattr(f"{target}.{name}", broken)
    else:
        monkeypatch.setattr(target, name, broken)


def assert_says_nothing(text: str) -> None:
    assert not re.search(r"secret-of-the-inside|Traceback|\wError|Exception|File \"|\.py", text)


async def asked(bridge: LocalBridge) -> Any:
    """The denial that must come, whatever is broken."""
    async with bridge.session.post(PATH, json=request("read", "write")) as response:
        text = await response.text()
    assert response.status == 200, text
    assert_says_nothing(text)
    reply = json.loads(text)
    assert (reply["outcome"], reply["granted_scopes"]) == ("deny", [])
    assert {name: scope["outcome"] for name, scope in reply["scopes"].items()} == {"read": "deny", "write": "deny"}
    return reply


def codes(reply: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in reply["findings"]]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", ROAD)
async def test_on_the_road(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, step: str, fault: str) -> None:
    with monkeypatch.context() as broken:
        break_seam(broken, bridge, ROAD[step], FAULTS[fault])
        reply = await asked(bridge)
    entry = bridge.entry_of(reply["decision_id"])
    assert entry["reply"] == {"outcome": "deny", "code": codes(reply)[0]}
    assert (entry["outcome"], entry["granted_scopes"], entry["kind"]) == ("deny", [], "decision")
    assert {scope["outcome"] for scope in entry["scopes"].values()} == {"deny"}
    assert entry["request"]["client"] == {"id": "c"}
    assert {e["path"] for e in entry["exceptions"]} <= {"fail_closed", "policy_error"}
    assert entry["exceptions"]
    assert all_entries(bridge.evidence)[reply["evidence"]["index"]] == entry


async def assert_told_later(bridge: LocalBridge, logged: list[Any], before: float, since: int) -> None:
    """Not on record as an entry of its own: told in the process log, counted, and made up for by a `gap`."""
    await until_well(bridge)
    assert [e for e in logged if e["event"] == "denied_unrecorded"]
    denied = await bridge.metric("issuance_denied_unrecorded_total") - before
    assert denied >= 1
    first, *_ = (e for e in bridge.entries()[since:] if e["kind"] != "rules")
    assert first["kind"] == "gap"
    assert (first["reply"], first["from"] <= first["to"]) == ({"outcome": "deny", "code": "evidence_unavailable"}, True)
    assert sum(e["denied"] for e in bridge.entries()[since:] if e["kind"] == "gap") == denied


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", LOG)
async def test_in_the_log(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any], step: str, fault: str
) -> None:
    before, since = await bridge.metric("issuance_denied_unrecorded_total"), len(bridge.entries())
    with monkeypatch.context() as broken:
        break_seam(broken, bridge, LOG[step], FAULTS[fault])
        reply = await asked(bridge)
        assert codes(reply) == ["evidence_unavailable"]
        assert "evidence" not in reply
        assert reply["decision_id"] not in {e["id"] for e in bridge.entries()}
    await assert_told_later(bridge, logged, before, since)


async def test_neither_an_entry_nor_its_makeshift_can_be_made(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    before, since = await bridge.metric("issuance_denied_unrecorded_total"), len(bridge.entries())
    with monkeypatch.context() as broken:
        for name in ("record", "defect"):
            break_seam(broken, bridge, (lambda b: b.bridge.decide._recorder, name), FAULTS["MemoryError"])
        assert codes(await asked(bridge)) == ["evidence_unavailable"]
    await assert_told_later(bridge, logged, before, since)


@pytest.mark.parametrize("step", ["reopen", "holds"])
async def test_in_the_recovery(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any], step: str
) -> None:
    before, since = await bridge.metric("issuance_denied_unrecorded_total"), len(bridge.entries())
    with monkeypatch.context() as broken:
        break_seam(broken, bridge, (store, step), FAULTS["RuntimeError"])
        with monkeypatch.context() as once:
            break_seam(once, bridge, (store, "commit"), FAULTS["OSError"])
            assert codes(await asked(bridge)) == ["evidence_unavailable"]
        await asyncio.sleep(0.4)
        assert codes(await asked(bridge)) == ["evidence_unavailable"], "no yes before the gap is told"
        async with bridge.session.get("/health/ready") as response:
            assert response.status == 503
    await assert_told_later(bridge, logged, before, since)


async def test_the_gap_itself_cannot_be_written(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    before, since = await bridge.metric("issuance_denied_unrecorded_total"), len(bridge.entries())
    commit = store(bridge).commit

    def only_decisions(records: Any) -> Any:
        if any(record.entry["kind"] == "gap" for record in records):
            raise OSError(errno.EIO, "not this one")
        return commit(records)

    with monkeypatch.context() as broken:
        broken.setattr(store(bridge), "commit", only_decisions)
        with monkeypatch.context() as once:
            break_seam(once, bridge, (store, "commit"), FAULTS["OSError"])
            await asked(bridge)
        await asyncio.sleep(0.5)
        assert codes(await asked(bridge)) == ["evidence_unavailable"]
    await assert_told_later(bridge, logged, before, since)


async def test_a_commit_that_fails_and_is_there_all_the_same(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a failed sync: the caller was denied, so the entry that says `allow` is overruled."""
    commit = store(bridge).commit

    def written_and_failed(records: Any) -> Any:
        commit(records)
        raise OSError(errno.EIO, "sync")

    with monkeypatch.context() as broken:
        broken.setattr(store(bridge), "commit", written_and_failed)
        reply = await asked(bridge)
    assert codes(reply) == ["evidence_unavailable"]
    await until_well(bridge)
    entries = bridge.entries()
    (at,) = (n for n, e in enumerate(entries) if e["id"] == reply["decision_id"])
    assert entries[at]["outcome"] == "allow"
    gap, overruled = entries[at + 1 : at + 3]
    assert gap["kind"] == "gap"
    assert (overruled["kind"], overruled["decision_id"]) == ("overruled", reply["decision_id"])
    assert overruled["reply"] == {"outcome": "deny", "code": "evidence_unavailable"}


async def test_a_receipt_too_few(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        commit = store(bridge).commit
        broken.setattr(store(bridge), "commit", lambda records: commit(records)[:-1])
        reply = await asked(bridge)
    assert codes(reply) == ["evidence_unavailable"]
    await until_well(bridge)
    assert [e["kind"] for e in bridge.entries() if e.get("decision_id") == reply["decision_id"]] == ["overruled"]


async def test_a_sync_beyond_the_deadline(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, slow = store(bridge).commit, [1.0]

    def late(records: Any) -> Any:
        time.sleep(slow.pop() if slow else 0)
        return commit(records)

    with monkeypatch.context() as broken:
        broken.setattr(store(bridge), "commit", late)
        began = time.monotonic()
        reply = await asked(bridge)
        assert 0.5 < time.monotonic() - began < 0.9
        assert codes(reply) == ["deadline"]
        assert "evidence" not in reply
        await until_well(bridge)
    found = [e for e in bridge.entries() if reply["decision_id"] in (e["id"], e.get("decision_id"))]
    assert [e["kind"] for e in found] == ["decision", "overruled"]
    assert found[0]["outcome"] == found[1]["overruled"] == "allow"
    assert found[1]["reply"] == {"outcome": "deny", "code": "deadline"}


@pytest.mark.parametrize("ending", ["never", "cancelled"])
async def test_a_receipt_that_does_not_come(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    def append(*records: Any) -> asyncio.Future[Receipt]:
        promised: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        if ending == "cancelled":
            promised.cancel()
        return promised

    with monkeypatch.context() as broken:
        broken.setattr(bridge.bridge.journal, "append", append)
        reply = await asked(bridge)
    assert codes(reply) == ["deadline" if ending == "never" else "evidence_unavailable"]


async def test_an_engine_that_ignores_its_deadline(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def query(items: bytes, timeout_s: float) -> Any:
        await asyncio.sleep(30)

    with monkeypatch.context() as broken:
        broken.setattr(bridge.bridge.engine, "query", query)
        began = time.monotonic()
        reply = await asked(bridge)
    assert time.monotonic() - began < 0.8
    assert codes(reply) == ["deadline"]
    assert bridge.entry_of(reply["decision_id"])["reply"]["code"] == "deadline"


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", DOOR)
async def test_at_the_door(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, logged: list[Any], step: str, fault: str
) -> None:
    """Nothing was decided, or nothing could be said: an error that nobody can read as a yes."""
    before = len(bridge.entries())
    with monkeypatch.context() as broken:
        break_seam(broken, bridge, DOOR[step], FAULTS[fault])
        try:
            async with bridge.session.post(PATH, json=request("read")) as response:
                text = await response.text()
        except aiohttp.ServerDisconnectedError:
            assert fault == "CancelledError"
            return
    if step == "reply":
        await until_well(bridge)
        decided, told, *_ = bridge.entries()[before:]
        assert (told["kind"], told["decision_id"], told["overruled"]) == ("overruled", decided["id"], "allow")
        assert told["reply"] == {"outcome": "deny", "code": None}
    if fault == "MalformedRequest":
        assert response.status == 400
        return
    assert response.status == 500
    assert response.content_type == "application/problem+json"
    assert_says_nothing(text)
    assert json.loads(text)["status"] == 500
    assert "door_defect" in [event["event"] for event in logged]


@pytest.mark.parametrize("name", ["decided", "step"])
async def test_a_number_that_cannot_be_noted_changes_no_answer(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with monkeypatch.context() as broken:
        break_seam(broken, bridge, (lambda b: b.bridge.decide._metrics, name), FAULTS["OSError"])
        reply = await bridge.ask(request("read"))
        if name == "decided":
            assert reply["outcome"] == "allow"
    assert bridge.entry_of(reply["decision_id"])["outcome"] == "allow"


async def test_a_caller_who_hangs_up_is_on_record_all_the_same(
    bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, entered = bridge.bridge.engine.query, asyncio.Event()

    async def slow(items: bytes, timeout_s: float) -> Any:
        entered.set()
        await asyncio.sleep(0.1)
        return await query(items, timeout_s)

    since = len(bridge.entries())
    with monkeypatch.context() as broken:
        broken.setattr(bridge.bridge.engine, "query", slow)
        leaving = asyncio.create_task(bridge.ask(request("read", client={"id": "leaver"})))
        await entered.wait()
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        async with asyncio.timeout(2):
            while len(bridge.entries()) == since:
                await asyncio.sleep(0.02)
    assert bridge.entries()[since]["request"]["client"] == {"id": "leaver"}


async def test_many_at_once_when_the_log_fails(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is denied once, counted once; nobody is left waiting; what was acknowledged before stays."""
    before, since = await bridge.metric("issuance_denied_unrecorded_total"), len(bridge.entries())
    commit, good = store(bridge).commit, [True]

    def fails_later(records: Any) -> Any:
        if not good:
            raise OSError(errno.ENOSPC, "full")
        good.pop()
        time.sleep(0.05)  # the rest gathers behind the first
        return commit(records)

    with monkeypatch.context() as broken:
        broken.setattr(store(bridge), "commit", fails_later)
        replies = await asyncio.gather(*(bridge.ask(request("read")) for _ in range(60)))
        granted = [r for r in replies if r["outcome"] == "allow"]
        denied = [r for r in replies if codes(r) == ["evidence_unavailable"]]
        assert granted
        assert denied
        assert len(granted) + len(denied) == 60
    await until_well(bridge)
    entries = bridge.entries()
    everything = all_entries(bridge.evidence)
    for reply in granted:
        assert everything[reply["evidence"]["index"]]["id"] == reply["decision_id"]
    assert not {r["decision_id"] for r in denied} & {e["id"] for e in entries}
    counted = await bridge.metric("issuance_denied_unrecorded_total") - before
    assert counted == sum(e["denied"] for e in entries[since:] if e["kind"] == "gap") >= len(denied)


async def test_a_thread_pool_that_is_shut(bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        shut = concurrent.futures.ThreadPoolExecutor(1)
        shut.shutdown()
        broken.setattr(bridge.bridge.journal, "_thread", shut)
        assert codes(await asked(bridge)) == ["evidence_unavailable"]

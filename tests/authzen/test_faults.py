"""Faults behind the AuthZEN door: a 200 with `decision: false` for each item, on record, and never a yes by half."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog

from bridge.errors import EvidenceUnavailable
from bridge.ports import Record
from tests.authzen.asking import EVALUATION, EVALUATIONS, batch, code, gate, item, says, user, values, write_saying
from tests.faults.wire import Asked, HostileServer, honest, hostile_server, http
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge
from tests.support.waiting import until

OTHER = "https://other.example"
DOOR = item("open", resource={"type": "door", "id": "d"})
BATCH = batch(gate(), "s:a", item("s:b", target=OTHER), item("s:c", user("bob")), DOOR, item("x", resource={"id": 1}))
ISSUED = [0, 1, 2]
"""The items of it that are about issuance and have a gate."""
SINGLE = {"subject": user(), "action": {"name": gate()}, "resource": {"type": "audience", "id": OTHER}}


@pytest.fixture(autouse=True)
def logged() -> Any:
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture
async def server() -> AsyncIterator[HostileServer]:
    async with hostile_server() as server:
        yield server


@pytest.fixture
async def lied_to(server: HostileServer, tmp_path: Path) -> AsyncIterator[LocalBridge]:
    """A bridge whose engine answers whatever `server` is told."""
    policies = write_saying(tmp_path / "rego")
    engine = {"kind": "opa", "url": server.url, "deadline_ms": 300}
    async with local_bridge(tmp_path, policies, engine=engine) as bridge:
        yield bridge


@pytest.fixture
async def honest_bridge(tmp_path: Path) -> AsyncIterator[LocalBridge]:
    slow = {"deadline_ms": 5000}
    policies = write_saying(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, server=slow, engine={"deadline_ms": 2500}) as bridge:
        yield bridge


async def ask(bridge: LocalBridge, body: Any, path: str = EVALUATIONS, **options: Any) -> Any:
    async with bridge.session.post(path, json=body, **options) as response:
        text = await response.text()
        assert response.status == 200, text
        assert not any(word in text for word in ("Traceback", "Error", ".py"))
        return json.loads(text)


async def items(bridge: LocalBridge, body: Any, **options: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await ask(bridge, body, **options))["evaluations"]
    return found


def answer(asked: Asked, digest: str) -> dict[str, Any]:
    """The kernel's answer by a set that allows everything, other tuples included."""
    result: dict[str, Any] = {"digest": digest, "items": []}
    for one in asked.items:
        if "resource" in one:
            result["items"].append({"id": one["id"], "resource": one["resource"], "rules": {"allow": True}})
        else:
            (said,) = honest(Asked([one], 0), digest, package="issuance.scope_prefix")["result"]["items"]
            for scope in said["scopes"].values():
                scope["package"] = 'issuance.scope_prefix["s:"]'
            result["items"].append(said)
    return {"result": result}


def digest_of(bridge: LocalBridge) -> str:
    current = bridge.bridge.policies.current
    assert current is not None
    return current.digest


def change(what: Callable[[dict[str, Any]], Any]) -> Callable[[Asked, str], bytes]:
    def lie(asked: Asked, digest: str) -> bytes:
        told = answer(asked, digest)
        for one in told["result"]["items"]:
            what(one)
        return http(told)

    return lie


def turned(asked: Asked, digest: str) -> bytes:
    told = answer(asked, digest)
    told["result"]["items"].reverse()
    return http(told)


async def _never(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


LIES: dict[str, tuple[str, Callable[[Asked, str], Any]]] = {
    "down": ("engine_unavailable", lambda asked, digest: http(b"{}", "503 Service Unavailable")),
    "nonsense": ("engine_unavailable", lambda asked, digest: http(b"yes")),
    "allow everything": ("engine_unavailable", lambda asked, digest: http({"result": True})),
    "late": ("deadline", lambda asked, digest: _never),
    "no items": ("engine_unavailable", lambda asked, digest: http({"result": {"digest": digest, "items": []}})),
    "another set": ("policy_mismatch", lambda asked, digest: http(answer(asked, "0" * 64))),
    "another id": ("engine_unavailable", change(lambda one: one.update(id="x.0"))),
    "another resource": (
        "engine_unavailable",
        change(lambda one: one.update(resource="window") if "resource" in one else one.update(gate=[{}, {}])),
    ),
    "more rules": (
        "engine_unavailable",
        change(lambda o: o["rules"].update(x=1) if "rules" in o else o["scopes"].update(x=o["gate"])),
    ),
}


@pytest.mark.parametrize("name", LIES)
async def test_whatever_the_engine_does_each_item_is_denied_and_on_record(
    lied_to: LocalBridge, server: HostileServer, name: str
) -> None:
    digest = digest_of(lied_to)
    server.reply = lambda asked: http(answer(asked, digest))
    assert [one["decision"] for one in await items(lied_to, BATCH)] == [True, True, True, False, True, False]
    before = len(lied_to.entries())
    expected, lie = LIES[name]
    server.reply = lambda asked: lie(asked, digest) if not asked.probe else http(answer(asked, digest))
    reply = await items(lied_to, BATCH)
    assert [one["decision"] for one in reply] == [False] * 6
    assert {code(reply[n]) for n in (0, 1, 2, 4)} == {expected}
    assert code(reply[3]) == "gate_missing"
    assert reply[5]["context"]["error"]["status"] == 400
    entries = lied_to.entries()[before:]
    assert sorted(n for entry in entries for n in entry["batch"]["items"]) == list(range(6))
    assert all(entry["exceptions"][0]["path"] == "fail_closed" for entry in entries)
    single = await ask(lied_to, SINGLE, EVALUATION)
    assert (single["decision"], code(single)) == (False, expected)
    server.reply = lambda asked: http(answer(asked, digest))
    assert (await ask(lied_to, SINGLE, EVALUATION))["decision"] is True


async def test_answers_in_another_order_are_none(lied_to: LocalBridge, server: HostileServer) -> None:
    digest = digest_of(lied_to)
    server.reply = lambda asked: turned(asked, digest)
    two = batch(gate(), item("s:b", target=OTHER), "s:a")
    assert {code(one) for one in await items(lied_to, two)} == {"engine_unavailable"}


def _give(context: Any, one: dict[str, Any]) -> None:
    one["rules"] = {"allow": True, "context": context}


def _told(lie: Callable[[Asked, str], bytes], digest: str, asked: Asked) -> bytes:
    return lie(asked, digest)


@pytest.mark.parametrize("allow", [1, "true", [], ["x"], {}, {"code": "x"}, None, [{"code": "x"}], [True]])
async def test_only_true_permits_another_tuple(lied_to: LocalBridge, server: HostileServer, allow: Any) -> None:
    digest = digest_of(lied_to)
    door = {**SINGLE, "action": {"name": "open"}, "resource": {"type": "door", "id": "d"}}
    server.reply = lambda asked: change(lambda one: one.update(rules={"allow": allow}))(asked, digest)
    reply = await ask(lied_to, door, EVALUATION)
    assert (reply["decision"], code(reply)) == (False, "policy_error")
    for context in values("x", [], True, 1, {"x": [1e19]}):
        lie = change(partial(_give, context))
        server.reply = partial(_told, lie, digest)
        reply = await ask(lied_to, door, EVALUATION)
        assert (reply["decision"], code(reply)) == (False, "policy_error"), context
    server.reply = lambda asked: change(lambda one: one.update(rules={"allow": False, "context": {"why": 1}}))(
        asked, digest
    )
    reply = await ask(lied_to, door, EVALUATION)
    assert reply == {"decision": False, "context": {"reason_admin": {"403": "no_allow"}, "why": 1}}


async def test_a_failing_package_denies_its_own_items_only(honest_bridge: LocalBridge) -> None:
    failing = item("open", resource={"type": "failing", "id": "x"})
    body = batch(
        gate(), "failing", "s:a", item("failing", target=OTHER), item("s:b", target=OTHER), failing, DOOR, failing
    )
    reply = await items(honest_bridge, body)
    assert [one["decision"] for one in reply] == [True, False, True, False, True, False, True, False]
    assert {code(reply[n]) for n in (1, 3, 5, 7)} == {"policy_error"}
    assert "to_number" not in json.dumps(reply)
    messages = [e["message"] for entry in honest_bridge.entries() for e in entry["exceptions"]]
    assert any("to_number" in message for message in messages)


class Failing:
    """Stands before the journal: entries that `broken` picks are refused, or never become durable."""

    def __init__(self, bridge: LocalBridge, broken: Callable[[dict[str, Any]], bool], *, late: bool = False) -> None:
        self._journal = bridge.bridge.decide._prover._journal
        self._broken, self._late = broken, late
        for prover in (bridge.bridge.decide._prover, bridge.bridge.tuples._prover):
            prover._journal = self

    def append(self, *records: Record) -> Any:
        if not self._broken(records[0].entry):
            return self._journal.append(*records)
        if not self._late:
            raise EvidenceUnavailable("no space left")
        self._journal.append(*records)
        return asyncio.get_running_loop().create_future()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)


async def test_without_a_log_all_is_denied(honest_bridge: LocalBridge) -> None:
    before = len(honest_bridge.entries())
    Failing(honest_bridge, lambda entry: True)
    reply = await items(honest_bridge, BATCH)
    assert [one["decision"] for one in reply] == [False] * 6
    assert {code(reply[n]) for n in (0, 1, 2, 3, 4)} <= {"evidence_unavailable", "gate_denied", "gate_missing"}
    assert [code(reply[n]) for n in (0, 4)] == ["evidence_unavailable"] * 2
    assert (await ask(honest_bridge, SINGLE, EVALUATION))["decision"] is False
    assert not [entry for entry in honest_bridge.entries()[before:] if "batch" in entry]


def items_of(entry: dict[str, Any]) -> list[int]:
    return list(entry.get("batch", {}).get("items", []))


async def overruled(bridge: LocalBridge, count: int) -> list[dict[str, Any]]:
    async def found() -> list[dict[str, Any]]:
        told = [entry for entry in bridge.entries() if entry["kind"] == "overruled"]
        return told if len(told) >= count else []

    return await until(found, 5)


@pytest.mark.parametrize("late", [False, True])
async def test_a_scope_whose_gates_entry_fails_is_denied(honest_bridge: LocalBridge, late: bool) -> None:
    """The scope's own entry stands, and a further one tells that it was overruled."""
    honest_bridge.bridge.decide._limits = type(honest_bridge.bridge.decide._limits)(1.0, 0.5)
    Failing(honest_bridge, lambda entry: items_of(entry) == [0, 1], late=late)
    reply = await items(honest_bridge, batch(gate(), "s:a", item("s:b", target=OTHER), item(gate(), user("bob"))))
    assert [one["decision"] for one in reply] == [False, False, False, True]
    assert code(reply[0]) == ("deadline" if late else "evidence_unavailable")
    assert code(reply[2]) == "gate_denied"
    (entry,) = [entry for entry in honest_bridge.entries() if items_of(entry) == [2]]
    told = await overruled(honest_bridge, 1 + late)
    (one,) = [one for one in told if one["decision_id"] == entry["id"]]
    assert (one["overruled"], one["reply"]) == ("allow", {"outcome": "deny", "code": "gate_denied"})


async def test_a_gate_whose_scopes_entry_fails_stands(honest_bridge: LocalBridge) -> None:
    Failing(honest_bridge, lambda entry: items_of(entry) == [2])
    reply = await items(
        honest_bridge, batch(gate(), "s:a", item("s:b", target=OTHER), item("s:c", target="https://t3"))
    )
    assert [one["decision"] for one in reply] == [True, True, False, True]
    assert code(reply[2]) == "evidence_unavailable"
    assert not [entry for entry in honest_bridge.entries() if entry["kind"] == "overruled"]


async def test_the_entry_of_other_tuples_fails_alone(honest_bridge: LocalBridge) -> None:
    Failing(honest_bridge, lambda entry: entry["kind"] == "evaluation")
    reply = await items(honest_bridge, BATCH)
    assert [one["decision"] for one in reply] == [True, True, True, False, False, False]
    assert code(reply[4]) == "evidence_unavailable"


async def told_of_load(bridge: LocalBridge) -> dict[str, Any]:
    async def found() -> list[dict[str, Any]]:
        return [entry for entry in bridge.entries() if entry["kind"] == "overloaded"]

    (entry,) = await until(found, 5)
    return entry


async def test_more_than_may_be_in_flight_is_denied(tmp_path: Path) -> None:
    policies = write_saying(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, server={"max_in_flight": 1}, callers=[caller("as")]) as bridge:
        assert bridge.bridge.admission.enter()
        reply = await items(bridge, BATCH, headers=bearer("as"))
        assert [one["decision"] for one in reply] == [False] * 6
        assert {code(reply[n]) for n in (0, 1, 2, 4)} == {"overloaded"}
        bridge.bridge.admission.summarize()
        # As many as there would have been entries: two documents, and one for the other tuples.
        assert (await told_of_load(bridge))["callers"] == [{"caller": "as", "door": "authzen", "denied": 3}]
        bridge.bridge.admission.leave()
        reply = await items(bridge, batch(gate(), "s:a"), headers=bearer("as"))
        assert [one["decision"] for one in reply] == [True, True]
        assert bridge.bridge.admission.in_flight == 0


async def test_a_reply_that_cannot_be_made_is_overruled(
    honest_bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No yes leaves: neither the decisions nor the other tuples stand as if it had."""

    def broken(*arguments: Any, **named: Any) -> Any:
        raise ValueError("defect")

    monkeypatch.setattr("bridge.doors.authzen.evaluate._until", broken)
    async with honest_bridge.session.post(EVALUATIONS, json=BATCH) as response:
        assert response.status == 500
        assert "defect" not in (await response.text()).replace("has a defect", "")
    told = await overruled(honest_bridge, 3)
    stand = {entry["id"] for entry in honest_bridge.entries() if "batch" in entry}
    assert {one["decision_id"] for one in told} == stand


async def test_results_that_cannot_be_sent_are_overruled(
    honest_bridge: LocalBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **named: Any) -> Any:
        raise ValueError("defect")

    monkeypatch.setattr("bridge.doors.authzen.search.SearchDoor._reply", broken)
    search = {**DOOR, "subject": user(), "resource": {"type": "nothing"}}
    async with honest_bridge.session.post("/access/v1/search/resource", json=search) as response:
        assert response.status == 500
    (told,) = await overruled(honest_bridge, 1)
    (entry,) = [entry for entry in honest_bridge.entries() if entry["kind"] == "search"]
    assert (told["decision_id"], told["reply"]) == (entry["id"], {"outcome": "deny", "code": None})


async def test_the_same_batch_many_times_at_once(honest_bridge: LocalBridge) -> None:
    told = says(s_b={"deny": ["no"]})
    replies = await asyncio.gather(*(items(honest_bridge, {**BATCH, "context": told}) for _ in range(20)))
    assert {tuple(one["decision"] for one in reply) for reply in replies} == {(True, True, False, False, True, False)}
    batches = [entry["batch"]["id"] for entry in honest_bridge.entries()]
    assert len(set(batches)) == 20


async def test_answers_that_a_failed_commit_left_behind_are_overruled(honest_bridge: LocalBridge) -> None:
    """The caller was told no, or nothing at all, of a batch and of a search alike."""
    store: Any = honest_bridge.bridge.journal._store
    commit = store.commit

    def failing(records: Any) -> Any:
        store.commit = commit
        commit(records)
        raise EvidenceUnavailable("the sync failed, they say")

    before = len(honest_bridge.entries())
    store.commit = failing
    search = {**DOOR, "subject": user(), "resource": {"type": "door"}}
    reply, response = await asyncio.gather(
        items(honest_bridge, BATCH), honest_bridge.session.post("/access/v1/search/resource", json=search)
    )
    assert [one["decision"] for one in reply] == [False] * 6
    assert (response.status, await response.json()) == (503, {"error": "evidence_unavailable"})
    await overruled(honest_bridge, 1)
    entries = honest_bridge.entries()[before:]
    answers = {e["id"] for e in entries if e["kind"] in ("decision", "evaluation", "search")}
    assert answers
    assert {e["decision_id"] for e in entries if e["kind"] == "overruled"} == answers

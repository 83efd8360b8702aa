"""What the bridge asks of an engine (`bridge.ports.Engine`), and what all of them must answer alike."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.engines.opa import OpaServer
from bridge.errors import EngineTimeout, EngineUnavailable, EvaluationFailed
from bridge.model.limit import Limit
from bridge.model.policy import PolicySet
from bridge.pdp.evaluate import Ask, Verdicts, evaluate
from bridge.ports import Engine

from .servers import ENGINES, Running, policy_set


def loop(length: int) -> str:
    """A rule that allows after `length` times `length` steps."""
    steps = f"some x in numbers.range(1, {length}); some y in numbers.range(1, {length}); x * y == -1"
    return f"allow if count([1 | {steps}]) == 0"


POLICIES = {
    "issuance.gate": """
allow contains {"code": "open", "title": "Open"}
deny contains {"code": "blocked"} if input.client.id == "blocked"
""",
    "issuance.scope.read": 'allow := true\nlimit := {"token_lifetime": 60}',
    "issuance.scope.never": 'deny contains {"code": "never"}',
    "issuance.scope.typed": 'allow := true\nclaims := {"n": 1, "x": 0.5, "t": true, "s": "å", "l": [1, "1", null]}',
    "issuance.scope.undefined": "allow if input.nothing",
    "issuance.scope.boolean_deny": "allow := true\ndeny := true",
    "issuance.scope.conflict": 'allow := true\nlimit := {"token_lifetime": x} if some x in [1, 2]',
    "issuance.scope.date": """
allow := true
deny contains {"code": "late"} if time.parse_rfc3339_ns(input.context.d) > 0
""",
    "issuance.scope.shape": 'allow := true\nlimit := {"lifetime": 60}',
    "issuance.scope.slow": loop(20_000),
    "issuance.scope.long": loop(1_700),
    'issuance.scope["a:b/../c"]': "allow := true",
    'issuance.scope_prefix["tenant:"]': 'allow if startswith(input.scope, "tenant:")',
    'issuance.scope_prefix["tenant:acme:"]': 'deny contains {"code": "acme"}',
}


@pytest.fixture(params=ENGINES)
async def running(request: pytest.FixtureRequest, first: PolicySet, tmp_path: Path) -> AsyncIterator[Running]:
    async with ENGINES[request.param](first, tmp_path / "served") as running:
        yield running


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    return policy_set(tmp_path_factory.mktemp("first") / "rego", POLICIES)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> PolicySet:
    return policy_set(tmp_path_factory.mktemp("second") / "rego", {**POLICIES, "issuance.scope.new": "allow := true"})


def document(*scopes: str, client: str = "c", **members: Any) -> bytes:
    return json.dumps({"id": "1", "client": {"id": client}, "scopes": list(scopes), **members}).encode()


async def asked(
    engine: Engine, *scopes: str, deadline_s: float = 2.0, query_s: float = 2.0, **members: Any
) -> Verdicts:
    deadline = time.monotonic() + deadline_s
    asks = [Ask(document(*scopes, **members), scopes=scopes)]
    return (await evaluate(engine, asks, deadline=deadline, query_s=query_s)).verdicts(0, scopes, 0)


def item(gate: bool, *scopes: str, **members: Any) -> bytes:
    question = {"id": "q", "doc": json.loads(document(*scopes, **members)), "gate": gate, "scopes": scopes}
    return json.dumps([question]).encode()


async def test_the_same_verdicts(running: Running, first: PolicySet) -> None:
    scopes = ("read", "never", "typed", "undefined", "boolean_deny", "a:b/../c", "tenant:x", "tenant:acme:1", "unknown")
    verdicts = await asked(running.engine, *scopes)
    assert verdicts.policy_set == first
    assert [f.code for f in verdicts.gate.allow] == ["open"]
    by = verdicts.scopes
    assert by.keys() == set(scopes) - {"unknown"}
    assert {name: ([f.code for f in v.allow], [f.code for f in v.deny], v.error) for name, v in by.items()} == {
        "read": (["allow"], [], None),
        "never": ([], ["never"], None),
        "typed": (["allow"], [], None),
        "undefined": ([], [], None),
        "boolean_deny": (["allow"], ["deny"], None),
        "a:b/../c": (["allow"], [], None),
        "tenant:x": (["allow"], [], None),
        "tenant:acme:1": ([], ["acme"], None),
    }
    assert by["read"].limit == Limit(token_lifetime=60)
    assert json.dumps(dict(by["typed"].claims), sort_keys=True, ensure_ascii=False) == (
        '{"l": [1, "1", null], "n": 1, "s": "å", "t": true, "x": 0.5}'
    )
    blocked = await asked(running.engine, "read", client="blocked")
    assert [f.code for f in blocked.gate.deny] == ["blocked"]


async def test_a_failing_package_fails_the_query_and_then_alone(running: Running) -> None:
    question = item(True, "read", "conflict", "date", context={"d": "never"})
    with pytest.raises(EvaluationFailed, match=r"p6\.rego:\d+|p7\.rego:\d+"):
        await running.engine.query(question, 2.0)
    scopes = ("read", "conflict", "date", "shape", "tenant:x")
    verdicts = await asked(running.engine, *scopes, context={"d": "never"})
    assert {name: v.error is None for name, v in verdicts.scopes.items()} == {
        "read": True,
        "conflict": False,
        "date": False,
        "shape": False,
        "tenant:x": True,
    }
    assert "conflict" in str(verdicts.scopes["conflict"].error)
    assert "time.parse_rfc3339_ns" in str(verdicts.scopes["date"].error)


async def test_a_deadline_ends_one_query_and_no_other(running: Running) -> None:
    began = time.monotonic()
    slow = asyncio.create_task(running.engine.query(item(False, "slow"), 0.3))
    answers = []
    while not slow.done():
        answers.append(await asked(running.engine, "read"))
    with pytest.raises(EngineTimeout):
        await slow
    assert 0.25 < time.monotonic() - began < 1.0
    assert answers
    assert all(a.scopes["read"].allow for a in answers)
    late = await asked(running.engine, "read", deadline_s=0.2)
    assert late.scopes["read"].allow
    with pytest.raises(EngineTimeout):
        await asked(running.engine, "slow", "read", query_s=0.2)


async def test_an_engine_that_is_closed_is_unavailable(running: Running) -> None:
    assert running.engine.status().ready
    await running.engine.close()
    if running.engine.status().kind == "managed":
        with pytest.raises(EngineUnavailable):
            await running.engine.query(item(True), 1.0)
        assert not running.engine.status().ready


async def test_a_swap_drops_no_query_and_mixes_no_answer(running: Running, first: PolicySet, second: PolicySet) -> None:
    engine, seen, stop = running.engine, set(), asyncio.Event()

    async def load() -> int:
        count = 0
        while not stop.is_set():
            verdicts = await asked(engine, "read", "new")
            digest = verdicts.policy_set.digest
            assert ("new" in verdicts.scopes) == (digest == second.digest)
            assert verdicts.gate.allow
            seen.add(digest)
            count += 1
        return count

    loads = [asyncio.create_task(load()) for _ in range(4)]
    await asyncio.sleep(0.1)
    await engine.activate(second)
    running.install(second)
    assert list(engine.accepted()) == [first.digest, second.digest], "newest last"
    async with asyncio.timeout(10):
        while second.digest not in seen:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    stop.set()
    assert min(await asyncio.gather(*loads)) > 0
    assert seen == {first.digest, second.digest}
    assert (await asked(engine, "new")).policy_set.digest == second.digest


async def test_a_long_query_is_answered_across_a_swap(first: PolicySet, second: PolicySet, tmp_path: Path) -> None:
    """Longer than OPA's own grace when it is ended: it was put to the old child, and that one answers it."""
    async with ENGINES["managed"](first, tmp_path) as running:
        long = asyncio.create_task(running.engine.query(item(False, "long"), 120.0))
        await asyncio.sleep(0.1)
        await running.engine.activate(second)
        assert not long.done(), "too short to show anything"
        answer = await long
    assert answer["digest"] == first.digest
    assert answer["items"][0]["scopes"]["long"]["rules"] == {"allow": True}


async def test_status_tells_what_answers(running: Running) -> None:
    status = running.engine.status()
    assert (status.ready, status.detail, status.version) == (True, "", "1.22.2")
    assert status.kind in ("managed", "opa")


async def test_the_newest_sets_are_accepted_and_the_oldest_go(first: PolicySet) -> None:
    engine = OpaServer("http://127.0.0.1:9")
    for number in range(10):
        await engine.activate(replace(first, digest=str(number)))
    assert list(engine.accepted()) == list("23456789")
    await engine.activate(replace(first, digest="4"))
    assert list(engine.accepted()) == list("23567894")


async def test_a_server_that_stays_with_a_replaced_set_is_not_believed_for_ever(
    first: PolicySet, second: PolicySet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.engines.opa.REPLACED_S", 2.0)
    async with ENGINES["opa over tcp"](first, tmp_path) as running:
        await running.engine.activate(second)  # and the server goes on with the first
        assert list(running.engine.accepted()) == [first.digest, second.digest]
        assert running.engine.status().ready
        async with asyncio.timeout(10):
            while running.engine.status().ready:
                await asyncio.sleep(0.05)
        assert list(running.engine.accepted()) == [second.digest]
        await running.engine.activate(first)  # put back: it decides again, and for as long as it likes
        await asyncio.sleep(2.1)
        assert list(running.engine.accepted()) == [first.digest]
        assert running.engine.status().ready

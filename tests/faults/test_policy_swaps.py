"""Policies swapped under load, on disk and in an OPA server by a second writer: each answer is one whole set's own.

For every entry, the digest that it names evaluates to the outcome that it tells; nothing is mixed, nothing dropped.
"""

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bridge import kernel
from bridge.engines.opa import OpaServer
from bridge.errors import PolicyRefused
from bridge.model.policy import PolicySet
from bridge.pdp.combine import combine
from bridge.pdp.evaluate import Ask, evaluate
from bridge.pdp.question import Question
from bridge.policy import source, watch
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from tests.engines.servers import opa_server
from tests.support.bridge import LocalBridge, local_bridge, request
from tests.support.evidence import reading
from tests.support.policies import write_policies

SWAPS_S = 0.01


def flavoured(code: str) -> dict[str, str]:
    """A set in which everything says the same code: a mixture of two would say both."""
    return {
        "issuance.gate": f'allow contains {{"code": "{code}"}}',
        **{f"issuance.scope.s{n}": f'allow contains {{"code": "{code}"}}' for n in range(20)},
    }


@contextmanager
def again_and_again(change: Callable[[int], None]) -> Iterator[None]:
    """`change` a hundred times a second, beside everything else."""
    stop = threading.Event()

    def work() -> None:
        for number in itertools.count():
            if stop.wait(SWAPS_S):
                return
            change(number)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@asynccontextmanager
async def load_on(bridge: LocalBridge, body: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
    """Asks the same from four sides until the end of the block; every reply is kept."""
    stop, replies = asyncio.Event(), list[dict[str, Any]]()

    async def side() -> None:
        while not stop.is_set():
            replies.append(await bridge.ask(body))

    sides = [asyncio.create_task(side()) for _ in range(4)]
    try:
        yield replies
    finally:
        stop.set()
        await asyncio.gather(*sides)


async def until(happens: Callable[[], Awaitable[object]], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not await happens():
            await asyncio.sleep(0.02)


def link(path: Path, target: Path) -> None:
    """Sets `path` to `target` in one step, as releases are switched."""
    fresh = path.with_name("fresh")
    fresh.symlink_to(target)
    fresh.replace(path)


async def codes_now(bridge: LocalBridge) -> set[str]:
    reply = await bridge.ask(request("s0", "s19"))
    assert reply["outcome"] == "allow"
    return {f["code"] for f in reply["findings"]} | {f["code"] for s in reply["scopes"].values() for f in s["findings"]}


async def test_a_folder_swapped_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    """Looked at as often as it is swapped, so that looks fall into swaps."""
    monkeypatch.setattr(watch, "INTERVAL_S", 0.015)
    sets = [write_policies(tmp_path / name, flavoured(name)) for name in ("a", "b")]
    digests = {load(folder, find_opa()).digest: folder.name for folder in sets}
    policies = tmp_path / "rego"
    link(policies, sets[0])
    async with local_bridge(tmp_path, policies) as bridge:
        async with load_on(bridge, request("s0", "s7", "s19")) as replies:
            with again_and_again(lambda number: link(policies, sets[number % 2])):
                await asyncio.sleep(3.0)
            link(policies, sets[1])

            async def taken_up() -> bool:
                return await codes_now(bridge) == {"b"}

            await until(taken_up)
        assert {reply["outcome"] for reply in replies} == {"allow"}, "not one was dropped"
        entries = [entry for entry in bridge.entries() if entry["kind"] == "decision"]
        assert len(entries) >= len(replies)
        for entry in entries:
            assert {rule["code"] for rule in entry["rules"]} == {digests[entry["policy"]["digest"]]}
        assert not [event for event in logged if event["event"] in ("policy_refused", "policy_not_taken_up")]


def test_a_mixture_never_has_the_signature_of_a_whole(tmp_path: Path) -> None:
    """What tells a torn read from a whole one: the marks of the very files that were read."""
    policies, aside = tmp_path / "rego", tmp_path / "aside"
    other = write_policies(tmp_path / "b", flavoured("b"))
    write_policies(policies, flavoured("a"))
    whole = {source.signature(policies)}

    def exchange(number: int) -> None:
        policies.rename(aside)
        other.rename(policies)
        aside.rename(other)

    exchange(0)
    whole.add(source.signature(policies))
    mixed, until = 0, time.monotonic() + 2
    with again_and_again(exchange):
        while time.monotonic() < until:
            with suppress(PolicyRefused):  # for a moment the folder is not there
                found = source.read(policies)
                if len({b'"a"' in content for content in found.modules.values()}) == 2:
                    mixed += 1
                    assert found.signature not in whole
    assert mixed, "the test tore nothing"


async def test_files_written_in_place_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File by file: while they change nothing is taken up; when they rest, the whole is."""
    monkeypatch.setattr(watch, "INTERVAL_S", 0.1)
    policies = write_policies(tmp_path / "rego", flavoured("a"))
    first = load(policies, find_opa()).digest
    contents = {name: flavoured(name) for name in ("a", "b", "c")}

    def rewrite(number: int) -> None:
        package = list(contents["a"])[number % 21]
        name = "abc"[number // 21 % 3]
        (policies / f"p{number % 21}.rego").write_text(f"package {package}\n\n{contents[name][package]}\n")

    async with local_bridge(tmp_path, policies) as bridge:
        async with load_on(bridge, request("s0", "s19")) as replies:
            with again_and_again(rewrite):
                await asyncio.sleep(2.0)
            write_policies(policies, contents["c"])

            async def taken_up() -> bool:
                return await codes_now(bridge) == {"c"}

            await until(taken_up)
        assert {reply["outcome"] for reply in replies} == {"allow"}
        last = load(policies, find_opa()).digest
        assert {entry["policy"]["digest"] for entry in bridge.entries()} == {first, last}


async def test_a_broken_set_is_refused_while_the_old_one_decides(tmp_path: Path, logged: list[Any]) -> None:
    policies = write_policies(tmp_path / "rego", flavoured("a"))
    async with local_bridge(tmp_path, policies) as bridge:
        refused, began = 'issuance_policy_loads_total{result="refused"}', time.monotonic()
        async with load_on(bridge, request("s0", "s19")) as replies:
            (policies / "p3.rego").write_text("package issuance.scope.s2\n\nallow := x\n")
            await until(lambda: bridge.metric(refused))
            assert time.monotonic() - began < 5
            async with bridge.session.get("/health/ready") as response:
                body = await response.json()
            assert (response.status, body["status"]) == (200, "degraded")
            assert "p3.rego" in body["reasons"][0]
            (event,) = (event for event in logged if event["event"] == "policy_refused")
            assert "p3.rego" in event["reasons"][0]
            assert await codes_now(bridge) == {"a"}
            began = time.monotonic()
            write_policies(policies, flavoured("b"))

            async def taken_up() -> bool:
                return await codes_now(bridge) == {"b"}

            await until(taken_up)
            assert time.monotonic() - began < 5
        assert {reply["outcome"] for reply in replies} == {"allow"}
        async with bridge.session.get("/health/ready") as response:
            assert (await response.json())["status"] == "ready"
        assert await bridge.metric(refused) == 1


BY_DATA = {
    "issuance.gate": 'allow contains {"code": data.flavour.code}',
    "issuance.scope.read": 'allow contains {"code": data.flavour.code} if data.flavour.read',
    "issuance.scope.write": 'allow if data.flavour.write\nlimit := {"token_lifetime": data.flavour.life}',
}
FLAVOURS: list[dict[str, Any]] = [
    {"code": "a", "read": True, "write": True, "life": 60},
    {"code": "b", "read": True, "write": False, "life": 300},
    {"code": "c", "read": True, "write": True, "life": 9999},  # this one is never accepted
]


async def test_an_opa_that_a_second_writer_swaps_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.05)
    sets: list[PolicySet] = []
    for flavour in FLAVOURS:
        folder = write_policies(tmp_path / f"set-{flavour['code']}", BY_DATA, {"flavour": flavour})
        sets.append(load(folder, find_opa()))
    policies, served = write_policies(tmp_path / "rego", BY_DATA, {"flavour": FLAVOURS[0]}), tmp_path / "served"
    served.mkdir()
    for file in (*policies.glob("*.rego"),):
        (served / file.name).write_bytes(file.read_bytes())
    for name, content in kernel.MODULES.items():
        (served / name).write_bytes(content)
    (served / "data.json").write_text(json.dumps(data_of(0, sets)))
    # Not a bundle: whoever may speak to it may write to it.
    async with opa_server(served) as server, aiohttp.ClientSession(server.url) as writer:

        async def swap(number: int) -> None:
            members = data_of(number, sets).items()
            patch = [{"op": "replace", "path": f"/{name}", "value": value} for name, value in members]
            async with writer.patch("/v1/data", json=patch) as response:
                assert response.status == 204, await response.text()

        async def swap_all_the_time() -> None:
            while True:
                await swap(random.randrange(3))
                await asyncio.sleep(SWAPS_S)

        async with local_bridge(tmp_path, policies, engine={"kind": "opa", "url": server.url}) as bridge:
            (policies / "data.json").write_text(json.dumps({"flavour": FLAVOURS[1]}))

            async def both_accepted() -> bool:
                return bridge.bridge.engine.accepted().keys() == {sets[0].digest, sets[1].digest}

            await until(both_accepted)
            async with load_on(bridge, request("read", "write")) as replies:
                swapping = asyncio.create_task(swap_all_the_time())
                await asyncio.sleep(3.0)
                swapping.cancel()
                await asyncio.gather(swapping, return_exceptions=True)
        seen = await replayed(bridge, sets, server.url, swap)
    assert seen[sets[0].digest] > 10
    assert seen[sets[1].digest] > 10
    assert seen["policy_mismatch"] > 10
    assert seen.total() == len(replies)


def data_of(number: int, sets: list[PolicySet]) -> dict[str, Any]:
    index = {
        "digest": sets[number].digest,
        "scopes": dict(sets[number].scopes),
        "prefixes": {},
        "prefix_lengths": [],
    }
    return {"flavour": FLAVOURS[number], "issuance": {"index": index}}


async def replayed(
    bridge: LocalBridge, sets: list[PolicySet], url: str, swap: Callable[[int], Awaitable[None]]
) -> Counter[str]:
    """Every entry's recorded input, evaluated by the set that the entry names, gives the entry's outcome."""
    engine, seen = OpaServer(url), Counter[str]()
    entries = [entry for entry in bridge.entries() if entry["kind"] == "decision"]
    with reading(bridge.evidence) as reader:
        for number, policy_set in enumerate(sets):
            await swap(number)
            await engine.activate(policy_set)
            for entry in entries:
                if entry.get("policy", {}).get("digest") != policy_set.digest:
                    continue
                assert number != 2, "an answer by a set that was never accepted"
                raw = reader.document(reader.named(entry["id"])[0])
                assert raw is not None
                document = json.loads(raw)
                scopes = tuple(document["scopes"])
                asks = [Ask(raw, scopes=scopes)]
                said = await evaluate(engine, asks, deadline=time.monotonic() + 5, query_s=5)
                verdicts = said.verdicts(0, scopes, 0)
                assert verdicts.policy_set == policy_set
                again = combine(Question(document, 0), verdicts.gate, verdicts.scopes)
                assert (again.outcome, list(again.granted_scopes)) == (entry["outcome"], entry["granted_scopes"])
                assert again.limit.token_lifetime == entry["limit"].get("token_lifetime")
                assert [f.code for f in again.findings] == [f["code"] for f in entry["findings"]]
                seen[policy_set.digest] += 1
    await engine.close()
    for entry in entries:
        if "policy" not in entry:
            assert entry["reply"] == {"outcome": "deny", "code": "policy_mismatch"}
            seen["policy_mismatch"] += 1
    return seen

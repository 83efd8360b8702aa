"""What is kept of a source's answers, for whom, and when the source is asked."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import SourceFailed
from bridge.model.source import Declared, Held, Key, SourceAnswer, Status
from bridge.ops.breaker import Breaker
from bridge.sources import fetch
from bridge.sources.cache import Cache
from bridge.sources.fetch import FetchedSource

DECLARED = Declared("s", "owner", (("client", "id"), ("subject", "id")), frozenset({"x"}), max_age_s=60)


@dataclass
class Store:
    """A fetcher whose value tells for whom it is."""

    delay_s: float = 0.0
    fault: SourceFailed | None = None
    fetched: Counter[Key] = field(default_factory=Counter)

    async def start(self) -> None: ...

    async def fetch(self, key: Key) -> Held:
        self.fetched[key] += 1
        at = time.monotonic()
        await asyncio.sleep(self.delay_s)
        if self.fault is not None:
            raise self.fault
        return Held({"for": list(key)}, at, 20)

    async def close(self) -> None: ...


def soon(seconds: float = 1.0) -> float:
    return time.monotonic() + seconds


words = st.text(alphabet=["a", "b", "/", " ", ",", '"', "\x00", "é"], min_size=1, max_size=3)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=30), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_nobody_is_given_the_answer_of_another(keys: list[Key], max_values: int) -> None:
    async def run() -> None:
        asked = FetchedSource(DECLARED, Store(delay_s=0.0005), 1)
        asked._cache = Cache(60, max_values)
        for part in (keys, keys[::-1]):
            answers = await asyncio.gather(*(asked.ask(key, soon()) for key in part))
            assert [(a.status, a.value) for a in answers] == [(Status.FRESH, {"for": list(key)}) for key in part]
        await asked.close()

    asyncio.run(run())


async def test_equal_questions_in_flight_are_one() -> None:
    store = Store(delay_s=0.05)
    asked = FetchedSource(DECLARED, store, 1)
    answers = await asyncio.gather(*(asked.ask(("a", "b"), soon()) for _ in range(20)))
    assert {a.status for a in answers} == {Status.FRESH} and store.fetched == {("a", "b"): 1}
    await asked.close()


async def test_who_gives_up_waiting_takes_no_answer_from_others() -> None:
    store = Store(delay_s=0.1)
    asked = FetchedSource(DECLARED, store, 1)
    first = asyncio.create_task(asked.ask(("a", "b"), soon()))
    second = asyncio.create_task(asked.ask(("a", "b"), soon()))
    await asyncio.sleep(0.02)
    first.cancel()
    assert (await asked.ask(("a", "b"), soon(0.01))).error == "no answer within the request's deadline"
    assert (await second).status is Status.FRESH
    assert first.cancelled() and store.fetched == {("a", "b"): 1}
    await asked.close()


async def test_a_question_that_nobody_waits_for_any_more_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "AT_ONCE", 1)
    store = Store(delay_s=0.2)
    asked = FetchedSource(DECLARED, store, 1)
    first = asyncio.create_task(asked.ask(("first", "x"), soon()))
    await asyncio.sleep(0.02)
    hurried = await asyncio.gather(*(asked.ask((f"{n}", "x"), soon(0.05)) for n in range(20)))
    assert {answer.error for answer in hurried} == {"no answer within the request's deadline"}
    patient = await asyncio.gather(asked.ask(("0", "x"), soon()), asked.ask(("0", "x"), soon(0.01)))
    assert [answer.status for answer in patient] == [Status.FRESH, Status.FAILED]
    assert (await first).status is Status.FRESH
    assert set(store.fetched) == {("first", "x"), ("0", "x")}
    await asked.close()


async def test_the_breaker_opens_fails_at_once_and_lets_one_probe_through() -> None:
    now = [0.0]
    store = Store(fault=SourceFailed("down"))
    asked = FetchedSource(DECLARED, store, 1, Breaker(threshold=3, open_s=1, clock=lambda: now[0]))

    async def ask(name: str) -> SourceAnswer:
        return await asked.ask((name, "x"), soon())

    assert [(await ask(f"{n}")).error for n in range(5)] == ["down"] * 3 + ["the circuit breaker is open"] * 2
    assert asked.trouble() == "down (breaker open)"
    now[0] = 1.0
    store.delay_s = 0.05
    probes = await asyncio.gather(*(ask(f"p{n}") for n in range(4)))
    assert sorted(str(p.error) for p in probes) == ["down"] + ["the circuit breaker is open"] * 3
    store.fault = None
    assert (await ask("early")).error == "the circuit breaker is open"
    now[0] = 2.5
    assert (await ask("probe")).status is Status.FRESH
    assert asked.trouble() is None
    assert (await ask("after")).status is Status.FRESH
    await asked.close()


async def test_an_answer_that_is_no_use_does_not_open_the_breaker() -> None:
    store = Store(fault=SourceFailed("it answers with status 404", alive=True))
    asked = FetchedSource(DECLARED, store, 1, Breaker(threshold=2))
    for n in range(10):
        assert (await asked.ask((f"{n}", "x"), soon())).error == "it answers with status 404"
    assert sum(store.fetched.values()) == 10 and asked.trouble() is None


async def test_a_failure_is_not_kept() -> None:
    store = Store(fault=SourceFailed("down"))
    asked = FetchedSource(DECLARED, store, 1)
    assert (await asked.ask(("a", "b"), soon())).status is Status.FAILED
    store.fault = None
    assert (await asked.ask(("a", "b"), soon())).status is Status.FRESH


async def test_an_open_breaker_serves_stale_values_where_they_are_declared() -> None:
    declared = Declared("s", "o", (("a",),), frozenset({"x"}), max_age_s=0, on_failure="stale", max_stale_s=60)
    store = Store()
    asked = FetchedSource(declared, store, 1, Breaker(threshold=1))
    assert (await asked.ask(("a",), soon())).status is Status.FRESH
    store.fault = SourceFailed("down")
    for _ in range(3):
        answer = await asked.ask(("a",), soon())
        assert (answer.status, answer.value) == (Status.STALE, {"for": ["a"]})
    assert (await asked.ask(("b",), soon())).status is Status.FAILED


async def test_stopping_ends_what_is_in_flight() -> None:
    asked = FetchedSource(DECLARED, Store(delay_s=30), 60)
    waiting = asyncio.create_task(asked.ask(("a", "b"), soon(60)))
    await asyncio.sleep(0.01)
    await asked.close()
    assert (await waiting).status is Status.FAILED


def test_the_cache_is_bounded_by_number_and_bytes_and_drops_what_is_used_least() -> None:
    cache = Cache(60, max_values=3, max_bytes=1000)
    for n in range(3):
        cache.put((f"{n}",), Held(n, 0.0, 10))
    assert cache.get(("0",), 1.0) is not None
    cache.put(("3",), Held(3, 0.0, 10))
    assert [cache.get((f"{n}",), 1.0) is None for n in range(4)] == [False, True, False, False]
    cache.put(("big",), Held("", 0.0, 980))
    assert len(cache) <= 2 and cache.get(("big",), 1.0) is not None
    cache.put(("bigger",), Held("", 0.0, 5000))
    assert cache.get(("bigger",), 1.0) is None and len(cache) == 0


def test_a_value_that_is_replaced_takes_no_room() -> None:
    cache = Cache(60, max_bytes=100)
    cache.put(("a",), Held("kept", 0.0, 10))
    for at in range(50):
        cache.put(("b",), Held(at, float(at), 10))
    assert len(cache) == 2 and cache.get(("a",), 50.0) is not None


def test_an_old_value_is_dropped_and_an_earlier_answer_replaces_no_later_one() -> None:
    cache = Cache(10)
    cache.put(("a",), Held("later", 5.0, 1))
    cache.put(("a",), Held("earlier", 4.0, 1))
    held = cache.get(("a",), 15.0)
    assert held is not None and held.value == "later"
    assert cache.get(("a",), 15.1) is None and len(cache) == 0


@pytest.mark.parametrize(
    "document", [{}, {"a": {}}, {"a": {"b": None}}, {"a": {"b": 1}}, {"a": "b"}, {"a": {"b": "x" * 1025}}]
)
def test_what_is_no_text_is_no_key(document: dict[str, object]) -> None:
    assert Declared("s", "o", (("a", "b"),)).key_of(document) == "the request has no usable text at /a/b"

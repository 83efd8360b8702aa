"""A source that is asked over the network: from the cache, from a question in flight, or anew; breaker included."""

import asyncio
import time
from typing import Protocol

import structlog

from bridge.errors import SourceFailed
from bridge.model.source import Declared, Held, Key, SourceAnswer, answer_of, fall_back
from bridge.ops.breaker import Breaker
from bridge.sources.cache import Cache

AT_ONCE = 64
"""Questions to one source side by side; what is beyond waits for its turn, while somebody waits for its answer."""
log = structlog.get_logger(__name__)


class Fetcher(Protocol):
    """Asks the system itself."""

    async def start(self) -> None: ...

    async def fetch(self, key: Key) -> Held:
        """Raises SourceFailed and nothing else. Takes as long as it takes."""

    async def close(self) -> None: ...


class FetchedSource:
    """Equal questions that come while one is in flight wait for its answer; nobody who gives up waiting ends it."""

    def __init__(self, declared: Declared, fetcher: Fetcher, timeout_s: float, breaker: Breaker | None = None) -> None:
        self.declared = declared
        self._fetcher, self._timeout_s = fetcher, timeout_s
        self._breaker = breaker or Breaker()
        self._cache = Cache(max(declared.max_age_s, declared.max_stale_s))
        self._in_flight: dict[Key, asyncio.Task[Held | str]] = {}
        self._wanted_until: dict[Key, float] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._failing: str | None = None

    async def start(self) -> None:
        await self._fetcher.start()

    async def ask(self, key: Key, until: float) -> SourceAnswer:
        now = time.monotonic()
        held = self._cache.get(key, now)
        if held is not None and now - held.at <= self.declared.max_age_s:
            return answer_of(self.declared, held, now)
        task = self._in_flight.get(key)
        if task is None:
            task = asyncio.create_task(self._fetched(key), name=f"source-{self.declared.name}")
            self._in_flight[key] = task
            task.add_done_callback(lambda _: self._forget(key))
        self._wanted_until[key] = max(until, self._wanted_until.get(key, until))
        # Not wait_for: whoever else waits for this answer must get it.
        await asyncio.wait((task,), timeout=max(0.0, until - now))
        came = "no answer within the request's deadline" if not task.done() else _result(task)
        now = time.monotonic()
        return (
            fall_back(self.declared, held, now, came) if isinstance(came, str) else answer_of(self.declared, came, now)
        )

    def trouble(self) -> str | None:
        return None if self._failing is None else f"{self._failing} (breaker {self._breaker.state})"

    async def close(self) -> None:
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.close()

    async def _fetched(self, key: Key) -> Held | str:
        """What came, or why nothing did."""
        async with self._slots:
            if time.monotonic() > self._wanted_until[key]:
                return "no turn within the request's deadline"  # or a slow source would be asked for nobody, ever later
            if not self._breaker.enter():
                return "the circuit breaker is open"
            try:
                async with asyncio.timeout(self._timeout_s):
                    held = await self._fetcher.fetch(key)
            except TimeoutError:
                return self._failed(f"no answer within {self._timeout_s * 1000:g} ms")
            except SourceFailed as error:
                return self._answered(str(error)) if error.alive else self._failed(str(error))
            except asyncio.CancelledError:
                self._breaker.abandoned()
                raise
            except Exception as error:  # a defect is a failure of this source
                log.exception("source_defect", source=self.declared.name)
                return self._failed(f"defect: {type(error).__name__}")
            self._cache.put(key, held)
            self._answered("")
            return held

    def _forget(self, key: Key) -> None:
        del self._in_flight[key], self._wanted_until[key]

    def _answered(self, text: str) -> str:
        """It is there, even where it has nothing for this key: one bad key must not close it for all others."""
        self._breaker.succeeded()
        if self._failing is not None:
            log.info("source_recovered", source=self.declared.name)
        self._failing = None
        return text

    def _failed(self, text: str) -> str:
        self._breaker.failed()
        if self._failing is None:
            log.warning("source_failed", source=self.declared.name, owner=self.declared.owner, reason=text)
        self._failing = text
        return text


def _result(task: asyncio.Task[Held | str]) -> Held | str:
    return "the bridge is stopping" if task.cancelled() else task.result()

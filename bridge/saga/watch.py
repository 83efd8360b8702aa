"""Sees to it that every ending has its saga, whoever wrote it: another worker, a command, a bridge that was killed."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.issued import TokenDigest
from bridge.model.times import now_ms
from bridge.ops.metrics import Metrics
from bridge.pdp.lifecycle import Lifecycle
from bridge.ports import Connector
from bridge.saga.downstream import Downstream
from bridge.saga.outbox import Ending, news
from bridge.saga.saga import Means, Saga

LOOK_S = 1.0
log = structlog.get_logger(__name__)


class Sagas:
    """Of one log, in one process: two would do everything twice."""

    def __init__(
        self,
        means: Means,
        digest: TokenDigest,
        connectors: Sequence[Connector],
        lifecycle: Lifecycle,
        alarm_after_s: int,
        metrics: Metrics,
    ) -> None:
        self._means, self._digest, self._connectors = means, digest, connectors
        self._lifecycle, self._alarm_after_s, self._metrics = lifecycle, alarm_after_s, metrics
        self._upto = -1
        self._running: dict[asyncio.Task[None], Saga] = {}
        self._alarmed: set[int] = set()
        self._fault: str | None = None

    async def run(self) -> None:
        """Until it is cancelled; what was begun is broken off then, and goes on after the next start."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LOOK_S)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def observe(self) -> None:
        """Brings the gauge up to date, and tells once of each saga that takes too long."""
        self._metrics.unconfirmed(len(self._running))
        for ending in self._late():
            if ending.index not in self._alarmed:
                self._alarmed.add(ending.index)
                what, age = ending.entry["what"], (now_ms() - ending.at_ms) // 1000
                log.error("revocation_unconfirmed", ending=ending.index, ending_id=ending.id, what=what, age_s=age)

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        late = self._late()
        oldest = min((one.index for one in late), default=None)
        told = f"{len(late)} endings are not confirmed after {self._alarm_after_s} s, the oldest at {oldest}"
        found = [f"{told}: see `lifecycle status`"] if late else []
        return found if self._fault is None else [*found, f"endings cannot be looked for: {self._fault}"]

    def _late(self) -> list[Ending]:
        """By the clock, or, where that was set back, by how long the saga has been running."""
        since, since_s = now_ms() - self._alarm_after_s * 1000, time.monotonic() - self._alarm_after_s
        sagas = self._running.values()
        return [saga.ending for saga in sagas if saga.ending.at_ms <= since or saga.taken_up <= since_s]

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(news, self._means.folder, self._digest, self._upto)
        except EvidenceUnavailable as error:
            if self._fault is None:
                log.warning("revocation_delayed", reason=str(error))
            self._fault = str(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever it was, the look must go on
            if self._fault is None:
                log.error("revocation_defect", reason=type(error).__name__)
            self._fault = f"defect: {type(error).__name__}"
            return
        self._fault, self._upto = None, found.upto
        for saga in self._running.values():
            if saga.ending.digest in found.begun:
                saga.poked.set()
        for ending in found.endings:
            saga = Saga(ending, self._means, [*self._connectors, Downstream(self._lifecycle, ending)])
            task = asyncio.create_task(saga.run(), name=f"saga-{ending.index}")
            self._running[task] = saga
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        saga = self._running.pop(task)
        self._alarmed.discard(saga.ending.index)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("revocation_defect", ending=saga.ending.index, reason=type(error).__name__)

"""Publishes the log in the background, never on the decision path: integrate, sign, cosign, publish, twice a second."""

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from bridge.errors import BridgeError, LogForked
from bridge.evidence.cosign import Witnesses
from bridge.evidence.publish import Publisher
from bridge.ops.metrics import Metrics

INTERVAL_S = 0.5
RETRY_S = 1.0
REST_S = 0.1
"""Between two steps at least, however long the first one took."""
STALE_S = 3.0
log = structlog.get_logger(__name__)


class Publication:
    """`fault` says why nothing is published now; after `LogForked` nothing is until a person has looked."""

    def __init__(self, publisher: Publisher, metrics: Metrics, witnesses: Witnesses | None = None) -> None:
        self._publisher, self._metrics, self._witnesses = publisher, metrics, witnesses
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publisher")
        self._forked = False
        self._reopen = False
        self._covered = time.monotonic()
        self._stale = False
        self.fault: str | None = None

    async def start(self) -> None:
        """LogForked or EvidenceUnavailable when the log cannot be gone on with."""
        await self._in_thread(self._publisher.open)
        self._covered = time.monotonic()

    async def greet(self) -> None:
        """LogForked when a witness has seen more than was signed here, or something else. After `start`."""
        if self._witnesses is not None and self._publisher.note is not None:
            await self._witnesses.greet(self._publisher.note, self._prove)

    async def run(self) -> None:
        """Until it is cancelled."""
        spent = 0.0
        while True:
            await asyncio.sleep(max(REST_S, (INTERVAL_S if self.fault is None else RETRY_S) - spent))
            began = time.monotonic()
            await self.step()
            spent = time.monotonic() - began

    async def step(self) -> None:
        """Publishes what is new. Never raises: what goes wrong is told, and tried again."""
        if self._forked:
            return
        began = time.monotonic()
        try:
            if self._reopen:
                await self._in_thread(self._publisher.open)
            self._reopen = True  # until all of the step is done: a half-taken one, or a cancelled one, is begun anew
            if await self._advance():
                self._covered = began
        except LogForked as error:
            self._forked = True
            self._tell(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, decisions go on and publishing is tried again
            self._tell(error)
        else:
            self._reopen = False
            if self.fault is not None:
                log.warning("publishing_recovered")
            self.fault = None

    async def _advance(self) -> bool:
        """Whether the published checkpoint covers all that was there when this began."""
        waiting = await self._in_thread(self._publisher.integrate)
        note = self._publisher.note
        if note is not None and self._witnesses is not None:
            note = await self._witnesses.cosign(note, self._prove)
            if note is None:
                return False
        # A witness may have answered late about what is published already.
        if note is not None and (waiting is not None or note != self._publisher.note):
            await self._in_thread(self._publisher.publish, note)
        self._metrics.published(self._publisher.signed.size)
        return True

    def observe(self) -> None:
        """Brings the gauge up to date; tells when the published checkpoint has fallen behind, and when it is back."""
        age = self._age_s()
        self._metrics.checkpoint_age(age)
        if (age > STALE_S) != self._stale:
            self._stale = not self._stale
            if self._stale:
                log.error("checkpoint_stale", seconds=round(age, 1), reasons=self.warnings())
            else:
                log.warning("checkpoint_current")

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = [] if self._witnesses is None else self._witnesses.failing()
        if (age := self._age_s()) > STALE_S:
            found.insert(0, f"the published checkpoint is {age:.0f} s behind the log")
        if self.fault is not None:
            found.insert(0, f"the log is not published: {self.fault}")
        return found

    async def close(self) -> None:
        """Publishes what is left."""
        await self.step()
        await self.abandon()

    async def abandon(self) -> None:
        """Publishes nothing more."""
        if self._witnesses is not None:
            await self._witnesses.close()
        await self._in_thread(self._publisher.close)
        self._thread.shutdown()

    def _age_s(self) -> float:
        """For how long the published checkpoint may not have covered the whole log, in s."""
        return time.monotonic() - self._covered

    def _tell(self, error: Exception) -> None:
        known = isinstance(error, (BridgeError, OSError, sqlite3.Error))
        self.fault = str(error) or type(error).__name__
        self._metrics.publish_fault()
        log.error("publishing_stopped", reason=self.fault, forked=self._forked, exc_info=None if known else error)

    async def _prove(self, old: int, new: int) -> list[bytes]:
        proof: list[bytes] = await self._in_thread(self._publisher.consistency, old, new)
        return proof

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

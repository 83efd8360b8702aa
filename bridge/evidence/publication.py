"""Publishes the log in the background, never on the decision path: integrate, sign, publish, twice a second."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from bridge.errors import BridgeError, EvidenceUnavailable, LogForked
from bridge.evidence.publish import Publisher
from bridge.ops.metrics import Metrics
from bridge.tlog.note import Note

INTERVAL_S = 0.5
RETRY_S = 2.0
Cosign = Callable[[Note, Publisher], Awaitable[Note | None]]
"""Asks witnesses: the note with their cosignatures, or None when they do not make the quorum (yet)."""
log = structlog.get_logger(__name__)


class Publication:
    """`fault` says why nothing is published now; after `LogForked` nothing is until a person has looked."""

    def __init__(self, publisher: Publisher, metrics: Metrics, cosign: Cosign | None = None) -> None:
        self._publisher, self._metrics, self._cosign = publisher, metrics, cosign
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="publisher")
        self._forked = False
        self._stale = False
        self.fault: str | None = None

    async def start(self) -> None:
        """LogForked or EvidenceUnavailable when the log cannot be gone on with."""
        try:
            await self._in_thread(self._publisher.open)
        except (OSError, sqlite3.Error) as error:
            raise EvidenceUnavailable(f"the published log cannot be read: {error}") from error

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL_S if self.fault is None else RETRY_S)
            await self.step()

    async def step(self) -> None:
        """Publishes what is new. Never raises: what goes wrong is told, and tried again."""
        if self._forked:
            return
        try:
            if self._stale:
                await self._in_thread(self._publisher.open)
                self._stale = False
            note = await self._in_thread(self._publisher.integrate)
            if note is not None and self._cosign is not None:
                note = await self._cosign(note, self._publisher)
            if note is not None:
                await self._in_thread(self._publisher.publish, note)
        except LogForked as error:
            self._forked = True
            self._tell(error)
        except Exception as error:  # noqa: BLE001 - whatever it was, decisions go on and publishing is tried again
            self._stale = True
            self._tell(error)
        else:
            if self.fault is not None:
                log.warning("publishing_recovered")
            self.fault = None
            self._metrics.published(self._publisher.signed.size)

    async def close(self) -> None:
        """Publishes what is left."""
        await self.step()
        await self._in_thread(self._publisher.close)
        self._thread.shutdown()

    def _tell(self, error: Exception) -> None:
        known = isinstance(error, (BridgeError, OSError, sqlite3.Error))
        self.fault = str(error) or type(error).__name__
        self._metrics.publish_fault()
        log.error("publishing_stopped", reason=self.fault, forked=self._forked, exc_info=None if known else error)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

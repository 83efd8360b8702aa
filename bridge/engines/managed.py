"""`engine.kind = "managed"`: an OPA child of our own, watched and restarted; a new policy set gets a new child.

The new child must answer before the old one stops being asked, so a swap drops nothing and a set that OPA cannot
run never decides.
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from bridge.engines._child import Child
from bridge.engines._sets import AcceptedSets
from bridge.errors import EngineFault, EngineUnavailable
from bridge.kernel import OPA_VERSION
from bridge.model.policy import PolicySet
from bridge.ports import EngineStatus

READY_S = 120.0
LIVENESS_INTERVAL_S = 1.0
LIVENESS_TIMEOUT_S = 1.0
LIVENESS_STRIKES = 3
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
STEADY_S = 10.0
RETIRE_LOOK_S = 0.1
log = structlog.get_logger(__name__)


class ManagedOpa:
    """One child at a time answers; `restarts` counts the ones that had to be replaced."""

    def __init__(self, opa: Path) -> None:
        self._opa = opa
        self._sets = AcceptedSets()
        self._current: Child | None = None
        self._swap = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._trouble = "not started"
        self.restarts = 0

    async def start(self, policy_set: PolicySet) -> None:
        await self.activate(policy_set)
        self._spawn(self._watch(), "opa-watch")

    async def activate(self, policy_set: PolicySet) -> None:
        async with self._swap:
            child = await Child.launch(self._opa, policy_set, READY_S)
            old, self._current = self._current, child
            self._sets.accept(policy_set)
            self._trouble = ""
        if old is not None:
            self._spawn(self._retire(old), "opa-retire")

    async def query(self, items: bytes, timeout_s: float) -> Any:
        child = self._current
        if child is None:
            raise EngineUnavailable(f"no OPA is running: {self._trouble}")
        return await child.query(items, timeout_s)

    def accepted(self) -> Mapping[str, PolicySet]:
        return self._sets.all

    def status(self) -> EngineStatus:
        return EngineStatus("managed", OPA_VERSION, self._current is not None and not self._trouble, self._trouble)

    async def close(self) -> None:
        self._closing = True
        for task in list(self._tasks):
            if task.get_name() == "opa-watch":
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._current is not None:
            await self._current.stop()
            self._current = None

    def _spawn(self, work: Any, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _retire(self, child: Child) -> None:
        """Queries in flight are answered first; they end by their own deadline."""
        while child.in_flight and not self._closing:  # noqa: ASYNC110 - a counter, and no hurry
            await asyncio.sleep(RETIRE_LOOK_S)
        await child.stop()

    async def _watch(self) -> None:
        """Restarts a child that ended or no longer answers, waiting longer each time it does not help."""
        attempt, strikes = 0, 0
        started = time.monotonic()
        while True:
            child = self._current
            if child is not None:
                await asyncio.wait([child.exited], timeout=LIVENESS_INTERVAL_S)
                if not child.exited.done():
                    strikes = 0 if await self._alive(child) else strikes + 1
                    self._trouble = "" if strikes == 0 else "OPA does not answer"
                    if strikes < LIVENESS_STRIKES:
                        continue
            strikes = 0
            async with self._swap:
                if child is not self._current:
                    continue
                self._current, self._trouble = (
                    None,
                    "OPA ended" if child is None or child.exited.done() else "OPA hangs",
                )
                log.error("engine_lost", reason=self._trouble, code=child.process.returncode if child else None)
                attempt = 0 if child is not None and time.monotonic() - started > STEADY_S else attempt + 1
                try:
                    if child is not None:
                        await child.stop(force=True)
                    await asyncio.sleep(BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)])
                    self._current = await Child.launch(self._opa, self._sets.newest(), READY_S)
                except Exception as error:  # noqa: BLE001 - whatever it was, the watch must go on
                    self._trouble = f"OPA does not start: {error}"
                    continue
                started = time.monotonic()
                self.restarts += 1
                self._trouble = ""
                log.warning("engine_restarted", restarts=self.restarts)

    async def _alive(self, child: Child) -> bool:
        try:
            await child.api.query(b"[]", LIVENESS_TIMEOUT_S)
        except EngineFault:
            return False
        return True

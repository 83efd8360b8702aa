"""Takes up a changed policy set: checked, then swapped in one step; a broken one is refused and the old decides."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from bridge.errors import BridgeError, PolicyRefused
from bridge.model.policy import PolicySet, ServedBundle
from bridge.ops.metrics import Metrics
from bridge.policy import source
from bridge.policy.load import verify
from bridge.policy.opa import in_thread
from bridge.policy.served import Shelf
from bridge.policy.signing import Verifier
from bridge.ports import Engine

INTERVAL_S = 1.0
START_TRIES = 50
log = structlog.get_logger(__name__)


class PolicyWatch:
    """`current` decides; `refused` says why what lies on disk does not (empty: it does).

    `keep` puts a set where it can be found again, before it decides; a set that cannot be kept does not decide.
    `changed` is called when another one has begun to decide.
    """

    def __init__(
        self,
        path: Path,
        opa: Path,
        engine: Engine,
        metrics: Metrics,
        keep: Callable[[PolicySet], None],
        changed: Callable[[], Awaitable[None]],
        shelf: Shelf,
        verifier: Verifier | None = None,
    ) -> None:
        self._path, self._opa, self._engine, self._metrics = path, opa, engine, metrics
        self._keep, self._changed, self._shelf, self._verifier = keep, changed, shelf, verifier
        self._seen: tuple[object, ...] = ()
        self.current: PolicySet | None = None
        self.refused: tuple[str, ...] = ()

    async def start(self) -> None:
        """Loads the first set and starts the engine with it. PolicyRefused, EvidenceUnavailable: it does not decide."""
        found = await self._read()
        self._seen = found.signature
        policy_set = await in_thread(verify, found, self._opa, self._verifier)
        served = await in_thread(self._shelf.seal, policy_set)
        await in_thread(self._keep, policy_set)
        await self._engine.start(policy_set)
        self._accept(policy_set, served)

    async def _read(self) -> source.Source:
        """What lies on disk now; read anew while it changes under our hands."""
        for _ in range(START_TRIES):
            before = await in_thread(source.signature, self._path)
            found: source.Source = await in_thread(source.read, self._path)
            if found.signature == before:
                return found
            await asyncio.sleep(INTERVAL_S / 10)
        raise PolicyRefused([f"{self._path} changes while it is read"])

    async def run(self) -> None:
        """Looks every second; takes up a change once it is unchanged between two looks."""
        before = self._seen
        while True:
            await asyncio.sleep(INTERVAL_S)
            now = await in_thread(source.signature, self._path)
            if now != self._seen and now == before:
                await self._take_up(now)
            before = now

    async def _take_up(self, seen: tuple[object, ...]) -> None:
        try:
            found: source.Source = await in_thread(source.read, self._path)
            if found.signature != seen:
                return  # changed in between, or while it was read: look again
            policy_set = await in_thread(verify, found, self._opa, self._verifier)
            served = await in_thread(self._shelf.seal, policy_set)
            if self.current is None or policy_set.digest != self.current.digest:
                await in_thread(self._keep, policy_set)
                await self._engine.activate(policy_set)
                self._accept(policy_set, served)
                await self._changed()
            else:
                self._shelf.put(served)  # the same set, signed by another key, say
            self._seen, self.refused = seen, ()
        except PolicyRefused as refused:
            if await in_thread(source.signature, self._path) != seen:
                return
            self._seen, self.refused = seen, refused.reasons
            self._metrics.policy_refused()
            log.error("policy_refused", reasons=refused.reasons[:20], deciding=self._revision())
        except Exception as error:  # whatever it was, the watch must go on
            # The set may be good and the machine not: try again at the next look.
            self.refused = (str(error) or type(error).__name__,)
            defect = None if isinstance(error, (BridgeError, OSError)) else error
            log.error("policy_not_taken_up", reason=self.refused[0], deciding=self._revision(), exc_info=defect)

    def _accept(self, policy_set: PolicySet, served: ServedBundle) -> None:
        """From here on an OPA may fetch it: that its answers may be used stands already."""
        self.current = policy_set
        self._shelf.put(served)
        self._metrics.policy_loaded(policy_set.revision)
        log.info(
            "policy_active",
            revision=policy_set.revision,
            scopes=len(policy_set.scopes),
            prefixes=len(policy_set.prefixes),
        )

    def _revision(self) -> str | None:
        return self.current.revision if self.current else None

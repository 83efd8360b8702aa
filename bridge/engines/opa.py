"""`engine.kind = "opa"`: an OPA server of the operator's own. It is asked, never written to."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import orjson
import structlog

from bridge.engines._data_api import DataApi
from bridge.engines._sets import AcceptedSets
from bridge.errors import EngineFault, EngineUnavailable, EvaluationFailed
from bridge.model.policy import PolicySet
from bridge.ops.breaker import Breaker
from bridge.ports import EngineStatus

PROBE_INTERVAL_S = 1.0
PROBE_TIMEOUT_S = 0.5
REPLACED_S = 300.0
"""So long a server may take to fetch a set; answers by the one before it are no longer used then."""
log = structlog.get_logger(__name__)


class OpaServer:
    """Answers come from the server at `url` (`http://`, `https://`, or `unix:///path`) while it has our kernel."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._api = DataApi("http://opa", parts.path) if parts.scheme == "unix" else DataApi(url)
        self._breaker = Breaker()
        self._sets = AcceptedSets(REPLACED_S)
        self._version = ""
        self._serving: str | None = None
        self._trouble = "not asked yet"
        self._watch: asyncio.Task[None] | None = None

    async def start(self, policy_set: PolicySet) -> None:
        self._sets.accept(policy_set)
        await self._probe()
        self._watch = asyncio.create_task(self._keep_probing(), name="opa-probe")

    async def activate(self, policy_set: PolicySet) -> None:
        self._sets.accept(policy_set)

    async def query(self, items: bytes, timeout_s: float) -> Any:
        if not self._breaker.enter():
            raise EngineUnavailable("the circuit breaker is open")
        try:
            answer = await self._api.query(items, timeout_s)
        except EvaluationFailed:
            self._breaker.succeeded()
            raise
        except EngineFault:
            self._breaker.failed()
            raise
        except BaseException:
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return answer

    def accepted(self) -> Mapping[str, PolicySet]:
        return self._sets.all

    def status(self) -> EngineStatus:
        # Half-open is ready: while it is not, a load balancer sends nothing that could close the breaker.
        ready = self._serving is not None and self._serving in self._sets.all and self._breaker.state != "open"
        detail = "" if ready else f"breaker {self._breaker.state}; {self._trouble}"
        return EngineStatus("opa", self._version, ready, detail)

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._api.close()

    async def _keep_probing(self) -> None:
        while True:
            await asyncio.sleep(PROBE_INTERVAL_S)
            await self._probe()

    async def _probe(self) -> None:
        """Asks an empty question: whether the kernel is there, and which set it would answer with."""
        before = (self._serving, self._trouble)
        try:
            answer = await self._api.query(b"[]", PROBE_TIMEOUT_S)
            digest = answer.get("digest") if isinstance(answer, dict) else None
            self._serving = digest if isinstance(digest, str) else None
            known = self._serving in self._sets.all
            self._trouble = "" if known else "the server has another policy set, or still an old one"
            self._version = await self._read_version()
        except EngineFault as error:
            self._serving, self._trouble = None, f"the server does not answer with our kernel: {error}"
        if before != (self._serving, self._trouble):
            log.info("engine_probed", serving=self._serving, trouble=self._trouble or None)

    async def _read_version(self) -> str:
        """What OPA says about where its answers come from (`provenance`); the last known version where it does not."""
        try:
            told = orjson.loads(await self._api.get("/v1/data/issuance/index/digest?provenance=true", PROBE_TIMEOUT_S))
            return str(told["provenance"]["version"])[:64]
        except (EngineFault, ValueError, KeyError, TypeError):
            return self._version

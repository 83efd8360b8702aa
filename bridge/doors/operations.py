"""For operators and probes: health, metrics, the OpenAPI document."""

from collections.abc import Callable
from typing import Any, Protocol

import orjson
from aiohttp import web

from bridge.doors._callers import CallerRefused, Callers
from bridge.ops.metrics import Metrics


class Readiness(Protocol):
    """Whether decisions can be made now."""

    def reasons(self) -> list[str]:
        """Why not; empty: ready."""

    def warnings(self) -> list[str]:
        """What an operator should mend although decisions are made."""

    def observe(self) -> None:
        """Brings the gauges up to date."""


class OperationsDoor:
    """Health needs no credentials and tells good or not; reasons are for operators."""

    def __init__(
        self, callers: Callers, readiness: Readiness, metrics: Metrics, openapi: Callable[[], dict[str, Any]]
    ) -> None:
        self._callers, self._readiness, self._metrics, self._openapi = callers, readiness, metrics, openapi

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/health/live", self.live),
            web.get("/health/ready", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/openapi.json", self.openapi),
        ]

    async def live(self, request: web.Request) -> web.Response:
        """200 while the process answers."""
        return _json(200, {"status": "live"})

    async def ready(self, request: web.Request) -> web.Response:
        """200 `ready`, 503 `not_ready`; operators see reasons, and `degraded` for a 200 with something to mend."""
        reasons, warnings = self._readiness.reasons(), self._readiness.warnings()
        body: dict[str, Any] = {"status": "not_ready" if reasons else "ready"}
        if (reasons or warnings) and self._is_operator(request):
            body = {"status": "not_ready" if reasons else "degraded", "reasons": [*reasons, *warnings]}
        return _json(503 if reasons else 200, body)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus text format."""
        self._callers.authenticate(request).require("operator")
        self._readiness.observe()
        return web.Response(body=self._metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def openapi(self, request: web.Request) -> web.Response:
        """OpenAPI 3.1, for any caller."""
        self._callers.authenticate(request)
        return _json(200, self._openapi())

    def _is_operator(self, request: web.Request) -> bool:
        try:
            self._callers.authenticate(request).require("operator")
        except CallerRefused:
            return False
        return True


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")

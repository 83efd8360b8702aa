"""The HTTP below the doors: what never becomes a request of ours is answered with a problem document, too.

aiohttp alone would quote the bytes received in its reply, and log a stack trace with them for each such line.
"""

import asyncio
from functools import partial
from typing import Any

import structlog
from aiohttp import web
from typing_extensions import override

from bridge.doors._middleware import HEADERS, errors_and_request_id
from bridge.doors._problem import problem
from bridge.ops.metrics import Metrics

log = structlog.get_logger(__name__)


class _Connection(web.RequestHandler):
    __slots__ = ("_metrics",)

    def __init__(
        self, manager: web.Server, metrics: Metrics, loop: asyncio.AbstractEventLoop, **arguments: Any
    ) -> None:
        super().__init__(manager, loop=loop, **arguments)
        self._metrics = metrics

    @override
    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is out already")
        self._metrics.refused("malformed")
        log.warning("not_http", reason=type(exc).__name__)
        response = problem(status, "not a well-formed HTTP/1.1 request, or a line or header of more than 8190 bytes")
        response.headers.update(HEADERS)
        response.force_close()
        return response

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        log.warning("connection_broken", reason=type(kw.get("exc_info")).__name__)


class _Server(web.Server):
    def __init__(self, below: web.Server, metrics: Metrics) -> None:
        # Around the whole application, not a middleware inside it: that would not see an `Expect` refused.
        handler = partial(errors_and_request_id(metrics), handler=below.request_handler)
        super().__init__(handler, request_factory=below.request_factory, **below._kwargs)  # noqa: SLF001 - no public way
        self._metrics = metrics

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._metrics, self._loop, **self._kwargs)


class DoorRunner(web.AppRunner):
    """Runs an application so that every reply is one of ours; `arguments` are aiohttp's."""

    __slots__ = ("_metrics",)

    def __init__(self, app: web.Application, metrics: Metrics, **arguments: Any) -> None:
        super().__init__(app, **arguments)
        self._metrics = metrics

    @override
    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._metrics)

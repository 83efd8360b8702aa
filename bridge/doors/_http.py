"""The HTTP below the doors: what never becomes a request of ours is answered with a problem document, too.

aiohttp alone would quote the bytes received in its reply, and log a stack trace with them for each such line.
"""

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

import structlog
from aiohttp import StreamReader, web
from typing_extensions import override

from bridge.doors._middleware import HEADERS, errors_and_request_id
from bridge.doors._problem import problem
from bridge.ops.metrics import Metrics

LINGER_S, UNPACKED_BYTES_S = 2.0, 16 * 1024 * 1024
"""For how long the rest of a compressed body is taken, whose sender would not read the answer else, and how fast."""
log = structlog.get_logger(__name__)


class _Connection(web.RequestHandler):
    __slots__ = ("_metrics", "_turn")

    def __init__(
        self,
        manager: web.Server,
        metrics: Metrics,
        turn: asyncio.Lock,
        loop: asyncio.AbstractEventLoop,
        **arguments: Any,
    ) -> None:
        super().__init__(manager, loop=loop, **arguments)
        self._metrics, self._turn = metrics, turn

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
    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        packed = "Content-Encoding" in request.headers and not request.content.is_eof()
        if packed:
            resp.force_close()
            self._lingering_time = 0.0
        done = await super().finish_response(request, resp, start_time)
        if packed:
            await self._take_rest(request.content)
        return done

    async def _take_rest(self, body: StreamReader) -> None:
        """Slowly, and of one at a time: 20 KB unpack to 20 MB, and whoever sends them needs no credentials."""
        with suppress(TimeoutError, web.RequestPayloadError, ConnectionError):
            async with asyncio.timeout(LINGER_S), self._turn:
                while not body.at_eof():
                    taken = await body.readany()
                    await asyncio.sleep(len(taken) / UNPACKED_BYTES_S)

    @override
    def log_exception(self, *args: Any, **kw: Any) -> None:
        log.warning("connection_broken", reason=type(kw.get("exc_info")).__name__)


class _Server(web.Server):
    def __init__(self, below: web.Server, metrics: Metrics) -> None:
        # Around the whole application, not a middleware inside it: that would not see an `Expect` refused.
        handler = partial(errors_and_request_id(metrics), handler=below.request_handler)
        super().__init__(handler, request_factory=below.request_factory, **below._kwargs)  # noqa: SLF001 - no public way
        self._metrics, self._turn = metrics, asyncio.Lock()

    @override
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._metrics, self._turn, self._loop, **self._kwargs)


class DoorRunner(web.AppRunner):
    """Runs an application so that every reply is one of ours; `arguments` are aiohttp's."""

    __slots__ = ("_metrics",)

    def __init__(self, app: web.Application, metrics: Metrics, **arguments: Any) -> None:
        super().__init__(app, **arguments)
        self._metrics = metrics

    @override
    async def _make_server(self) -> web.Server:
        return _Server(await super()._make_server(), self._metrics)

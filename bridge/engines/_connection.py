"""One keep-alive connection, one question at a time: an answer can only ever be the answer to the question asked last.

Whatever leaves that in doubt (a caller who gave up waiting, bytes that nobody asked for, half an answer) ends the
connection, so that what comes late finds nobody.
"""

import asyncio
from typing import cast

from typing_extensions import override

from bridge.engines._http1 import Malformed, Response
from bridge.errors import EngineUnavailable


class Connection(asyncio.Protocol):
    """Made by the event loop's `create_connection` or `create_unix_connection`. `used` is loop time, in s."""

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._transport = cast("asyncio.Transport", None)  # until connection_made
        self._response = Response(max_body_bytes)
        self._answer: asyncio.Future[Response] | None = None
        self._ended = False
        self.used = 0.0

    async def ask(self, request: bytes) -> Response:
        """Sends one whole request; its response, or EngineUnavailable. Giving up waiting ends the connection."""
        if self._ended or self._answer is not None:
            raise EngineUnavailable("the connection has ended, or is in use")
        self._response = Response(self._max_body_bytes)
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(request)
            return await self._answer
        except BaseException:
            self.end()
            raise
        finally:
            self._answer = None

    @property
    def reusable(self) -> bool:
        """Whether another question may follow: the last one was sent and answered whole, and both sides stay."""
        if self._ended or self._answer is not None:
            return False
        return self._response.keep_alive and self._transport.get_write_buffer_size() == 0

    def end(self) -> None:
        """Drops the connection at once, with all that is still on its way."""
        self._ended = True
        self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.end()
            return
        try:
            if self._response.feed(data):
                self._answer.set_result(self._response)
        except Malformed as error:
            self._fail(f"not an answer: {error}")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("the connection ended before its answer did")

    def _fail(self, reason: str) -> None:
        self.end()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(EngineUnavailable(reason))

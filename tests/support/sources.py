"""An external system for a test: a real HTTP server on loopback that answers as it is told, and counts."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class SourceServer:
    """`values`: what it knows, by the values of the key joined by spaces; `answer` replaces all that it does."""

    url: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None
    delay_s: float = 0.0
    asked: list[dict[str, str]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.headers.append(dict(request.headers))
        assert request.method == "POST"
        key = json.loads(await request.read())
        self.asked.append(key)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.answer is not None:
            return await self.answer(request)
        return web.json_response(self.values.get(" ".join(key.values())))


@contextlib.asynccontextmanager
async def source_server(
    values: Mapping[str, Any] | None = None, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[SourceServer]:
    """Listens on a free port of 127.0.0.1 unless told otherwise."""
    server = SourceServer(values=dict(values or {}))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
    await site.start()
    bound = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]  # the line before has looked
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{bound}/v1?of=posture"
    try:
        yield server
    finally:
        await runner.cleanup()


def text(body: bytes | str, status: int = 200, encoding: str = "identity") -> Answer:
    """An answer of these bytes."""

    async def answer(_: web.Request) -> web.StreamResponse:
        raw = body if isinstance(body, bytes) else body.encode()
        return web.Response(
            body=raw, status=status, headers={"Content-Encoding": encoding}, content_type="application/json"
        )

    return answer


def source(url: str, *scopes: str, **members: Any) -> dict[str, Any]:
    """A `[[sources]]` table named `posture`, keyed by the client, with a timeout that a busy machine keeps."""
    base = {"name": "posture", "owner": "device team", "key": ["/client/id"], "timeout_ms": 400, "max_age_s": 60}
    return {**base, "url": url, "scopes": list(scopes) or ["seen"], **members}

"""An authorization server with an admin API and RFC 7009 revocation, on loopback, in a thread of the test."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Server:
    """`calls`: (method, kind, ids) as they came. `there`: what it has of each kind. `held`: a call is held back.

    `hold` tells whether a call is to be held, before or after what it does; `answer`: the status that one gets instead.
    """

    port: int = 0
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    there: dict[str, set[str]] = field(default_factory=dict)
    harm: list[str] = field(default_factory=list)
    hold: Callable[[str, str, str], str | None] = lambda *_: None
    answer: Callable[[str, str, str], int | None] = lambda *_: None
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    forms: list[dict[str, str]] = field(default_factory=list)
    logins: list[str | None] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, method: str) -> list[str]:
        return [kind for one, kind, _ in self.calls if one == method]

    async def admin(self, request: web.Request) -> web.Response:
        kind, ids = request.match_info["kind"], request.query["ids"]
        call = (request.method, kind, ids)
        self.calls.append(call)
        held = self.hold(*call)
        if held == "before":
            await self._held()
        if (status := self.answer(*call)) is not None:
            return web.Response(status=status)
        things = self.there.setdefault(kind, set())
        if request.method == "GET":
            return web.Response(status=200 if ids in things else 404)
        if kind == "notice":  # what is done twice here is seen by somebody
            self.harm.append(ids)
        things.discard(ids)
        if held == "after":
            await self._held()
        return web.Response(status=204)

    async def revoke(self, request: web.Request) -> web.Response:
        self.forms.append({name: str(value) for name, value in (await request.post()).items()})
        self.logins.append(request.headers.get("Authorization"))
        status = self.answer("POST", "revoke", self.forms[-1]["token"]) or 200
        body = {"error": "unsupported_token_type"} if status == 400 else {"error": "x" * 9}
        return web.json_response(body, status=status, headers={"Retry-After": "0"} if status == 503 else {})

    async def _held(self) -> None:
        self.held.set()
        await asyncio.to_thread(self.release.wait, 20)


@contextlib.contextmanager
def served(server: Server) -> Iterator[Server]:
    """Runs it, on the port that it had before or a free one."""
    loop, started = asyncio.new_event_loop(), threading.Event()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.add_routes([web.post("/revoke", server.revoke), web.route("*", "/{kind}", server.admin)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", server.port, reuse_address=True)
        await site.start()
        server.port = runner.addresses[0][1]
        return runner

    def run() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield server
    finally:
        server.release.set()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(25)

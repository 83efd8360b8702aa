"""A hostile peer where OPA should be: an HTTP server on loopback that gives whatever bytes a test tells it to.

    async with hostile_server() as server:
        server.reply = lambda asked: http(b"not JSON")

It knows the kernel's wire form (bridge/kernel/kernel.rego), so that a lie can differ from an honest answer in one
thing. `honest` is the answer of a policy set that allows everything: what must never pass when a thing is off.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Reply = Callable[["Asked"], "bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]"]
"""What goes out for one question: bytes as they stand, or a function that writes them in its own time."""


@dataclass(frozen=True)
class Asked:
    """One question of the bridge: `items` as the kernel's input has them; `number` counts them, probes apart."""

    items: list[dict[str, Any]]
    number: int

    @property
    def probe(self) -> bool:
        return not self.items

    @property
    def scopes(self) -> list[str]:
        return [scope for item in self.items for scope in item["scopes"]]


def honest(asked: Asked, digest: str, rules: Mapping[str, Any] | None = None, package: str = "issuance.scope") -> Any:
    """The kernel's answer by a set with this digest, in which the gate and every package answer `rules`."""
    said = {"allow": True} if rules is None else dict(rules)
    items = []
    for item in asked.items:
        scopes = {scope: {"package": f'{package}["{scope}"]', "rules": said} for scope in item["scopes"]}
        echoed = {name: item[name] for name in ("id",) if name in item}
        items.append({**echoed, "gate": [said] if item["gate"] else [], "scopes": scopes})
    return {"result": {"digest": digest, "items": items}}


def http(body: Any, status: str = "200 OK", headers: str = "Content-Type: application/json\r\n") -> bytes:
    """A whole HTTP/1.1 response; `body` as bytes, or a JSON value."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(raw)}\r\n\r\n".encode() + raw


@dataclass
class HostileServer:
    """`reply` may be changed at any time; `questions` counts those that were asked (probes apart)."""

    url: str
    reply: Reply
    questions: int = 0
    connections: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # The bridge may hang up at any time: that is what most of these tests are about.
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await self._exchange(reader, writer):
                    pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = next((int(x[15:]) for x in head.split("\r\n") if x.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        items = json.loads(body)["input"]["items"] if body else []
        self.questions += bool(items)
        answer = self.reply(Asked(items, self.questions))
        if callable(answer):
            await answer(writer)
        else:
            writer.write(answer)
            await writer.drain()
        return not writer.is_closing()

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def hostile_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileServer]:
    """A server on a free loopback port; until a test says otherwise it answers 404."""
    state = HostileServer("", lambda asked: http(b"{}", "404 Not Found"))
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0, ssl=tls)
    state.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        server.close()
        await state.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def slow_proxy(host: str, port: int, delay_s: Callable[[], float]) -> AsyncIterator[str]:
    """A TCP proxy before `host:port` that holds each part of an answer back for `delay_s()`; its URL."""
    running: set[asyncio.Task[Any]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: Callable[[], float]) -> None:
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65536):
                await asyncio.sleep(delay())
                writer.write(part)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        upstream_reader, upstream = await asyncio.open_connection(host, port)
        there = asyncio.create_task(pump(reader, upstream, lambda: 0))
        back = asyncio.create_task(pump(upstream_reader, writer, delay_s))
        try:
            await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        finally:
            there.cancel()
            back.cancel()
            await asyncio.gather(there, back, return_exceptions=True)
            writer.close()
            upstream.close()
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await server.wait_closed()

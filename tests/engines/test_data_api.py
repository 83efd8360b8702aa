"""The pool of connections: each answer goes to its own question, nothing is asked twice, nothing is left behind."""

import asyncio
import contextlib
import gc
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
import trustme

from bridge.engines import _data_api
from bridge.engines._connection import Connection
from bridge.engines._data_api import DataApi
from bridge.errors import EngineTimeout, EngineUnavailable

Behaviour = Callable[["Peer", int, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Peer:
    """A server whose `behaviour` answers question n; it keeps heads and bodies as they came, and counts connections."""

    behaviour: Behaviour
    port: int = 0
    heads: list[str] = field(default_factory=list)
    questions: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                self.heads.append(head)
                self.questions.append(orjson.dumps(orjson.loads(await reader.readexactly(length))["input"]["items"]))
                await self.behaviour(self, len(self.questions), writer)
        self.open -= 1
        writer.close()

    async def left(self) -> None:
        """Waits until all have hung up: a connection left behind shows here."""
        async with asyncio.timeout(2):
            while self.open:
                await asyncio.sleep(0.005)


def result(value: object) -> bytes:
    body = orjson.dumps({"result": value})
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def echo(peer: Peer, number: int, writer: asyncio.StreamWriter) -> None:
    writer.write(result(orjson.loads(peer.questions[number - 1])))


@contextlib.asynccontextmanager
async def peer(behaviour: Behaviour = echo, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    peer = Peer(behaviour)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield peer
        await peer.left()


@contextlib.asynccontextmanager
async def api(url: str, socket: str | None = None) -> AsyncIterator[DataApi]:
    api = DataApi(url, socket)
    try:
        yield api
    finally:
        await api.close()


async def ask(api: DataApi, question: object, timeout_s: float = 2.0) -> object:
    return await api.query(orjson.dumps(question), timeout_s)


async def test_questions_one_after_the_other_share_a_connection() -> None:
    async with peer() as there, api(f"http://127.0.0.1:{there.port}") as here:
        assert [await ask(here, [n]) for n in range(20)] == [[n] for n in range(20)]
        assert there.connections == 1


async def test_questions_at_once_each_get_their_own_answer() -> None:
    async def reordered(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        question = there.questions[number - 1]
        await asyncio.sleep(0.02 if number % 2 else 0)
        writer.write(result(orjson.loads(question)))

    async with peer(reordered) as there, api(f"http://127.0.0.1:{there.port}") as here:
        for _ in range(3):
            assert await asyncio.gather(*(ask(here, [n]) for n in range(40))) == [[n] for n in range(40)]
        assert there.connections == 40, "those of the first round serve the others"


@pytest.mark.parametrize("give_up", ["deadline", "cancelled"])
async def test_a_late_answer_finds_nobody(give_up: str) -> None:
    released = asyncio.Event()

    async def first_late(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        if number == 1:
            await released.wait()
        writer.write(result([f"answer {number}"]))

    async with peer(first_late) as there, api(f"http://127.0.0.1:{there.port}") as here:
        if give_up == "deadline":
            with pytest.raises(EngineTimeout):
                await ask(here, [1], 0.05)
        else:
            task = asyncio.create_task(ask(here, [1]))
            while not there.questions:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        second = asyncio.create_task(ask(here, [2]))
        await asyncio.sleep(0.02)
        released.set()
        assert await second == ["answer 2"]
        assert await ask(here, [3]) == ["answer 3"]
        assert there.connections == 2


async def test_an_answer_too_many_ends_the_connection() -> None:
    async def twice(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(result([number]))
        await writer.drain()
        if number == 1:
            await asyncio.sleep(0.02)
            writer.write(result(["stale"]))

    async with peer(twice) as there, api(f"http://127.0.0.1:{there.port}") as here:
        assert await ask(here, [1]) == [1]
        await asyncio.sleep(0.05)
        assert await ask(here, [2]) == [2]
        assert there.connections == 2


async def test_two_answers_in_one_segment_are_none() -> None:
    async def twice(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(result([number]) + result(["stale"]))

    async with peer(twice) as there, api(f"http://127.0.0.1:{there.port}") as here:
        with pytest.raises(EngineUnavailable, match="not an answer"):
            await ask(here, [1])


async def test_a_server_that_announces_its_hanging_up_is_not_asked_on_that_connection() -> None:
    async def closing(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(result([number]).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))

    async with peer(closing) as there, api(f"http://127.0.0.1:{there.port}") as here:
        assert [await ask(here, [n]) for n in (1, 2)] == [[1], [2]]
        assert there.connections == 2


async def test_a_connection_that_was_closed_while_idle_is_not_used() -> None:
    async def hang_up(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        writer.write(result([number]))
        await writer.drain()
        writer.close()

    async with peer(hang_up) as there, api(f"http://127.0.0.1:{there.port}") as here:
        assert await ask(here, [1]) == [1]
        await asyncio.sleep(0.05)
        assert await ask(here, [2]) == [2]


async def test_an_exchange_that_breaks_is_not_tried_again() -> None:
    async def leave(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with peer(leave) as there, api(f"http://127.0.0.1:{there.port}") as here:
        with pytest.raises(EngineUnavailable, match="ended before its answer"):
            await ask(here, [1])
        assert len(there.questions) == 1


async def test_a_connect_that_fails_is_tried_once_more(tmp_path: Path) -> None:
    path, there = tmp_path / "opa.sock", Peer(echo)
    async with contextlib.AsyncExitStack() as stack:
        here = DataApi("http://opa", str(path))
        tries, connect_once = 0, here._connect_once

        async def counted() -> Connection:
            nonlocal tries
            tries += 1
            if tries == 2:  # the server is there now
                await stack.enter_async_context(await asyncio.start_unix_server(there.serve, path))
            return await connect_once()

        here._connect_once = counted  # type: ignore[method-assign]  # counts the calls
        assert await ask(here, [1]) == [1]
        assert tries == 2
        await here.close()
        await there.left()


async def test_nobody_there(tmp_path: Path) -> None:
    async with api("http://opa", str(tmp_path / "nothing.sock")) as here:
        with pytest.raises(EngineUnavailable, match="cannot connect"):
            await ask(here, [1])


async def test_more_questions_than_connections_wait_within_their_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data_api, "MAX_CONNECTIONS", 3)
    released = asyncio.Event()

    async def held(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        question = there.questions[number - 1]
        await released.wait()
        writer.write(result(orjson.loads(question)))

    async with peer(held) as there, api(f"http://127.0.0.1:{there.port}") as here:
        tasks = [asyncio.create_task(ask(here, [n])) for n in range(10)]
        while len(there.questions) < 3:
            await asyncio.sleep(0.005)
        with pytest.raises(EngineTimeout):
            await ask(here, ["late"], 0.1)
        assert there.connections == 3
        released.set()
        assert await asyncio.gather(*tasks) == [[n] for n in range(10)]
        assert there.connections == 3


async def test_a_question_under_way_is_answered_after_close() -> None:
    async def slow(there: Peer, number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(result([number]))

    async with peer(slow) as there:
        here = DataApi(f"http://127.0.0.1:{there.port}")
        task = asyncio.create_task(ask(here, [1]))
        while not there.questions:
            await asyncio.sleep(0.005)
        await here.close()
        assert await task == [1]


async def test_what_is_unused_for_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with peer() as there, api(f"http://127.0.0.1:{there.port}") as here:
        await asyncio.gather(*(ask(here, [n]) for n in range(5)))
        assert there.open == 5
        monkeypatch.setattr(_data_api, "IDLE_S", 0.1)
        async with asyncio.timeout(2):
            while there.open != 1:  # one after the other, beside the one in use
                assert await ask(here, ["later"]) == ["later"]
                await asyncio.sleep(0.01)
        assert there.connections == 5
        await asyncio.sleep(0.15)
        assert await ask(here, ["last"]) == ["last"]
        assert there.connections == 6, "after a long silence a server may be about to hang up"


async def test_path_and_login_of_the_url() -> None:
    async with peer() as there, api(f"http://opa-user:p%40ss@127.0.0.1:{there.port}/behind/proxy/") as here:
        assert await ask(here, [1]) == [1]
    lines = there.heads[0].split("\r\n")
    assert lines[0] == "POST /behind/proxy/v1/data/issuance/kernel/answer?strict-builtin-errors=true HTTP/1.1"
    assert f"Host: 127.0.0.1:{there.port}" in lines
    assert "Authorization: Basic b3BhLXVzZXI6cEBzcw==" in lines
    assert "accept-encoding" not in there.heads[0].lower(), "or OPA would compress"


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
async def test_https_with_a_ca_that_the_system_trusts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with peer(tls=tls) as there:
        url = f"https://{name}:{there.port}"
        async with api(url) as here:
            with pytest.raises(EngineUnavailable, match="cannot connect"):
                await ask(here, [1])
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        async with api(url) as here:
            if name == "localhost":  # the certificate is for another name
                with pytest.raises(EngineUnavailable, match="cannot connect"):
                    await ask(here, [1])
            else:
                assert await ask(here, [1]) == [1]
        await asyncio.sleep(0.01)
        gc.collect()  # asyncio's TLS streams complain when they are collected after their loop
    assert there.questions == ([] if name == "localhost" else [b"[1]"])

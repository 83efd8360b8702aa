"""Plain HTTP: methods, paths, media types, bodies too large or too slow, and bytes that are no HTTP at all."""

import asyncio
import gzip
import itertools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from bridge import server
from bridge.doors import _body
from tests.doors.problems import problem_in
from tests.support.bridge import PATH, RunningBridge, local_bridge, request

MEBIBYTE = 1024 * 1024
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()


def exchange(port: int, *parts: bytes, wait: float = 10) -> bytes:
    """Sends the parts as they are and reads until the other side closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
        try:
            for part in parts:
                connection.sendall(part)
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionError:
            pass  # closed before all was sent or read: what came counts
    return received


def read_problem(raw: bytes) -> dict[str, Any]:
    """The problem document in a raw response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head, raw[:500]
    problem: dict[str, Any] = json.loads(body)
    assert head.split(b" ")[1] == str(problem["status"]).encode()
    return problem


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        *((method, PATH, {"POST"}) for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE")),
        *(("POST", path, {"GET", "HEAD"}) for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json")),
    ],
)
def test_another_method_is_told_which_ones_there_are(
    bridge: RunningBridge, method: str, path: str, allowed: set[str]
) -> None:
    response = bridge.client.request(method, path)
    assert response.status_code == 405
    assert set(response.headers["Allow"].replace(" ", "").split(",")) == allowed
    if method != "HEAD":
        problem_in(response, 405)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/v1", "/v1/issuance", f"{PATH}/", f"{PATH}/1", PATH.upper(), "/health", "/log/nothing", "//", "/.."),
        *("/%00", "/%ff", "/v1/issuance/..%2f", "/health/live%2f", "/favicon.ico", "/a" * 2000),
    ],
)
def test_an_unknown_path_is_a_problem_too(bridge: RunningBridge, path: str) -> None:
    assert path[:20] not in problem_in(bridge.get(path), 404)["detail"] or path == "/"


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "", "application", "a/b;c"]
)
def test_only_json_is_taken(bridge: RunningBridge, media: str) -> None:
    response = bridge.post(request("read"), headers={"Content-Type": media})
    assert "application/json" in problem_in(response, 415)["detail"]


def test_no_content_type_is_not_json(bridge: RunningBridge) -> None:
    body = json.dumps(request("read")).encode()
    raw = exchange(
        bridge.port,
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode(),
        body,
    )
    assert read_problem(raw)["status"] == 415


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_may_be_written_otherwise(bridge: RunningBridge, media: str) -> None:
    assert bridge.ask(request("read"), headers={"Content-Type": media})["outcome"] == "allow"


@pytest.mark.parametrize(
    "garbage",
    [
        b"S3CRET garbage\r\n\r\n",
        b"S3CRET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03S3CRET",
        b"GET /S3CRET\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization S3CRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer \x01S3CRET\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer S3CRET" + b"x" * 9000 + b"\r\n\r\n",
        b"GET /S3CRET" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"S3CRET: x\r\n" * 500 + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: S3CRET\r\n\r\n",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Content-Length: S3CRET\r\n\r\n{}",
        HEAD + b"Content-Length: -1\r\n\r\n{}",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nS3CRET\r\n\r\n",
        HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\nS3CRET\r\n\r\n',
        HEAD + b"Transfer-Encoding: S3CRET\r\n\r\n{}",
        HEAD + b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\nS3CRET",
        HEAD + b"Connection: close\r\nContent-Encoding: S3CRET\r\nContent-Length: 6\r\n\r\nS3CRET",
        HEAD + b"Connection: close\r\nExpect: S3CRET\r\nContent-Length: 2\r\n\r\n{}",
    ],
    ids=itertools.count(),
)
def test_what_is_no_request_is_answered_without_an_echo(bridge: RunningBridge, garbage: bytes) -> None:
    raw = exchange(bridge.port, garbage)
    assert 400 <= read_problem(raw)["status"] < 500
    assert b"S3CRET" not in raw
    assert b"aiohttp" not in raw
    assert "S3CRET" not in bridge.log_text()
    assert "Traceback" not in bridge.log_text()


def test_a_client_that_leaves_in_the_middle_is_no_defect(bridge: RunningBridge) -> None:
    for part in (HEAD[:40], HEAD + b"Content-Length: 100\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
        with socket.create_connection(("127.0.0.1", bridge.port)) as connection:
            connection.sendall(part)
    whole = json.dumps(request("read")).encode()
    with socket.create_connection(("127.0.0.1", bridge.port)) as connection:
        connection.sendall(HEAD + f"Content-Length: {len(whole)}\r\n\r\n".encode() + whole)
    time.sleep(0.2)
    assert bridge.ask(request("read"))["outcome"] == "allow"
    assert not bridge.log_events("door_defect")
    assert "Traceback" not in bridge.log_text()


def test_requests_on_one_connection_are_answered_in_their_order(bridge: RunningBridge) -> None:
    bodies = [json.dumps(request("read" if n % 2 else "never")).encode() for n in range(20)]
    close = [b""] * 19 + [b"Connection: close\r\n"]
    raw = exchange(
        bridge.port,
        b"".join(
            HEAD + last + f"X-Request-ID: r{n}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            for n, (body, last) in enumerate(zip(bodies, close, strict=True))
        ),
    )
    replies = raw.split(b"HTTP/1.1 200 OK")[1:]
    assert len(replies) == 20
    for number, reply in enumerate(replies):
        assert f"X-Request-ID: r{number}\r\n".encode() in reply
        assert (b'"outcome":"allow"' if number % 2 else b'"outcome":"deny"') in reply


def peak_while(process: psutil.Process, action: Any) -> tuple[Any, float]:
    """What `action` returns, and by how many MiB the process grew at most meanwhile."""
    before = process.memory_info().rss
    peak, done = before, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = action()
    finally:
        done.set()
        watcher.join()
    return result, (peak - before) / MEBIBYTE


def hundred_mebibytes() -> Iterator[bytes]:
    yield b'{"context": {"a": "'
    for _ in range(1600):
        yield b"x" * 65536


def test_a_hundred_mebibytes_with_their_length_are_refused_unread(bridge: RunningBridge) -> None:
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=5) as connection:
        connection.sendall(HEAD + f"Content-Length: {100 * MEBIBYTE}\r\n\r\n".encode() + b'{"context": {"a": "')
        raw = connection.recv(65536)
    assert read_problem(raw)["status"] == 413
    assert b"Connection: close" in raw


@pytest.mark.parametrize("chunked", [True, False])
def test_a_hundred_mebibytes_streamed_cost_no_memory(bridge: RunningBridge, chunked: bool) -> None:
    def send() -> bytes:
        if not chunked:
            return exchange(
                bridge.port, HEAD + f"Content-Length: {19 + 100 * MEBIBYTE}\r\n\r\n".encode(), *hundred_mebibytes()
            )
        chunks = (f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in hundred_mebibytes())
        return exchange(bridge.port, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n")

    raw, grown = peak_while(psutil.Process(bridge.process.pid), send)
    assert read_problem(raw)["status"] == 413
    assert grown < 48, f"{grown} MiB"


def test_a_compressed_body_is_bounded_by_what_it_unpacks_to(bridge: RunningBridge) -> None:
    small = gzip.compress(json.dumps(request("read")).encode())
    assert bridge.ask(small, headers={"Content-Encoding": "gzip"})["outcome"] == "allow"
    bomb = gzip.compress(b'{"context": {"a": "' + b"x" * (100 * MEBIBYTE))
    assert len(bomb) < MEBIBYTE

    response, grown = peak_while(
        psutil.Process(bridge.process.pid), lambda: bridge.post(bomb, headers={"Content-Encoding": "gzip"})
    )
    problem_in(response, 413)
    assert grown < 48, f"{grown} MiB"


@asynccontextmanager
async def drip(port: int, head: bytes, *, every_s: float) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends `head` and then one byte now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)

    async def forever() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(every_s)

    dripping = asyncio.create_task(forever())
    try:
        yield reader
    finally:
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_a_slow_body_is_given_up_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_body, "BODY_TIMEOUT_S", 1.0)
    async with local_bridge(tmp_path, server={"max_in_flight": 1}) as bridge:
        port = int(bridge.url.rpartition(":")[2])
        async with drip(port, HEAD + b"Content-Length: 1000\r\n\r\n{", every_s=0.05) as reader:
            assert (await bridge.ask(request("read")))["outcome"] == "allow"
            raw = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        assert read_problem(raw)["status"] == 408
        assert b"Connection: close" in raw


async def test_slow_headers_are_given_up_without_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_S", 1.0)
    async with local_bridge(tmp_path) as bridge:
        port = int(bridge.url.rpartition(":")[2])
        async with drip(port, b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX: ", every_s=0.05) as reader:
            try:
                raw = await asyncio.wait_for(reader.read(), 5)
            except ConnectionResetError:
                raw = b""
        assert raw == b""


async def test_slow_headers_of_a_second_request_are_given_up_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "IDLE_S", 1.0)
    async with local_bridge(tmp_path) as bridge:
        port = int(bridge.url.rpartition(":")[2])
        head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"GET /health/live HTTP/1.1\r\nX: "
        async with drip(port, head, every_s=0.05) as reader:
            try:
                raw = await asyncio.wait_for(reader.read(), 5)
            except ConnectionResetError:
                raw = b"HTTP/1.1 200"  # closed with our bytes still on their way: the first reply may be lost with it
        assert raw.count(b"HTTP/1.1 200") == 1


def test_a_request_id_is_echoed_on_every_reply_and_kept(bridge: RunningBridge) -> None:
    sent = {"X-Request-ID": "trace-1 /~{}"}
    big = b"x" * (5 * MEBIBYTE)
    replies = {
        200: bridge.post(request("read"), headers=sent),
        400: bridge.post(b"{", headers=sent),
        404: bridge.get("/nowhere", headers=sent),
        405: bridge.get(PATH, headers=sent),
        413: bridge.post(big, headers=sent),
        415: bridge.post(request("read"), headers={**sent, "Content-Type": "text/plain"}),
        417: bridge.post(request("read"), headers={**sent, "Expect": "more"}),
        421: bridge.post(request("read"), headers={**sent, "Host": "evil.example"}),
    }
    assert {status: reply.status_code for status, reply in replies.items()} == {status: status for status in replies}
    assert {reply.headers.get("X-Request-ID") for reply in replies.values()} == {"trace-1 /~{}"}
    assert bridge.entry_of(replies[200].json()["decision_id"])["request_id"] == "trace-1 /~{}"
    for path in ("/health/live", "/health/ready", "/metrics", "/openapi.json"):
        assert bridge.get(path, headers=sent).headers["X-Request-ID"] == "trace-1 /~{}"


def test_no_request_id_is_none(bridge: RunningBridge) -> None:
    response = bridge.post(request("read"))
    assert "X-Request-ID" not in response.headers
    assert "request_id" not in bridge.entry_of(response.json()["decision_id"])


@pytest.mark.parametrize("value", [b"", b"x" * 257, "é".encode(), b"a\x09b", b"\xff"])
def test_an_odd_request_id_is_refused_and_not_echoed(bridge: RunningBridge, value: bytes) -> None:
    response = bridge.client.post(PATH, json=request("read"), headers=[(b"X-Request-ID", value)])
    assert "X-Request-ID" in problem_in(response, 400)["detail"]
    assert "X-Request-ID" not in response.headers


def test_a_late_client_reads_its_reply(bridge: RunningBridge) -> None:
    """A reply waits in the socket for a client that is slow to read; nothing of the bridge waits with it."""
    body = json.dumps(request(*(f"tenant:{n}" for n in range(256)))).encode()
    with socket.create_connection(("127.0.0.1", bridge.port), timeout=10) as connection:
        connection.sendall(HEAD + b"Connection: close\r\n" + f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert httpx.get(f"{bridge.url}/health/live", trust_env=False).status_code == 200
        time.sleep(0.3)
        raw = b""
        while chunk := connection.recv(1000):
            raw += chunk
    assert len(json.loads(raw.partition(b"\r\n\r\n")[2])["granted_scopes"]) == 256

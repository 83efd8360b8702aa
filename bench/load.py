"""The load generator: a process of its own, closed loop, as little work for each request as Python allows.

Reads one JSON object a line and answers each with one line: first `Plan`, then any number of slices.
"""

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any, cast

import uvloop
from typing_extensions import override

WARM_UP_S = 0.15


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask (`address`: a port on loopback, or a unix socket), what (HTTP requests), and whose CPU to count.

    Every answer must hold `expected` as often as the text says, or it counts as wrong.
    """

    address: int | str
    requests: list[bytes]
    expected: bytes
    times: int
    pids: dict[str, list[int]]


@dataclass(slots=True)
class Slice:
    """One closed-loop run against one target. Latencies in s; counts only what is answered while `counting`."""

    target: Target
    counting: bool = False
    stopped: bool = False
    wrong: int = 0
    latencies: list[float] = field(default_factory=list)
    next_request: int = 0

    def next(self) -> bytes:
        self.next_request = (self.next_request + 1) % len(self.target.requests)
        return self.target.requests[self.next_request]


class Client(asyncio.Protocol):
    """One connection: sends the next request when the answer to the last one is complete."""

    def __init__(self, run: Slice) -> None:
        self._run = run
        self._transport = cast("asyncio.Transport", None)
        self._buffer = b""
        self._sent = 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._run.next())

    @override
    def data_received(self, data: bytes) -> None:
        buffer = self._buffer = self._buffer + data if self._buffer else data
        if not _complete(buffer):
            return
        run, self._buffer = self._run, b""
        if run.counting:
            run.latencies.append(time.perf_counter() - self._sent)
            if not buffer.startswith(b"HTTP/1.1 200") or buffer.count(run.target.expected) != run.target.times:
                run.wrong += 1
        if not run.stopped:
            self.send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self._run.stopped:
            self._run.wrong += 1

    def close(self) -> None:
        self._transport.abort()


def _complete(buffer: bytes) -> bool:
    """Whether one whole HTTP/1.1 answer is there; both servers tell its length or send it in chunks."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = buffer[:end].lower()
    at = head.find(b"content-length:")
    if at < 0:
        return buffer.endswith(b"\r\n0\r\n\r\n")
    return len(buffer) >= end + 4 + int(head[at + 15 :].split(b"\r\n", 1)[0])


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far: its CPU clock, to the nanosecond (clock_getcpuclockid(3), Linux)."""
    return time.clock_gettime(~pid << 3 | 2)


async def run_slice(target: Target, at_once: int, seconds: float) -> dict[str, Any]:
    """Loads `target` with `at_once` connections; counts after a short warm-up."""
    loop = asyncio.get_running_loop()
    run = Slice(target)
    clients = []
    for _ in range(at_once):
        if isinstance(target.address, int):
            _, client = await loop.create_connection(lambda: Client(run), "127.0.0.1", target.address)
        else:
            _, client = await loop.create_unix_connection(lambda: Client(run), target.address)
        clients.append(client)
    for client in clients:
        client.send()
    await asyncio.sleep(WARM_UP_S)
    before, own, started = _cpu(target), time.process_time(), time.perf_counter()
    run.counting = True
    await asyncio.sleep(seconds)
    run.counting = False
    after, own, elapsed = _cpu(target), time.process_time() - own, time.perf_counter() - started
    run.stopped = True
    for client in clients:
        client.close()
    await asyncio.sleep(0.05)
    answered, latencies = len(run.latencies), sorted(run.latencies)
    if not answered:
        return {"answered": 0, "wrong": run.wrong}
    return {
        "answered": answered,
        "wrong": run.wrong,
        "per_s": answered / elapsed,
        "cpu_us": {name: (after[name] - before[name]) / answered * 1e6 for name in before},
        "generator_us": own / answered * 1e6,
        "p50_ms": latencies[answered // 2] * 1e3,
        "p99_ms": latencies[answered * 99 // 100] * 1e3,
    }


def _cpu(target: Target) -> dict[str, float]:
    return {name: sum(map(cpu_seconds, pids)) for name, pids in target.pids.items()}


def main() -> None:
    """Serves slices until standard input ends."""
    targets = {
        name: Target(
            t["address"], [r.encode("latin-1") for r in t["requests"]], t["expected"].encode(), t["times"], t["pids"]
        )
        for name, t in json.loads(sys.stdin.readline()).items()
    }
    for line in sys.stdin:
        wanted = json.loads(line)
        result = uvloop.run(run_slice(targets[wanted["target"]], wanted["at_once"], wanted["seconds"]))
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()

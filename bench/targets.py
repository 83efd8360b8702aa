"""Starts what is measured: OPA alone, and bridges with their own OPA. Everything ends with the `with` block."""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson
import psutil

from bench.policies import ISSUER
from bridge.doors.authzen.door import EVALUATIONS_PATH
from bridge.doors.native import PATH as NATIVE_PATH
from bridge.engines._child import command
from bridge.kernel import ENTRYPOINT
from bridge.model.issuance import IssuanceRequest
from bridge.model.mask import SecretMask
from bridge.model.times import now_ms, uuid7
from bridge.pdp.gather import Call, encode, gather
from bridge.policy.load import load
from bridge.policy.opa import find_opa

START_S = 180.0
TOKEN, CALLER = "bench", "token-service"


@dataclass(frozen=True, slots=True)
class Door:
    """Where the bridge is asked, and what every answer must hold `times` times."""

    path: str
    expected: str
    times: int


NATIVE = Door(NATIVE_PATH, '"outcome":"allow"', 6)
AUTHZEN = Door(EVALUATIONS_PATH, '"decision":true', 5)
Plan = dict[str, Any]
"""A target as the load generator reads it: address, requests, expected, times, pids."""


@contextlib.contextmanager
def opa_alone(folder: Path, bundle: Path, questions: Sequence[bytes], environment: dict[str, str]) -> Iterator[Plan]:
    """OPA as the bridge starts its child, but for the environment; asked the `questions` that the bridge would ask."""
    folder.mkdir()
    socket = folder / "opa.sock"
    arguments = command(find_opa(), bundle, socket)
    with _running(arguments, environment, folder / "log") as process:
        requests = [_http(f"/v1/data/{ENTRYPOINT}?strict-builtin-errors=true", question) for question in questions]
        plan = _plan(str(socket), requests, '"code":"', 6, {"opa": [process.pid]})
        _wait_for(socket.exists, process, folder / "log")
        time.sleep(1.0)
        yield plan


@contextlib.contextmanager
def bridge(
    folder: Path, policies: Path, bodies: Sequence[bytes], code: Path, workers: int = 1, door: Door = NATIVE
) -> Iterator[Plan]:
    """The bridge of the checkout `code`: durable log, one caller with a bearer token, an OPA child for each worker."""
    folder.mkdir()
    caller = {
        "name": CALLER,
        "roles": ["token_service"],
        "issuer": ISSUER,
        "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(),
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")},
        "PYTHONPATH": str(code),
        "BRIDGE__SERVER__PORT": "0",
        "BRIDGE__SERVER__WORKERS": str(workers),
        "BRIDGE__POLICY__PATH": str(policies),
        "BRIDGE__EVIDENCE__PATH": str(folder / "evidence"),
        "BRIDGE__LOG__FORMAT": "json",
        "BRIDGE__CALLERS": json.dumps([caller]),
        # A busy machine is not what is measured, and a denial for lateness would count as a wrong answer.
        "BRIDGE__SERVER__DEADLINE_MS": "10000",
        "BRIDGE__ENGINE__DEADLINE_MS": "5000",
    }
    output = folder / "log"
    with _running([sys.executable, "-m", "bridge", "serve"], environment, output, cwd=code) as process:
        port = _wait_for(lambda: _port(output, workers), process, output)
        children = psutil.Process(process.pid).children(recursive=True)
        opas = [child.pid for child in children if child.name() == "opa"]
        ours = [process.pid, *(child.pid for child in children if child.pid not in opas)]
        requests = [_http(door.path, body, f"Authorization: Bearer {TOKEN}\r\n") for body in bodies]
        yield _plan(port, requests, door.expected, door.times, {"bridge": ours, "opa": opas})


class Generator:
    """The load generator's process."""

    def __init__(self, plans: dict[str, Plan]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._requests = cast("IO[str]", self._process.stdin)
        self._results = cast("IO[str]", self._process.stdout)
        self._tell(plans)

    def run(self, target: str, at_once: int, seconds: float) -> dict[str, Any]:
        """One slice. RuntimeError when an answer was not what it should be."""
        self._tell({"target": target, "at_once": at_once, "seconds": seconds})
        line = self._results.readline()
        if not line:
            raise RuntimeError("the load generator ended")
        result: dict[str, Any] = json.loads(line)
        if result["wrong"] or not result["answered"]:
            raise RuntimeError(f"{target}, {at_once} at once: {result['wrong']} wrong answers of {result['answered']}")
        return result

    def close(self) -> None:
        self._requests.close()
        self._process.wait()

    def _tell(self, message: Any) -> None:
        self._requests.write(json.dumps(message) + "\n")
        self._requests.flush()


def write_bundle(file: Path, policies: Path) -> Path:
    """What the bridge gives to its child."""
    file.write_bytes(load(policies, find_opa()).bundle)
    return file


@contextlib.contextmanager
def _running(
    arguments: Sequence[str], environment: dict[str, str], output: Path, cwd: Path | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with output.open("wb") as log:
        process = subprocess.Popen(arguments, env=environment, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(look: Any, process: "subprocess.Popen[bytes]", output: Path) -> Any:
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        if found := look():
            return found
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"{process.args!r} did not come up: {output.read_text()[-2000:]}")


def _port(log: Path, workers: int) -> int | None:
    """The port, when all workers listen on it."""
    events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    ports = [int(event["port"]) for event in events if event.get("event") == "listening"]
    return ports[0] if len(ports) == workers else None


def question(body: bytes) -> bytes:
    """The query that the bridge makes of `body`."""
    at = now_ms()
    request = IssuanceRequest.model_validate_json(body)
    document = encode(gather(request.document(), Call("native", CALLER, ISSUER), uuid7(at), at, SecretMask()))
    return b'{"input":{"items":[{"id":"0","doc":%b,"gate":true,"scopes":%b}]}}' % (
        document,
        orjson.dumps(request.scopes),
    )


def _http(path: str, body: bytes, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{headers}"
    return b"%bContent-Length: %d\r\n\r\n%b" % (head.encode(), len(body), body)


def _plan(address: int | str, requests: list[bytes], expected: str, times: int, pids: dict[str, list[int]]) -> Plan:
    texts = [request.decode("latin-1") for request in requests]
    return {"address": address, "requests": texts, "expected": expected, "times": times, "pids": pids}

"""Runs a bridge (a child process) and the token service (a thread) on loopback: for the demo and for tests."""

import contextlib
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import httpx
from typing_extensions import override
from werkzeug.serving import WSGIRequestHandler, make_server

from examples.token_service.app import create_app
from examples.token_service.authzen import AuthzenAsk
from examples.token_service.bridge_client import BridgeClient
from examples.token_service.store import Store

ISSUER = "https://as.example"
Via = Literal["native", "authzen"]
START_S, STOP_S, REPORT_S = 30, 10, 10


@dataclass(frozen=True)
class Bridge:
    """A running bridge, and what its one caller needs."""

    url: str
    token: str
    config: Path
    process: "subprocess.Popen[bytes]"

    def log_entry(self, decision_id: str) -> dict[str, Any]:
        """The log entry of a decision, by the auditor's command. Raises CalledProcessError when there is none."""
        return self._log(decision_id)[0]

    def report_entry(self, decision_id: str) -> dict[str, Any]:
        """The log entry that says what was minted for a decision; it comes a moment after the token."""
        deadline = time.monotonic() + REPORT_S
        while time.monotonic() < deadline:
            for entry in self._log(decision_id):
                if entry["kind"] == "issued":
                    return entry
            time.sleep(0.1)
        raise RuntimeError(f"no token was reported for {decision_id} within {REPORT_S} s")

    def _log(self, decision_id: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "bridge", "log", "show", decision_id, "--json", "--config", str(self.config)]
        shown = subprocess.run(command, check=True, capture_output=True, timeout=START_S, env=_environment())
        # One object a line: the entry, then what follows from it.
        return [json.loads(line)["entry"] for line in shown.stdout.splitlines()]


@contextlib.contextmanager
def running_bridge(folder: Path, policies: Path, issuer: str = ISSUER) -> Iterator[Bridge]:
    """A bridge over `policies` that keeps everything below `folder`; ended on the way out, its output in bridge.log."""
    token, port = secrets.token_urlsafe(32), _free_port()
    config = folder / "bridge.toml"
    config.write_text(
        f"""
[server]
port = {port}
[policy]
path = {json.dumps(str(policies.resolve()))}
[evidence]
path = {json.dumps(str(folder.resolve() / "evidence"))}
[[callers]]
name = "token-service"
roles = ["token_service"]
token_sha256 = "{hashlib.sha256(token.encode()).hexdigest()}"
issuer = {json.dumps(issuer)}
"""
    )
    output = folder / "bridge.log"
    with output.open("wb") as log:
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(config)]
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=_environment()
        )
    try:
        bridge = Bridge(f"http://127.0.0.1:{port}", token, config, process)
        _wait_until_ready(bridge, output)
        yield bridge
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_token_service(store: Store, bridge: Bridge, issuer: str = ISSUER, via: Via = "native") -> Iterator[str]:
    """The token service on an ephemeral port; its base URL."""
    with served(store, bridge.url, bridge.token, issuer, via) as url:
        yield url


@contextlib.contextmanager
def served(store: Store, bridge: str, token: str, issuer: str, via: Via, port: int = 0) -> Iterator[str]:
    """The token service, which asks the bridge at the URL `bridge` by one of its doors."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(BridgeClient(bridge, token)))
        ask = stack.enter_context(contextlib.closing(AuthzenAsk(bridge, token))) if via == "authzen" else None
        yield stack.enter_context(serving(create_app(issuer, store, client, ask), port))


@contextlib.contextmanager
def serving(app: Any, port: int = 0) -> Iterator[str]:
    """`app` over HTTP on loopback; its base URL."""
    # Authlib insists on https, and this never leaves the machine.
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    server = make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(STOP_S)
        server.server_close()


class _Quiet(WSGIRequestHandler):
    @override
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Not a word: the story and the tests have their own."""


def _wait_until_ready(bridge: Bridge, output: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if bridge.process.poll() is not None:
            raise RuntimeError(f"the bridge ended with {bridge.process.returncode}:\n{output.read_text()}")
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{bridge.url}/health/ready", trust_env=False, timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the bridge was not ready within {START_S} s:\n{output.read_text()}")


def _environment() -> dict[str, str]:
    # A BRIDGE__... of the user's own would win over the configuration written here.
    return {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

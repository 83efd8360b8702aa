"""A bridge for a test: as a process of its own (what users run), or inside the test's event loop (fast).

    with running_bridge(tmp_path, callers=[caller("as")]) as bridge:
        reply = bridge.ask({"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": ["read"]})

    async with local_bridge(tmp_path) as bridge:
        reply = await bridge.ask({...})

Keyword arguments are sections of the configuration (`server={"max_in_flight": 2}`); what a test does not set is a free
port, policies of `tests.support.policies`, evidence below the folder, and the process log as JSON.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import aiohttp
import httpx
import psutil

from bridge.config.settings import load_settings
from bridge.evidence.files import CHECKPOINT
from bridge.server import Bridge
from tests.support.evidence import entries, entry_of, input_of
from tests.support.nursery import Child, can_fork, finish, nursery
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

PATH = "/v1/issuance/decisions"
START_S, STOP_S = 40.0, 20.0

Process: TypeAlias = "subprocess.Popen[bytes] | Child"


def request(*scopes: str, **members: Any) -> dict[str, Any]:
    """A small issuance request: client_credentials, client `c`; `members` are laid on top."""
    return {"grant_type": "client_credentials", "client": {"id": "c"}, "scopes": list(scopes), **members}


def token_of(name: str) -> str:
    """The bearer token of the caller `name` (see `caller`)."""
    return f"token-of-{name}"


def caller(name: str, *roles: str, **members: Any) -> dict[str, Any]:
    """A `[[callers]]` table; its bearer token is `token_of(name)`, its role token_service unless said otherwise."""
    known = {} if "tls_san" in members else {"token_sha256": hashlib.sha256(token_of(name).encode()).hexdigest()}
    return {"name": name, "roles": list(roles) or ["token_service"], **known, **members}


def bearer(name: str) -> dict[str, str]:
    """The header that shows the token of the caller `name`."""
    return {"Authorization": f"Bearer {token_of(name)}"}


def write_config(folder: Path, policies: Path | None = None, **sections: Any) -> Path:
    """A TOML file below `folder`; see above for what it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    base: dict[str, Mapping[str, Any]] = {
        "server": {"port": 0},
        "policy": {"path": str(policies or _own_policies(folder))},
        "evidence": {"path": str(folder / "evidence")},
        "log": {"format": "json"},
    }
    lists = ("callers", "sources", "servers", "relying_parties", "logout_senders")
    tables = {name: sections.pop(name, ()) for name in lists}
    lines: list[str] = []
    for section in (*base, *(name for name in sections if name not in base)):
        lines.append(f"[{section}]")
        lines.extend(_toml({**base.get(section, {}), **sections.get(section, {})}))
    for name, rows in tables.items():
        for row in rows:
            lines.extend([f"[[{name}]]", *_toml(row)])
    file = folder / "bridge.toml"
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file


def _toml(table: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_toml_value(value)}" for name, value in table.items()]


def _toml_value(value: Any) -> str:
    """JSON strings, numbers and booleans are TOML as they stand."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(_toml(value))}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _own_policies(folder: Path) -> Path:
    policies = folder / "rego"
    return policies if policies.exists() else write_policies(policies)


def clean_environment() -> dict[str, str]:
    """The environment without BRIDGE__ variables of whoever runs the tests: they would win over the test's file."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}


def run_cli(
    *arguments: str | Path, timeout: float = 60, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """`issuance-bridge ARGUMENTS`, to its end."""
    words = [str(argument) for argument in arguments]
    environment = {**clean_environment(), "PYTHONPATH": os.getcwd(), **(env or {})}  # noqa: PTH109 - as the child sees it
    if can_fork(env or {}):
        return finish(words, environment, timeout=timeout, cwd=cwd or Path.cwd())
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=cwd
    )


@dataclass(frozen=True)
class RunningBridge:
    """A bridge in a process of its own; `client` speaks to it, without credentials of its own."""

    url: str
    port: int
    config: Path
    evidence: Path
    process: Process
    client: httpx.Client
    log_file: Path

    def ask(self, body: Any, **options: Any) -> Any:
        """The decoded reply to an issuance request that must be answered with 200."""
        response = self.post(body, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def post(self, body: Any, **options: Any) -> httpx.Response:
        """The response to an issuance request; bytes go out as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", **options.pop("headers", {})}
        return self.client.post(PATH, content=content, headers=headers, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.client.get(path, **options)

    def cli(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """A command with this bridge's configuration."""
        return run_cli(*arguments, "--config", self.config)

    def verify(self) -> "subprocess.CompletedProcess[str]":
        """`log verify`, once anything is published: a command is faster than the first checkpoint."""
        wait_until((self.evidence / CHECKPOINT).exists, 20)
        return self.cli("log", "verify")

    def entries(self) -> list[dict[str, Any]]:
        return entries(self.evidence)

    def entry_of(self, decision_id: str) -> dict[str, Any]:
        return entry_of(self.evidence, decision_id)

    def input_of(self, decision_id: str) -> dict[str, Any]:
        return input_of(self.evidence, decision_id)

    def log_text(self) -> str:
        """All that the processes of this bridge wrote so far, both streams."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def log_events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The lines of the process log, all or those of one event."""
        return read_events(self.log_file, event)

    def family(self) -> list[psutil.Process]:
        """This process and all that it started, as they are now."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Sends the signal and waits; the exit code."""
        self.process.send_signal(how)
        return self.process.wait(STOP_S)


def read_events(log_file: Path, event: str | None = None) -> list[dict[str, Any]]:
    """The JSON lines of a process log."""
    found: list[dict[str, Any]] = []
    for line in log_file.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict) and event in (None, value.get("event")):
                found.append(value)
    return found


@dataclass(frozen=True)
class Starting:
    """A process that may not listen yet; `family`: what must not stay behind."""

    process: Process
    family: list[psutil.Process]
    config: Path
    log_file: Path

    def look(self) -> list[psutil.Process]:
        """Takes note of all that the process has started so far."""
        with contextlib.suppress(psutil.Error):
            self.family.extend(p for p in self.family[0].children(recursive=True) if p not in self.family)
        return self.family


def _start(words: list[str], env: Mapping[str, str], output: IO[bytes]) -> Process:
    environment = {**clean_environment(), **env}
    if can_fork(env):
        return nursery().start(words, environment, out=output, err=output, cwd=Path.cwd())
    command = [sys.executable, "-m", "bridge", *words]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment)


@contextlib.contextmanager
def starting_bridge(
    folder: Path, policies: Path | None = None, *, env: Mapping[str, str] | None = None, **sections: Any
) -> Iterator[Starting]:
    """`issuance-bridge serve`, just begun; ended on the way out, and nothing of it may stay behind."""
    config, log_file = write_config(folder, policies, **sections), folder / "bridge.log"
    with log_file.open("wb") as output:
        process = _start(["serve", "--config", str(config)], env or {}, output)
    starting = Starting(process, [psutil.Process(process.pid)], config, log_file)
    try:
        yield starting
    finally:
        starting.look()
        _end(process)
        left = _gone_or_killed(starting.family)
    assert not left, f"left behind: {left}\n{log_file.read_text(errors='replace')[-4000:]}"


@contextlib.contextmanager
def running_bridge(
    folder: Path,
    policies: Path | None = None,
    *,
    env: Mapping[str, str] | None = None,
    verify: ssl.SSLContext | bool = True,
    **sections: Any,
) -> Iterator[RunningBridge]:
    """`issuance-bridge serve`, listening (all its workers); ended on the way out, and nothing of it may stay behind."""
    with starting_bridge(folder, policies, env=env, **sections) as starting:
        settings = load_settings(starting.config)
        port = _wait_for_port(starting.process, starting.log_file, settings.server.workers)
        starting.look()
        scheme = "https" if settings.server.tls_cert else "http"
        url, evidence = f"{scheme}://127.0.0.1:{port}", Path(settings.evidence.path)
        with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=verify) as client:
            yield RunningBridge(url, port, starting.config, evidence, starting.process, client, starting.log_file)


def _wait_for_port(process: Process, log_file: Path, workers: int) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        listening = read_events(log_file, "listening")
        if len({event["worker"] for event in listening}) == workers:
            return int(listening[0]["port"])
        if process.poll() is not None:
            break
        time.sleep(0.03)
    state = f"ended with {process.returncode}" if process.poll() is not None else f"not listening within {START_S} s"
    raise AssertionError(f"the bridge: {state}\n{log_file.read_text(errors='replace')}")


def _end(process: Process) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _gone_or_killed(family: list[psutil.Process], timeout: float = 5.0) -> list[str]:
    """What still runs a moment after the end; it is killed, so that one red test does not spoil the others."""
    _, alive = psutil.wait_procs(family, timeout=timeout)
    left = []
    for process in alive:
        with contextlib.suppress(psutil.Error):
            left.append(f"{process.pid} {' '.join(process.cmdline())}")
            process.kill()
    return left


@dataclass(frozen=True)
class LocalBridge:
    """A bridge inside this event loop; `bridge` is the object itself."""

    url: str
    bridge: Bridge
    session: aiohttp.ClientSession
    evidence: Path

    async def ask(self, body: Any, **options: Any) -> Any:
        """The decoded reply to an issuance request that must be answered with 200."""
        async with self.session.post(PATH, json=body, **options) as response:
            text = await response.text()
            assert response.status == 200, text
            return json.loads(text)

    async def metric(self, name: str) -> float:
        """The value of one sample (`name` with its labels, as in the text format); 0 when it is not there."""
        async with self.session.get("/metrics") as response:
            lines = (await response.text()).splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), 0.0)

    def entries(self) -> list[dict[str, Any]]:
        return entries(self.evidence)

    def entry_of(self, decision_id: str) -> dict[str, Any]:
        return entry_of(self.evidence, decision_id)

    def input_of(self, decision_id: str) -> dict[str, Any]:
        return input_of(self.evidence, decision_id)


@contextlib.asynccontextmanager
async def local_bridge(folder: Path, policies: Path | None = None, **sections: Any) -> AsyncIterator[LocalBridge]:
    """A whole bridge (engine, log, doors on a free port) in this event loop; stopped on the way out."""
    settings = load_settings(await asyncio.to_thread(lambda: write_config(folder, policies, **sections)))
    bridge = Bridge(settings)
    await bridge.start()
    try:
        port = await bridge.listen()
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession(url) as session:
            yield LocalBridge(url, bridge, session, Path(settings.evidence.path))
    finally:
        await bridge.stop()

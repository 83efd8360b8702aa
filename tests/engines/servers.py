"""OPA servers of the tests' own, on TCP or a unix socket, and the two engines over them."""

import asyncio
import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from bridge.engines.managed import ManagedOpa
from bridge.engines.opa import OpaServer
from bridge.model.policy import PolicySet
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.ports import Engine
from tests.support.policies import write_policies

START_S = 20.0


def policy_set(folder: Path, policies: dict[str, str], data: dict[str, object] | None = None) -> PolicySet:
    """`policies` (package -> its rules), written to `folder`, as a checked set."""
    return load(write_policies(folder, policies, data), find_opa())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class OpaProcess:
    """A running `opa run --server`; `url` is what `engine.url` would say."""

    url: str
    process: asyncio.subprocess.Process


@contextlib.asynccontextmanager
async def opa_server(*arguments: str | Path, unix: bool = False, port: int = 0) -> AsyncIterator[OpaProcess]:
    """OPA as a user would run it, with these further arguments; ended on the way out."""
    with tempfile.TemporaryDirectory(prefix="opa-") as folder:  # short: a socket's path has at most 107 bytes
        port = port or free_port()
        address = f"unix://{folder}/opa.sock" if unix else f"127.0.0.1:{port}"
        process = await asyncio.create_subprocess_exec(
            str(find_opa()),
            *("run", "--server", "--addr", address, "--skip-version-check", "--log-level", "error"),
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            env={},
            cwd=folder,
        )
        try:
            await _until_listening(process, f"{folder}/opa.sock" if unix else port)
            yield OpaProcess(address if unix else f"http://{address}", process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _until_listening(process: asyncio.subprocess.Process, where: str | int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            assert process.returncode is None, "OPA ended at its start"
            with contextlib.suppress(OSError):
                connect = asyncio.open_unix_connection(where) if isinstance(where, str) else _tcp(where)
                _, writer = await connect
                writer.close()
                return
            await asyncio.sleep(0.02)


async def _tcp(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


@dataclass(frozen=True)
class Running:
    """An engine that answers. `install` brings a further set to where its OPA takes its policies from."""

    engine: Engine
    install: Callable[[PolicySet], None]


@contextlib.asynccontextmanager
async def managed(first: PolicySet, folder: Path) -> AsyncIterator[Running]:
    engine = ManagedOpa(find_opa())
    try:
        await engine.start(first)
        yield Running(engine, lambda further: None)
    finally:
        await engine.close()


@contextlib.asynccontextmanager
async def served(first: PolicySet, folder: Path, *, unix: bool) -> AsyncIterator[Running]:
    """An OPA server that watches a built bundle, as docs tell operators to run it."""
    bundle = folder / "bundle.tar.gz"

    def install(further: PolicySet) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "new").write_bytes(further.bundle)
        os.replace(folder / "new", bundle)  # noqa: PTH105 - in one step, by name

    install(first)
    async with opa_server("--bundle", bundle, "--watch", unix=unix) as server:
        engine = OpaServer(server.url)
        try:
            await engine.start(first)
            yield Running(engine, install)
        finally:
            await engine.close()


Start = Callable[[PolicySet, Path], AbstractAsyncContextManager[Running]]
ENGINES: dict[str, Start] = {
    "managed": managed,
    "opa over tcp": lambda first, folder: served(first, folder, unix=False),
    "opa over a unix socket": lambda first, folder: served(first, folder, unix=True),
}

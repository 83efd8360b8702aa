"""One OPA process with one policy set, on a unix socket in a folder that only we may enter."""

import asyncio
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import structlog

from bridge.engines._data_api import DataApi
from bridge.errors import EngineFault, EngineUnavailable
from bridge.model.policy import PolicySet

STOP_S = 3.0
MAX_SOCKET_PATH = 103  # the least among the systems that have unix sockets
ENVIRONMENT = {"GOMAXPROCS": "1", "GOGC": "400"}
"""Nothing is inherited. One core for each worker's engine, and fewer collections: measured in docs/performance.md."""
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
log = structlog.get_logger(__name__)


class Child:
    """A running OPA. `digest` is the set it was started with."""

    def __init__(self, process: asyncio.subprocess.Process, api: DataApi, folder: Path, digest: str) -> None:
        self.process, self.api, self.digest = process, api, digest
        self.in_flight = 0
        self._folder = folder
        self._log_reader = asyncio.create_task(self._relay_log(), name="opa-log")
        self.exited = asyncio.create_task(process.wait(), name="opa-exit")

    @classmethod
    async def launch(cls, opa: Path, policy_set: PolicySet, ready_s: float) -> "Child":
        """Starts OPA and waits until it answers with `policy_set`; EngineUnavailable when it does not in time."""
        folder = Path(tempfile.mkdtemp(prefix="issuance-opa-"))  # mkdtemp makes it 0700
        bundle, socket = folder / "bundle.tar.gz", folder / "opa.sock"
        try:
            if len(os.fsencode(socket)) > MAX_SOCKET_PATH:
                raise OSError(f"the path of its socket, {socket}, is too long: set TMPDIR to a shorter folder")
            bundle.write_bytes(policy_set.bundle)
            process = await asyncio.create_subprocess_exec(
                *command(opa, bundle, socket),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=ENVIRONMENT,
                cwd=folder,
                start_new_session=True,  # a Ctrl-C ends us; we end the child when its queries are answered
                preexec_fn=_die_with_parent,
            )
        except (OSError, subprocess.SubprocessError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise EngineUnavailable(f"OPA cannot be started: {error}") from error
        child = cls(process, DataApi("http://opa", str(socket)), folder, policy_set.digest)
        try:
            async with asyncio.timeout(ready_s):
                await child._until_ready()
        except BaseException as error:
            await child.stop()
            if isinstance(error, TimeoutError):
                raise EngineUnavailable(f"OPA was not ready within {ready_s:.0f} s") from None
            raise
        bundle.unlink(missing_ok=True)
        return child

    async def query(self, items: bytes, timeout_s: float) -> Any:
        """As `DataApi.query`, counted: who swaps children waits for `in_flight` to come down to 0."""
        self.in_flight += 1
        try:
            return await self.api.query(items, timeout_s)
        finally:
            self.in_flight -= 1

    async def stop(self, *, force: bool = False) -> None:
        """Ends the process, politely and then by force (at once with `force`), and removes its folder."""
        await self.api.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill() if force else self.process.terminate()
            _, pending = await asyncio.wait([self.exited], timeout=STOP_S)
            if pending:
                with contextlib.suppress(ProcessLookupError):
                    self.process.kill()
        await self.exited
        await self._log_reader
        shutil.rmtree(self._folder, ignore_errors=True)  # a cleaner of temporary files may have been faster

    async def _until_ready(self) -> None:
        while True:
            if self.exited.done():
                raise EngineUnavailable(f"OPA ended at its start with code {self.process.returncode}")
            with contextlib.suppress(EngineFault):
                answer: Any = await self.api.query(b"[]", 1.0)
                if not isinstance(answer, dict) or answer.get("digest") != self.digest:
                    raise EngineUnavailable("OPA answered with another policy set")
                return
            await asyncio.sleep(0.02)

    async def _relay_log(self) -> None:
        """OPA's log lines become ours; a line that is not JSON (a Go panic) goes on as it is."""
        stream = self.process.stderr
        while stream is not None:
            try:
                line = await stream.readline()
            except ValueError:  # a line longer than the stream's limit was dropped
                continue
            if not line:
                return
            text = line.decode("utf-8", "replace").strip()
            try:
                fields = json.loads(text)
                message = str(fields.get("msg"))
            except (ValueError, AttributeError):
                log.error("opa_output", line=text[:2000])
                continue
            if "privileges" not in message:
                log.warning("opa_log", level_opa=str(fields.get("level")), message=message[:2000])


def command(opa: Path, bundle: Path, socket: Path) -> list[str]:
    """How OPA is started to serve `bundle` on `socket`."""
    return [
        str(opa),
        *("run", "--server", "--addr", f"unix://{socket}", "--unix-socket-perm", "600"),
        *("--skip-version-check", "--log-level", "error", "--log-format", "json"),
        *("--shutdown-grace-period", "1", "--bundle", str(bundle)),
    ]


def _die_with_parent() -> None:
    """Linux: the kernel kills OPA when we die without a chance to end it (prctl(2), PR_SET_PDEATHSIG)."""
    if os.uname().sysname == "Linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

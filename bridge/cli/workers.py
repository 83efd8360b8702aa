"""Several workers: one port, one log. Each is a whole bridge with its own engine; this only starts and ends them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.multiprocess import mark_process_dead

from bridge.config.settings import Settings
from bridge.errors import ConfigFault
from bridge.server import GRACE_S

RESTART_S = 1.0
log = structlog.get_logger(__name__)


class Workers:
    """The worker processes; `address` is the one that they listen at, `lock` what holds the evidence folder."""

    def __init__(
        self, count: int, command: list[str], environment: dict[str, str], address: tuple[Any, ...], lock: int
    ) -> None:
        self._command, self._environment, self._address, self._lock = command, environment, address, lock
        self._came_up = False
        self._running = {n: self._start(n) for n in range(count)}

    def look(self) -> None:
        """Starts again what ended. ConfigFault when a worker does not come up at all."""
        self._came_up = self._came_up or _listening(self._address)
        for worker, process in list(self._running.items()):
            if process.poll() is None:
                continue
            mark_process_dead(process.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]  # the library has no types there
            # Before any has ever listened, one that fails will fail again; later the others decide without it.
            if process.returncode > 0 and not self._came_up:
                raise ConfigFault(f"worker {worker} ended at its start with code {process.returncode}: see its log")
            log.error("worker_lost", worker=worker, code=process.returncode)
            time.sleep(RESTART_S)
            self._running[worker] = self._start(worker)

    def end(self) -> None:
        """Ends all, politely and then by force; last the one that publishes the log, with what the others wrote."""
        for some in ([process for n, process in self._running.items() if n > 0], [self._running[0]]):
            for process in some:
                if process.poll() is None:
                    process.terminate()
            until = time.monotonic() + GRACE_S * 2
            for process in some:
                try:
                    process.wait(max(0.1, until - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _start(self, worker: int) -> subprocess.Popen[bytes]:
        # A group of its own: a Ctrl-C reaches the workers through us alone, once.
        return subprocess.Popen(
            [*self._command, "--worker", str(worker)],
            stdin=subprocess.PIPE,  # never written to: it closes when we end, even by SIGKILL, and the worker sees it
            env=self._environment,
            pass_fds=[self._lock],  # the folder is ours as long as one of them writes to it
            process_group=0,
        )


def run_workers(settings: Settings, config: Path | None, lock: int) -> None:
    """Runs until SIGTERM or SIGINT; a worker that ends is started again. ConfigFault when one cannot start.

    `lock`: the descriptor that holds the evidence folder, for the workers to inherit.
    """
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stopping.append(received))
    reserved = _reserve(settings.server.host, settings.server.port)
    scratch = tempfile.mkdtemp(prefix="issuance-metrics-")
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": scratch,
        "BRIDGE__SERVER__PORT": str(reserved.getsockname()[1]),
    }
    command = [sys.executable, "-m", "bridge", "serve", *(["--config", str(config)] if config else [])]
    workers = Workers(settings.server.workers, command, environment, reserved.getsockname(), lock)
    try:
        while not stopping:
            time.sleep(0.1)
            if not stopping:
                workers.look()
    finally:
        workers.end()
        reserved.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _listening(address: tuple[Any, ...]) -> bool:
    try:
        socket.create_connection(address[:2], timeout=0.5).close()
    except OSError:
        return False
    return True


def _reserve(host: str, port: int) -> socket.socket:
    """Holds the port for the workers without listening on it, so that port 0 means one port for all of them."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as alone:
            # With SO_REUSEPORT another bridge's workers would share the port with ours: half the requests each.
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind(address)
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(address)
    except OSError as error:
        raise ConfigFault(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return held

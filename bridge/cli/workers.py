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

import structlog
from prometheus_client.multiprocess import mark_process_dead

from bridge.config.settings import Settings
from bridge.errors import ConfigFault
from bridge.server import GRACE_S

RESTART_S = 1.0
STEADY_S = 5.0
"""A first worker that fails sooner than this cannot start, and starting it again would not help."""
log = structlog.get_logger(__name__)


class Workers:
    """The worker processes and when each was started (monotonic, s)."""

    def __init__(self, count: int, command: list[str], environment: dict[str, str]) -> None:
        self._command, self._environment = command, environment
        self._steady = False
        self._running = {n: self._start(n) for n in range(count)}

    def look(self) -> None:
        """Starts again what ended. ConfigFault when a worker does not come up at all."""
        for worker, (process, since) in list(self._running.items()):
            lived = time.monotonic() - since
            if process.poll() is None:
                self._steady = self._steady or lived >= STEADY_S
                continue
            mark_process_dead(process.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]
            if process.returncode > 0 and lived < STEADY_S and not self._steady:
                raise ConfigFault(f"worker {worker} ended at its start with code {process.returncode}: see its log")
            log.error("worker_lost", worker=worker, code=process.returncode)
            time.sleep(RESTART_S)
            self._running[worker] = self._start(worker)

    def end(self) -> None:
        """Ends all, politely and then by force."""
        for process, _ in self._running.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + GRACE_S * 2
        for process, _ in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, worker: int) -> tuple[subprocess.Popen[bytes], float]:
        # A group of its own: a Ctrl-C reaches the workers through us alone, once.
        process = subprocess.Popen(
            [*self._command, "--worker", str(worker)],
            stdin=subprocess.PIPE,  # never written to: it closes when we end, even by SIGKILL, and the worker sees it
            env=self._environment,
            process_group=0,
        )
        return process, time.monotonic()


def run_workers(settings: Settings, config: Path | None) -> None:
    """Runs until SIGTERM or SIGINT; a worker that ends is started again. ConfigFault when one cannot start."""
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
    workers = Workers(settings.server.workers, command, environment)
    try:
        while not stopping:
            time.sleep(0.1)
            if not stopping:
                workers.look()
    finally:
        workers.end()
        reserved.close()
        shutil.rmtree(scratch, ignore_errors=True)


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

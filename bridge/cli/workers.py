"""Several workers: one port, one log. Each is a whole bridge with an engine of its own; this only starts and ends them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import structlog

from bridge.config.settings import Settings
from bridge.errors import ConfigFault
from bridge.server import GRACE_S

RESTART_S = 1.0
log = structlog.get_logger(__name__)


def run_workers(settings: Settings, config: Path | None) -> None:
    """Runs until SIGTERM or SIGINT; a worker that ends is started again. ConfigFault when one cannot start."""
    reserved = _reserve(settings.server.host, settings.server.port)
    port = reserved.getsockname()[1]
    scratch = tempfile.mkdtemp(prefix="issuance-metrics-")
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": scratch, "BRIDGE__SERVER__PORT": str(port)}
    command = [sys.executable, "-m", "bridge", "serve", *(["--config", str(config)] if config else [])]
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)

    def start(worker: int) -> subprocess.Popen[bytes]:
        # Its own group: a Ctrl-C reaches the workers through us alone, once.
        return subprocess.Popen(  # noqa: S603 - our own module
            [*command, "--worker", str(worker)], env=environment, process_group=0
        )

    workers = {n: (start(n), time.monotonic()) for n in range(settings.server.workers)}
    try:
        while not stopping:
            time.sleep(0.1)
            for n, (process, since) in list(workers.items()):
                if process.poll() is None or stopping:
                    continue
                if time.monotonic() - since < RESTART_S * 5:
                    raise ConfigFault(
                        f"worker {n} ended at its start with code {process.returncode}: see its log above"
                    )
                log.error("worker_lost", worker=n, code=process.returncode)
                time.sleep(RESTART_S)
                workers[n] = (start(n), time.monotonic())
    finally:
        for process, _ in workers.values():
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + GRACE_S * 2
        for process, _ in workers.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reserved.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _reserve(host: str, port: int) -> socket.socket:
    """Holds the port for the workers without listening on it, so that port 0 means one port for all of them."""
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    held = socket.socket(family, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        held.bind(address)
    except OSError as error:
        raise ConfigFault(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return held

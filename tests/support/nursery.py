"""The bridge's commands, each in a process of its own, forked from one that has imported them: importing is most of
what a command costs. Its arguments, environment, folder and streams are its own, as its end is.

    child = nursery().start(["serve", "--config", "bridge.toml"], environment, out=file, err=file)
    child.wait(20)
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

PROGRAM = "from tests.support.nursery import serve; serve({})"
READ_AT_THE_START = ("LD_", "DYLD_", "PYTHON", "LC_", "LANG", "TZ", "MALLOC_")
"""Variables that are heeded as a program starts, so that a forked process would not heed them."""
_HEAD = struct.Struct("!I")


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a forked process would do as one started with these variables laid on top of ours."""
    return not any(name.startswith(READ_AT_THE_START) for name in environment)


class Child:
    """A process of the nursery, as far as a test wants of `subprocess.Popen`."""

    def __init__(self, pid: int, told: int, arguments: Sequence[str]) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._told, self._arguments = told, arguments

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, -N after a signal; subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(list(self._arguments), timeout or 0)
            said = os.read(self._told, 16)
            os.close(self._told)
            assert said, "the nursery is gone"
            self.returncode = int(said)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Nursery:
    """A process that has imported the commands; it ends with who started it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM.format(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, out: IO[Any], err: IO[Any], cwd: Path
    ) -> Child:
        """`issuance-bridge ARGUMENTS`, its standard input empty."""
        told, tell = os.pipe()
        job = json.dumps([list(arguments), dict(environment), str(cwd)]).encode()
        with self._lock:
            socket.send_fds(self._socket, [_HEAD.pack(len(job))], [out.fileno(), err.fileno(), tell])
            self._socket.sendall(job)
        os.close(tell)
        pid = os.read(told, _HEAD.size)
        assert len(pid) == _HEAD.size, f"the nursery ended: {self._process.poll()}"
        return Child(_HEAD.unpack(pid)[0], told, arguments)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(20)


@functools.cache
def nursery() -> Nursery:
    """The one of this process, and until its end."""
    found = Nursery()
    atexit.register(found.close)
    return found


def serve(descriptor: int) -> None:
    """What the nursery does: forks a process for each job. Returns in that process alone, which is then the command."""
    import bridge.cli

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever starts us ends us, and each child heeds its own
    for module in pkgutil.walk_packages(bridge.cli.__path__, "bridge.cli."):
        importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=descriptor) as jobs:
        while True:
            head, given, *_ = socket.recv_fds(jobs, _HEAD.size, 3)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not head:
                os._exit(0)
            (size,) = _HEAD.unpack(head)
            job = jobs.recv(size, socket.MSG_WAITALL)
            if os.fork() == 0:
                break
            for one in given:
                os.close(one)
    _keep(json.loads(job), *given)


def _keep(job: Any, out: int, err: int, tell: int) -> None:
    """Forks once more, and tells the number and the end of the process that is the command."""
    pid = os.fork()
    if pid == 0:
        _become(job, out, err)
        return
    os.close(out)
    os.close(err)
    os.write(tell, _HEAD.pack(pid))
    with contextlib.suppress(OSError):  # nobody may listen any more
        os.write(tell, str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
    os._exit(0)


def _become(job: Any, out: int, err: int) -> None:
    arguments, environment, folder = job
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR is looked at anew
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.closerange(3, 256)
    sys.argv = ["issuance-bridge", *arguments]
    from bridge.cli.main import run

    run()


def finish(
    arguments: Sequence[str], environment: Mapping[str, str], *, timeout: float, cwd: Path
) -> "subprocess.CompletedProcess[str]":
    """`issuance-bridge ARGUMENTS`, to its end; subprocess.TimeoutExpired, after which it is killed."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = nursery().start(arguments, environment, out=out, err=err, cwd=cwd)
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(list(arguments), code, out.read().decode(), err.read().decode())

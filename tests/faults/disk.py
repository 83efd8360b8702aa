"""Faults of the disk below SQLite: builds the preloaded library `diskfault.c` and sets its rules while a program runs.

    faults = DiskFaults(tmp_path / "faults", tmp_path / "evidence")
    process = subprocess.Popen([...], env=os.environ | faults.env())
    faults.set("sync", delay_ms=300)
    faults.set("write", fail=errno.ENOSPC, after=2, count=1)  # the third write from now

Linux with glibc only. What is counted as a write or a sync is what the program asks of libc: a rule set before SQLite
opens its files may be used up by its -shm file, or by the sync of a folder, whose failure SQLite ignores.
"""

import fcntl
import hashlib
import importlib.util
import mmap
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import pytest

Op = Literal["write", "fsync", "fdatasync", "rename", "ftruncate", "sync"]

FOREVER: Final = -1

SOURCE = Path(__file__).with_name("diskfault.c")
CACHE = Path(__file__).parents[2] / ".cache" / "diskfault"

# The layout of `struct control` in diskfault.c, in words of 64 bits.
_MAGIC = int.from_bytes(b"DkFault1", "little")
_PROCESSES = 1
_RULE, _CALLS, _FAULTS = range(3)
_OPS = ("write", "fsync", "fdatasync", "rename", "ftruncate")
_WORDS = 2 + 3 * len(_OPS)
_MOST = 0xFFFF


def compilers() -> list[list[str]]:
    """The C compilers at hand, best first: `cc`, then the one in PyPI's `ziglang`."""
    found = []
    if cc := shutil.which("cc"):
        found.append([cc])
    if importlib.util.find_spec("ziglang"):
        found.append([sys.executable, "-m", "ziglang", "cc"])
    return found


def build(target: Path, candidates: list[list[str]]) -> None:
    """Compiles the library to `target` with the first compiler that can; if none can, the test fails and says why."""
    tried = ["disk faults need a C compiler: install `cc` (with libc's headers), or `pip install ziglang`"]
    caches = {"ZIG_GLOBAL_CACHE_DIR": str(target.parent / "zig"), "ZIG_LOCAL_CACHE_DIR": str(target.parent / "zig")}
    unfinished = target.with_suffix(".tmp")
    for compiler in candidates:
        command = [*compiler, "-shared", "-fPIC", "-O2", "-o", str(unfinished), str(SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | caches)
        if done.returncode == 0:
            unfinished.replace(target)
            return
        tried.append(f"{' '.join(command)}\n{done.stderr}")
    pytest.fail("\n".join(tried), pytrace=False)


def library() -> Path:
    """The built library, made once per checkout and version of its source, by one process at a time."""
    version = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = CACHE / f"diskfault-{platform.machine()}-{version}.so"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            build(target, compilers())
    return target


class DiskFaults:
    """The rules for, and the counts of, every process started with `env()`; children and later processes included.

    `control` is a file to be made (outside of `prefix`). Files are chosen whose resolved path *begins* with `prefix`:
    a folder, which also takes its siblings of a longer name, or one database with its -wal.
    """

    def __init__(self, control: Path, prefix: Path) -> None:
        self._control = control.resolve()
        self._prefix = prefix.resolve()
        with self._control.open("xb+") as file:
            file.truncate(8 * _WORDS)
            self._words = memoryview(mmap.mmap(file.fileno(), 8 * _WORDS)).cast("B").cast("Q")
        self._words[0] = _MAGIC

    def env(self) -> dict[str, str]:
        """The variables to add to the environment of a process under test."""
        built = library()
        # Found by its bare name, since LD_PRELOAD cannot hold a path with a space.
        preload = [built.name, os.environ.get("LD_PRELOAD", "")]
        folders = [str(built.parent), os.environ.get("LD_LIBRARY_PATH", "")]
        return {
            "LD_PRELOAD": ":".join(filter(None, preload)),
            "LD_LIBRARY_PATH": ":".join(filter(None, folders)),
            "DISKFAULT_CONTROL": str(self._control),
            "DISKFAULT_PREFIX": str(self._prefix),
        }

    def set(
        self, op: Op, *, delay_ms: int = 0, fail: int = 0, short: bool = False, after: int = 0, count: int = FOREVER
    ) -> None:
        """Replaces the rule of `op`, in one step, for processes that are running too.

        Every call first waits `delay_ms`. `after` calls from now on pass, then `count` calls are faulty: they fail with
        the errno `fail` and do nothing; or, `short` (writes only), they write and report half of the bytes; or, both,
        they write half and fail. "sync" sets fsync and fdatasync, each of which then counts for itself.
        Raises ValueError for what a rule cannot hold: `delay_ms` and `after` to 65535, `count` to 65534 or FOREVER.
        """
        if short and op != "write":
            raise ValueError("short: only writes can be short")
        for name, value, most in (("delay_ms", delay_ms, _MOST), ("fail", fail, 0xFF), ("after", after, _MOST)):
            if not 0 <= value <= most:
                raise ValueError(f"{name}: {value} is not between 0 and {most}")
        if count != FOREVER and not 0 <= count < _MOST:
            raise ValueError(f"count: {count} is neither FOREVER nor between 0 and {_MOST - 1}")
        left = _MOST if count == FOREVER else count
        for word in _words_of(op):
            self._words[word + _RULE] = delay_ms | fail << 16 | short << 24 | after << 32 | left << 48

    def clear(self) -> None:
        """Lets everything pass again; the counts go on."""
        for op in _OPS:
            self._words[_word(op) + _RULE] = 0

    def count(self, op: Op) -> int:
        """How many calls have begun so far, faulty and waiting ones included."""
        return sum(self._words[word + _CALLS] for word in _words_of(op))

    def faults(self, op: Op) -> int:
        """How many calls were made to fail or cut short so far."""
        return sum(self._words[word + _FAULTS] for word in _words_of(op))

    @property
    def processes(self) -> int:
        """How many programs have started with the library in them; 0 means that it acts on nothing."""
        return self._words[_PROCESSES]


def _words_of(op: Op) -> list[int]:
    return [_word("fsync"), _word("fdatasync")] if op == "sync" else [_word(op)]


def _word(op: str) -> int:
    return 2 + 3 * _OPS.index(op)

"""The preloaded library acts below SQLite, on the chosen files only, and exactly as often as it is told."""

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .disk import DiskFaults, Op, build

# Each line in is one SQL statement, each line out its error or null. The first commit opens all files of the database.
DATABASE = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
for sql in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE entry (body BLOB)"):
    db.execute(sql)
print("null", flush=True)
for sql in sys.stdin:
    try:
        db.execute(sql)
        print("null", flush=True)
    except sqlite3.OperationalError as error:
        print(json.dumps(str(error)), flush=True)
"""
INSERT = "INSERT INTO entry VALUES (randomblob(3000))"


class Database:
    """A process with one database under faults."""

    def __init__(self, faults: DiskFaults, path: Path) -> None:
        command = [sys.executable, "-c", DATABASE, str(path)]
        self.process = subprocess.Popen(
            command, env=os.environ | faults.env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._answer() is None

    def execute(self, sql: str) -> str | None:
        assert self.process.stdin
        print(sql, file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str | None:
        assert self.process.stdout
        answer: str | None = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.mkdir()
    return path


@pytest.fixture
def faults(tmp_path: Path, folder: Path) -> DiskFaults:
    return DiskFaults(tmp_path / "faults", folder)


@pytest.fixture
def database(faults: DiskFaults, folder: Path) -> Iterator[Database]:
    database = Database(faults, folder / "log.sqlite")
    yield database
    database.process.kill()
    database.process.communicate()


def run(faults: DiskFaults, code: str, *arguments: object, cwd: Path | None = None) -> Any:
    """What `code` prints as JSON in a process under faults; `attempt` gives a call's errno, 0 for success."""
    prelude = """
import json, os, sys
def attempt(call, *arguments, **named):
    try:
        call(*arguments, **named)
        return 0
    except OSError as error:
        return error.errno
"""
    command = [sys.executable, "-c", prelude + code, *map(str, arguments)]
    done = subprocess.run(command, env=os.environ | faults.env(), capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return json.loads(done.stdout)


def test_a_commit_waits_for_a_delayed_sync(faults: DiskFaults, database: Database) -> None:
    before = faults.count("sync")
    faults.set("sync", delay_ms=300)
    began = time.monotonic()
    assert database.execute(INSERT) is None
    slow = time.monotonic() - began
    syncs = faults.count("sync") - before
    assert syncs >= 1
    assert slow >= 0.3 * syncs

    faults.clear()
    began = time.monotonic()
    assert database.execute(INSERT) is None
    assert time.monotonic() - began < 0.3


def test_a_failed_sync_fails_the_commit(faults: DiskFaults, database: Database) -> None:
    faults.set("sync", fail=errno.EIO, count=1)
    assert database.execute(INSERT) == "disk I/O error"
    assert faults.faults("sync") == 1
    assert database.execute(INSERT) is None


def test_a_full_disk_fails_the_commit_until_there_is_room(faults: DiskFaults, database: Database) -> None:
    faults.set("write", fail=errno.ENOSPC)
    assert database.execute(INSERT) == "database or disk is full"
    assert database.execute(INSERT) == "database or disk is full"
    faults.clear()
    assert database.execute(INSERT) is None


def test_only_the_chosen_sync_fails(faults: DiskFaults, database: Database) -> None:
    begun = faults.count("fdatasync"), faults.count("fsync")
    assert database.execute(INSERT) is None
    used: Op = "fdatasync" if faults.count("fdatasync") > begun[0] else "fsync"
    assert faults.count("sync") - sum(begun) == 1
    faults.set(used, fail=errno.EIO, after=2, count=1)
    answers = [database.execute(INSERT) for _ in range(4)]
    assert answers == [None, None, "disk I/O error", None]


def test_sqlite_goes_on_after_short_writes(faults: DiskFaults, database: Database) -> None:
    faults.set("write", short=True, count=3)
    assert database.execute(INSERT) is None
    assert faults.faults("write") == 3
    assert database.execute("PRAGMA integrity_check") is None


def test_truncation_is_seen_below_sqlite(faults: DiskFaults, database: Database) -> None:
    assert database.execute(INSERT) is None
    faults.set("ftruncate", fail=errno.EIO)
    assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)") == "disk I/O error"
    assert faults.faults("ftruncate") >= 1


CALLS = {
    "write": "lambda: os.write(fd, b'12')",
    "pwrite": "lambda: os.pwrite(fd, b'12', 0)",
    "writev": "lambda: os.writev(fd, [b'1', b'2'])",
    "fsync": "lambda: os.fsync(fd)",
    "fdatasync": "lambda: os.fdatasync(fd)",
    "ftruncate": "lambda: os.ftruncate(fd, 9)",
    "rename": "lambda: os.rename(name, name)",
    "renameat": "lambda: os.rename(name, name, src_dir_fd=top, dst_dir_fd=top)",
}


@pytest.mark.parametrize("call", CALLS)
def test_exactly_the_chosen_calls_fail(faults: DiskFaults, folder: Path, call: str) -> None:
    op: Any = {"pwrite": "write", "writev": "write", "renameat": "rename"}.get(call, call)
    faults.set(op, fail=errno.EDQUOT, after=2, count=2)
    code = f"""
name = sys.argv[1]
fd = os.open(name, os.O_RDWR | os.O_CREAT)
top = os.open("/", os.O_RDONLY)
print(json.dumps([attempt({CALLS[call]}) for _ in range(6)]))
"""
    assert run(faults, code, folder / "file") == [0, 0, errno.EDQUOT, errno.EDQUOT, 0, 0]
    assert (faults.count(op), faults.faults(op), faults.processes) == (6, 2, 1)


def test_nothing_but_the_chosen_files_is_touched(faults: DiskFaults, folder: Path, tmp_path: Path) -> None:
    ops: list[Op] = ["write", "sync", "rename", "ftruncate"]
    for op in ops:
        faults.set(op, fail=errno.EIO)
    code = """
import asyncio, socket
chosen, other = sys.argv[1:]
here, there = socket.socketpair()
out, into = os.pipe()
fd = os.open(other, os.O_RDWR | os.O_CREAT)
done = [attempt(os.write, f, b"x") for f in (here.fileno(), into, fd)]
done += [attempt(os.pwrite, fd, b"x", 0), attempt(os.fsync, fd), attempt(os.fdatasync, fd)]
done += [attempt(os.ftruncate, fd, 0), attempt(os.rename, other, other + ".new")]

async def wake():
    return await asyncio.to_thread(lambda: 0)

print(json.dumps([*done, asyncio.run(wake()), attempt(os.write, os.open(chosen, os.O_RDWR | os.O_CREAT), b"x")]))
"""
    assert run(faults, code, folder / "file", tmp_path / "other") == [0] * 9 + [errno.EIO]
    assert [faults.count(op) for op in ops] == [1, 0, 0, 0]


def test_a_descriptor_used_again_for_another_file_is_judged_anew(
    faults: DiskFaults, folder: Path, tmp_path: Path
) -> None:
    faults.set("write", fail=errno.EIO)
    code = """
answers = []
for name in sys.argv[1:] * 2:
    fd = os.open(name, os.O_RDWR | os.O_CREAT)
    answers.append([fd, attempt(os.write, fd, b"x")])
    os.close(fd)
print(json.dumps(answers))
"""
    (first, failed), *rest = run(faults, code, folder / "file", tmp_path / "other")
    assert failed == errno.EIO
    assert rest == [[first, 0], [first, errno.EIO], [first, 0]]


@pytest.mark.parametrize(
    ("source", "target"), [("file", "new"), ("disk/file", "out"), ("out", "disk/new"), ("../link/file", "out")]
)
def test_a_rename_is_chosen_by_where_its_names_lead(
    faults: DiskFaults, folder: Path, tmp_path: Path, source: str, target: str
) -> None:
    (tmp_path / "link").symlink_to(folder)
    (folder / "file").touch()
    (tmp_path / "out").touch()
    faults.set("rename", fail=errno.EIO)
    cwd = folder if source in ("file", "../link/file") else tmp_path
    assert run(faults, "print(attempt(os.rename, *sys.argv[1:]))", source, target, cwd=cwd) == errno.EIO


@pytest.mark.parametrize("fail", [0, errno.EIO])
@pytest.mark.parametrize("call", ["os.write(fd, data)", "os.pwrite(fd, data, 0)", "os.writev(fd, [data, b'more'])"])
def test_a_short_write_leaves_half(faults: DiskFaults, folder: Path, call: str, fail: int) -> None:
    faults.set("write", short=True, fail=fail, count=1)
    code = f"""
data = bytes(1024)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
print(json.dumps([attempt(lambda: {call}), os.fstat(fd).st_size]))
"""
    assert run(faults, code, folder / "file") == [fail, 512]


def test_threads_and_children_take_turns_exactly(faults: DiskFaults, folder: Path) -> None:
    faults.set("write", fail=errno.EIO, after=1000, count=500)
    code = """
from concurrent.futures import ThreadPoolExecutor
child = os.fork()
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: attempt(os.write, fd, b"x"), range(1000)))
if child:
    os.waitpid(child, 0)
    print("null")
"""
    run(faults, code, folder / "file")
    assert (faults.count("write"), faults.faults("write")) == (2000, 500)


def test_a_process_without_its_control_file_does_not_start(faults: DiskFaults, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for control in ("missing", "empty"):
        environment = os.environ | faults.env() | {"DISKFAULT_CONTROL": str(tmp_path / control)}
        done = subprocess.run([sys.executable, "-c", ""], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (97, "diskfault: DISKFAULT_CONTROL names no control file\n")


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ({"delay_ms": 65536}, "delay_ms"),
        ({"fail": -1}, "fail"),
        ({"after": -1}, "after"),
        ({"count": 65535}, "count"),
        ({"short": True}, "short"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(faults: DiskFaults, rule: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}:"):
        faults.set("fsync", **rule)  # type: ignore[arg-type]  # wrong on purpose


def test_without_a_compiler_the_test_fails_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"install `cc`.*ziglang"):
        build(tmp_path / "diskfault.so", [])
    with pytest.raises(pytest.fail.Exception, match="no headers"):
        build(tmp_path / "diskfault.so", [[sys.executable, "-c", "raise SystemExit('no headers')"]])

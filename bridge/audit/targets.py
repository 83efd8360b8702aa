"""Where an export goes, and how far it has got: a file that is appended to, or standard output."""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import orjson

from bridge.errors import ConfigFault, EvidenceLocked

_TAIL = 1024 * 1024


class Log(Protocol):
    """What is exported, as far as it is needed here (covered.Covered)."""

    origin: str

    def root(self, size: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Progress:
    """All entries of the log `origin` before `next_index` were handed on, in the format `form`.

    `root` (hex): of the tree over them. `output`: to which file (absolute), which had `output_bytes` bytes then;
    empty: to standard output.
    """

    origin: str
    form: str
    next_index: int
    root: str
    output: str = ""
    output_bytes: int = 0

    @classmethod
    def load(cls, file: Path) -> "Progress | None":
        """None when there is no such file; ConfigFault when it cannot be read as one."""
        try:
            found = cls(**orjson.loads(file.read_bytes()))
            counts = found.next_index, found.output_bytes
            texts = found.origin, found.form, found.root, found.output
            if not all(type(n) is int and n >= 0 for n in counts) or not all(isinstance(text, str) for text in texts):
                raise ValueError("a member is not what an export writes")
            bytes.fromhex(found.root)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise ConfigFault(f"the state {file} cannot be used: {error}") from error
        return found

    def save(self, file: Path) -> None:
        """Whole or not at all: a reader finds the old one or the new one."""
        new = file.with_name(f".{file.name}.new")
        try:
            with new.open("wb") as out:
                out.write(orjson.dumps(asdict(self)) + b"\n")
                out.flush()
                os.fsync(out.fileno())
            new.replace(file)
        except OSError as error:
            raise ConfigFault(f"the state {file} cannot be written: {error.strerror}") from error


@contextmanager
def alone(state: Path) -> Iterator[None]:
    """One export at a time goes on from a state; EvidenceLocked while another one does."""
    try:
        handle = os.open(f"{state}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigFault(f"the state {state} cannot be used: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EvidenceLocked(f"another export goes on from {state}") from None
        yield
    finally:
        os.close(handle)


class StreamTarget:
    """Standard output. What a crash lets go out after the last `settle` goes out again."""

    def __init__(self, stream: BinaryIO, log: Log, form: str, state: Path | None) -> None:
        self._stream, self._log, self._form, self._state = stream, log, form, state

    def write(self, lines: bytes) -> None:
        self._stream.write(lines)

    def settle(self, next_index: int) -> None:
        self._stream.flush()
        if self._state is not None:
            Progress(self._log.origin, self._form, next_index, self._log.root(next_index)).save(self._state)


class FileTarget:
    """A file that is appended to. Lines that were written but not settled are cut off first: they come again.

    `last`: how far the export had got; without it, or after another file, only half a line at the end is cut off.
    ConfigFault when the file cannot be written, or ends in something that no export has left there.
    """

    def __init__(self, path: Path, log: Log, form: str, state: Path | None, last: Progress | None) -> None:
        self._path, self._log, self._form, self._state = path.absolute(), log, form, state
        with self._faults():
            # Not to be read by others: entries hold names of people.
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with self._faults():
                if not stat.S_ISREG(os.fstat(self._handle).st_mode):
                    raise ConfigFault(f"{path} is not a file: leave --output out, and lead standard output there")
                end = os.lseek(self._handle, 0, os.SEEK_END)
                known = last is not None and last.output == str(self._path) and last.output_bytes <= end
                self._bytes = last.output_bytes if known and last is not None else self._whole_lines(end)
                os.ftruncate(self._handle, self._bytes)
                os.lseek(self._handle, self._bytes, os.SEEK_SET)
        except BaseException:
            self.close()
            raise

    def write(self, lines: bytes) -> None:
        left = memoryview(lines)
        with self._faults():
            while left:
                left = left[os.write(self._handle, left) :]
        self._bytes += len(lines)

    def settle(self, next_index: int) -> None:
        with self._faults():
            os.fsync(self._handle)
        if self._state is not None:
            root = self._log.root(next_index)
            told = Progress(self._log.origin, self._form, next_index, root, str(self._path), self._bytes)
            told.save(self._state)

    def close(self) -> None:
        os.close(self._handle)

    def _whole_lines(self, end: int) -> int:
        """Where the last whole line ends."""
        start = max(0, end - _TAIL)
        torn = os.pread(self._handle, end - start, start).rpartition(b"\n")[2]
        if torn and (len(torn) == _TAIL or not torn.startswith(b"{")):
            raise ConfigFault(f"{self._path} ends in the middle of a line, and that is none of an export")
        return end - len(torn)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigFault(f"{self._path} cannot be written: {error.strerror}") from error

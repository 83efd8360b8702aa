"""One writer at a time: in the order of the kernel's queue, where SQLite alone would poll."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import WRITER_LOCK


class Turn:
    """A place in the queue of those who write to one evidence folder: journals of all workers, and the publisher."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle: int | None = None

    def open(self) -> None:
        """OSError when the folder cannot be used."""
        self._handle = os.open(self._folder / WRITER_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for the turn and holds it."""
        if self._handle is None:
            raise EvidenceUnavailable("the log is not open")
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

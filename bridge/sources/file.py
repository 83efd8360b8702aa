"""A source that is a JSON file: {key value: value}, one level of objects for each key. Looked at every second."""

import asyncio
import contextlib
import json
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bridge.config.sources import FILE_LOOK_S
from bridge.errors import MalformedRequest, SourceFailed
from bridge.model import strict_json
from bridge.model.source import Declared, Held, Key, SourceAnswer, answer_of, fall_back

MAX_FILE_BYTES = 16 * 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024
MAX_DEPTH = 32
log = structlog.get_logger(__name__)
_Signature = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Table:
    """What stood in the file when it had this signature."""

    values: dict[str, Any]
    signature: _Signature


class FileSource:
    """Its values are as old as the last look at the file that found it good."""

    def __init__(self, declared: Declared, path: Path) -> None:
        self.declared = declared
        self._path = path
        self._table: _Table | None = None
        self._seen_at = 0.0
        self._trouble: str | None = "not read yet"
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._look()
        self._watch = asyncio.create_task(self._look_forever(), name=f"source-{self.declared.name}")

    async def ask(self, key: Key, until: float) -> SourceAnswer:
        now = time.monotonic()
        try:
            held = self._found(key)
        except SourceFailed as error:
            return fall_back(self.declared, None, now, str(error))
        if held is not None and now - held.at <= self.declared.max_age_s:
            return answer_of(self.declared, held, now)
        return fall_back(self.declared, held, now, self._trouble or "the file was not looked at for too long")

    def trouble(self) -> str | None:
        return self._trouble

    async def close(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)

    def _found(self, key: Key) -> Held | None:
        if self._table is None:
            return None
        value: Any = self._table.values
        for name in key:
            value = value.get(name) if isinstance(value, dict) else None
        size = len(json.dumps(value))
        if size > MAX_VALUE_BYTES:
            raise SourceFailed(f"the value is longer than {MAX_VALUE_BYTES} bytes")
        return Held(value, self._seen_at, size)

    async def _look_forever(self) -> None:
        while True:
            await asyncio.sleep(FILE_LOOK_S)
            await self._look()

    async def _look(self) -> None:
        """Takes up what is there; a file that is no good leaves what was read before, which grows old."""
        at = time.monotonic()
        try:
            self._table = await asyncio.to_thread(_read, self._path, self._table)
        except SourceFailed as error:
            if self._trouble != str(error):
                log.warning("source_failed", source=self.declared.name, owner=self.declared.owner, reason=str(error))
            self._trouble = str(error)
            return
        except Exception as error:  # the watch must go on
            log.exception("source_defect", source=self.declared.name)
            self._trouble = f"defect: {type(error).__name__}"
            return
        if self._trouble is not None and self._seen_at:
            log.info("source_recovered", source=self.declared.name)
        self._seen_at, self._trouble = at, None


def _read(path: Path, known: _Table | None) -> _Table:
    """`known` where the file is the same as then. SourceFailed: what is there is no table, or is being written."""
    try:
        before = _signature(path)
        if known is not None and known.signature == before:
            return known
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        after = _signature(path)
    except OSError as error:
        raise SourceFailed(f"the file cannot be read: {error.strerror}") from error
    if before != after:
        raise SourceFailed("the file changes while it is read")
    if len(raw) > MAX_FILE_BYTES:
        raise SourceFailed(f"the file is longer than {MAX_FILE_BYTES} bytes")
    with contextlib.suppress(MalformedRequest):
        values = strict_json.loads(raw, max_depth=MAX_DEPTH)
        if isinstance(values, dict):
            return _Table(values, before)
    raise SourceFailed("the file does not hold one object of strict JSON, or it is nested too deep")


def _signature(path: Path) -> _Signature:
    """Changes with the file, also where a tool sets its time of modification back (ctime: nobody can)."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise SourceFailed("it is no file")  # to open a named pipe would wait for ever
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino

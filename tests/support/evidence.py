"""A look into an evidence folder, running or not."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bridge.audit.query import Queries
from bridge.audit.reader import Found, LogReader


@contextlib.contextmanager
def reading(folder: Path) -> Iterator[LogReader]:
    """A reader of the log, closed on the way out."""
    with contextlib.closing(LogReader(folder)) as reader:
        yield reader


def all_found(folder: Path) -> list[Found]:
    """Every entry with its place, oldest first."""
    with reading(folder) as reader:
        return [reader.at(index) for index in range(reader.size())]


OF_THE_BRIDGE = {"start", "stop", "heartbeat", "policy", "config", "key", "access"}


def entries(folder: Path) -> list[dict[str, Any]]:
    """Every entry about requests, oldest first: not what the bridge tells of itself."""
    return [entry for entry in all_entries(folder) if entry["kind"] not in OF_THE_BRIDGE]


def all_entries(folder: Path) -> list[dict[str, Any]]:
    """Every entry, oldest first."""
    return [found.entry for found in all_found(folder)]


def entry_of(folder: Path, decision_id: str) -> dict[str, Any]:
    """The entry of one decision."""
    with reading(folder) as reader:
        found = Queries(reader).show(decision_id)
    assert found, f"no entry {decision_id}"
    return found[0].entry


def input_of(folder: Path, decision_id: str) -> dict[str, Any]:
    """The exact document that the engine saw for one decision."""
    with reading(folder) as reader:
        (found, *_) = Queries(reader).show(decision_id)
        raw = reader.document(found)
    assert raw is not None
    document: dict[str, Any] = json.loads(raw)  # orjson would round long integers
    return document

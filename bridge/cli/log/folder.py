"""The evidence folder that a command works on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bridge.audit.reader import LogReader
from bridge.config.settings import load_settings


@contextmanager
def open_reader(config: Path | None) -> Iterator[LogReader]:
    """A reader of the configured log, closed on the way out. EvidenceUnavailable when there is no log."""
    reader = LogReader(Path(load_settings(config).evidence.path))
    try:
        yield reader
    finally:
        reader.close()

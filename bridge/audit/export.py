"""Hands entries on, row by row, to whoever keeps and searches them elsewhere (a SIEM, a lake, a queue)."""

from collections.abc import Callable
from typing import Protocol

from bridge.audit.covered import Covered, Row
from bridge.audit.formats import cloudevents, ndjson, ocsf
from bridge.errors import EvidenceInvalid

Format = Callable[[Row], bytes]
"""A row as one line, without the line break."""
FORMATS: dict[str, Format] = {"ndjson": ndjson.line, "ocsf": ocsf.line, "cloudevents": cloudevents.line}
SETTLE_EVERY = 4096


class Target(Protocol):
    """Where lines go."""

    def write(self, lines: bytes) -> None:
        """Takes whole lines; ConfigFault when it cannot."""

    def settle(self, next_index: int) -> None:
        """All entries before `next_index` were written: makes that durable, and remembers it."""


def export(log: Covered, form: Format, start: int, stop: int, target: Target) -> None:
    """The entries [start, stop) of `log`, oldest first. Holds one bundle (at most 256 entries) at a time.

    EvidenceInvalid when the log is not what it says; what came before that is settled.
    """
    settled = written = start
    target.settle(start)  # a file that was moved away meanwhile begins anew, and the next run must know
    try:
        for rows in log.walk(start, stop):
            target.write(b"".join(_line(form, row) for row in rows))
            written = rows[-1].index + 1
            if written - settled >= SETTLE_EVERY:
                target.settle(written)
                settled = written
    except EvidenceInvalid:
        target.settle(written)
        raise
    target.settle(written)


def _line(form: Format, row: Row) -> bytes:
    try:
        return form(row) + b"\n"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EvidenceInvalid(f"entry {row.index} is none that a bridge writes") from error

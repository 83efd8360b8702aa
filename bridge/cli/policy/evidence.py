"""What the reports on policies say of the log that they rest on."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import click
from typing_extensions import override

from bridge.audit.chronology import SILENCE_MS
from bridge.audit.reader import LogReader
from bridge.audit.window import Coverage, Window
from bridge.cli.log.filters import Instant
from bridge.config.settings import Settings
from bridge.errors import ConfigFault
from bridge.evidence.files import DATABASE
from bridge.model.times import now_ms, rfc3339

DAY_MS = 86_400_000
_DAYS = re.compile(r"([1-9][0-9]{0,3})d", re.ASCII)


class Days(click.ParamType[int]):
    """So many days, as `30d`."""

    name = "days"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if (days := _DAYS.fullmatch(str(value))) is None:
            self.fail(f"{value!r} is not a number of days: write 30d (at most 9999d)", param, ctx)
        return int(days[1])


class Since(click.ParamType[int]):
    """So many days ago, or a time as `log query` takes it; ms since the epoch."""

    name = "since"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if _DAYS.fullmatch(str(value)):
            return now_ms() - Days().convert(value, param, ctx) * DAY_MS
        return Instant().convert(value, param, ctx)


since_option: Callable[[Any], Any] = click.option(
    "--since", type=Since(), default="90d", show_default=True, help="How far back in the log: 90d, or 2026-03-01."
)
logs_option: Callable[[Any], Any] = click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An evidence folder, instead of evidence.path; may be repeated, for half-years that are closed.",
)


@contextmanager
def open_logs(settings: Settings, logs: Sequence[Path]) -> Iterator[list[LogReader]]:
    """Readers of these folders, else of the configured one; none where nothing was ever written to that."""
    folder = Path(settings.evidence.path)
    try:
        there = (folder / DATABASE).exists()
    except OSError as error:
        raise ConfigFault(f"{folder} cannot be read: {error.strerror}") from error
    folders = dict.fromkeys(path.resolve() for path in logs) or ([folder] if there else [])
    with ExitStack() as stack:
        yield [stack.enter_context(closing(LogReader(path))) for path in folders]


def reading(window: Window, covered: Sequence[Coverage]) -> dict[str, Any]:
    """The window, and what of it each log covers."""
    logs = [
        {"folder": str(one.folder), "from": rfc3339(one.first_ms), "to": rfc3339(one.last_ms)}
        for one in sorted(covered, key=lambda one: one.first_ms)
    ]
    return {
        "since": rfc3339(window.since),
        "until": rfc3339(window.until),
        "logs": logs,
        "covers_all": covers_all(window, covered),
    }


def told(window: Window, covered: Sequence[Coverage]) -> list[str]:
    """The same in words."""
    if not covered:
        return ["No log was read, so nothing is known of what was used."]
    lines = [
        f"Log {one.folder}: {rfc3339(one.first_ms)} to {rfc3339(one.last_ms)}."
        for one in sorted(covered, key=lambda one: one.first_ms)
    ]
    asked, had = in_words(window.until - window.since), covered_ms(window, covered)
    if covers_all(window, covered):
        lines.append(f"Looked at: {asked}, from {rfc3339(window.since)} on.")
    else:
        lines.append(f"That is {in_words(had)} of the {asked} asked for: of the rest, nothing is known.")
    return lines


def covered_ms(window: Window, covered: Sequence[Coverage]) -> int:
    """How much of the window lies between the first entry and the last one of a log."""
    total, upto = 0, window.since
    for one in sorted(covered, key=lambda one: one.first_ms):
        begin, end = max(upto, one.first_ms), min(window.until, one.last_ms)
        total += max(0, end - begin)
        upto = max(upto, end)
    return total


def covers_all(window: Window, covered: Sequence[Coverage]) -> bool:
    """Whether nothing longer is missing than a bridge that runs may be silent."""
    return window.until - window.since - covered_ms(window, covered) <= SILENCE_MS


def in_words(ms: int) -> str:
    """A stretch of time, roughly."""
    units = ((DAY_MS, "days"), (DAY_MS // 24, "hours"), (60_000, "minutes"))
    unit, name = next((one for one in units if ms >= 2 * one[0]), units[-1])
    return f"{ms / unit:.1f}".removesuffix(".0") + f" {name}"

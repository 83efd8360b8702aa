"""`log replay`: decides recorded decisions again, each by the policy set that decided it, and compares."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.filter import Filter
from bridge.audit.query import Queries
from bridge.audit.reader import Found, LogReader
from bridge.cli.log.filters import filter_options
from bridge.cli.log.folder import open_reader
from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.config.settings import EngineSection, load_settings
from bridge.evidence.files import archived
from bridge.model.policy import PolicySet
from bridge.ops.logging import configure_logging
from bridge.policy.opa import find_opa, require_version
from bridge.policy.restore import restore
from bridge.registry import ENGINES
from bridge.replay.recorded import MEANING, Reason
from bridge.replay.replay import Replay, Result


@click.command()
@click.option("--start", type=click.IntRange(0), default=0, metavar="INDEX", help="The first entry.")
@click.option("--stop", type=click.IntRange(0), default=None, metavar="INDEX", help="Up to this entry, without it.")
@config_option
@json_option
@filter_options(limit=None)
def replay(config: Path | None, *, start: int, stop: int | None, as_json: bool, **wanted: Any) -> None:
    """Decide recorded decisions again: same, different (exit code 1), or not replayable, with the reason.

    Each is put to an engine of our own with the policy set that decided it, as it is kept beside the log.
    """
    configure_logging("console", "error")
    opa = find_opa(load_settings(config).engine.opa)
    require_version(opa)
    with open_reader(config) as reader:
        counts = asyncio.run(_replayed(reader, found_by(reader, wanted, start, stop), opa, as_json=as_json))
    different = counts["different"]
    reasons = {reason: counts[reason] for reason in Reason if counts[reason]}
    if as_json:
        told = {"same": counts["same"], "different": different, "not_replayable": reasons}
        click.echo(orjson.dumps(told).decode())
    else:
        click.echo(f"{counts['same']} same, {different} different, {sum(reasons.values())} not replayable")
        for reason, count in reasons.items():
            click.echo(f"    {count} {reason}: {MEANING[reason]}")
    if different:
        raise click.exceptions.Exit(1)


def found_by(reader: LogReader, options: dict[str, Any], start: int, stop: int | None) -> Iterator[Found]:
    """What the filter options choose, oldest first; without one the query tables are not needed."""
    wanted = Filter(**options)
    if wanted == Filter(limit=None):
        return reader.walk(start, stop)
    indexes, _ = Queries(reader).fitting(wanted)
    return (reader.at(index) for index in indexes if start <= index and (stop is None or index < stop))


def restoring(folder: Path, opa: Path) -> Callable[[str], PolicySet]:
    """Takes sets by their digest from what is kept in an evidence folder."""
    return lambda digest: restore(folder / archived(digest), digest, opa).policy_set


async def _replayed(reader: LogReader, found: Iterable[Found], opa: Path, *, as_json: bool) -> Counter[str]:
    again = Replay(reader, restoring(reader.folder, opa), lambda: ENGINES["managed"](EngineSection(), opa))
    counts: Counter[str] = Counter()
    async for result in again(found):
        counts[result.state if result.reason is None else result.reason.reason] += 1
        if result.state != "same":
            for text in [orjson.dumps(result_json(result)).decode()] if as_json else result_text(result):
                click.echo(text)
    return counts


def result_json(result: Result) -> dict[str, Any]:
    """What became of one entry, for programs."""
    told: dict[str, Any] = {"index": result.index, "id": result.id, "state": result.state}
    if result.reason is not None:
        return {**told, "reason": result.reason.reason, "text": result.reason.text}
    return {
        **told,
        "differences": [{"member": d.member, "recorded": d.recorded, "now": d.now} for d in result.differences],
    }


def result_text(result: Result) -> Iterator[str]:
    """Its differences, one after the other. What cannot be replayed is counted by its reason; `--json` names each."""
    for one in result.differences:
        yield line(f"DIFFERENT {result.index} {result.id} {one.member}")
        for name, value in (("recorded", one.recorded), ("now", one.now)):
            yield line(f"    {name:<8} {'nothing' if value is None else orjson.dumps(value).decode()}")

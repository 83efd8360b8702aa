"""`policy impact`: what a candidate set would have decided otherwise, over the decisions on record."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from typing_extensions import override

from bridge.audit.reader import Found, LogReader
from bridge.cli.log.filters import filter_options
from bridge.cli.log.folder import open_reader
from bridge.cli.log.replay import found_by
from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.config.settings import EngineSection, load_settings
from bridge.model.policy import PolicySet
from bridge.ops.logging import configure_logging
from bridge.policy.load import load
from bridge.policy.opa import find_opa, require_version
from bridge.registry import ENGINES
from bridge.replay.engines import Candidate
from bridge.replay.impact import Cause, Change, Kind, changes, client_of
from bridge.replay.recorded import MEANING, NOT_OURS, NotReplayable, Reason
from bridge.replay.rerun import Rerun, rerun

WIDEST = max(map(len, Kind))
TOLD = 20
"""Rows of each table, the largest first; `--json` has every change."""


@dataclass(frozen=True, slots=True)
class Share:
    """So many decisions, or so many percent of those decided again."""

    number: float
    percent: bool

    def exceeded_by(self, count: int, decided: int) -> bool:
        return count > (self.number * decided / 100 if self.percent else self.number)


class ShareType(click.ParamType[Share]):
    """`12`, or `0.5%`."""

    name = "N or N%"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Share:
        if isinstance(value, Share):
            return value
        if not re.fullmatch(r"[0-9]{1,12}|[0-9]{1,3}(\.[0-9]{1,6})?%", value):
            self.fail(f"{value!r} is no share: write a number of decisions (12) or a percentage (0.5%)", param, ctx)
        return Share(float(value.rstrip("%")), value.endswith("%"))


NONE = Share(0, percent=False)


@dataclass(slots=True)
class Impact:
    """`decisions`: how many have a change of each kind; `by_...`: how many changes there are.

    `changed`: decisions that are neither denied nor granted otherwise, and yet not the same.
    """

    decided: int = 0
    changed: int = 0
    decisions: Counter[Kind] = field(default_factory=Counter)
    by_client: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    by_scope: Counter[tuple[Kind, str]] = field(default_factory=Counter)
    by_rule: Counter[tuple[Kind, Cause]] = field(default_factory=Counter)
    not_replayable: Counter[Reason] = field(default_factory=Counter)

    def add(self, client: str, found: Iterable[Change]) -> None:
        self.decided += 1
        kinds = set[Kind]()
        for change in found:
            kinds.add(change.kind)
            self.by_scope[change.kind, _about(change)] += 1
            for cause in change.causes:
                self.by_rule[change.kind, cause] += 1
        for kind in kinds:
            self.decisions[kind] += 1
            self.by_client[kind, client] += 1
        self.changed += bool(kinds) and kinds.isdisjoint((Kind.NEWLY_DENIED, Kind.NEWLY_GRANTED))


@click.command()
@click.argument("candidate", metavar="SET", type=click.Path(path_type=Path, exists=True))
@click.option("--max-denied", type=ShareType(), default=NONE, help="Newly denied decisions at most (default 0).")
@click.option("--max-granted", type=ShareType(), default=NONE, help="Newly granted decisions at most (default 0).")
@click.option("--max-changed", type=ShareType(), default=NONE,
              help="Decisions with another limit, claims, requirement or context at most (default 0).")  # fmt: skip
@click.option("--start", type=click.IntRange(0), default=0, metavar="INDEX", help="The first entry.")
@click.option("--stop", type=click.IntRange(0), default=None, metavar="INDEX", help="Up to this entry, without it.")
@config_option
@json_option
@filter_options(limit=None)
def impact(
    candidate: Path,
    config: Path | None,
    *,
    max_denied: Share,
    max_granted: Share,
    max_changed: Share,
    start: int,
    stop: int | None,
    as_json: bool,
    **wanted: Any,
) -> None:
    """Decide the recorded decisions again with the policies in SET (a folder or a built bundle), and tell what changes.

    Exit code 1 when more changes than --max-denied, --max-granted and --max-changed allow, or nothing can be decided.
    """
    configure_logging("console", "error")
    opa = find_opa(load_settings(config).engine.opa)
    require_version(opa)
    policy_set = load(candidate, opa)
    with open_reader(config) as reader:
        found = found_by(reader, wanted, start, stop)
        counted = asyncio.run(_counted(reader, found, policy_set, opa, as_json=as_json))
    exceeded = [
        name
        for name, most, count in (
            ("newly denied", max_denied, counted.decisions[Kind.NEWLY_DENIED]),
            ("newly granted", max_granted, counted.decisions[Kind.NEWLY_GRANTED]),
            ("changed", max_changed, counted.changed),
        )
        if most.exceeded_by(count, counted.decided)
    ]
    if counted.not_replayable[Reason.ENGINE]:  # asked of the candidate, they would have no answer either
        exceeded.append("without an answer")
    for text in [json.dumps(_summary(counted, policy_set))] if as_json else _report(counted, policy_set, exceeded):
        click.echo(text)
    if exceeded or not counted.decided:
        raise click.exceptions.Exit(1)


async def _counted(
    reader: LogReader, found: Iterable[Found], policy_set: PolicySet, opa: Path, *, as_json: bool
) -> Impact:
    engine = ENGINES["managed"](EngineSection(), opa)
    await engine.start(policy_set)
    counted = Impact()
    async for one in rerun(reader, Candidate(engine), found):
        if isinstance(one.now, NotReplayable):
            counted.not_replayable[one.now.reason] += 1
        elif one.recorded is not None:
            try:
                client, differing = client_of(one.recorded), changes(one.recorded, one.now)
            except NOT_OURS:
                counted.not_replayable[Reason.UNREADABLE] += 1
                continue
            counted.add(client, differing)
            for change in differing if as_json else ():
                click.echo(json.dumps(_change_json(one, client, change)))
    return counted


def _change_json(one: Rerun, client: str, change: Change) -> dict[str, Any]:
    told: dict[str, Any] = {"index": one.index, "id": one.id, "client": client, "change": change.kind}
    for name in ("scope", "resource"):
        if (value := getattr(change, name)) is not None:
            told[name] = value
    if change.was is not None or change.now is not None:
        told |= {"was": change.was, "now": change.now}
    return {**told, "rules": [_cause_json(cause) for cause in change.causes]}


def _cause_json(cause: Cause) -> dict[str, Any]:
    place = {name: value for name in ("package", "file", "row") if (value := getattr(cause, name)) is not None}
    return {"effect": cause.effect, "code": cause.code, "speaks": "now" if cause.speaks else "no longer", **place}


def _summary(counted: Impact, policy_set: PolicySet) -> dict[str, Any]:
    return {
        "candidate": {"revision": policy_set.revision, "digest": policy_set.digest},
        "decided": counted.decided,
        "not_replayable": dict(counted.not_replayable),
        "changes": {kind: counted.decisions[kind] for kind in Kind},
        "changed": counted.changed,
        "by_client": _rows(counted.by_client, "client", str),
        "by_scope": _rows(counted.by_scope, "scope", str),
        "by_rule": _rows(counted.by_rule, "rule", _cause_json),
    }


def _rows(counter: Mapping[tuple[Kind, Any], int], name: str, shown: Any) -> list[dict[str, Any]]:
    return [{"change": kind, name: shown(what), "count": n} for (kind, what), n in _sorted(counter)]


def _sorted(counter: Mapping[tuple[Kind, Any], int]) -> list[tuple[tuple[Kind, Any], int]]:
    return sorted(counter.items(), key=lambda row: (-row[1], row[0][0], str(row[0][1])))


def _report(counted: Impact, policy_set: PolicySet, exceeded: list[str]) -> Iterator[str]:
    left_out = sum(counted.not_replayable.values())
    yield f"candidate {policy_set.revision}: {counted.decided} decided again, {left_out} not replayable"
    for reason, count in counted.not_replayable.items():
        yield f"    {count} {reason}: {MEANING[reason]}"
    yield "decisions"
    for kind in Kind:
        yield f"    {counted.decisions[kind]:>7}  {kind.replace('_', ' ')}"
    yield from _table("by client", counted.by_client, str)
    yield from _table("by scope", counted.by_scope, str)
    yield from _table("by rule", counted.by_rule, _cause_text)
    if not counted.decided:
        yield "FAIL  no decision could be decided again"
    elif exceeded:
        yield f"FAIL  more than allowed: {', '.join(exceeded)}"
    else:
        yield "pass  within what is allowed"


def _table(title: str, counter: Mapping[tuple[Kind, Any], int], shown: Any) -> Iterator[str]:
    rows = _sorted(counter)
    if rows:
        yield title
    for (kind, what), count in rows[:TOLD]:
        yield line(f"    {count:>7}  {kind.replace('_', ' '):<{WIDEST}}  {shown(what)}")
    if len(rows) > TOLD:
        yield f"    and {len(rows) - TOLD} more (--json has them)"


def _about(change: Change) -> str:
    if change.resource is not None:
        return f"resource {change.resource}"
    return "(the request)" if change.scope is None else change.scope


def _cause_text(cause: Cause) -> str:
    speaks = "speaks" if cause.speaks else "no longer speaks"
    if cause.package is None:
        return f"{cause.code} of the bridge itself {speaks}"
    rule = cause.code if cause.code == cause.effect else f"{cause.effect} {cause.code}"
    place = f" ({cause.file}:{cause.row})" if cause.file else ""
    return f"{rule} in {cause.package}{place} {speaks}"

"""`policy explain`: what decided a recorded decision, line by line, by the policy set that decided it."""

import asyncio
from pathlib import Path
from typing import Any

import click

from bridge.audit.disclosed import revealed
from bridge.audit.query import Queries
from bridge.audit.reader import Found, LogReader
from bridge.cli.log.folder import open_reader
from bridge.cli.options import config_option, json_option
from bridge.cli.policy.explained import explanation, in_words
from bridge.cli.table import line
from bridge.config.settings import EngineSection, load_settings
from bridge.evidence.files import archived
from bridge.ops.logging import configure_logging
from bridge.pdp.gather import encode
from bridge.policy.opa import find_opa, require_version
from bridge.policy.restore import Restored, restore
from bridge.registry import ENGINES
from bridge.replay.explain import Explainer, Part
from bridge.replay.recorded import KINDS, NotReplayable, Records
from bridge.replay.replay import Replay, Result


@click.command()
@click.argument("wanted", metavar="ID")
@click.option("--scope", "only", help="Only this scope's package.")
@click.option("--all", "everything", is_flag=True, help="Also the rules that did not speak, and all helpers.")
@config_option
@json_option
def explain(wanted: str, config: Path | None, *, only: str | None, everything: bool, as_json: bool) -> None:
    """Explain a decision by its id or index: which rules spoke, by which lines, and what they looked at.

    It is decided again with the policy set that decided it. Exit code 1 when something else comes of it.
    """
    configure_logging("console", "error")
    opa = find_opa(load_settings(config).engine.opa)
    require_version(opa)
    with open_reader(config) as reader:
        found, overruled = _found(reader, wanted)
        result, restored = asyncio.run(_again(reader, found, opa))
        entry, recorded = revealed(reader, found), Records(reader).read(found)
        rules, parts = entry.get("rules", []), list[Part]()
        if not isinstance(recorded, NotReplayable):
            rules = recorded.rules
            if restored is not None:
                parts = list(Explainer(opa, restored.policy_set, restored.modules)(recorded, only))
        document = explanation(found, entry, rules, result, parts, overruled=overruled)
    if as_json:
        click.echo(encode(document).decode())
    else:
        for text in in_words(document, everything=everything):
            click.echo(line(text.replace("\t", "    ")))
    if result.state == "different":
        raise click.exceptions.Exit(1)


def _found(reader: LogReader, wanted: str) -> tuple[Found, bool]:
    """The entry, and whether a later one tells that the caller was denied all the same."""
    entries = Queries(reader).show(wanted)
    found = next((one for one in entries if one.entry["kind"] in KINDS), None)
    if found is None:
        click.echo(f"no decision {wanted}", err=True)
        raise click.exceptions.Exit(1)
    return found, any(one.entry["kind"] == "overruled" for one in entries)


async def _again(reader: LogReader, found: Found, opa: Path) -> tuple[Result, Restored | None]:
    kept: dict[str, Restored] = {}

    def keeping(digest: str) -> Any:
        kept[digest] = restore(reader.folder / archived(digest), digest, opa)
        return kept[digest].policy_set

    again = Replay(reader, keeping, lambda: ENGINES["managed"](EngineSection(), opa))
    results = [result async for result in again([found])]
    return results[0], next(iter(kept.values()), None)

"""`log show` and `log query`: look at entries, whether the bridge runs or not."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.disclosed import disclosures, open_entry
from bridge.audit.filter import Filter
from bridge.audit.query import Queries, scopes_of, who
from bridge.audit.reader import Found
from bridge.cli.log.filters import filter_options
from bridge.cli.log.folder import open_reader
from bridge.cli.options import config_option, json_option
from bridge.cli.table import line


@click.command()
@click.argument("wanted", metavar="ID")
@click.option("--input", "with_input", is_flag=True, help="The exact document that the engine saw, too.")
@config_option
@json_option
def show(wanted: str, config: Path | None, *, with_input: bool, as_json: bool) -> None:
    """Show one entry by its id (the decision_id), index or input_digest, with the entries that follow from it."""
    with open_reader(config) as reader:
        found = Queries(reader).show(wanted)
        if not found:
            click.echo(f"no entry {wanted}", err=True)
            raise click.exceptions.Exit(1)
        for one in found:
            document = _document(one)
            if hidden := open_entry(one.entry, disclosures(reader, one.index)):
                document["hidden"] = [commitment.document() for commitment in hidden]
            if with_input and "input_digest" in one.entry:
                raw = reader.document(one)
                document["input"] = "erased" if raw is None else orjson.Fragment(raw)
            if as_json:
                click.echo(orjson.dumps(document).decode())
            else:
                click.echo(line(_marks(one.entry)))
                click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())


@click.command()
@config_option
@json_option
@filter_options(limit=100)
def query(config: Path | None, *, as_json: bool, **wanted: Any) -> None:
    """Find entries, newest first. Entries on an exception path or with violations are marked with '!'."""
    with open_reader(config) as reader:
        found = Queries(reader).query(Filter(**wanted))
        for one in found:
            click.echo(orjson.dumps(_document(one)).decode() if as_json else line(_line(one)))
        if not as_json and not found:
            click.echo("no entry fits", err=True)
        if not as_json and len(found) == wanted["limit"]:
            click.echo(f"(the newest {len(found)}; --limit for more)", err=True)


def _document(one: Found) -> dict[str, Any]:
    """The entry with its place in the log; `leaf_hash` is recomputed, never believed."""
    computed = hashlib.sha256(b"\x00" + one.data).digest()
    return {
        "index": one.index,
        **({"overruled": True} if one.overruled else {}),
        "leaf_hash": base64.b64encode(computed).decode(),
        **({} if computed == one.leaf_hash else {"leaf_hash_differs": base64.b64encode(one.leaf_hash).decode()}),
        "entry": one.entry,
    }


def _marks(entry: dict[str, Any]) -> str:
    if "violations" in entry:
        return f"! violates its decision: {', '.join(entry['violations'])}" if entry["violations"] else "as decided"
    paths = [e["path"] + (f" {e['id']}" if "id" in e else "") for e in entry.get("exceptions", ())]
    return f"! exception path: {', '.join(paths)}" if paths else "no exception path"


def _line(one: Found) -> str:
    entry = one.entry
    request = entry.get("request", {})
    asked = sorted({*scopes_of(entry).items(), *_tuples(entry), *_done(entry)})
    scopes = " ".join(f"{word(name)}={outcome}" for name, outcome in asked)
    violations = entry.get("violations")
    mark = "!" if entry.get("exceptions") or violations or one.overruled else " "
    wrong = "  OVERRULED: the caller was denied" if one.overruled else ""
    wrong += f"  VIOLATES: {' '.join(violations)}" if violations else ""
    client = word(who(request, "client") or "-")
    outcome = entry.get("outcome") or entry.get("effect", "-")
    place = f"{mark} {one.index:>8} {entry['time']}"
    return f"{place} {entry['kind']:<9} {outcome:<11} {client:<20} {scopes}  {entry['id']}{wrong}"


def _tuples(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The action of each AuthZEN tuple that no decision answers, with its outcome."""
    told = entry.get("decisions", ())
    for one, answer in zip(entry["request"]["tuples"] if told else (), told, strict=False):
        action = one.get("action")
        name = action.get("name") if isinstance(action, dict) else None
        yield name if isinstance(name, str) else "-", answer["outcome"]


def _done(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What was done about an ending, and how it stands."""
    if "standing" in entry:
        yield entry.get("step", "all"), entry["standing"]


def word(text: str) -> str:
    """What a caller sent, as one word: a line break or an escape sequence in a scope must not forge a line."""
    return line(text).replace(" ", r"\x20")

"""`clients list` and `clients show`: what the log knows of clients, and the tree that hangs on one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.delegations import is_known
from bridge.cli.lifecycle.place import name_of, tree
from bridge.cli.options import config_option, json_option
from bridge.cli.table import aligned, line
from bridge.config.settings import load_settings
from bridge.model.ended import What


@click.command("list")
@click.option("--issuer", help="Only of this authorization server.")
@config_option
@json_option
def list_clients(config: Path | None, *, issuer: str | None, as_json: bool) -> None:
    """List the clients that were granted something, or that ended."""
    with tree(load_settings(config)) as found:
        clients = found.clients(issuer)
    if as_json:
        for one in clients:
            click.echo(orjson.dumps(one).decode())
        return
    rows = [["issuer", "client", "granted", "last", "state"]]
    rows += [[c["issuer"], c["client"], str(c["granted"]), c["last"] or "-", _state(c)] for c in clients]
    for text in aligned(rows):
        click.echo(text)


@click.command()
@click.argument("client", metavar="ID")
@click.option("--issuer", help="Its authorization server; not needed where one alone is configured.")
@config_option
@json_option
def show(config: Path | None, *, client: str, issuer: str | None, as_json: bool) -> None:
    """Show what a client was granted for whom, and what tokens were exchanged for its tokens."""
    settings = load_settings(config)
    name = name_of(settings, What.CLIENT, issuer, [client])
    with tree(settings) as found:
        told = found.of(name)
    print_tree(told, as_json=as_json)
    if not is_known(told):
        raise click.exceptions.Exit(1)


def print_tree(told: dict[str, Any], *, as_json: bool) -> None:
    """`told` as `Tree.of` gives it."""
    if as_json:
        click.echo(orjson.dumps(told).decode())
        return
    for text in _lines(told):
        click.echo(line(text))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    names = [
        f"{member} {told[member]['id']}" for member in told if isinstance(told[member], dict) and member != "ended"
    ]
    yield f"{', '.join(names)} at {told['issuer']}: {_state(told)}"
    if not told["delegations"] and not told["exchanged"]:
        yield "  nothing was granted to it"
    for one in told["delegations"]:
        yield from _delegation(one, "  ", "")
    for one in told["exchanged"]:
        yield from _delegation(one, "  ", "exchanged: ")
    if told.get("more"):
        yield "  (and more)"


def _delegation(one: dict[str, Any], indent: str, how: str) -> Iterator[str]:
    subject = one["subject"]
    whom = f"for {subject['type']} {subject['id']}" if subject["id"] else "for nobody"
    scopes = " ".join(one["scopes"]) or "no scope"
    times = f"granted {one['granted']} times, last {one['last']}"
    minted = f", {one['minted']} tokens reported" if one["minted"] else ""
    live = f", live until {one['live_until']}" if "live_until" in one else ""
    state = f", {_state(one)}" if "ended" in one else ""
    yield f"{indent}{how}{one['client'] or 'no client'} {whom}: {scopes} ({times}{minted}{live}{state})"
    for name in ("actors", "sessions", "grants"):
        if name in one:
            yield f"{indent}    {name}: {' '.join(one[name])}"
    for further in one.get("exchanged", ()):
        yield from _delegation(further, indent + "  ", "exchanged: ")


def _state(one: dict[str, Any]) -> str:
    ended = one.get("ended")
    return f"{ended['what']} ended at {ended['index']}, {ended['time']}" if ended else "not ended"

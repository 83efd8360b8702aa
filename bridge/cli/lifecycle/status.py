"""`lifecycle status`: the endings about which not all is done yet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.config.settings import load_settings
from bridge.evidence.files import DIGEST_KEY
from bridge.evidence.keys import token_digest
from bridge.model.ended import MEMBERS, What
from bridge.saga.status import MOST, unconfirmed


@click.command()
@config_option
@json_option
def status(config: Path | None, *, as_json: bool) -> None:
    """Show what is not confirmed, and what was tried; exit code 1 when there is anything."""
    folder = Path(load_settings(config).evidence.path)
    found = unconfirmed(folder, token_digest(folder) if (folder / DIGEST_KEY).exists() else None)
    for one in found:
        if as_json:
            click.echo(orjson.dumps(one).decode())
        else:
            for text in _lines(one):
                click.echo(line(text))
    if len(found) >= MOST and not as_json:
        click.echo(f"these are the oldest {MOST}; there may be more")
    if found:
        raise click.exceptions.Exit(1)
    if not as_json:
        click.echo("everything that ended is settled")


def _lines(one: dict[str, Any]) -> Iterator[str]:
    yield f"{one['ending']} {one['time']} {_named(one)}, for {one['age_s']} s"
    if not one["steps"]:
        yield "    nothing was tried yet"
    for step in one["steps"]:
        seen = " ".join(f"{name}={told}" for name, told in step["observed"].items())
        what = f"{step['standing']} {step['step']} ({step['connector']}) of {_named(step)}"
        yield f"    {what}: {step['asked']} {seen} (since {step['time']}, attempt {step['attempts']})"


def _named(one: dict[str, Any]) -> str:
    ids = " ".join(one[member] if one[member] is not None else "(hidden)" for member in MEMBERS[What(one["what"])])
    return f"{one['what']} {ids} at {one['issuer']}"

"""`clients import`: clients that an authorization server knows, so that those that never asked are seen, too."""

from pathlib import Path
from typing import Any

import click
import orjson
from pydantic import TypeAdapter, ValidationError

from bridge.cli.lifecycle.end import user_name
from bridge.cli.lifecycle.place import issuer_of, require_log
from bridge.cli.lifecycle.writing import commit
from bridge.cli.options import config_option, json_option
from bridge.config.settings import load_settings
from bridge.errors import MalformedRequest
from bridge.model import strict_json
from bridge.model.authzen import with_copies
from bridge.model.issuance import Identifier
from bridge.model.mask import covers, parse_pointer
from bridge.pdp.lifecycle import CLI
from bridge.pdp.registered import registered

MOST_BYTES, MOST = 32 * 1024 * 1024, 100_000
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--issuer", help="The authorization server; not needed where one alone is configured.")
@click.option("--by", help="Who, for the log; without it the name of the system's user.")
@config_option
@json_option
def import_clients(config: Path | None, *, file: Path, issuer: str | None, by: str | None, as_json: bool) -> None:
    """Take note of the clients in FILE: JSON, a list or one object a line, each with `client_id` (RFC 7591)."""
    settings = load_settings(config)
    evidence = settings.evidence
    hidden = with_copies(map(parse_pointer, (*evidence.mask, *evidence.personal)))
    if any(covers(pointer, ("client", "id")) for pointer in hidden):
        raise click.UsageError(
            "entries hide ids of clients here (evidence.mask, evidence.personal), and this shows them"
        )
    caller = by or user_name()
    if not caller.isprintable() or len(caller) > 500:
        raise click.UsageError("--by: one line of at most 500 characters")
    ids = _ids(file)
    require_log(settings)
    commit(settings, registered(issuer_of(settings, issuer), ids, CLI, caller))
    click.echo(orjson.dumps({"clients": len(ids)}).decode() if as_json else f"{len(ids)} clients")


def _ids(file: Path) -> list[str]:
    """The ids in their order, each once. UsageError says which one does not fit."""
    if file.stat().st_size > MOST_BYTES:
        raise click.UsageError(f"{file}: at most {MOST_BYTES} bytes")
    data = file.read_bytes()
    try:
        rows = _rows(data)
        found = [_IDENTIFIER.validate_python(row["client_id"], strict=True) for row in rows]
    except (MalformedRequest, ValidationError, KeyError, TypeError):
        raise click.UsageError(f"{file}: not JSON objects with a `client_id` of 1 to 512 characters each") from None
    if not 0 < len(found) <= MOST:
        raise click.UsageError(f"{file}: 1 to {MOST} clients")
    return list(dict.fromkeys(found))


def _rows(data: bytes) -> list[Any]:
    try:
        whole = strict_json.loads(data)
    except MalformedRequest:
        return [strict_json.loads(row) for row in data.splitlines() if row.strip()]
    if isinstance(whole, dict):
        whole = whole.get("items", [whole])
    return list(whole) if isinstance(whole, list) else [whole]

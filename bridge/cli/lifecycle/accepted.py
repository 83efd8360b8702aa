"""`sessions check`: which applications still accept a session, as they say themselves."""

import asyncio
from pathlib import Path
from typing import Any

import click
import orjson
from pydantic import TypeAdapter, ValidationError

from bridge.cli.lifecycle.place import issuer_of
from bridge.cli.options import config_option, json_option
from bridge.cli.table import aligned
from bridge.config.settings import load_settings
from bridge.model.issuance import Identifier
from bridge.registry import SESSION_CHECK

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_PASSED = ("ended", "not_asked")


@click.command("check")
@click.argument("session", metavar="ID")
@click.option("--issuer", help="The authorization server; not needed where one alone is configured.")
@config_option
@json_option
def check_session(config: Path | None, *, session: str, issuer: str | None, as_json: bool) -> None:
    """Ask the relying parties whether they still accept a session. Exit code 1 when one does, or does not answer."""
    settings = load_settings(config)
    at = issuer_of(settings, issuer)
    try:
        _IDENTIFIER.validate_python(session)
    except ValidationError:
        raise click.UsageError("an id has 1 to 512 characters, none of them a control character") from None
    parties = [party for party in settings.relying_parties if party.issuer == at]
    if not any(party.session_check_url for party in parties):
        raise click.UsageError(f"no relying party of {at} has a session_check_url in [[relying_parties]]")
    found = asyncio.run(SESSION_CHECK(parties, session))
    told: list[dict[str, Any]] = [
        {
            "issuer": one.party.issuer,
            "client": one.party.client_id,
            "state": one.state.value,
            **({"status": one.status} if one.status is not None else {}),
            **({"fault": one.fault} if one.fault is not None else {}),
        }
        for one in found
    ]
    if as_json:
        for line in told:
            click.echo(orjson.dumps(line).decode())
    else:
        rows = [["client", "state", ""], *([one["client"], one["state"], _why(one)] for one in told)]
        for text in aligned(rows):
            click.echo(text)
    if any(one["state"] not in _PASSED for one in told):
        raise click.exceptions.Exit(1)


def _why(one: dict[str, Any]) -> str:
    status = f"status {one['status']}" if "status" in one and "fault" in one else ""
    return ", ".join(text for text in (one.get("fault", ""), status) if text)

"""`log erase`: takes personal values out of what lies beside the log."""

import getpass
import os
from pathlib import Path

import click
import orjson

from bridge.audit.disclosed import holders, written
from bridge.audit.query import Queries
from bridge.cli.log.folder import open_reader
from bridge.cli.options import config_option, json_option
from bridge.config.settings import load_settings
from bridge.evidence.erase import erase as erase_entries
from bridge.evidence.erase import scrub
from bridge.model.mask import parse_pointer
from bridge.saga.status import unsettled_of

SUBJECT = "/subject/id"
MAX_TOLD = 2000


@click.command()
@click.option("--subject", metavar="ID", help="Whose entries.")
@click.option("--path", metavar="POINTER", help="Another place in the request, as in evidence.personal; with --value.")
@click.option("--value", help="The value there.")
@click.option("--reason", help="Why, for the log; it must not name the value.")
@click.option("--by", help="Who, for the log; without it the name of the system's user.")
@click.option("--unsettled", is_flag=True, help="Even where an ending is not settled, whose rest is never done then.")
@click.option("--dry-run", is_flag=True, help="Only say how many entries it would be.")
@config_option
@json_option
def erase(
    config: Path | None,
    *,
    subject: str | None,
    path: str | None,
    value: str | None,
    reason: str | None,
    by: str | None,
    unsettled: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Erase the personal values and input documents of all entries with this value, whether the bridge runs or not."""
    if (subject is None) == (path is None) or (path is None) != (value is None):
        raise click.UsageError("either --subject, or --path with --value")
    pointer, wanted = (path, value or "") if path is not None else (SUBJECT, subject or "")
    by = by or _user()
    if not dry_run and not reason:
        raise click.UsageError("--reason is needed: it will stand in the log")
    if not f"{reason or ''}{by}{pointer}".isprintable() or len(f"{reason or ''}{by}{pointer}") > MAX_TOLD:
        raise click.UsageError(f"--reason, --by and --path: one line, and no more than {MAX_TOLD} characters together")
    if wanted.casefold() in f"{reason or ''}\n{by}".casefold():
        raise click.UsageError("--reason and --by stand in the log for ever, and must not name the value")
    try:
        tokens = parse_pointer(pointer)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with open_reader(config) as reader:
        found = holders(reader.db, tokens, written(wanted))
        found = Queries(reader).same_document(found) if found else found
        clear = Queries(reader).clear(wanted) if pointer == SUBJECT else 0
    if not unsettled and not dry_run and (left := unsettled_of(Path(load_settings(config).evidence.path), wanted)):
        raise click.ClickException(
            f"the ending at {left[0]} is not settled, and without its ids nothing more is done about it at its server: "
            "see `lifecycle status`, and erase after that, or with --unsettled"
        )
    count = len(found)
    if not dry_run:
        count = _erase(config, found, {"path": pointer, "reason": reason, "by": by})
    if as_json:
        click.echo(orjson.dumps({"count": count, "erased": not dry_run, "clear": clear}).decode())
        return
    click.echo(f"{count} entries{' would be' if dry_run else ''} erased")
    if clear:
        click.echo(f"{clear} entries show the value itself, and nothing can take it from them", err=True)


def _erase(config: Path | None, found: list[int], told: dict[str, str | None]) -> int:
    evidence = load_settings(config).evidence
    folder = Path(evidence.path)
    if not found:
        scrub(folder)  # an earlier run may have been ended before it came to this
        return 0
    return erase_entries(folder, f"{evidence.instance}/erase-{os.urandom(4).hex()}", found, told)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())

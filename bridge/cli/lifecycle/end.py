"""The commands that end something, or let it begin anew: an entry of the log, written beside a bridge that runs."""

import getpass
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.cli.lifecycle.place import issuers, name_of, require_log, tree
from bridge.cli.lifecycle.show import print_tree
from bridge.cli.lifecycle.tokens import Taking
from bridge.cli.lifecycle.writing import commit, orders_of
from bridge.cli.options import config_option, json_option
from bridge.config.settings import Settings, load_settings
from bridge.errors import NotEnded
from bridge.evidence.keys import token_digest
from bridge.model.ended import Effect, Name, What
from bridge.model.step import Standing
from bridge.pdp.lifecycle import CLI, MAX_REASON, Done, Order, done


def _options(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        json_option,
        config_option,
        click.option("--dry-run", is_flag=True, help="Only show what hangs on it, and would fall with it."),
        click.option("--by", help="Who, for the log; without it the name of the system's user."),
        click.option("--reason", help="Why, for the log."),
        click.option("--issuer", help="The authorization server; not needed where one alone is configured."),
    ):
        command = option(command)
    return command


@click.command("delete")
@click.argument("client", metavar="ID")
@_options
def delete_client(*, client: str, **given: Any) -> None:
    """End a client: nothing more is granted to it."""
    _do(What.CLIENT, Effect.ENDED, (client,), **given)


@click.command("reinstate")
@click.argument("client", metavar="ID")
@_options
def reinstate_client(*, client: str, **given: Any) -> None:
    """A client of this id is registered anew; nothing old comes back."""
    _do(What.CLIENT, Effect.REINSTATED, (client,), **given)


@click.command("end")
@click.argument("subject", metavar="ID")
@_options
def end_subject(*, subject: str, **given: Any) -> None:
    """End a subject: nothing more is granted for it, to any client."""
    _do(What.SUBJECT, Effect.ENDED, (subject,), **given)


@click.command("reinstate")
@click.argument("subject", metavar="ID")
@_options
def reinstate_subject(*, subject: str, **given: Any) -> None:
    """A subject is let in again; its old sessions and delegations are not."""
    _do(What.SUBJECT, Effect.REINSTATED, (subject,), **given)


@click.command("end")
@click.argument("session", metavar="ID")
@_options
def end_session(*, session: str, **given: Any) -> None:
    """End a session, for good."""
    _do(What.SESSION, Effect.ENDED, (session,), **given)


@click.command("revoke")
@click.option("--client", help="The client, with --subject.")
@click.option("--subject", help="Who had let it act.")
@click.option("--grant", help="Instead of both: one grant, for good.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Tokens to be taken back at their server (RFC 7009), one a line.",
)
@_options
def revoke_delegation(*, client: str | None, subject: str | None, grant: str | None, **given: Any) -> None:
    """Take back what a subject lets a client do, or one grant; exit code 1 when a token could not be taken back."""
    if grant is not None and client is None and subject is None:
        _do(What.GRANT, Effect.ENDED, (grant,), **given)
    elif grant is None and client is not None and subject is not None:
        _do(What.DELEGATION, Effect.ENDED, (client, subject), **given)
    else:
        raise click.UsageError("either --client and --subject, or --grant")


@click.command("reinstate")
@click.option("--client", required=True, help="The client.")
@click.option("--subject", required=True, help="Who lets it act again.")
@_options
def reinstate_delegation(*, client: str, subject: str, **given: Any) -> None:
    """What a subject lets a client do begins anew; nothing old comes back."""
    _do(What.DELEGATION, Effect.REINSTATED, (client, subject), **given)


def _do(
    what: What,
    effect: Effect,
    ids: tuple[str, ...],
    *,
    config: Path | None,
    issuer: str | None,
    reason: str | None,
    by: str | None,
    dry_run: bool,
    as_json: bool,
    token_file: Path | None = None,
) -> None:
    settings = load_settings(config)
    name = name_of(settings, what, issuer, ids)
    taking = None if token_file is None else Taking(settings, name, token_file, dry_run=dry_run)
    if dry_run:
        with tree(settings) as found:
            print_tree(found.of(name), as_json=as_json)
        return
    require_log(settings)
    try:
        made = _written(settings, _order(name, effect, reason, by or user_name()))
    except NotEnded as error:
        click.echo(str(error), err=True)
        raise click.exceptions.Exit(1) from None
    came = [] if taking is None else taking(made)
    index, entry, page = made.receipt.index, made.receipt.entry, _page_of(settings, name, made)
    foreign = name.issuer not in issuers(settings)
    if foreign:
        click.echo("no caller has this issuer: only tokens that name it are refused by it", err=True)
    if as_json:
        told = {"id": entry["id"], "index": index, "what": entry["what"], "effect": entry["effect"]}
        told |= {"repeated": made.repeated, "foreign": foreign, **({"tokens": came} if came else {})}
        told |= {} if page is None else {"frontchannel_logout": page}
        click.echo(orjson.dumps(told).decode())
    else:
        before = ", since before" if made.repeated else ""
        click.echo(f"{entry['what']} {entry['effect']}: entry {index}, {entry['time']}{before}")
        if page is not None:
            click.echo(f"to be opened in the user's browser within 10 minutes: {page}")
        for number, one in enumerate(came, 1):
            seen = " ".join(f"{member}={value}" for member, value in one["observed"].items())
            click.echo(f"token {number}: {one['standing']} ({seen})")
    if any(one["standing"] == Standing.FAILED for one in came):
        raise click.exceptions.Exit(1)


def _order(name: Name, effect: Effect, reason: str | None, by: str) -> Order:
    if not reason or len(reason) > MAX_REASON or not reason.isprintable():
        raise click.UsageError(f"--reason is needed: one line of at most {MAX_REASON} characters, for the log")
    if len(by) > MAX_REASON or not by.isprintable():
        raise click.UsageError(f"--by: one line of at most {MAX_REASON} characters")
    return Order(name, effect, reason, by, CLI)


def _written(settings: Settings, order: Order) -> Done:
    orders = orders_of(settings)
    if orders.hides(order):
        raise click.UsageError("--reason and --by stand in the log for ever, and must not hold the id")
    record = orders.record(order)
    (receipt,) = commit(settings, [record])
    return done(record, receipt)


def _page_of(settings: Settings, name: Name, made: Done) -> str | None:
    """The front-channel page for a session that ended, where there is one."""
    if name.what is not What.SESSION or not settings.logout.public_url:
        return None
    from bridge.registry import tickets  # noqa: PLC0415 - who ends a client does not wait for the doors

    return tickets(settings, token_digest(Path(settings.evidence.path)).key).url(name, made.receipt)


def user_name() -> str:
    """Who runs the command, for the log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())

"""`policy usage`: what each client is registered for, asked for and was granted; and the narrowest that would do."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.asked import Client, Unknown
from bridge.audit.narrowest import covers, narrowest, never_asked
from bridge.audit.usage import OTHERS, ClientUse, Usage, Use
from bridge.audit.window import Window
from bridge.cli.options import config_option, json_option
from bridge.cli.policy.evidence import (
    covered_ms,
    in_words,
    logs_option,
    open_logs,
    reading,
    since_option,
    told,
)
from bridge.cli.table import aligned, line
from bridge.config.settings import load_settings
from bridge.errors import EvidenceUnavailable
from bridge.model.policy import PolicySet
from bridge.model.registry import RegisteredClient
from bridge.model.times import now_ms, rfc3339
from bridge.policy import source
from bridge.policy.load import merge_data, verify
from bridge.policy.opa import find_opa, require_version
from bridge.policy.served import verifier_of

_HEAD = ("  scope", "registered", "asked", "granted", "waiting", "issued")


@click.command()
@config_option
@json_option
@since_option
@logs_option
@click.option("--client", "wanted", help="Only clients with this id.")
def usage(config: Path | None, *, as_json: bool, since: int, logs: tuple[Path, ...], wanted: str | None) -> None:
    """Per client: scopes registered, asked for, granted, issued, never asked for; and the narrowest registration."""
    settings, now = load_settings(config), now_ms()
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    found = source.read(Path(settings.policy.path))
    policy_set, data = verify(found, opa, verifier_of(settings.policy)), merge_data(found, opa)
    seen = Usage(Window(since, now + 1))
    with open_logs(settings, logs) as readers:
        for reader in readers:
            seen.read(reader)
    if not seen.covered:
        raise EvidenceUnavailable(f"there is no log with an entry in {settings.evidence.path}")
    about = {"record": "log", "policy": policy_set.revision, **reading(seen.window, seen.covered), **_doubts(seen)}
    rows = [row for row in report(policy_set, data, seen) if wanted in (None, row["client"])]
    if as_json:
        for row in (about, *rows):
            click.echo(orjson.dumps(row).decode())
        return
    for text in (*told(seen.window, seen.covered), *_in_words(about)):
        click.echo(line(text))
    time = in_words(covered_ms(seen.window, seen.covered))
    for row in rows:
        click.echo("\n".join(["", *_shown(row, time)]))


def report(policy_set: PolicySet, data: Mapping[str, Any], seen: Usage) -> Iterator[dict[str, Any]]:
    """One object for each client: those that are registered, then those that only asked."""
    registered = {(issuer, name): one for issuer, of in policy_set.clients.items() for name, one in of.items()}
    for client in [*sorted(registered), *sorted(seen.clients.keys() - registered.keys())]:
        use, known = seen.clients.get(client, ClientUse()), registered.get(client)
        row: dict[str, Any] = {
            "record": "client",
            "issuer": client[0],
            "client": client[1],
            "registered": known is not None,
            "requests": use.requests,
            "granted": use.granted,
            "reports": use.reports,
            "reports_with_violations": use.violations,
            "last": rfc3339(use.last_ms) if use.requests else None,
            "grants_without_audience": use.anywhere,
            "hidden_names": use.hidden,
        }
        known = known or RegisteredClient()
        row["scopes"] = _table(known.scopes, use.scopes)
        row["grant_types"] = _table(known.grant_types or (), use.grant_types)
        row["audience"] = _table(known.audience, use.audience)
        if client in registered:
            row["never_asked"] = {
                "scopes": never_asked(known.scopes, use.scopes),
                "grant_types": never_asked(known.grant_types or (), use.grant_types),
                "audience": never_asked(known.audience, use.audience),
            }
            row["narrowest"] = _narrowest(client, data, known, use)
        yield row


def _narrowest(
    client: Client, data: Mapping[str, Any], known: RegisteredClient, use: ClientUse
) -> dict[str, Any] | None:
    """As it would stand in data.json."""
    issuer, name = client
    own = narrowest(data["registry"]["clients"][issuer][name], known, use)
    return None if own is None else {"registry": {"clients": {issuer: {name: own}}}}


def _table(registered: Sequence[str], table: Mapping[str, Use]) -> list[dict[str, Any]]:
    """Each name that is registered or was asked for; a prefix (`tenant:*`) has the sums of what it covers below it."""
    rows = []
    for name in [*registered, *sorted(table.keys() - set(registered))]:
        use = table.get(name, Use())
        by = next((one for one in registered if covers(one, name)), None)
        told = {"name": name, "registered": by is not None}
        if by is not None and by != name:
            told["by"] = by
        counts = {"asked": use.asked, "granted": use.granted, "waiting": use.waiting, "issued": use.issued}
        rows.append({**told, **counts})
    return rows


def _doubts(seen: Usage) -> dict[str, Any]:
    return {
        "entries": seen.entries,
        "decisions_of_hidden_clients": seen.unattributed[Unknown.HIDDEN],
        "decisions_without_a_client": seen.unattributed[Unknown.ABSENT],
        "reports_of_unknown_clients": seen.reports_unattributed,
        "denials_without_an_entry": seen.unrecorded,
    }


def _in_words(about: Mapping[str, Any]) -> Iterator[str]:
    if count := about["decisions_of_hidden_clients"]:
        yield (
            f"{count} decisions do not show whose they are (masked, or erased): whoever that was, it is not counted "
            "below, and what is called never asked for may have been asked for by one of them."
        )
    if count := about["decisions_without_a_client"]:
        yield f"{count} decisions name no client."
    if count := about["reports_of_unknown_clients"]:
        yield f"{count} reports of tokens are about decisions of no client that is known here."
    if count := about["denials_without_an_entry"]:
        yield f"{count} denials have no entry of their own, and are not counted below."


def _shown(row: Mapping[str, Any], time: str) -> Iterator[str]:
    if row["registered"] and not row["requests"] and not row["reports"]:
        scopes = sum(one["registered"] for one in row["scopes"])
        yield line(f"{row['client']} ({row['issuer']}): no request in {time}; registered for {scopes} scopes")
        return
    known = "" if row["registered"] else ", not registered"
    last = f", last {row['last']}" if row["last"] else ""
    reports = f", {row['reports']} tokens reported" if row["reports"] else ""
    wrong = f" ({row['reports_with_violations']} with violations)" if row["reports_with_violations"] else ""
    asked = f"{row['requests']} requests, {row['granted']} granted{reports}{wrong}{last}"
    yield line(f"{row['client']} ({row['issuer']}){known}: {asked}")
    if row["hidden_names"]:
        yield (
            f"  {row['hidden_names']} names in its entries are not shown (masked, or erased): what is called never "
            "asked for may be among them, and the registration is left as it is"
        )
    if row["scopes"]:
        yield from aligned([_HEAD, *map(_cells, row["scopes"])])
    for what in ("grant_types", "audience"):
        used = [
            f"{one['name']} {one['asked']} ({one['granted']})" for one in row[what] if one["asked"] or one["granted"]
        ]
        if what == "audience" and row["grants_without_audience"]:
            used.append(f"no audience at all ({row['grants_without_audience']})")
        if used:
            yield line(f"  {what.replace('_', ' ')}, asked for (granted): {', '.join(used)}")
    for what, never in row.get("never_asked", {}).items():
        if never:
            yield line(f"  never asked for in {time}, {what.replace('_', ' ')}: {', '.join(never)}")
    if row["registered"]:
        told = row["narrowest"]
        text = "the registration is no object" if told is None else orjson.dumps(told).decode()
        yield line(f"  the narrowest that would have served in {time}: {text}")


def _cells(one: Mapping[str, Any]) -> list[str]:
    registered = "-" if one["name"] == OTHERS else one.get("by", "yes" if one["registered"] else "no")
    counts = [str(one[count]) for count in ("asked", "granted", "waiting", "issued")]
    return [f"  {one['name']}", registered, *counts]

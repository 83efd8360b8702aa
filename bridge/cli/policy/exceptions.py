"""`policy exceptions`: each waiver and break-glass path, until when it holds, who approved it, and who used it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.exceptions import Key, Taken, taken_in
from bridge.audit.window import Window, coverage
from bridge.cli.options import config_option, json_option
from bridge.cli.policy.evidence import DAY_MS, Days, logs_option, open_logs, reading, since_option, told
from bridge.cli.table import aligned, in_markdown, line, markdown
from bridge.config.settings import load_settings
from bridge.model.times import now_ms, rfc3339
from bridge.policy import source
from bridge.policy.exceptions import Declared, State, declared
from bridge.policy.load import merge_data, verify
from bridge.policy.opa import find_opa, require_version
from bridge.policy.served import verifier_of
from bridge.policy.syntax import parse

MAX_CLIENTS = 10
_SOON_DAYS = 30
_HEAD = ("state", "kind", "id", "expires", "used", "last used", "dropped", "by", "rule", "at", "owner", "approved by")
_BAD = (State.EXPIRED, State.INCOMPLETE, State.UNKNOWN)


@click.command()
@config_option
@json_option
@since_option
@logs_option
@click.option("--markdown", "as_markdown", is_flag=True, help="For a report.")
@click.option("--strict", is_flag=True, help="Exit code 1 when one has expired or is incomplete.")
@click.option("--within", type=Days(), metavar="30d", help="As --strict, and when one expires within so many days.")
def exceptions(
    config: Path | None,
    *,
    as_json: bool,
    as_markdown: bool,
    since: int,
    logs: tuple[Path, ...],
    strict: bool,
    within: int | None,
) -> None:
    """The exceptions of the policies at policy.path: state, approvers, owner, and from the log who used each."""
    if as_json and as_markdown:
        raise click.UsageError("--json or --markdown")
    settings, now = load_settings(config), now_ms()
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    found = source.read(Path(settings.policy.path))
    policy_set = verify(found, opa, verifier_of(settings.policy))
    soon = now + (_SOON_DAYS if within is None else within) * DAY_MS
    register = merge_data(found, opa).get("exceptions")
    known = declared(parse(opa, found.modules), register, found.data, now, soon)
    window, taken = Window(since, now + 1), dict[Key, Taken]()
    with open_logs(settings, logs) as readers:
        for reader in readers:
            taken_in(reader, window, taken)
        covered = [one for reader in readers if (one := coverage(reader, window)) is not None]
    rows = report(known, taken, read=bool(readers))
    if as_json:
        for row in ({"record": "log", "policy": policy_set.revision, **reading(window, covered)}, *rows):
            click.echo(orjson.dumps(row).decode())
    else:
        about = [f"Exceptions of policy revision {policy_set.revision}, {rfc3339(now)}.", *told(window, covered)]
        click.echo("\n".join(_shown(about, rows, as_markdown=as_markdown)))
    bad = any(one.state in _BAD or (within is not None and one.state is State.EXPIRES) for one in known)
    if bad and (strict or within is not None):
        raise click.exceptions.Exit(1)


def report(known: Sequence[Declared], taken: Mapping[Key, Taken], *, read: bool) -> list[dict[str, Any]]:
    """One object for each exception of the policies, then for each that only the log has; `read`: there was a log."""
    ours = {_key(one) for one in known}
    gone = sorted((key for key in taken if key not in ours), key=lambda key: (key[0], key[1], key[2] or ""))
    return [
        *(_declared(one, taken.get(_key(one), Taken()), read=read) for one in known),
        *(
            {"record": "gone", "kind": taken[key].kind, "id": key[2], "package": key[0], "code": key[1]}
            | _uses(taken[key])
            for key in gone
        ),
    ]


def _key(one: Declared) -> Key:
    return one.package or "", one.code or "", one.id


def _declared(one: Declared, taken: Taken, *, read: bool) -> dict[str, Any]:
    return {
        "record": "exception",
        "state": one.state.value,
        "lacks": list(one.lacks),
        "kind": one.kind,
        "id": one.id,
        "approved_by": list(one.approved_by),
        "expires": one.expires,
        "package": one.package,
        "code": one.code,
        "file": one.file,
        "row": one.row,
        "owner": one.owner,
        "in_data": one.in_data,
        **(_uses(taken) if read else {}),
    }


def _uses(taken: Taken) -> dict[str, Any]:
    most = sorted(taken.clients.items(), key=lambda one: (-one[1], one[0]))
    return {
        "used": taken.used,
        "recorded": taken.recorded,
        "last_used": None if taken.last_ms is None else rfc3339(taken.last_ms),
        "clients": [{"issuer": issuer, "client": name, "used": n} for (issuer, name), n in most[:MAX_CLIENTS]],
        "clients_in_all": len(most),
        "used_by_hidden": taken.hidden,
        "dropped": dict(sorted(taken.dropped.items())),
        "last_dropped": None if taken.dropped_ms is None else rfc3339(taken.dropped_ms),
    }


def _shown(about: Sequence[str], rows: Sequence[dict[str, Any]], *, as_markdown: bool) -> list[str]:
    table = [_HEAD, *(_cells(row) for row in rows)]
    if as_markdown:
        return ["# Exceptions", "", in_markdown(" ".join(about)), "", *markdown(table)]
    return [*map(line, about), "", *(aligned(table) if rows else ["The policies have no exception."])]


def _cells(row: Mapping[str, Any]) -> list[str]:
    if row["record"] == "gone":
        state, place, approvers = "no longer in the policies", "", ""
    else:
        state = {"expires": "expires soon", "unknown": "not in data.exceptions"}.get(row["state"], row["state"])
        state += f" (lacks {', '.join(row['lacks'])})" if row["lacks"] else ""
        place, approvers = f"{row['file']}:{row['row']}", ", ".join(row["approved_by"])
    rule = f"{row['package']}/{row['code'] or '?'}" if row["package"] else "no rule names it"
    used = [""] * 4
    if "used" in row:
        recorded = f" ({row['recorded']} recorded)" if row["recorded"] != row["used"] else ""
        used = [f"{row['used']}{recorded}", row["last_used"] or "-", str(sum(row["dropped"].values())), _clients(row)]
    ends = row.get("expires") or "-"
    return [state, row["kind"] or "-", row["id"] or "-", ends, *used, rule, place, row.get("owner") or "-", approvers]


def _clients(row: Mapping[str, Any]) -> str:
    shown = [f"{one['client']} ({one['issuer']}) {one['used']}" for one in row["clients"]]
    if row["clients_in_all"] > len(shown):
        shown.append(f"and {row['clients_in_all'] - len(shown)} more")
    if row["used_by_hidden"]:
        shown.append(f"clients that are not shown {row['used_by_hidden']}")
    return ", ".join(shown) or "-"

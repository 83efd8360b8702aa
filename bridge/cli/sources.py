"""`sources`: the register of the external systems that decisions lean on: whose they are, and how they did."""

import contextlib
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.reader import LogReader
from bridge.audit.sources import Seen, seen_since
from bridge.cli.options import config_option, json_option
from bridge.cli.table import markdown
from bridge.config.settings import Settings, load_settings
from bridge.config.sources import GATE, SourceSection
from bridge.errors import ConfigFault
from bridge.evidence.files import DATABASE
from bridge.model import policy
from bridge.model.policy import PolicySet
from bridge.model.source import Status
from bridge.model.times import now_ms, rfc3339
from bridge.policy.load import load
from bridge.policy.opa import find_opa, require_version
from bridge.policy.served import verifier_of

DAY_MS = 86_400_000
_COLUMNS = ("source", "owner", "address", "key", "when it fails", "used by", "evidence", "last state")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>External sources</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem; color: #1c1c1c }}
table {{ border-collapse: collapse }}
th, td {{ border: 1px solid #bbb; padding: .4rem .6rem; text-align: left; vertical-align: top }}
th {{ background: #f2f2f2 }}
</style></head><body><h1>External sources</h1><p>{about}</p>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table></body></html>"""


@click.command()
@config_option
@json_option
@click.option("--html", "as_html", is_flag=True, help="A page.")
@click.option("--days", type=click.IntRange(1, 3660), default=30, show_default=True, help="How far back in the log.")
def sources(config: Path | None, *, as_json: bool, as_html: bool, days: int) -> None:
    """The register of external sources: owner, address, failure handling, who uses them, and evidence from the log."""
    if as_json and as_html:
        raise click.UsageError("--json or --html")
    settings, now = load_settings(config), now_ms()
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    policy_set = load(Path(settings.policy.path), opa, verifier_of(settings.policy))
    lines = register(settings, policy_set, _seen(settings, now - days * DAY_MS))
    about = f"Of {rfc3339(now)}; policy revision {policy_set.revision}; evidence of the last {days} days."
    if as_json:
        for line in lines:
            click.echo(orjson.dumps(line).decode())
    elif as_html:
        click.echo(_html(lines, about))
    else:
        click.echo(_markdown(lines, about))


def register(settings: Settings, policy_set: PolicySet, seen: Mapping[str, Seen]) -> list[dict[str, Any]]:
    """One line for each source: those that are declared, then those that only the log knows."""
    lines = [_declared(section, policy_set, seen.get(section.name)) for section in settings.sources]
    names = {section.name for section in settings.sources}
    gone = {name: one for name, one in seen.items() if name not in names}
    return [
        *lines,
        *({"name": n, "owner": gone[n].owner, "declared": False, **_evidence(gone[n])} for n in sorted(gone)),
    ]


def uses_of(section: SourceSection, policy_set: PolicySet) -> list[tuple[str, str | None]]:
    """Scope, `gate`, `PREFIX…`, or package of a resource's type, each with the package that answers for it, if any."""
    found: list[tuple[str, str | None]] = []
    for scope in section.scopes:
        if scope == GATE:
            found.append((scope, policy.GATE if policy.GATE in policy_set.packages else None))
        else:
            found.append((scope, policy_set.package_for(scope)))
    for prefix in section.scope_prefixes:
        within = [package for scope, package in policy_set.scopes.items() if scope.startswith(prefix)]
        found.append((f"{prefix}…", next(iter(within), policy_set.package_for(prefix))))
    others = map(policy.resource_package, section.resource_types)
    return [*found, *((name, name if name in policy_set.packages else None) for name in others)]


def _seen(settings: Settings, since_ms: int) -> dict[str, Seen]:
    folder = Path(settings.evidence.path)
    try:
        if not (folder / DATABASE).exists():
            return {}
    except OSError as error:
        raise ConfigFault(f"{folder} cannot be read: {error.strerror}") from error
    with contextlib.closing(LogReader(folder)) as reader:
        return seen_since(reader, since_ms)


def _declared(section: SourceSection, policy_set: PolicySet, seen: Seen | None) -> dict[str, Any]:
    stale = {} if section.max_stale_s is None else {"max_stale_s": section.max_stale_s}
    return {
        "name": section.name,
        "owner": section.owner,
        "declared": True,
        "url": section.url,
        "key": list(section.key),
        "timeout_ms": section.timeout_ms,
        "max_age_s": section.max_age_s,
        "on_failure": section.on_failure,
        **stale,
        "credentials": _credentials(section),
        "used_by": [{"scope": use, "package": package} for use, package in uses_of(section, policy_set)],
        **_evidence(seen),
    }


def _evidence(seen: Seen | None) -> dict[str, Any]:
    counts = {status.value: 0 if seen is None else seen.counts[status.value] for status in Status}
    return {"evidence": counts, "last": None if seen is None else {"status": seen.status, "time": seen.at}}


def _credentials(section: SourceSection) -> str:
    if section.tls_cert:
        return "mtls"
    return "bearer" if section.token_file else "none"


def _cells(line: Mapping[str, Any]) -> list[str]:
    """The row of one source, as words."""
    counts = ", ".join(f"{count} {status}" for status, count in line["evidence"].items() if count) or "none"
    last = "never used" if line["last"] is None else f"{line['last']['status']}, {line['last']['time']}"
    if not line["declared"]:
        return [line["name"], line["owner"], "no longer declared", "", "", "", counts, last]
    failing = {
        "deny": "denies",
        "stale": f"serves what is at most {line.get('max_stale_s')} s old, then denies",
        "absent": "leaves it to the policy",
    }
    handling = f"{failing[line['on_failure']]}; fresh for {line['max_age_s']} s, asked for {line['timeout_ms']} ms"
    used = [f"{one['scope']} ({one['package'] or 'no package'})" for one in line["used_by"]]
    address = f"{line['url']} (credentials: {line['credentials']})"
    return [line["name"], line["owner"], address, ", ".join(line["key"]), handling, ", ".join(used), counts, last]


def _markdown(lines: list[dict[str, Any]], about: str) -> str:
    return "\n".join(["# External sources", "", about, "", *markdown([_COLUMNS, *(_cells(line) for line in lines)])])


def _html(lines: list[dict[str, Any]], about: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in _COLUMNS)
    rows = ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _cells(line)) + "</tr>" for line in lines]
    return _PAGE.format(about=escape(about), head=head, rows="\n".join(rows))

"""`log reconcile`: a server's own list of issued tokens against the log."""

import secrets
from pathlib import Path

import click
import orjson

from bridge.audit.issued import IssuedList
from bridge.audit.reconcile import Finding, Reconciliation, Span
from bridge.cli.log.filters import Instant
from bridge.cli.log.folder import open_reader
from bridge.cli.log.query import word
from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.errors import EvidenceInvalid
from bridge.evidence.files import DIGEST_KEY
from bridge.evidence.keys import DIGEST_KEY_BYTES, token_digest
from bridge.model.issued import TokenDigest
from bridge.model.times import now_ms


@click.command()
@click.option(
    "--issued",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    required=True,
    help="The list: one JSON object a line, {jti, decision_id?, exp?, scopes?, audience?, iat?}.",
)
@click.option("--caller", help="Whose list it is, where several token services ask.")
@click.option("--from", "since", type=Instant(), help="From when on the list is complete.")
@click.option("--to", "until", type=Instant(), help="Until when; not included.")
@config_option
@json_option
def reconcile(
    config: Path | None, *, issued: Path, caller: str | None, since: int | None, until: int | None, as_json: bool
) -> None:
    """Compare the tokens that a server says it issued with decisions and reports; exit code 1 when they disagree."""
    with open_reader(config) as reader:
        # Without a key nothing was reported yet, and no digest will be found.
        known = (reader.folder / DIGEST_KEY).exists()
        digest = token_digest(reader.folder) if known else TokenDigest(secrets.token_bytes(DIGEST_KEY_BYTES))
        try:
            with issued.open("rb") as lines:
                tokens = IssuedList.read(lines, digest)
        except EvidenceInvalid as error:
            raise click.UsageError(f"{issued}: {error}") from error
        if tokens.passed_over:
            click.echo(f"passed over in the list: {', '.join(map(word, sorted(tokens.passed_over)))}", err=True)
        found = Reconciliation(reader, tokens, Span(caller, since, until), now_ms())
        critical = 0
        for finding in found.findings():
            critical += finding.critical
            click.echo(_document(finding) if as_json else _line(finding))
    if not found.heard_of:
        raise click.UsageError(f"the log has no entry of a caller {caller!r}")
    if not as_json:
        listed = len(tokens.tokens) + len(tokens.twice)
        what = f"listed {listed}, reported {found.reports}, decided {found.decisions}"
        click.echo(f"BAD  found {critical}: {what}" if critical else f"OK   {what}")
    if critical:
        raise click.exceptions.Exit(1)


def _document(finding: Finding) -> str:
    where = {"line": finding.line, "index": finding.index, "decision_id": finding.decision_id}
    told = {name: value for name, value in where.items() if value is not None}
    return orjson.dumps({"code": finding.code, "critical": finding.critical, "detail": finding.text, **told}).decode()


def _line(finding: Finding) -> str:
    places = [f"line {finding.line}" if finding.line is not None else ""]
    places.append(f"decision {word(finding.decision_id)}" if finding.decision_id is not None else "")
    places.append(f"entry {finding.index}" if finding.index is not None else "")
    where = ", ".join(filter(None, places))
    return f"{'BAD ' if finding.critical else 'note'} {finding.code}: {line(finding.text)}{where and f' ({where})'}"

"""`log verify` and `log consistency`: is the whole log what it says, and has it only grown?"""

import os
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import orjson

from bridge.audit.database import verify_beside
from bridge.audit.prove import Prover
from bridge.audit.published import FolderFiles, LogFiles, UrlFiles, read_named
from bridge.audit.reader import LogReader
from bridge.audit.report import Report
from bridge.audit.verify import verify as verify_log
from bridge.cli.log.trusted import read_trust, trust_option, vkey_option
from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.evidence.files import DATABASE, LOG, VKEY
from bridge.model.times import now_ms
from bridge.tlog.checkpoint import open_checkpoint
from bridge.tlog.trust import Trust

TOKEN_VARIABLE = "ISSUANCE_BRIDGE_TOKEN"  # noqa: S105 - a name
_file = click.Path(path_type=Path, dir_okay=False, exists=True)
_url_option = click.option(
    "--from-url", "url", help=f"The log over HTTP (…/log/); a bearer token is taken from {TOKEN_VARIABLE}."
)
_folder_option = click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False, exists=True), help="A copy of the log folder."
)


@click.command()
@click.option("--old", type=_file, multiple=True, help="A checkpoint that was kept; may be repeated.")
@_url_option
@_folder_option
@vkey_option
@trust_option
@config_option
@json_option
def verify(
    config: Path | None,
    *,
    old: tuple[Path, ...],
    url: str | None,
    folder: Path | None,
    vkeys: tuple[Path, ...],
    policy: Path | None,
    as_json: bool,
) -> None:
    """Verify the whole log: bytes, hashes, tiles, root, signatures, counters, clocks; and the database beside it."""
    evidence = Path(load_settings(config).evidence.path)
    if not (url is not None or folder or (evidence / DATABASE).exists()):
        raise ConfigFault(f"there is no log in {evidence}; a copy of the published files is verified with --folder")
    files, trust = _opened(evidence, url, folder, vkeys, policy)
    kept = [read_named(file) for file in old]
    if url is not None or folder:
        report = verify_log(files, trust, kept, now_ms=now_ms())
    else:
        report = _with_database(evidence, files, trust, kept)
    _print(report, as_json=as_json)
    if not report.good:
        raise click.exceptions.Exit(1)


def _with_database(evidence: Path, files: LogFiles, trust: Trust, kept: list[bytes]) -> Report:
    with closing(LogReader(evidence)) as reader:
        return verify_beside(reader, files, trust, kept, now_ms())


def _print(report: Report, *, as_json: bool) -> None:
    about = report.checkpoint
    if as_json:
        document: dict[str, Any] = {"good": report.good, "entries": report.entries, "signed_by": report.signed_by}
        if about is not None:
            document |= {"origin": about.origin, "size": about.size, "root": about.root.hex()}
        click.echo(orjson.dumps(document | {"problems": report.problems, "notes": report.notes}).decode())
        return
    for kind, texts in (("BAD ", report.problems), ("note", report.notes)):
        for text in texts:
            click.echo(f"{kind} {line(text)}")
    if report.good and about is not None:
        click.echo(f"OK   {about.origin}: {report.entries} entries, root {about.root.hex()}")
        click.echo(f"     signed by {', '.join(report.signed_by)}")


@click.command()
@click.argument("old", type=_file)
@click.argument("new", type=_file)
@_url_option
@_folder_option
@vkey_option
@trust_option
@config_option
@json_option
def consistency(
    config: Path | None,
    *,
    old: Path,
    new: Path,
    url: str | None,
    folder: Path | None,
    vkeys: tuple[Path, ...],
    policy: Path | None,
    as_json: bool,
) -> None:
    """Prove that the checkpoint in NEW has grown from the one in OLD, with the tiles of the log."""
    evidence = Path(load_settings(config).evidence.path)
    if not (url is not None or folder or (evidence / LOG).exists()):
        raise ConfigFault(f"there is no log in {evidence}: name a copy with --folder, or its address with --from-url")
    files, trust = _opened(evidence, url, folder, vkeys, policy)
    try:
        witnesses = [witness.key for witness in trust.witnesses]
        before, after = (open_checkpoint(read_named(file), trust.logs, witnesses) for file in (old, new))
        if not trust.satisfied([key for key, _ in after.cosigned]):
            raise EvidenceInvalid(f"the cosignatures of the new checkpoint do not make the quorum ({trust.quorum})")
        proof = Prover(files, trust).consistent(before, after)
    except EvidenceInvalid as error:
        click.echo(orjson.dumps({"good": False, "problem": str(error)}).decode() if as_json else f"BAD  {error}")
        raise click.exceptions.Exit(1) from error
    sizes = before.checkpoint.size, after.checkpoint.size
    if as_json:
        click.echo(orjson.dumps({"good": True, "old": sizes[0], "new": sizes[1], "proof": _hex(proof)}).decode())
    else:
        click.echo(f"OK   {after.checkpoint.origin}: {sizes[0]} entries grew to {sizes[1]}")


def _opened(
    evidence: Path, url: str | None, folder: Path | None, vkeys: tuple[Path, ...], policy: Path | None
) -> tuple[LogFiles, Trust]:
    """The log at the URL, in the folder, or beside the database; closed with the command. And whom to believe."""
    if url is not None and folder:
        raise click.UsageError("--from-url and --folder exclude each other")
    if url is not None and not (vkeys or policy):
        raise click.UsageError("--from-url needs --vkey or --trust: a key from the log itself would prove nothing")
    log = folder or evidence / LOG
    trust = read_trust(vkeys, policy, log / Path(VKEY).name)
    if url is None:
        return FolderFiles(log), trust
    files = UrlFiles(url, os.environ.get(TOKEN_VARIABLE, "").strip())
    return click.get_current_context().with_resource(files), trust


def _hex(proof: Iterable[bytes]) -> list[str]:
    return [step.hex() for step in proof]

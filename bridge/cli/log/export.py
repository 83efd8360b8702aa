"""`log export`: the entries for a SIEM, a lake or a queue, each with its place in the log."""

import re
import sys
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import click

from bridge.audit.covered import Covered
from bridge.audit.export import FORMATS, Format, export
from bridge.audit.formats import ocsf
from bridge.audit.published import FolderFiles
from bridge.audit.targets import FileTarget, Progress, StreamTarget, alone
from bridge.cli.log.trusted import read_trust
from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault, EvidenceInvalid, LogForked
from bridge.evidence.files import LOG, VKEY

_file = click.Path(path_type=Path, dir_okay=False)
_index = click.IntRange(0)
_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?", re.ASCII)


@click.command("export")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="ndjson", show_default=True)
@click.option("--from-index", "start", type=_index, help="Default: 0. With --state: where the first run begins.")
@click.option("--to-index", "stop", type=_index, help="Not included. Default: all that the checkpoint covers.")
@click.option("--state", type=_file, help="A file that remembers the next index: the next run goes on there.")
@click.option("--output", "-o", type=_file, help="A file to append to. Default: standard output.")
@click.option("--ocsf-version", help=f"What `metadata.version` says, with --format ocsf. Default: {ocsf.VERSION}.")
@config_option
def export_command(
    config: Path | None,
    *,
    form: str,
    start: int | None,
    stop: int | None,
    state: Path | None,
    output: Path | None,
    ocsf_version: str | None,
) -> None:
    """Write the entries that the published checkpoint covers, oldest first, one a line.

    Every line names the log, the index and the leaf hash, so that `log prove` can prove it later.
    """
    rows = _format(form, ocsf_version)
    if state is not None and output is not None and state.absolute() == output.absolute():
        raise click.UsageError("--state and --output are two files")
    folder = Path(load_settings(config).evidence.path)
    with ExitStack() as stack:
        if state is not None:
            stack.enter_context(alone(state))
        # The operator's own key: that the log is what it says is for `log verify` to tell.
        vkey = folder / VKEY
        log = Covered(FolderFiles(folder / LOG), read_trust((vkey,), None, vkey).logs)
        last = None if state is None else Progress.load(state)
        begin = _begin(last, log, form, start or 0)
        end = max(begin, log.size if stop is None else min(stop, log.size))
        if output is None:
            target: FileTarget | StreamTarget = StreamTarget(sys.stdout.buffer, log, form, state)
        else:
            target = stack.enter_context(closing(FileTarget(output, log, form, state, last)))
        if begin <= log.size:
            export(log, rows, begin, end, target)
    click.echo(f"{end - begin} entries of {log.origin}; the next is {end}, the checkpoint covers {log.size}", err=True)


def _begin(last: Progress | None, log: Covered, form: str, start: int) -> int:
    """Where to go on. LogForked when the log is not the one that was exported so far."""
    if last is None:
        return start
    if last.origin != log.origin:
        raise ConfigFault(f"the state is that of an export of {last.origin}, and this log is {log.origin}")
    if last.form != form:
        raise ConfigFault(f"the state is that of an export as {last.form}: one as {form} needs a state of its own")
    if last.next_index > log.size:
        raise LogForked(
            f"{last.next_index} entries were exported, the checkpoint covers only {log.size}: an older copy of the log?"
        )
    try:
        log.must_have_grown_from(last.next_index, last.root)
    except EvidenceInvalid as error:
        raise LogForked(f"the first {last.next_index} entries of the log are not those that were exported") from error
    return last.next_index


def _format(name: str, version: str | None) -> Format:
    if version is None:
        return FORMATS[name]
    if name != "ocsf" or not _VERSION.fullmatch(version):
        raise click.UsageError("--ocsf-version belongs to --format ocsf, and reads like 1.5.0")
    return partial(ocsf.line, version=version)

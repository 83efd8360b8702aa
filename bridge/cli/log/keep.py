"""`log checkpoint` and `log rebuild`: what an operator keeps elsewhere, and makes again."""

from pathlib import Path

import click

from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault, LogForked
from bridge.evidence import keys
from bridge.evidence.files import CHECKPOINT
from bridge.evidence.publish import Publisher
from bridge.evidence.store import owned
from bridge.evidence.tree import write_whole
from bridge.model.times import now_ms
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Note


@click.command()
@click.option("--anchor", type=click.Path(path_type=Path, dir_okay=False), help="A file elsewhere to keep it in.")
@config_option
def checkpoint(config: Path | None, *, anchor: Path | None) -> None:
    """Print the newest checkpoint, or write it to a file that is kept where the log's operator cannot reach it."""
    path = Path(load_settings(config).evidence.path) / CHECKPOINT
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{path} cannot be read: {error.strerror}") from error
    if anchor is None:
        click.echo(data, nl=False)
        return
    size = Checkpoint.parse(Note.parse(data).text).size
    if anchor.exists() and (kept := Checkpoint.parse(Note.parse(anchor.read_bytes()).text).size) > size:
        raise LogForked(f"{anchor} knows {kept} entries, {path} only {size}: an older copy of the log?")
    write_whole(anchor, data, sync=True)
    click.echo(f"{anchor}: {size} entries")


@click.command()
@config_option
def rebuild(config: Path | None) -> None:
    """Make the published files again from the database; nothing is signed. The bridge must not run."""
    evidence = load_settings(config).evidence
    folder = Path(evidence.path)
    with owned(folder):
        signed = Publisher(folder, keys.load_or_make(folder, evidence.key, evidence.origin, now_ms())).rebuild()
    click.echo(f"{folder}: made again, {signed.size} entries")

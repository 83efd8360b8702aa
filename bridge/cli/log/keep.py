"""`log checkpoint` and `log rebuild`: what an operator keeps elsewhere, and makes again."""

from collections.abc import Iterable
from pathlib import Path

import click

from bridge.audit.prove import Prover
from bridge.audit.published import FolderFiles
from bridge.cli.log.folder import open_reader
from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault, EvidenceInvalid, EvidenceUnavailable, LogForked
from bridge.evidence.files import DATABASE, LOG
from bridge.evidence.store import owned
from bridge.evidence.tree import write_whole
from bridge.server import publisher_of
from bridge.tlog.checkpoint import open_checkpoint
from bridge.tlog.note import VerifierKey
from bridge.tlog.trust import Trust


@click.command()
@click.option("--anchor", type=click.Path(path_type=Path, dir_okay=False), help="A file elsewhere to keep it in.")
@config_option
def checkpoint(config: Path | None, *, anchor: Path | None) -> None:
    """Print the newest checkpoint, or write it to a file that is kept where the log's operator cannot reach it."""
    with open_reader(config) as reader:
        keys = [VerifierKey.parse(vkey) for (vkey,) in reader.db.execute("SELECT vkey FROM key")]
        prover = Prover(FolderFiles(reader.folder / LOG), Trust(keys))
    if anchor is None:
        click.echo(prover.note, nl=False)
        return
    try:
        if anchor.exists():
            _must_have_grown(anchor, prover, keys)
        write_whole(anchor, prover.note, sync=True)
    except OSError as error:
        raise ConfigFault(f"{anchor} cannot be written: {error.strerror}") from error
    click.echo(f"{anchor}: {prover.checkpoint.size} entries")


def _must_have_grown(anchor: Path, prover: Prover, keys: Iterable[VerifierKey]) -> None:
    """The log from what is kept: else the one file that could show what happened would be written over."""
    try:
        kept = open_checkpoint(anchor.read_bytes(), keys)
        prover.consistent(kept, open_checkpoint(prover.note, keys))
    except EvidenceInvalid as error:
        raise LogForked(f"{anchor} stays as it is, since the log has not grown from it: {error}") from error


@click.command()
@config_option
def rebuild(config: Path | None) -> None:
    """Make the published files again from the database; nothing is signed. The bridge must not run."""
    settings = load_settings(config)
    folder = Path(settings.evidence.path)
    if not (folder / DATABASE).exists():
        raise EvidenceUnavailable(f"there is no log in {folder}")
    with owned(folder):
        signed = publisher_of(settings).rebuild()
    click.echo(f"{folder}: made again, {signed.size} entries")

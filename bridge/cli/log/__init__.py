"""`log …`: for auditors, on an evidence folder, whether the bridge runs or not."""

import click

from bridge.cli.log.erase import erase
from bridge.cli.log.export import export_command
from bridge.cli.log.keep import checkpoint, rebuild
from bridge.cli.log.prove import check, prove
from bridge.cli.log.query import query, show
from bridge.cli.log.reconcile import reconcile
from bridge.cli.log.verify import consistency, verify


@click.group()
def log() -> None:
    """Read the evidence log, and prove it."""


for command in (show, query, verify, prove, check, consistency, reconcile, checkpoint, rebuild, erase, export_command):
    log.add_command(command)

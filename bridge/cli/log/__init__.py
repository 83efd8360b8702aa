"""`log …`: for auditors, on an evidence folder, whether the bridge runs or not."""

import click

from bridge.cli.log.query import query, show


@click.group()
def log() -> None:
    """Read the evidence log, and prove it."""


for command in (show, query):
    log.add_command(command)

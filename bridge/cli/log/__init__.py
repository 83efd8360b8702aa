"""`log …`: for auditors, on an evidence folder, whether the bridge runs or not."""

import click

from bridge.cli.commands import Commands

COMMANDS = {
    "show": "bridge.cli.log.query:show",
    "query": "bridge.cli.log.query:query",
    "verify": "bridge.cli.log.verify:verify",
    "prove": "bridge.cli.log.prove:prove",
    "check": "bridge.cli.log.prove:check",
    "consistency": "bridge.cli.log.verify:consistency",
    "replay": "bridge.cli.log.replay:replay",
    "reconcile": "bridge.cli.log.reconcile:reconcile",
    "checkpoint": "bridge.cli.log.keep:checkpoint",
    "rebuild": "bridge.cli.log.keep:rebuild",
    "erase": "bridge.cli.log.erase:erase",
    "export": "bridge.cli.log.export:export_command",
}


@click.group(cls=Commands, places=COMMANDS)
def log() -> None:
    """Read the evidence log, and prove it."""

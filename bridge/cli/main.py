"""`issuance-bridge`: parse, call, print. Exit codes: 0 good, 1 the check failed, 2 wrong use."""

import sqlite3
import sys

import click

from bridge import __version__
from bridge.cli.commands import Commands
from bridge.errors import BridgeError

COMMANDS = {
    "serve": "bridge.cli.serve:serve",
    "check": "bridge.cli.check:check",
    "policy": "bridge.cli.policy:policy",
    "sources": "bridge.cli.sources:sources",
    "log": "bridge.cli.log:log",
    "clients": "bridge.cli.lifecycle:clients",
    "subjects": "bridge.cli.lifecycle:subjects",
    "sessions": "bridge.cli.lifecycle:sessions",
    "delegations": "bridge.cli.lifecycle:delegations",
    "lifecycle": "bridge.cli.lifecycle:lifecycle",
}


@click.group(cls=Commands, places=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="issuance-bridge")
def cli() -> None:
    """Asks Open Policy Agent before a token is minted, and keeps evidence of the answer."""


def run() -> None:
    """The console script."""
    try:
        # Not standalone, click returns the code of an Exit instead of raising it; a command itself returns None.
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(1)
    except (BridgeError, OSError, sqlite3.Error) as error:
        click.echo(f"issuance-bridge: {error}", err=True)
        sys.exit(1)

"""`policy …`: for those who write policies."""

import click

from bridge.cli.commands import Commands

COMMANDS = {
    "init": "bridge.cli.policy.scaffold:init",
    "new": "bridge.cli.policy.scaffold:new",
    "lint": "bridge.cli.policy.lint:lint",
    "test": "bridge.cli.policy.test:test",
    "explain": "bridge.cli.policy.explain:explain",
    "matrix": "bridge.cli.policy.matrix:matrix",
    "impact": "bridge.cli.policy.impact:impact",
    "build": "bridge.cli.policy.build:build",
    "schema": "bridge.cli.policy.build:schema",
    "exceptions": "bridge.cli.policy.exceptions:exceptions",
    "usage": "bridge.cli.policy.usage:usage",
    "controls": "bridge.cli.policy.controls:controls",
}


@click.group(cls=Commands, places=COMMANDS)
def policy() -> None:
    """Work on policies."""

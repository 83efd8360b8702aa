"""`policy …`: for those who write policies."""

import click

from bridge.cli.policy.build import build, schema
from bridge.cli.policy.lint import lint
from bridge.cli.policy.scaffold import init, new
from bridge.cli.policy.test import test


@click.group()
def policy() -> None:
    """Work on policies."""


for command in (init, new, lint, test, build, schema):
    policy.add_command(command)

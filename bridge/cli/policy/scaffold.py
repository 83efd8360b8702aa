"""`policy init` and `policy new`: where a policy begins."""

import re
from pathlib import Path
from typing import cast

import click

from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.model.scope import is_scope_token
from bridge.policy import scaffold
from bridge.policy.opa import find_opa, require_version
from bridge.policy.scaffold import NewScope, Risk

_OWNER = re.compile(r"[^<>\x00-\x1f\x7f]*[^<>\s\x00-\x1f\x7f] <[^<>@\s]+@[^<>@\s]+>")


def _owner(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if _OWNER.fullmatch(value) is None:
        raise click.BadParameter('write it as "Name <mail>"')
    return value


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--owner", callback=_owner, default="Identity <identity@example.com>", show_default=True,
              metavar='"NAME <MAIL>"', help="Who owns the gate.")  # fmt: skip
@config_option
def init(folder: Path, owner: str, config: Path | None) -> None:
    """Begin a folder of policies: a gate, one client, schemas, and a workflow that lints and tests every change."""
    opa = find_opa(load_settings(config).engine.opa)
    require_version(opa)
    for file in scaffold.init(folder, owner, opa):
        click.echo(str(file))


@click.command()
@click.argument("scope")
@click.option("--owner", callback=_owner, required=True, metavar='"NAME <MAIL>"', help="Who answers for the scope.")
@click.option("--risk", type=click.Choice(["low", "medium", "high"]), required=True)
@click.option("--prefix", is_flag=True, help="For all scopes that begin with SCOPE; so does SCOPE ending in :*.")
@click.option("--path", type=click.Path(path_type=Path, file_okay=False), help="The folder; without it: policy.path.")
@config_option
def new(scope: str, owner: str, risk: str, path: Path | None, config: Path | None, *, prefix: bool) -> None:
    """Begin a package, a test and cases for SCOPE. Nobody gets it until its condition is written."""
    if scope.endswith(":*"):
        scope, prefix = scope[:-1], True
    if not is_scope_token(scope):
        raise click.BadParameter(f"{scope!r} is not a scope (RFC 6749, section 3.3)", param_hint="SCOPE")
    settings = load_settings(config)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    begun = NewScope(scope, owner, cast("Risk", risk), prefix)
    for file in scaffold.new(path or Path(settings.policy.path), begun, opa):
        click.echo(str(file))

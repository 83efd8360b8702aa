"""`policy lint`: what is wrong with a policy folder, and what to do about it."""

import json
from pathlib import Path

import click

from bridge.cli.options import config_option, json_option
from bridge.cli.table import line
from bridge.config.settings import load_settings
from bridge.policy import lint as linter
from bridge.policy.opa import find_opa, require_version


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--strict", is_flag=True, help="Warnings count as errors.")
@config_option
@json_option
def lint(path: Path | None, config: Path | None, *, strict: bool, as_json: bool) -> None:
    """Find what is wrong with the policies in PATH (without it: policy.path). Exit code 1 when there is an error.

    Formatting, what the bridge checks at load, misspelt input, and conventions: owners, codes, exceptions, tests.
    """
    settings = load_settings(config)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    path = path or Path(settings.policy.path)
    found = linter.lint(path, opa, (settings.server.secret_names, settings.server.secret_suffixes))
    for c in found:
        text = f"{line(f'{c.file}:{c.row}: {c.severity} {c.code}: {c.message}')}\n    {line(c.remedy)}"
        click.echo(json.dumps(c.as_json(), ensure_ascii=False) if as_json else text)
    errors = sum(c.severity == "error" for c in found)
    if not as_json:
        click.echo(f"{path}: {errors} errors, {len(found) - errors} warnings", err=bool(found))
    if errors or (strict and found):
        raise click.exceptions.Exit(1)

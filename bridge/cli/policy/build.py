"""`policy build` and `policy schema`: what others load, or check by."""

import json
from pathlib import Path

import click

from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault
from bridge.policy import cases
from bridge.policy.load import load
from bridge.policy.opa import find_opa, require_version
from bridge.policy.schema import input_schema


@click.command()
@config_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("opa-bundle/issuance.tar.gz"))
def build(config: Path | None, output: Path) -> None:
    """Build the OPA bundle: policies, index and kernel. The same sources give the same bytes."""
    settings = load_settings(config)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    policy_set = load(Path(settings.policy.path), opa)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        new = output.with_name(f".{output.name}.new")  # a full disk must not cost the bundle that is there
        new.write_bytes(policy_set.bundle)
        new.rename(output)
    except OSError as error:
        raise ConfigFault(f"{output} cannot be written: {error.strerror}") from error
    click.echo(f"{output}: revision {policy_set.revision}, {len(policy_set.bundle)} bytes")


@click.command()
@click.option("--cases", "of_cases", is_flag=True, help="The schema of a case table instead.")
def schema(*, of_cases: bool) -> None:
    """Print the JSON Schema of `input`, as `opa check --schema` takes it."""
    click.echo(json.dumps(cases.schema() if of_cases else input_schema(), indent=2, sort_keys=True))

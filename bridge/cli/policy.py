"""`policy …`: for those who write policies."""

import json
from pathlib import Path
from typing import Any

import click

from bridge.cli.options import config_option
from bridge.config.settings import load_settings
from bridge.errors import ConfigFault
from bridge.model.issuance import PolicyInput
from bridge.policy.load import load
from bridge.policy.opa import find_opa, require_version


@click.group()
def policy() -> None:
    """Work on policies."""


@policy.command()
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


@policy.command()
def schema() -> None:
    """Print the JSON Schema of `input`, as `opa check --schema` takes it."""
    click.echo(json.dumps(input_schema(), indent=2, sort_keys=True))


def input_schema() -> dict[str, Any]:
    """From the pydantic model: a change of the model that breaks a policy fails the build.

    An absent value is an absent key, so the null branches go; with them `opa check` would let misspelt members pass.
    """
    schema: dict[str, Any] = _without_null(PolicyInput.model_json_schema(mode="validation"))
    return schema


def _without_null(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    rest = {name: _without_null(item) for name, item in node.items() if name not in ("anyOf", "default")}
    kept = [_without_null(branch) for branch in node.get("anyOf", ()) if branch != {"type": "null"}]
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, **({"anyOf": kept} if kept else {})}

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
from bridge.policy.served import sealed, signer_of, verifier_of
from bridge.policy.signing import ALGORITHMS, Signer


@click.command()
@config_option
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=Path("opa-bundle/issuance.tar.gz"))
@click.option(
    "--signing-key", type=click.Path(path_type=Path), help="PEM private key (without it: policy.signing_key)."
)
@click.option("--key-id", default="", metavar="ID", help="What OPA servers call the key: `kid` of the signature.")
@click.option("--algorithm", type=click.Choice(ALGORITHMS), help="Without it: RS256, or that of the curve.")
def build(config: Path | None, output: Path, signing_key: Path | None, key_id: str, algorithm: str | None) -> None:
    """Build the OPA bundle: policies, index and kernel. The same sources (and key) give the same bytes."""
    settings = load_settings(config)
    if (key_id or algorithm) and signing_key is None:
        raise click.UsageError("--key-id and --algorithm need --signing-key")
    signer = Signer(signing_key, key_id, algorithm or "") if signing_key else signer_of(settings.policy)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    policy_set = load(Path(settings.policy.path), opa, verifier_of(settings.policy))
    built = sealed(policy_set, signer)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        new = output.with_name(f".{output.name}.new")  # a full disk must not cost the bundle that is there
        new.write_bytes(built)
        new.rename(output)
    except OSError as error:
        raise ConfigFault(f"{output} cannot be written: {error.strerror}") from error
    signed = ", signed" if signer is not None or policy_set.signatures else ""
    click.echo(f"{output}: revision {policy_set.revision}, {len(built)} bytes{signed}")


@click.command()
@click.option("--cases", "of_cases", is_flag=True, help="The schema of a case table instead.")
def schema(*, of_cases: bool) -> None:
    """Print the JSON Schema of `input`, as `opa check --schema` takes it."""
    click.echo(json.dumps(cases.schema() if of_cases else input_schema(), indent=2, sort_keys=True))

"""`policy matrix`: what can be granted, how, and to whom; and the proof that nothing is granted past the gate."""

import json
from pathlib import Path

import click
import uvloop

from bridge.cli.options import config_option, json_option
from bridge.cli.policy.matrix_lines import lines
from bridge.cli.policy.matrix_text import markdown, text
from bridge.cli.policy.proof import Proof, prove
from bridge.config.settings import EngineSection, Settings, load_settings
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet
from bridge.ops.logging import configure_logging
from bridge.policy import folder
from bridge.policy.answer import Settled
from bridge.policy.cases import Question, read_cases
from bridge.policy.load import load, verify
from bridge.policy.matrix.fill import Fill
from bridge.policy.matrix.model import Matrix
from bridge.policy.opa import find_opa, require_version
from bridge.policy.served import verifier_of
from bridge.registry import ENGINES


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--clients", type=click.IntRange(1), default=1000, show_default=True, metavar="N",
              help="At most so many registered clients are tried.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1, 3600), default=60.0, show_default=True, metavar="S",
              help="After these no further request is tried; the output says so.")  # fmt: skip
@click.option("--strict", is_flag=True, help="Exit code 1, too, when a scope at risk high is granted plainly.")
@click.option("--markdown", "as_markdown", is_flag=True, help="For a report.")
@config_option
@json_option
def matrix(
    path: Path | None,
    config: Path | None,
    *,
    clients: int,
    seconds: float,
    strict: bool,
    as_markdown: bool,
    as_json: bool,
) -> None:
    """What the policies in PATH (a folder or bundle; without it: policy.path) can grant: scope x grant x token.

    Exit code 1 when a door grants what the gate or a scope's package denies, or could not be driven.
    """
    if as_json and as_markdown:
        raise click.UsageError("--json and --markdown are two forms of the same")
    configure_logging("console", "error")
    settings = load_settings(config)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    policy_set, questions = _read(path, settings, opa)
    filled, proof = uvloop.run(_run(policy_set, questions, settings, opa, clients, seconds))
    told = lines(filled, proof)
    if as_json:
        for line in told:
            click.echo(json.dumps(line, ensure_ascii=False))
    else:
        click.echo(markdown(told) if as_markdown else text(told))
    if not proof.holds or (strict and filled.plain):
        raise click.exceptions.Exit(1)


def _read(path: Path | None, settings: Settings, opa: Path) -> tuple[PolicySet, list[Question]]:
    """The set, and the cases that stand beside it in a folder. What is configured must be signed where that is."""
    place, verifier = path or Path(settings.policy.path), None if path else verifier_of(settings.policy)
    if not place.is_dir() or verifier is not None:
        return load(place, opa, verifier), []
    found = folder.read(place)
    return verify(found.decides, opa), read_cases(found.cases, opa)


async def _run(
    policy_set: PolicySet, questions: list[Question], settings: Settings, opa: Path, clients: int, seconds: float
) -> tuple[Matrix, Proof]:
    """By an OPA of our own, whichever engine the bridge is configured with: a server elsewhere has another set."""
    engine = ENGINES["managed"](EngineSection(), opa)
    mask = SecretMask(settings.server.secret_names, settings.server.secret_suffixes)
    sources = tuple(section.declared() for section in settings.sources)
    settled = Settled(mask, settings.policy.max_token_lifetime_s, sources)
    await engine.start(policy_set)
    try:
        filled = await Fill(policy_set, engine, settled, questions, clients=clients, seconds=seconds)()
    finally:
        await engine.close()
    return filled, await prove(settings, policy_set, filled.kinds)

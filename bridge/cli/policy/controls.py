"""`policy controls`: the controls that policies name, against packages, tests, cases and evidence, for an auditor."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click
import orjson

from bridge.audit.controls import Behind, Evidence, packages_of, report
from bridge.audit.window import Window, coverage
from bridge.cli.options import config_option, json_option
from bridge.cli.policy.controls_page import UNCHECKED, page
from bridge.cli.policy.evidence import DAY_MS, logs_option, open_logs, reading, told
from bridge.cli.policy.test import answered
from bridge.config.settings import load_settings
from bridge.model.policy import GATE, PolicySet
from bridge.model.times import now_ms, rfc3339
from bridge.ops.logging import configure_logging
from bridge.policy import folder as policy_folder
from bridge.policy.cases import read_cases
from bridge.policy.controls import catalogues, named_in, tests_of
from bridge.policy.judge import Judged
from bridge.policy.load import verify
from bridge.policy.opa import find_opa, require_version
from bridge.policy.syntax import parse
from bridge.policy.testing import results_of


@click.command()
@config_option
@json_option
@click.option("--days", type=click.IntRange(1, 3660), default=90, show_default=True, help="How far back in the log.")
@logs_option
def controls(config: Path | None, *, as_json: bool, days: int, logs: tuple[Path, ...]) -> None:
    """Controls named in annotations, with packages, tests, cases and evidence: in Markdown, for an auditor.

    A start for whoever writes a control matrix, not a statement of conformity.
    """
    configure_logging("console", "error")
    settings, now = load_settings(config), now_ms()
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    folder = policy_folder.read(Path(settings.policy.path))
    policy_set = verify(folder.decides, opa)
    modules = parse(opa, folder.decides.modules)
    questions = read_cases(folder.cases, opa)
    judged = asyncio.run(answered(questions, policy_set, settings, opa)) if questions else []
    tests = tests_of(folder, (module.package for module in modules), opa)
    behind = Behind(tests, results_of(folder, opa), _touched(policy_set, judged), [not j.differences for j in judged])
    window, evidence = Window(now - days * DAY_MS, now + 1), Evidence()
    with open_logs(settings, logs) as readers:
        for reader in readers:
            evidence.read(reader, window)
        covered = [one for reader in readers if (one := coverage(reader, window)) is not None]
    rows = list(report(named_in(modules), behind, evidence if readers else None))
    packages = packages_of(policy_set, behind)
    if as_json:
        about = {"record": "about", "policy": policy_set.revision, "time": rfc3339(now), **reading(window, covered)}
        lists = ({"record": "catalogue", "name": c.name, "source": c.source, "holds": c.holds} for c in catalogues())
        unchecked = ({"record": "unchecked", "text": text} for text in UNCHECKED)
        for row in (about, *lists, *rows, *packages, *unchecked):
            click.echo(orjson.dumps(row).decode())
    else:
        about_it = f"Policy revision {policy_set.revision}, {rfc3339(now)}. {' '.join(told(window, covered))}"
        click.echo("\n".join(page(about_it, rows, packages)))


def _touched(policy_set: PolicySet, judged: Sequence[Judged]) -> dict[str, set[int]]:
    """Package -> the cases about a scope that it answers for; the gate is asked in all of them."""
    found: dict[str, set[int]] = {}
    for number, one in enumerate(judged):
        for name in {GATE, *map(policy_set.package_for, one.question.scope.split())}:
            if name is not None:
                found.setdefault(name, set()).add(number)
    return found

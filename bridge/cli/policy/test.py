"""`policy test`: the Rego tests and the case tables of a policy folder."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from bridge.cli.options import config_option, json_option
from bridge.cli.table import line as shown
from bridge.config.settings import EngineSection, Settings, load_settings
from bridge.model.mask import SecretMask
from bridge.model.policy import PolicySet
from bridge.ops.logging import configure_logging
from bridge.policy.answer import Settled
from bridge.policy.cases import Question, read_cases
from bridge.policy.folder import read
from bridge.policy.judge import Judged, judge
from bridge.policy.load import verify
from bridge.policy.opa import find_opa, require_version
from bridge.policy.testing import Failure, Tested, run_tests
from bridge.registry import ENGINES


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, file_okay=False), required=False)
@click.option("--threshold", type=click.FloatRange(0, 100), default=100.0, show_default=True, metavar="PERCENT",
              help="How much of the policies' rows the Rego tests must reach.")  # fmt: skip
@config_option
@json_option
def test(path: Path | None, config: Path | None, *, threshold: float, as_json: bool) -> None:
    """Run tests (*_test.rego) and cases (cases/*.yaml) in PATH (without it: policy.path). Exit code 1 when one fails.

    A case is answered by the bridge's own engine, reading and merging: what it says is what the bridge would say.
    """
    configure_logging("console", "error")
    settings = load_settings(config)
    opa = find_opa(settings.engine.opa)
    require_version(opa)
    folder = read(path or Path(settings.policy.path))
    policy_set = verify(folder.decides, opa)
    questions = read_cases(folder.cases, opa)
    tested = run_tests(folder, opa)
    judged = asyncio.run(answered(questions, policy_set, settings, opa)) if questions else []
    low = tested.coverage is not None and tested.coverage < threshold
    failures = [*tested.failures, *(tested.unreached if low else ())]
    for line in _told(failures, judged):
        click.echo(json.dumps(line, ensure_ascii=False, default=list) if as_json else _text(line))
    wrong = sum(bool(one.differences) for one in judged)
    for summary in _summary(tested, judged, wrong, threshold):
        click.echo(
            json.dumps(summary) if as_json else f"{summary['check']:<9} {summary['state']:<4}  {summary['text']}"
        )
    if failures or wrong:
        raise click.exceptions.Exit(1)


async def answered(questions: Sequence[Question], policy_set: PolicySet, settings: Settings, opa: Path) -> list[Judged]:
    """By an OPA of our own, whichever engine the bridge is configured with: a server elsewhere has another set."""
    engine = ENGINES["managed"](EngineSection(), opa)
    server = settings.server
    await engine.start(policy_set)
    try:
        mask = SecretMask(server.secret_names, server.secret_suffixes)
        sources = tuple(section.declared() for section in settings.sources)
        return await judge(questions, engine, Settled(mask, settings.policy.max_token_lifetime_s, sources))
    finally:
        await engine.close()


def _told(failures: Sequence[Failure], judged: Sequence[Judged]) -> Iterator[dict[str, Any]]:
    for failure in failures:
        place = {"file": failure.file, "row": failure.row}
        yield {"check": failure.check, "state": "fail", **place, "text": failure.text}
    for one in judged:
        if one.differences:
            question = one.question
            yield {
                "check": "case",
                "state": "fail",
                "file": question.file,
                "row": question.row,
                "text": question.case.name,
                "client": question.client,
                "grant_type": question.grant_type,
                "scope": question.scope,
                "differences": [{"what": d.what, "expected": d.expected, "got": d.got} for d in one.differences],
                "codes": one.codes,
                "spoke": [
                    {"package": v.package, "rule": v.rule, "code": v.code, "file": v.file, "row": v.row}
                    for v in one.voices
                ],
            }


def _text(line: dict[str, Any]) -> str:
    place = f"{line['file']}:{line['row']}: " if line["file"] else ""
    if line["check"] != "case":
        return shown(f"{place}{line['check']}: {line['text']}")
    asked = f"{line['client']}, {line['grant_type']}, {line['scope'] or 'no scope'}"
    told = [
        f"    {d['what']}: expected {json.dumps(d['expected'], default=list)}, got {json.dumps(d['got'], default=list)}"
        for d in line["differences"]
    ]
    spoke = [f"    {v['rule']} {v['code']} ({v['package']}, {v['file']}:{v['row']})" for v in line["spoke"]]
    voiced = {v["code"] for v in line["spoke"]}
    own = [f"    {code} (the bridge itself)" for code in line["codes"] if code not in voiced]
    return "\n".join(map(shown, [f"{place}case: {line['text']} ({asked})", *told, *spoke, *own]))


def _summary(tested: Tested, judged: Sequence[Judged], wrong: int, threshold: float) -> Iterator[dict[str, str]]:
    failed = sum(failure.check == "test" for failure in tested.failures)
    yield _line("tests", bad=bool(tested.failures), text=f"{tested.passed} passed, {failed} failed")
    if tested.coverage is not None:
        files = (
            f"{len({failure.file for failure in tested.unreached})} files not whole"
            if tested.unreached
            else "all files"
        )
        text = f"{tested.coverage:.1f} % of the rows, {files} (at least {threshold:g} %)"
        yield _line("coverage", bad=tested.coverage < threshold, text=text)
    yield _line("cases", bad=bool(wrong), text=f"{len(judged) - wrong} passed, {wrong} failed")


def _line(check: str, *, bad: bool, text: str) -> dict[str, str]:
    return {"check": check, "state": "fail" if bad else "pass", "text": text}

"""Runs a folder's Rego tests: `opa test`, once more as the bridge evaluates, and what of the policies they reach."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.errors import PolicyRefused
from bridge.policy import opa as opa_cli
from bridge.policy.folder import Folder, laid_out
from bridge.policy.syntax import parse

MAX_TOLD = 20


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that failed, a built-in that failed in one (`strict`), or a row that no test reaches (`coverage`)."""

    check: str
    file: str
    row: int
    text: str


@dataclass(frozen=True, slots=True)
class Tested:
    """`coverage`: percent of the rows of what decides; None where failures came first, or there is nothing to reach."""

    passed: int
    failures: tuple[Failure, ...]
    coverage: float | None
    unreached: tuple[Failure, ...] = ()


def run_tests(folder: Folder, opa: Path) -> Tested:
    """All `*_test.rego` of the folder. PolicyRefused when OPA cannot run them at all."""
    with laid_out(folder) as root:
        where, loaded = f"{root / 'set'}/", (str(root / "set"), str(root / "lib.rego"))
        results = _results(opa, loaded)
        failures = [_failure(result, where) for result in results if result.get("fail") or result.get("error")]
        passed = len(results) - len(failures)
        failures.extend(_strict(folder, opa, root))
        if failures:
            return Tested(passed, tuple(failures), None)
        reached, unreached = _reached(folder, opa, loaded, where)
        total = reached + len(unreached)
        return Tested(passed, (), 100.0 * reached / total if total else None, tuple(unreached))


def results_of(folder: Folder, opa: Path) -> dict[str, list[bool]]:
    """File -> whether each of its tests passes, by `opa test` alone. PolicyRefused when OPA cannot run them at all."""
    found: dict[str, list[bool]] = {}
    with laid_out(folder) as root:
        for result in _results(opa, (str(root / "set"), str(root / "lib.rego"))):
            file = str((result.get("location") or {}).get("file", "")).removeprefix(f"{root / 'set'}/")
            found.setdefault(file, []).append(not (result.get("fail") or result.get("error")))
    return found


def _results(opa: Path, loaded: Iterable[str]) -> list[dict[str, Any]]:
    done = opa_cli.run(opa, "test", "--format", "json", *loaded)
    try:
        results = json.loads(done.stdout or b"null") or []
    except ValueError:
        results = None
    if not isinstance(results, list) or (not results and done.returncode not in (0, 2)):
        raise PolicyRefused((done.stderr or done.stdout).decode(errors="replace").splitlines()[:MAX_TOLD])
    return [result for result in results if not result.get("skip")]


def _failure(result: dict[str, Any], where: str) -> Failure:
    place, error = result.get("location") or {}, result.get("error")
    text = str(result.get("name", ""))
    if error:
        text += f": {error.get('message', error) if isinstance(error, dict) else error}"
    return Failure("test", str(place.get("file", "")).removeprefix(where), int(place.get("row", 1)), text)


def _strict(folder: Folder, opa: Path, root: Path) -> Iterator[Failure]:
    """`opa test` lets a built-in that fails pass for undefined; the bridge does not: each package is evaluated so."""
    if not folder.tests:
        return
    packages = dict.fromkeys(module.package for module in parse(opa, folder.tests))
    names = ["data" + "".join(f"[{json.dumps(step)}]" for step in package) for package in packages]
    try:
        data = [root / "set", root / "lib.rego"]
        opa_cli.evaluate(opa, f"x := [{', '.join(names)}]", {}, strict=True, data=data)
    except PolicyRefused as refused:
        for reason in refused.reasons:
            yield Failure("strict", "", 1, f"a built-in fails, and with it the package at the bridge: {reason}")


def _reached(folder: Folder, opa: Path, loaded: Iterable[str], where: str) -> tuple[int, list[Failure]]:
    done = opa_cli.run(opa, "test", "--coverage", "--format", "json", *loaded)
    report = json.loads(done.stdout or b"{}").get("files") or {}
    reached, unreached = 0, list[Failure]()
    for name in sorted(folder.decides.modules):
        seen = report.get(where + name, {})
        reached += len(_rows(seen.get("covered")))
        unreached.extend(
            Failure("coverage", name, row, "no test reaches this") for row in _rows(seen.get("not_covered"))
        )
    return reached, unreached


def _rows(parts: list[dict[str, dict[str, int]]] | None) -> list[int]:
    return sorted({row for part in parts or () for row in range(part["start"]["row"], part["end"]["row"] + 1)})

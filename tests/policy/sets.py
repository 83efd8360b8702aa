"""Policy folders of the tests' own, and what the kernel answers about them when OPA runs it."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.kernel import ENTRYPOINT
from bridge.model.policy import PolicySet
from bridge.policy.load import load

GATE = {"gate.rego": "package issuance.gate\n\nallow := true\n"}


def write(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """These files below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


class EvaluationError(Exception):
    """OPA's messages about a query that failed."""


@dataclass(frozen=True)
class Answer:
    """What `opa eval` printed: the kernel's items, and what the flags asked for."""

    items: list[Any]
    digest: str
    raw: dict[str, Any]

    @property
    def touched(self) -> set[str]:
        """With `--coverage`: the policy files of which any rule was evaluated."""
        files = self.raw["coverage"]["files"].items()
        return {name.lstrip("/") for name, report in files if report.get("covered") and "issuance_kernel" not in name}

    @property
    def counters(self) -> dict[str, int]:
        """With `--metrics --instrument`: how often OPA looked up and evaluated."""
        return {name: n for name, n in self.raw["metrics"].items() if name.startswith("counter_eval_op")}


class Kernel:
    """A policy set, loaded as the bridge loads it, evaluated from its bundle with strict built-in errors."""

    def __init__(self, opa: Path, folder: Path, files: Mapping[str, str | bytes]) -> None:
        self.policies: PolicySet = load(write(folder / "set", files), opa)
        self._opa, self._bundle = opa, folder / "bundle.tar.gz"
        self._bundle.write_bytes(self.policies.bundle)

    def ask(self, *items: Mapping[str, Any], flags: tuple[str, ...] = ()) -> Answer:
        """The kernel's answer to these items; EvaluationError when any package fails."""
        arguments = (
            "--format",
            "json",
            "--strict-builtin-errors",
            "--stdin-input",
            *flags,
            "--bundle",
            str(self._bundle),
        )
        done = subprocess.run(
            [str(self._opa), "eval", *arguments, "data." + ENTRYPOINT.replace("/", ".")],
            input=json.dumps({"items": items}).encode(),
            capture_output=True,
            check=False,
            timeout=60,
        )
        raw = json.loads(done.stdout)
        if "errors" in raw:
            raise EvaluationError("; ".join(f"{e.get('code')}: {e['message']}" for e in raw["errors"]))
        answer = raw["result"][0]["expressions"][0]["value"]
        return Answer(answer["items"], answer["digest"], raw)

    def rules(self, *scopes: str, **doc: Any) -> dict[str, Any]:
        """Scope -> what its package said about the document `doc`, for the scopes that any package answers for."""
        (item,) = self.ask({"id": "i", "doc": {"scopes": list(scopes), **doc}, "gate": False, "scopes": scopes}).items
        return {scope: said["rules"] for scope, said in item["scopes"].items()}

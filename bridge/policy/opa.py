"""Runs the `opa` binary for checks that need its parser: never on the decision path."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bridge.errors import ConfigFault, PolicyRefused
from bridge.kernel import OPA_VERSION

TIMEOUT_S = 120


def find_opa(configured: str = "") -> Path:
    """The `opa` to run: the configured one, the one beside our Python (where `make setup` puts it), or PATH's.

    Raises ConfigFault when there is none.
    """
    beside = Path(sys.prefix) / "bin" / "opa"
    candidates = [configured] if configured else [str(beside), shutil.which("opa") or ""]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return Path(candidate).absolute()
    where = f"{configured} (engine.opa)" if configured else "beside this Python or on PATH"
    raise ConfigFault(f"no executable opa {where}: run `make setup`, or install OPA {OPA_VERSION}")


def opa_version(opa: Path) -> str:
    """The version that the binary reports; ConfigFault when it does not run."""
    done = run(opa, "version")
    for line in done.stdout.decode(errors="replace").splitlines():
        if line.startswith("Version:"):
            return line.split(":", 1)[1].strip()
    raise ConfigFault(f"{opa} is not OPA, which reports its version: run `make setup`, or set engine.opa")


def require_version(opa: Path) -> str:
    """The version, when it is the one that this bridge was proven with; ConfigFault otherwise."""
    version = opa_version(opa)
    if version != OPA_VERSION:
        raise ConfigFault(f"{opa} is OPA {version}; this bridge decides only with OPA {OPA_VERSION}: run `make setup`")
    return version


def run(opa: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Runs `opa` with an empty environment and bounded time; ConfigFault when it cannot run at all."""
    try:
        return subprocess.run(
            [str(opa), *arguments], input=stdin, capture_output=True, env={}, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigFault(f"{opa} {arguments[0]} did not run: {error}") from error


def evaluate(opa: Path, query: str, document: Any, *, strict: bool = False, data: Iterable[Path] = ()) -> Any:
    """The value that `query` binds to `x`, with `document` as input. PolicyRefused carries OPA's own messages.

    `strict`: a built-in that fails is such an error too, where it would else have no value. `data`: what is loaded.
    """
    loaded = [argument for path in data for argument in ("--data", str(path))]
    flags = (*(("--strict-builtin-errors",) if strict else ()), *loaded)
    done = run(opa, "eval", *flags, "--format", "json", "--stdin-input", query, stdin=json.dumps(document).encode())
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise PolicyRefused([_first_line(done.stderr)]) from None
    if "errors" in answer:
        raise PolicyRefused([reason for e in answer["errors"] for reason in _reasons(str(e.get("message", e)))])
    return answer["result"][0]["bindings"]["x"]


def check(opa: Path, folder: Path, capabilities: Path, *more: str, strict: bool = True) -> list[str]:
    """What `opa check` has against `folder`: one line each, with paths relative to it. `more`: arguments."""
    flags = ("--strict",) if strict else ()
    arguments = (*flags, "--capabilities", str(capabilities), "--format", "json", *more, str(folder))
    done = run(opa, "check", *arguments)
    if done.returncode == 0:
        return []
    text = (done.stdout or done.stderr).decode(errors="replace")
    try:
        errors = json.loads(text)["errors"]
        lines = [_describe(error) for error in errors]
    except (ValueError, KeyError, TypeError):
        lines = [line for line in text.splitlines() if line.strip()][:20]
    return [line.replace(str(folder) + "/", "").replace(str(folder), "") for line in lines] or ["opa check failed"]


def _describe(error: dict[str, Any]) -> str:
    at = error.get("location") or {}
    return f"{at.get('file', '?')}:{at.get('row', '?')}: {error.get('code', '')}: {error.get('message', '')}"


def _reasons(message: str) -> list[str]:
    """One line each, without the "rego.parse_module: 2 errors occurred:" that OPA begins with."""
    _, _, listed = message.removeprefix("rego.parse_module: ").rpartition(" occurred:")
    return [line.strip() for line in listed.splitlines() if line.strip()]


def _first_line(raw: bytes) -> str:
    lines = raw.decode(errors="replace").strip().splitlines()
    return lines[0][:500] if lines else "opa gave no answer"


async def in_thread(function: Any, *arguments: Any) -> Any:
    """Runs blocking work beside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)

"""Runs other programs for the setup and turns their failure into one message."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class SetupError(Exception):
    """What is missing and how to get it; the text is meant for the person at the terminal."""


def run(
    argv: Sequence[str | Path], failing: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> str:
    """Standard output of `argv`. Raises SetupError: `failing`, then the last lines that the program wrote."""
    try:
        done = subprocess.run(argv, env=env, cwd=cwd, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SetupError(f"{failing}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-4:]
        raise SetupError("\n    ".join([f"{failing} (exit {done.returncode}):", *(line[:400] for line in said)]))
    return done.stdout


def pip(python: Path) -> list[str | Path]:
    """The beginning of a `pip install` that asks nothing."""
    return [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]

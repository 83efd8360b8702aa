"""The walk in docs/policy-engineers.md: commands are run, files written, and the output is what stands there."""

import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "policy-engineers.md"


def test_the_documented_walk(tmp_path: Path) -> None:
    walk = [block for block in blocks(PAGE) if block.marks.split()[:1] == ["walk"]]
    assert [block.language for block in walk] == ["console", "rego", "console", "rego", "yaml", "console"]
    for block in walk:
        if block.language == "console":
            commands = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
            assert "".join(f"$ {command}\n{said(command, tmp_path)}" for command in commands) == block.text
        else:
            file = tmp_path / block.marks.split()[1]
            file.write_text((file.read_text() if block.language == "rego" else "") + block.text)


def said(command: str, folder: Path) -> str:
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}
    bash = ["bash", "-c", command]
    done = subprocess.run(bash, capture_output=True, text=True, check=False, cwd=folder, env={**env, "PATH": path})
    return done.stdout + done.stderr

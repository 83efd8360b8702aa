"""The walk in docs/policy-engineers.md: commands are run, files written, and the output is what stands there."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import DOCS, blocks
from tests.support.bridge import running_bridge

PAGE = DOCS / "policy-engineers.md"


def test_the_documented_walk(tmp_path: Path) -> None:
    walk = [block for block in blocks(PAGE) if block.marks.split()[:1] == ["walk"]]
    assert [block.language for block in walk] == [
        *("console", "rego", "console", "rego", "yaml", "console"),
        *("json", "console", "rego", "console"),
    ]
    for block in walk:
        if block.language == "console":
            commands = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
            found = "".join(f"$ {command}\n{said(command, tmp_path)}" for command in commands)
            assert settled(found) == settled(block.text)
        elif block.language == "json":
            decided(tmp_path, block.text)
        else:
            file = tmp_path / block.marks.split()[1]
            file.write_text((file.read_text() if block.language == "rego" else "") + block.text)


def decided(folder: Path, requests: str) -> None:
    """A bridge with the policies as they stand is asked each of these, one on a line."""
    evidence = {"path": str(folder / "var" / "evidence")}
    with running_bridge(folder, folder / "my-policies", evidence=evidence) as bridge:
        for request in requests.splitlines():
            assert bridge.client.post("/v1/issuance/decisions", json=json.loads(request)).status_code == 200


def settled(text: str) -> str:
    """Without what is another thing each time: revisions, ids, times."""
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    return re.sub(r"\b[0-9a-f]{16}\b", "REVISION", text)


def said(command: str, folder: Path) -> str:
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}
    bash = ["bash", "-c", command]
    done = subprocess.run(bash, capture_output=True, text=True, check=False, cwd=folder, env={**env, "PATH": path})
    return done.stdout + done.stderr

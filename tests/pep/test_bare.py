"""The library runs with the standard library and httpx alone: in a Python that sees nothing else."""

import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.pep.pdp import StandIn, stand_in

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
sys.path[:0] = [sys.argv[1]]
from bridge.pep import Enforcer, Party, Pdp, Wish
wish = Wish(Party("client", "job"), "job", "client_credentials", ("https://t.example",), ("a",))
with Enforcer(Pdp.at(sys.argv[2], deadline_s=30)) as enforcer:
    mint = enforcer.ask(wish)
ours = sorted(name for name in sys.modules if name.split(".")[0] == "bridge")
others = {name.split(".")[0] for name in sys.modules} - {*sys.stdlib_module_names, "bridge", "__main__", "__mp_main__"}
print(json.dumps({"scopes": mint.scopes, "ours": ours, "others": sorted(others), "path": sys.path}))
"""


def distributions(
    name: str, seen: dict[str, importlib.metadata.Distribution]
) -> dict[str, importlib.metadata.Distribution]:
    """`name` and all that it needs, without extras."""
    if name not in seen:
        seen[name] = importlib.metadata.distribution(name)
        for line in seen[name].requires or ():
            if "extra ==" not in line:
                needed = re.match(r"[\w.-]+", line)
                assert needed
                try:
                    distributions(needed.group().lower(), seen)
                except importlib.metadata.PackageNotFoundError:
                    continue  # for another Python or system
    return seen


def copy_bare(folder: Path) -> set[str]:
    """bridge.pep, httpx and what httpx needs, below `folder`; the names of the distributions."""
    (folder / "bridge").mkdir(parents=True)
    shutil.copy(ROOT / "bridge" / "__init__.py", folder / "bridge")
    shutil.copytree(ROOT / "bridge" / "pep", folder / "bridge" / "pep", ignore=shutil.ignore_patterns("__pycache__"))
    found = distributions("httpx", {})
    for distribution in found.values():
        for file in distribution.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(distribution.locate_file(file)), target)
    return set(found)


def ask_bare(folder: Path, pdp: StandIn) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", PROGRAM, str(folder), pdp.url]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder)


def test_it_asks_and_mints_in_a_bare_environment(tmp_path: Path) -> None:
    names = copy_bare(tmp_path / "bare")
    assert "httpx" in names and "pydantic" not in names
    with stand_in() as pdp:
        done = ask_bare(tmp_path / "bare", pdp)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["scopes"] == ["a"]
    assert all(name == "bridge" or name.split(".")[:2] == ["bridge", "pep"] for name in said["ours"]), said["ours"]
    assert set(said["others"]) <= {
        "httpx",
        "httpcore",
        "h11",
        "anyio",
        "certifi",
        "idna",
        "sniffio",
        "typing_extensions",
    }
    assert not [path for path in said["path"] if "site-packages" in path]


def test_the_bare_environment_is_bare(tmp_path: Path) -> None:
    copy_bare(tmp_path / "bare")
    with (tmp_path / "bare" / "bridge" / "pep" / "wish.py").open("a") as module:
        module.write("\nimport pydantic\n")
    with stand_in() as pdp:
        done = ask_bare(tmp_path / "bare", pdp)
    assert done.returncode != 0
    assert "No module named 'pydantic'" in done.stderr


def test_no_import_hides_in_a_function() -> None:
    for file in (ROOT / "bridge" / "pep").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            for name in names:
                first = name.split(".")[0]
                assert first in sys.stdlib_module_names or first == "httpx" or name.startswith("bridge.pep"), (
                    f"{file}: {name}"
                )

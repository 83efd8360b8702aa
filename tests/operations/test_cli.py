"""Every command: how it is found, what it makes, and how it ends."""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import click
import jsonschema
import pytest

from bridge import __version__
from bridge.cli.main import cli, run
from bridge.kernel import OPA_VERSION
from tests.support.bridge import clean_environment, request, run_cli, running_bridge, write_config
from tests.support.commands import commands_of
from tests.support.policies import POLICIES, write_policies


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The path of this command and of all below it."""
    yield path
    if isinstance(command, click.Group):
        for name, part in commands_of(command).items():
            yield from commands(part, *path, name)


EVERY = sorted(commands(cli))


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(
    path: tuple[str, ...], option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["issuance-bridge", *path, option])
    with pytest.raises(SystemExit) as ended:
        run()
    assert not ended.value.code
    shown = capsys.readouterr().out
    assert shown.startswith(f"Usage: {' '.join(('issuance-bridge', *path))} ")
    assert len(shown.splitlines()) > 4


@pytest.mark.parametrize("start", [["-m", "bridge"], ["issuance-bridge"]], ids=" ".join)
def test_module_and_script_are_one(start: list[str]) -> None:
    script = Path(sys.executable).parent / "issuance-bridge"
    command = [str(script)] if start == ["issuance-bridge"] else [sys.executable, *start]
    told = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True, env=clean_environment())
    assert told.stdout == f"issuance-bridge, version {__version__}\n"
    wrong = subprocess.run([*command, "nonsense"], capture_output=True, text=True, check=False, env=clean_environment())
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "No such command 'nonsense'" in wrong.stderr


def test_build_makes_the_same_bundle_twice(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    revisions: set[str] = set()
    bundles = [tmp_path / "deep" / "er" / "one.tar.gz", tmp_path / "two.tar.gz"]
    for bundle in bundles:
        done = run_cli("policy", "build", "--config", config, "--output", bundle)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{bundle}: revision ")
        assert done.stdout.endswith(f" {bundle.stat().st_size} bytes\n")
        revisions.add(done.stdout.partition(": revision ")[2].partition(",")[0])
    assert bundles[0].read_bytes() == bundles[1].read_bytes()
    with tarfile.open(bundles[0]) as archive:
        manifest = archive.extractfile("/.manifest" if "/.manifest" in archive.getnames() else ".manifest")
        assert manifest is not None
        stated = json.load(manifest)
    assert {"issuance", "authzen"} <= set(stated["roots"])
    assert len(revisions) == 1
    assert stated["revision"].startswith(revisions.pop())


def test_a_built_bundle_decides_as_its_folder_does(tmp_path: Path) -> None:
    bundle = tmp_path / "issuance.tar.gz"
    assert run_cli("policy", "build", "--config", write_config(tmp_path / "a"), "--output", bundle).returncode == 0
    with running_bridge(tmp_path / "b", bundle) as bridge:
        reply = bridge.ask(request("read", "never", "tenant:x", "nowhere"))
    assert reply["granted_scopes"] == ["read", "tenant:x"]
    assert reply["scopes"]["nowhere"]["findings"] == [{"code": "unmapped_scope"}]


def test_build_of_a_refused_set_leaves_the_bundle_before(tmp_path: Path) -> None:
    bundle = tmp_path / "issuance.tar.gz"
    bundle.write_bytes(b"the one before")
    policies = write_policies(tmp_path / "rego", {**POLICIES, "issuance.scope.broken": "allow if nonsense"})
    done = run_cli("policy", "build", "--config", write_config(tmp_path, policies), "--output", bundle)
    assert (done.returncode, done.stdout) == (1, "")
    assert "p8.rego:3" in done.stderr
    assert "Traceback" not in done.stderr
    assert bundle.read_bytes() == b"the one before"


@pytest.mark.parametrize("output", ["file/issuance.tar.gz", "file/deep/issuance.tar.gz"])
def test_build_names_an_output_that_cannot_be_written(tmp_path: Path, output: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    done = run_cli("policy", "build", "--config", write_config(tmp_path), "--output", tmp_path / output)
    assert (done.returncode, done.stdout) == (1, "")
    assert str(tmp_path / output) in done.stderr
    assert "Traceback" not in done.stderr


def test_schema_is_that_of_input(tmp_path: Path) -> None:
    done = run_cli("policy", "schema", env={"BRIDGE__POLICY__PATH": "/nowhere"})
    assert done.returncode == 0, done.stderr
    schema = json.loads(done.stdout)
    jsonschema.validators.validator_for(schema).check_schema(schema)
    with running_bridge(tmp_path) as bridge:
        user = {"type": "user", "id": "alice", "properties": {"a": [1]}}
        asked = request("read", grant_type="authorization_code", subject=user, cnf={"jkt": "x"}, context={"ip": "::1"})
        document = bridge.input_of(bridge.ask(asked)["decision_id"])
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "scopes": "read"}, schema)
    assert '"null"' not in done.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_names_file_and_row_of_policies_that_are_refused(tmp_path: Path, workers: int) -> None:
    policies = write_policies(tmp_path / "rego", {**POLICIES, "issuance.scope.broken": "allow if nonsense"})
    done = run_cli("serve", "--config", write_config(tmp_path, policies, server={"port": 0, "workers": workers}))
    assert done.returncode == 1
    assert "p8.rego:3" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Ask it something" not in done.stdout


def test_no_opa_anywhere_is_named_with_how_to_mend_it(tmp_path: Path) -> None:
    """A Python of its own beside which there is no OPA, as before `make setup`."""
    bare = tmp_path / "bare"
    (bare / "bin").mkdir(parents=True)
    code = f"import sys; sys.prefix = {str(bare)!r}; from bridge.cli.main import run; run()"
    environment = {**clean_environment(), "PATH": str(bare / "bin"), "PYTHONPATH": os.getcwd()}  # noqa: PTH109 - a text is wanted
    for command in ("serve", "check"):
        done = subprocess.run(
            [sys.executable, "-c", code, command, "--config", str(write_config(tmp_path))],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
        assert done.returncode == 1
        assert "no executable opa beside this Python or on PATH: run `make setup`" in done.stdout + done.stderr
        assert OPA_VERSION in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["check"], ["policy", "build"], ["log", "query"], ["log", "show", "1"]])
def test_a_misspelt_key_stops_every_command(tmp_path: Path, command: list[str]) -> None:
    config = write_config(tmp_path, server={"port": 0, "prot": 1})
    done = run_cli(*command, "--config", config)
    assert done.returncode == 1
    assert "server.prot" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_output_that_cannot_be_written_is_told_in_a_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bridge", "policy", "schema"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr

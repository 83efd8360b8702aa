"""Commands of the bridge that are forked end, print and heed what is around them as those that are started do."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.bridge import clean_environment, run_cli, running_bridge, write_config
from tests.support.nursery import Child, can_fork, nursery


@pytest.mark.parametrize(
    "words", [["--version"], ["log", "--help"], ["nonsense"], ["check", "--config", "nowhere.toml"]]
)
def test_as_one_that_is_started(words: list[str], tmp_path: Path) -> None:
    script = Path(sys.executable).parent / "issuance-bridge"
    started = subprocess.run(
        [script, *words], capture_output=True, text=True, check=False, cwd=tmp_path, env=clean_environment()
    )
    forked = run_cli(*words, cwd=tmp_path)
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_variables_are_heeded(tmp_path: Path) -> None:
    write_config(tmp_path)
    done = run_cli("check", "--config", "bridge.toml", cwd=tmp_path, env={"BRIDGE__ENGINE__OPA": "/nowhere/opa"})
    assert "no executable opa /nowhere/opa" in done.stdout
    assert "/nowhere/opa" not in run_cli("check", "--config", "bridge.toml", cwd=tmp_path).stdout
    assert can_fork({"TMPDIR": "/x"})
    assert not can_fork({"LD_PRELOAD": "x.so"}) and not can_fork({"PYTHONHASHSEED": "0"})


def test_one_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_cli("serve", "--config", write_config(tmp_path), timeout=0.2)


def test_its_end_is_told(tmp_path: Path) -> None:
    with running_bridge(tmp_path / "a") as bridge, running_bridge(tmp_path / "b") as other:
        assert isinstance(bridge.process, Child)
        assert bridge.process.poll() is None
        assert bridge.stop(signal.SIGKILL) == -signal.SIGKILL == bridge.process.poll()
        assert other.stop(signal.SIGINT) == 0
        bridge.process.terminate()  # does nothing any more


def test_what_it_holds_open_is_its_own() -> None:
    """Else who reads its output would wait for the nursery's end."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as out, tempfile.TemporaryFile() as err, os.fdopen(reading, "rb") as read:
        child = nursery().start(["--version"], clean_environment(), out=out, err=err, cwd=Path.cwd())
        out.close()
        assert read.read().startswith(b"issuance-bridge, version ")
        assert child.wait(20) == 0

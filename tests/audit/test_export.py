"""`log export`: what is covered, once each, in order; whatever happens in between."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.audit.export import SETTLE_EVERY
from tests.audit.logs import ORIGIN, Done, command, decision, entry, environment, exported, log_of, publish, write
from tests.support.bridge import clean_environment
from tests.support.waiting import wait_until

WIDE = 2 * SETTLE_EVERY + 700


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of several settlings, read only."""
    return log_of(tmp_path_factory.mktemp("wide"), (decision(n) for n in range(WIDE)))


def export(evidence: Path, *options: str | Path) -> Done:
    return command("log", "export", *options, evidence=evidence)


def indexes(output: Path) -> list[int]:
    """The indexes in an output file, each line of which must be whole."""
    data = output.read_bytes()
    assert data.endswith(b"\n") or data == b""
    return [json.loads(line)["leaf_index"] for line in data.split(b"\n")[:-1]]


def indexes_in(done: Done) -> list[int]:
    return [json.loads(line)["leaf_index"] for line in done.stdout.split("\n")[:-1]]


def state_of(file: Path) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(file.read_text())
    return state


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), range(600)),
        (("--from-index", "0", "--to-index", "0"), range(0)),
        (("--from-index", "255", "--to-index", "257"), range(255, 257)),
        (("--from-index", "256"), range(256, 600)),
        (("--to-index", "512"), range(512)),
        (("--from-index", "599"), range(599, 600)),
        (("--from-index", "600"), range(0)),
        (("--from-index", "9999"), range(0)),
        (("--from-index", "590", "--to-index", "9999"), range(590, 600)),
        (("--from-index", "30", "--to-index", "20"), range(0)),
    ],
)
def test_the_range_that_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...], expected: range
) -> None:
    folder = tmp_path_factory.getbasetemp() / "ranges"
    if not folder.exists():
        log_of(folder, (decision(n) for n in range(600)))
    assert [row["leaf_index"] for row in exported(folder, *options)] == list(expected)


def test_only_what_the_published_checkpoint_covers(tmp_path: Path) -> None:
    log_of(tmp_path, [decision(n) for n in range(3)])
    write(tmp_path, [decision(n) for n in range(3, 5)])
    assert [row["leaf_index"] for row in exported(tmp_path)] == [0, 1, 2]
    publish(tmp_path)
    assert [row["leaf_index"] for row in exported(tmp_path)] == [0, 1, 2, 3, 4]


def test_the_bridge_need_not_run_nor_the_database_be_there(tmp_path: Path) -> None:
    log_of(tmp_path, [decision(n) for n in range(3)])
    (tmp_path / "evidence.sqlite").unlink()
    assert len(exported(tmp_path)) == 3


@pytest.mark.parametrize("with_output", [True, False])
def test_the_next_run_goes_on_where_the_last_one_ended(tmp_path: Path, with_output: bool) -> None:
    log, state, output = tmp_path / "log", tmp_path / "state", tmp_path / "rows"
    log_of(log, [decision(n) for n in range(3)])
    options: list[str] = ["--state", str(state), *(["--output", str(output)] if with_output else [])]
    told = exported(log, *options)
    assert exported(log, *options) == []
    write(log, [decision(n) for n in range(3, 7)])
    publish(log)
    told += exported(log, *options)
    assert (indexes(output) if with_output else [row["leaf_index"] for row in told]) == list(range(7))
    assert state_of(state)["next_index"] == 7


def test_from_index_is_where_the_first_run_begins(tmp_path: Path) -> None:
    log_of(tmp_path / "log", [decision(n) for n in range(5)])
    options = ("--state", str(tmp_path / "state"), "--from-index", "2", "--to-index", "4")
    assert [row["leaf_index"] for row in exported(tmp_path / "log", *options)] == [2, 3]
    assert exported(tmp_path / "log", *options) == []
    assert [row["leaf_index"] for row in exported(tmp_path / "log", *options[:4])] == [4]


def test_a_first_run_that_begins_later_leaves_no_state(tmp_path: Path) -> None:
    log, options = log_of(tmp_path / "log", [decision(0)]), ("--state", str(tmp_path / "state"), "--from-index", "3")
    assert exported(log, *options) == []
    write(log, [decision(n) for n in range(1, 5)])
    publish(log)
    assert [row["leaf_index"] for row in exported(log, *options)] == [3, 4]


def test_killed_in_the_middle_every_row_is_there_once(wide: Path, tmp_path: Path) -> None:
    state, output = tmp_path / "state", tmp_path / "rows"
    words = [sys.executable, "-m", "bridge", "log", "export", "--state", str(state), "--output", str(output)]
    export(wide, "--to-index", "100", "--output", tmp_path / "some")
    whole = (tmp_path / "some").stat().st_size * WIDE // 100
    random.seed(12)
    middle = 0
    for _ in range(4):
        before = output.stat().st_size if output.exists() else 0
        enough = before + random.randrange(1, whole // 4)
        with subprocess.Popen(
            words, env={**clean_environment(), **environment(wide)}, stderr=subprocess.DEVNULL
        ) as process:
            while process.poll() is None and not (output.exists() and output.stat().st_size >= enough):
                time.sleep(0.0005)
            process.send_signal(signal.SIGKILL)
        if state.exists() and output.stat().st_size > state_of(state)["output_bytes"]:
            middle += 1  # rows were written that the state does not count
    assert middle > 0
    done = export(wide, "--state", state, "--output", output)
    assert done.returncode == 0, done.stderr
    assert indexes(output) == list(range(WIDE))


def test_half_a_line_is_cut_off_without_a_state_too(tmp_path: Path) -> None:
    log, output = log_of(tmp_path / "log", [decision(n) for n in range(3)]), tmp_path / "rows"
    assert export(log, "--to-index", "2", "--output", output).returncode == 0
    whole = output.read_bytes()
    output.write_bytes(whole[:-10])
    assert export(log, "--from-index", "1", "--output", output).returncode == 0
    assert indexes(output) == [0, 1, 2]


def test_a_file_that_is_none_of_an_export_keeps_its_bytes(tmp_path: Path) -> None:
    log, output = log_of(tmp_path / "log", [decision(0)]), tmp_path / "notes"
    output.write_text("first line\nmy notes without an end")
    done = export(log, "--output", output)
    assert (done.returncode, "in the middle of a line" in done.stderr) == (1, True)
    assert output.read_text() == "first line\nmy notes without an end"


def test_an_output_that_was_moved_away_begins_anew(tmp_path: Path) -> None:
    log, state, output = tmp_path / "log", tmp_path / "state", tmp_path / "rows"
    log_of(log, [decision(n) for n in range(5)])
    assert export(log, "--state", state, "--output", output).returncode == 0
    output.rename(tmp_path / "rows.1")
    write(log, [decision(n) for n in range(5, 7)])
    publish(log)
    assert export(log, "--state", state, "--output", output).returncode == 0
    assert indexes(tmp_path / "rows.1") + indexes(output) == list(range(7))


def test_the_output_is_for_its_owner_alone(tmp_path: Path) -> None:
    log, output = log_of(tmp_path / "log", [decision(0)]), tmp_path / "rows"
    export(log, "--output", output)
    assert output.stat().st_mode & 0o077 == 0


def test_two_exports_do_not_share_a_state(wide: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = [sys.executable, "-m", "bridge", "log", "export", "--state", str(state)]
    with subprocess.Popen(
        words, env={**clean_environment(), **environment(wide)}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        wait_until(state.exists)  # it waits for somebody to read
        done = export(wide, "--state", state)
        assert (done.returncode, done.stdout) == (1, "")
        assert "another export goes on" in done.stderr
        process.kill()
    assert export(wide, "--state", state, "--to-index", "1").returncode == 0


def test_a_reader_that_goes_away_is_no_traceback(wide: Path, tmp_path: Path) -> None:
    words = f"{sys.executable} -m bridge log export --state {tmp_path / 'state'} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", words],
        capture_output=True,
        text=True,
        check=False,
        env={**clean_environment(), **environment(wide)},
    )
    assert json.loads(done.stdout)["leaf_index"] == 0
    assert "Traceback" not in done.stderr
    assert state_of(tmp_path / "state")["next_index"] < WIDE


def _flip(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 1
    file.write_bytes(data)


def test_an_entry_that_was_changed_is_not_exported(tmp_path: Path) -> None:
    log, state, output = tmp_path / "log", tmp_path / "state", tmp_path / "rows"
    log_of(log, [decision(n) for n in range(300)])
    _flip(log / "log/tile/entries/001.p/44", 500)
    done = export(log, "--state", state, "--output", output)
    assert done.returncode == 1
    assert "entry 256: its hash is not the one in the tree" in done.stderr
    assert indexes(output) == list(range(256))
    assert state_of(state)["next_index"] == 256


@pytest.mark.parametrize("bad", [{"time": "today"}, {"scopes": ["read"]}, {"kind": 7}])
def test_what_no_bridge_writes_is_an_error_that_names_it(tmp_path: Path, bad: dict[str, Any]) -> None:
    log_of(tmp_path, [decision(0), {**decision(1), **bad}])
    done = export(tmp_path, "--format", "ocsf")
    assert done.returncode == 1
    assert "entry 1 is none that a bridge writes" in done.stderr


def test_a_state_of_another_log_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert export(log_of(tmp_path / "one", [decision(0)]), "--state", state).returncode == 0
    write(tmp_path / "two", [decision(0)])
    publish(tmp_path / "two", "other.example/log")
    done = export(tmp_path / "two", "--state", state)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{ORIGIN}/2026h1" in done.stderr


def test_a_log_that_knows_less_than_was_exported_is_refused(tmp_path: Path) -> None:
    log, state = log_of(tmp_path / "log", [decision(0)]), tmp_path / "state"
    assert export(log, "--state", state).returncode == 0
    state.write_text(json.dumps({**state_of(state), "next_index": 2}))
    done = export(log, "--state", state)
    assert done.returncode == 1
    assert "an older copy of the log?" in done.stderr


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"origin": "x", "next_index": 1, "more": 2}', "\xff"])
def test_a_state_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    (tmp_path / "state").write_text(text)
    done = export(log, "--state", tmp_path / "state")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("issuance-bridge: ")


@pytest.mark.parametrize("ill", [{"next_index": "1"}, {"next_index": -1}, {"next_index": 0.5}, {"root": "zz"}])
def test_a_state_with_another_type_is_refused(tmp_path: Path, ill: dict[str, Any]) -> None:
    log, state = log_of(tmp_path / "log", [decision(0)]), tmp_path / "state"
    assert export(log, "--state", state).returncode == 0
    state.write_text(json.dumps({**state_of(state), **ill}))
    done = export(log, "--state", state)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be used" in done.stderr


@pytest.mark.parametrize("count", [1, 256, 300, 600])
def test_entries_that_were_not_signed_are_not_exported(tmp_path: Path, count: int) -> None:
    """Changed together with the tile of their hashes: the root tells."""
    log, other = log_of(tmp_path / "log", (decision(n) for n in range(count))), tmp_path / "other"
    log_of(other, (decision(n, caller="forged") for n in range(count)))
    for below in ("entries", "0"):
        shutil.copytree(other / "log/tile" / below, log / "log/tile" / below, dirs_exist_ok=True)
    done = export(log)
    assert (done.returncode, done.stdout) == (1, "")
    assert "entry 0 or one after it is not in the tree that was signed" in done.stderr


def test_another_history_under_the_same_key_is_not_gone_on_with(tmp_path: Path) -> None:
    log, state = log_of(tmp_path / "log", (decision(n) for n in range(300))), tmp_path / "state"
    assert export(log, "--state", state).returncode == 0
    write(log, (decision(n) for n in range(300, 310)))
    publish(log)
    assert len(indexes_in(export(log, "--state", state))) == 10
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(log / "signing.key", other)
    log_of(other, (decision(n, caller="forged") for n in range(320)))
    done = export(other, "--state", state)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the first 310 entries of the log are not those that were exported" in done.stderr


def test_all_kinds_are_exported(tmp_path: Path) -> None:
    kinds = ["decision", "rules", "overruled", "gap", "overloaded", "start", "heartbeat", "stop", "something"]
    log = log_of(tmp_path, [entry(n, kind) for n, kind in enumerate(kinds)])
    assert [row["entry"]["kind"] for row in exported(log)] == kinds
    assert [row["metadata"]["event_code"] for row in exported(log, "--format", "ocsf")] == kinds
    assert [row["type"].split(".")[1] for row in exported(log, "--format", "cloudevents")] == kinds


@pytest.mark.parametrize(
    "options",
    [
        ["--format", "csv"],
        ["--from-index", "-1"],
        ["--ocsf-version", "1.8.0"],
        ["--format", "ocsf", "--ocsf-version", "new"],
        ["more"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2(tmp_path: Path, options: list[str]) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    assert export(log, *options, "--output", tmp_path / "rows").returncode == 2
    assert not (tmp_path / "rows").exists()


def test_no_log_and_no_checkpoint_are_said_so(tmp_path: Path) -> None:
    write(tmp_path / "fresh", [decision(0)])
    for folder in ("nowhere", "fresh"):
        done = export(tmp_path / folder)
        assert done.returncode == 1
        assert done.stderr.startswith("issuance-bridge: ")
    assert not (tmp_path / "nowhere").exists()


def test_another_format_does_not_go_on_from_a_state(tmp_path: Path) -> None:
    """It would lack all that the first one has."""
    log, state = log_of(tmp_path / "log", [decision(0)]), tmp_path / "state"
    assert export(log, "--state", state).returncode == 0
    done = export(log, "--state", state, "--format", "ocsf")
    assert (done.returncode, done.stdout) == (1, "")
    assert "that of an export as ndjson: one as ocsf needs a state of its own" in done.stderr


def test_a_state_is_not_written_over_the_rows(tmp_path: Path) -> None:
    log, file = log_of(tmp_path / "log", [decision(0)]), tmp_path / "rows"
    done = export(log, "--state", file, "--output", file)
    assert (done.returncode, file.exists()) == (2, False)

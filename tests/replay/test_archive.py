"""Every policy set that decides lies beside the log before it decides, and stays what it was."""

import asyncio
import gzip
import hashlib
import io
import os
import tarfile
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge import kernel
from bridge.errors import EvidenceUnavailable, SetNotKept
from bridge.evidence.archive import PolicyArchive
from bridge.model.policy import PolicySet
from bridge.policy.load import Assembled, load
from bridge.policy.opa import find_opa
from bridge.policy.restore import restore
from bridge.policy.syntax import parse
from tests.support.bridge import LocalBridge, local_bridge, request, run_cli, starting_bridge
from tests.support.evidence import reading
from tests.support.policies import write_policies

from .playing import archive_of

OTHER = "package issuance.scope.late\n\nallow := true\n"


def entries_of(evidence: Path, kind: str) -> list[dict[str, Any]]:
    with reading(evidence) as reader:
        return [found.entry for found in reader.walk() if found.entry["kind"] == kind]


async def test_the_set_is_kept_and_its_entry_says_so(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as made:
        current = made.bridge.policies.current
        assert current is not None
    kept = archive_of(made.evidence)
    assert kept.name == f"{current.digest}.tar.gz" and kept.read_bytes() == current.bundle
    (entry,) = entries_of(made.evidence, "policy")
    sha256 = hashlib.sha256(current.bundle).hexdigest()
    assert entry["archive"] == {"file": f"policies/{kept.name}", "sha256": sha256}
    restored = restore(kept, current.digest, find_opa())
    assert restored.policy_set == current
    assert b"package issuance.gate" in restored.modules["p0.rego"]
    before = kept.stat()
    async with local_bridge(tmp_path):  # what is there already is not written again, and nothing has changed
        pass
    after = kept.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(entries_of(made.evidence, "policy")) == 1


async def test_a_set_lies_there_before_it_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at in the moment in which the engine is asked to swap."""
    policies, there = write_policies(tmp_path / "rego"), list[bool]()
    async with local_bridge(tmp_path, policies) as made:
        engine = made.bridge.engine
        activate = engine.activate

        async def watched(policy_set: PolicySet) -> None:
            there.append((made.evidence / "policies" / f"{policy_set.digest}.tar.gz").exists())
            await activate(policy_set)

        monkeypatch.setattr(engine, "activate", watched)
        (policies / "late.rego").write_text(OTHER)
        await _answers(made, "allow")
    assert there == [True]
    assert len(list((made.evidence / "policies").iterdir())) == 2


async def _answers(made: LocalBridge, outcome: str) -> None:
    for _ in range(200):
        if (await made.ask(request("late")))["outcome"] == outcome:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the set is not taken up")


async def test_a_full_disk_refuses_the_set_and_the_old_one_decides(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego")
    (tmp_path / "next").mkdir()
    write_policies(tmp_path / "next")
    (tmp_path / "next" / "late.rego").write_text(OTHER)
    coming = load(tmp_path / "next", find_opa())
    async with local_bridge(tmp_path, policies) as made:
        old = made.bridge.policies.current
        # Every write to it is answered with "no space left on device".
        unfinished = made.evidence / "policies" / f".{coming.digest}.tar.gz.{os.getpid()}.new"
        unfinished.symlink_to("/dev/full")
        (policies / "late.rego").write_text(OTHER)
        while not made.bridge.policies.refused:
            await asyncio.sleep(0.02)
        assert "No space left on device" in made.bridge.policies.refused[0]
        assert made.bridge.policies.current is old
        assert (await made.ask(request("late")))["outcome"] == "deny"
        assert not (made.evidence / "policies" / f"{coming.digest}.tar.gz").exists()
        await _answers(made, "allow")  # the half that was written is gone, and with it what was full: tried again
        while made.bridge.policies.refused:  # the engine has the set a moment before the watch says so
            await asyncio.sleep(0.02)
    assert not list((made.evidence / "policies").glob(".*"))


def test_a_set_that_cannot_be_kept_at_the_start_ends_it(tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir(mode=0o700)
    (tmp_path / "evidence" / "policies").write_text("in the way")
    with starting_bridge(tmp_path) as starting:
        assert starting.process.wait(30) == 1
    told = starting.log_file.read_text()
    assert "cannot be kept" in told and "Traceback" not in told


def test_what_is_damaged_is_written_anew_and_what_is_only_packed_otherwise_stays(tmp_path: Path) -> None:
    policy_set = load(write_policies(tmp_path / "rego"), find_opa())
    archive = PolicyArchive(tmp_path / "evidence")
    archive.keep(policy_set)
    kept = archive_of(tmp_path / "evidence")
    other = gzip.compress(gzip.decompress(policy_set.bundle), compresslevel=1)
    for there, expected in ((b"", policy_set.bundle), (b"\x1f\x8b damaged", policy_set.bundle), (other, other)):
        kept.write_bytes(there)
        archive.keep(policy_set)
        assert kept.read_bytes() == expected
        told = archive.told(policy_set.digest)
        assert told is not None and told["sha256"] == hashlib.sha256(expected).hexdigest()
    assert restore(kept, policy_set.digest, find_opa()).policy_set.digest == policy_set.digest
    assert archive.told("0" * 64) is None
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceUnavailable, match="cannot be kept"):
        PolicyArchive(tmp_path / "file").keep(policy_set)


def test_what_is_in_the_place_of_a_set_is_written_over(tmp_path: Path) -> None:
    """Nothing of it is believed or waited for, and no more is unpacked than the set has."""
    policy_set = load(write_policies(tmp_path / "rego"), find_opa())
    archive = PolicyArchive(tmp_path / "evidence")
    archive.keep(policy_set)
    kept = archive_of(tmp_path / "evidence")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(policy_set.bundle)
    bomb = gzip.compress(gzip.decompress(policy_set.bundle) + bytes(300_000_000), compresslevel=1)
    tracemalloc.start()
    for make in (lambda: kept.symlink_to(elsewhere), lambda: os.mkfifo(kept), lambda: kept.write_bytes(bomb)):
        kept.unlink()
        make()
        archive.keep(policy_set)
        assert not kept.is_symlink() and kept.read_bytes() == policy_set.bundle
    assert tracemalloc.get_traced_memory()[1] < 50_000_000
    tracemalloc.stop()


def test_what_is_no_set_is_not_restored(tmp_path: Path) -> None:
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(SetNotKept) as caught:
            restore(file, "0" * 64, find_opa())
        assert caught.value.missing
    bare = tmp_path / "bare.tar.gz"
    bare.write_bytes(gzip.compress(b""))
    with pytest.raises(SetNotKept) as caught:
        restore(bare, "0" * 64, find_opa())
    assert not caught.value.missing


def _packed(files: Mapping[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return gzip.compress(raw.getvalue())


def test_a_set_that_no_folder_can_hold_is_not_restored(tmp_path: Path) -> None:
    gate, other = b"package issuance.gate\n\nallow := true\n", b"package issuance.scope.a\n\nallow := true\n"
    kept = tmp_path / "kept.tar.gz"
    kept.write_bytes(_packed({"g.rego": gate, f"{'a/' * 1500}data.json": b"{}"}))
    with pytest.raises(SetNotKept, match="nested too deep"):
        restore(kept, "0" * 64, find_opa())
    kept.write_bytes(_packed({"g.rego": gate, "g.rego/h.rego": other}))
    with pytest.raises(SetNotKept, match="holds the set") as caught:
        restore(kept, "0" * 64, find_opa())
    digest = str(caught.value).split("holds the set ")[1][:64]
    with pytest.raises(SetNotKept, match="File exists"):
        restore(kept, digest, find_opa())


@pytest.mark.timeout(90)
async def test_verifying_the_log_looks_at_what_is_kept(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as made:
        await made.ask(request("read"))
        while not (made.evidence / "log" / "checkpoint").exists():
            await asyncio.sleep(0.05)
    kept, config = archive_of(made.evidence), tmp_path / "bridge.toml"
    whole = kept.read_bytes()
    assert run_cli("log", "verify", "--config", config).returncode == 0
    kept.write_bytes(whole[:-1])
    done = run_cli("log", "verify", "--config", config)
    assert done.returncode == 1 and f"policies/{kept.name} is not the policy set that entry" in done.stdout
    kept.unlink()
    os.mkfifo(kept)
    done = run_cli("log", "verify", "--config", config)
    assert done.returncode == 1 and f"policies/{kept.name} is no file" in done.stdout
    kept.unlink()
    done = run_cli("log", "verify", "--config", config)
    assert done.returncode == 0 and f"note policies/{kept.name} is not there" in done.stdout


def test_a_file_that_is_its_digest_and_reaches_for_the_network_is_not_run(tmp_path: Path) -> None:
    """Who can write both an entry and a file makes any digest good; the machine of an auditor is not theirs."""
    modules = {"gate.rego": b'package issuance.gate\n\nallow if http.send({"method": "GET", "url": "http://x"})\n'}
    made = Assembled(modules, parse(find_opa(), modules), {}, kernel.MODULES)
    kept = tmp_path / f"{made.digest}.tar.gz"
    kept.write_bytes(made.policy_set().bundle)
    with pytest.raises(SetNotKept, match=r"undefined function http\.send"):
        restore(kept, made.digest, find_opa())

"""Every byte counts: each one of a small log flipped, and files cut off at each byte of the last entry."""

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli.main import cli
from bridge.errors import BridgeError
from bridge.evidence.files import CHECKPOINT, DATABASE, LOG, VKEY
from bridge.tlog.note import VerifierKey
from tests.support.bridge import write_config

from .logs import audit, audit_alone, contents, entries_of, publisher_of, small_log

WAL = f"{DATABASE}-wal"

FILES = ["checkpoint", "vkey", *(f"tile/{level}/000.p/{width}" for level in ("0", "entries") for width in (1, 3))]


@dataclass(frozen=True)
class Small:
    """A log of three entries, whole; what an auditor knows of it; and a copy that is spoilt again and again."""

    whole: Path
    copy: Path
    vkey: str
    checkpoint: bytes

    def spoil(self, name: str, change: Callable[[bytes], bytes]) -> None:
        (self.copy / name).write_bytes(change((self.whole / name).read_bytes()))

    def mended(self) -> bool:
        """Whether a start makes the copy whole again; False when it is refused, and then nothing was touched."""
        before = contents(self.copy)
        publisher = publisher_of(self.copy)
        try:
            publisher.open()
        except BridgeError:
            assert contents(self.copy) == before
            return False
        finally:
            publisher.close()
        assert contents(self.copy) == contents(self.whole)
        return True

    def restore(self, name: str) -> None:
        self.spoil(name, lambda data: data)

    def log_verify(self) -> int:
        """The exit code of the command, in both ways of looking; it may not end in anything else."""
        vkey = self.copy.parent / "kept.vkey"
        vkey.write_text(self.vkey)
        call = ["log", "verify", "--vkey", str(vkey), "--config", str(write_config(self.copy.parent))]
        done = CliRunner().invoke(cli, call)
        assert done.exception is None or isinstance(done.exception, (SystemExit, BridgeError)), done.exc_info
        return done.exit_code


@pytest.fixture
def small(quick_path: Path) -> Small:
    whole, copy = quick_path / "whole", quick_path / "evidence"
    with small_log(whole, 1, 2):
        pass
    shutil.copytree(whole, copy)
    return Small(whole, copy, (whole / VKEY).read_text(), (whole / CHECKPOINT).read_bytes())


def flipped(at: int, by: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([data[at] ^ by]) + data[at + 1 :]


@pytest.mark.parametrize("name", FILES)
def test_no_byte_of_the_published_log_can_be_flipped(small: Small, name: str) -> None:
    """Found by `log verify`, and a start refuses it or makes it whole again."""
    assert contents(small.whole / LOG).keys() == set(FILES)
    data = (small.whole / LOG / name).read_bytes()
    for at in range(len(data)):
        small.spoil(f"{LOG}/{name}", flipped(at, 1 << at % 8))
        if name == "vkey":
            spoilt = (small.copy / LOG / name).read_bytes()
            assert not may_be_the_key(spoilt, small.vkey) or spoilt.split() == data.split()
        else:
            assert not audit(small.copy, small.vkey).good, at
            # Who has the files alone does not know of the earlier sizes, nor asks for their tiles.
            assert audit_alone(small.copy / LOG, small.vkey).good == name.endswith(".p/1"), at
            assert at % 40 or small.log_verify() == 1
        small.mended()
        small.restore(f"{LOG}/{name}")
    assert audit(small.copy, small.vkey).good
    assert small.log_verify() == 0


def may_be_the_key(data: bytes, vkey: str) -> bool:
    try:
        return str(VerifierKey.parse(data.decode())) == vkey.strip()
    except (UnicodeDecodeError, BridgeError):
        return False


@pytest.mark.parametrize("name", ["tile/entries/000.p/3", "tile/0/000.p/3", "checkpoint"])
def test_a_file_cut_off_at_any_byte_of_the_last_entry_is_found_and_mended(small: Small, name: str) -> None:
    data = (small.whole / LOG / name).read_bytes()
    last = len(entries_of(small.whole)[-1]) + 2
    for length in range(max(0, len(data) - last), len(data)):
        small.spoil(f"{LOG}/{name}", lambda data, length=length: data[:length])  # type: ignore[misc]  # a default binds the loop variable
        for report in audit(small.copy, small.vkey), audit_alone(small.copy / LOG, small.vkey):
            assert report.problems, length
        assert small.mended() == (name != "checkpoint")
        small.restore(f"{LOG}/{name}")


@pytest.mark.parametrize("signed", [False, True])
def test_a_write_ahead_log_cut_off_at_any_byte_of_the_last_entry(quick_path: Path, signed: bool) -> None:
    """As after a crash of the machine that never was: what had been synced is gone. The entry is gone whole, and
    where it was signed the start is refused."""
    whole, copy = quick_path / "whole", quick_path / "evidence"
    with small_log(whole, 2) as log:
        log.write(1)
        if signed:
            log.publish()
        files = contents(whole)
        entries = entries_of(whole)
        vkey = (whole / VKEY).read_text()
    wal = files[WAL]
    start = wal.rindex(entries[-1])
    for at in range(start, start + len(entries[-1])):
        shutil.rmtree(copy, ignore_errors=True)
        for name, data in {**files, WAL: wal[:at]}.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes(data)
        (copy / "signing.key").chmod(0o600)
        publisher = publisher_of(copy)
        with pytest.raises(BridgeError, match="covers 3 entries") if signed else contextlib.nullcontext():
            publisher.open()
        publisher.close()
        assert entries_of(copy) == entries[:2]
        assert audit(copy, vkey).good != signed

"""What programs that are not ours say of a log or a proof, and the log that one of them writes.

Verdicts are None when it is good, else what the program says.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from bridge.tlog.note import Signer
from tests.foreign.build import program


def sumdb_verdict(log: Path, vkey: Path | None = None) -> str | None:
    """Go's sumdb packages: signature, root, every entry's inclusion. `vkey`: a file; the log's own if unset."""
    return _verdict("verifylog", log, vkey or log / "vkey")


def proof_verdict(proof: Path, entry: Path, vkey: Path) -> str | None:
    """Go's sumdb packages, and a foreign reader of proof files."""
    return _verdict("checkproof", proof, entry, vkey)


def fsck_verdict(log: Path | str, vkey: Path) -> str | None:
    """Tessera's fsck: the bundles give all tiles and the root. `log`: a folder, or the URL where it is served."""
    where = f"file://{log}/" if isinstance(log, Path) else log
    # With fewer workers than the log has files, one that finds a fault leaves the others waiting for ever.
    options = ["-ui=false", "-N=64", f"--storage_url={where}", f"--public_key={vkey}"]
    command: list[str | Path] = [program("fsck"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    # Its exit code is 0 whatever it found.
    good = done.returncode == 0 and "Successfully fsck'd log" in done.stderr and "fsck failed" not in done.stderr
    return None if good else done.stderr or f"exit {done.returncode}"


def write_foreign(folder: Path, signer: Signer, entries: Sequence[bytes]) -> Path:
    """The log of these entries as Tessera's POSIX driver writes it; smaller tiles too, where it took them in parts."""
    data, key, log = folder / "entries", folder / "key", folder / "log"
    data.mkdir(parents=True)
    key.write_text(str(signer))
    for index, entry in enumerate(entries):
        (data / f"{index:09}").write_bytes(entry)
    command: list[str | Path] = [
        program("posix-oneshot"),
        f"--storage_dir={log}",
        f"--entries={data}/*",
        f"--private_key={key}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    return log


def _verdict(name: str, *arguments: Path) -> str | None:
    command: list[str | Path] = [program(name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert (done.returncode == 0) == done.stdout.startswith("OK ")
    return None if done.returncode == 0 else done.stderr

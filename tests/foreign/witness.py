"""A stock witness, as a process on loopback: the one that the public witness network runs.

    with running_witness(tmp_path / "witness", [vkey_of_the_log]) as witness:
        reply = httpx.post(f"{witness.url}/add-checkpoint", content=b"old 0\\n\\n" + checkpoint)

The folder keeps its key and, in `memory/`, what it has seen: the same folder is the same witness again, and an older
copy of `memory/` makes it forget.
"""

import contextlib
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.tlog.note import COSIGNATURE, Signer, VerifierKey
from tests.foreign.build import program

START_S, STOP_S = 20.0, 5.0
MEMORY = "memory"
KEY = "witness.key"


@dataclass(frozen=True)
class RunningWitness:
    """`url`: the prefix of `add-checkpoint`, without a slash at its end; `vkey`: checks its cosignatures."""

    url: str
    vkey: VerifierKey
    process: "subprocess.Popen[bytes]"
    log_file: Path


@contextlib.contextmanager
def running_witness(
    folder: Path, logs: Iterable[VerifierKey], name: str = "witness.example/one"
) -> Iterator[RunningWitness]:
    """A witness that knows these logs, each with its key's name as its origin; ended on the way out."""
    (folder / MEMORY).mkdir(parents=True, exist_ok=True)
    log_file = folder / "witness.log"
    with log_file.open("ab") as output:
        process = subprocess.Popen(_command(folder, logs, name), stdout=output, stderr=subprocess.STDOUT)
    try:
        port = _port(process, log_file)
        yield RunningWitness(f"http://127.0.0.1:{port}", _vkey(folder), process, log_file)
    finally:
        process.kill()  # it does not listen to a polite word
        process.wait(STOP_S)


def _command(folder: Path, logs: Iterable[VerifierKey], name: str) -> list[str | Path]:
    key, known = folder / KEY, folder / "logs.yaml"
    if not key.exists():
        key.write_text(str(Signer(name, Ed25519PrivateKey.generate())))
    lines = [f"  - Origin: {log.name}\n    PublicKey: {log}\n    URL: http://127.0.0.1:9/\n" for log in logs]
    known.write_text("Logs:\n" + "".join(lines))
    return [
        program("omniwitness"),
        "--listen=127.0.0.1:0",
        "--metrics_listen=",
        f"--db_file={folder / MEMORY / 'checkpoints.sqlite'}",
        f"--private_key_path={key}",
        f"--additional_logs={known}",
        "--logtostderr",
    ]


def _vkey(folder: Path) -> VerifierKey:
    signer = Signer.parse((folder / KEY).read_text())
    return VerifierKey(signer.name, COSIGNATURE, signer.verifier.public)


def _port(process: "subprocess.Popen[bytes]", log_file: Path) -> int:
    """The port that the kernel gave it; it does not tell."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(psutil.Error):
            for socket in psutil.Process(process.pid).net_connections("tcp"):
                if socket.status == psutil.CONN_LISTEN:
                    return int(socket.laddr.port)
        time.sleep(0.02)
    raise AssertionError(f"the witness does not listen\n{log_file.read_text(errors='replace')}")

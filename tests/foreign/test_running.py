"""The log of a running bridge, before programs that are not ours and `log verify`: whole, and with one byte altered."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bridge.cli.main import cli
from bridge.evidence.files import CHECKPOINT, LOG, SIGNING_KEY, VKEY
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Note, Signer
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile
from tests.foreign.others import fsck_verdict, proof_verdict, sumdb_verdict, write_foreign
from tests.foreign.test_files import needed
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.evidence import all_found

DECISIONS = 600


@dataclass(frozen=True)
class Ended:
    """The evidence of a bridge that made 600 decisions and was ended. `served`: what fsck said of /log/ before."""

    folder: Path
    config: Path
    ids: list[str]
    served: str | None

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def vkey(self) -> Path:
        return self.folder / VKEY

    def cli(self, *arguments: str | Path) -> Result:
        """`issuance-bridge log ARGUMENTS`."""
        return CliRunner().invoke(cli, ["log", *map(str, arguments)])


def published(evidence: Path) -> int:
    """How many entries the published checkpoint covers."""
    file = evidence / CHECKPOINT
    return Checkpoint.parse(Note.parse(file.read_bytes()).text).size if file.exists() else 0


def wait_until_published(bridge: RunningBridge, size: int) -> None:
    deadline = time.monotonic() + 10
    while published(bridge.evidence) < size:
        assert time.monotonic() < deadline, bridge.log_text()
        time.sleep(0.05)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    with running_bridge(tmp_path_factory.mktemp("running")) as bridge:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: bridge.ask(request("read")), range(DECISIONS)))
        wait_until_published(bridge, 1 + max(reply["evidence"]["index"] for reply in replies))
        served = fsck_verdict(f"{bridge.url}/log/", bridge.evidence / VKEY)
    return Ended(bridge.evidence, bridge.config, [reply["decision_id"] for reply in replies], served)


def test_foreign_programs_accept_it(ended: Ended) -> None:
    assert published(ended.folder) >= DECISIONS
    assert ended.served is None
    assert fsck_verdict(ended.log, ended.vkey) is None
    assert sumdb_verdict(ended.log) is None


def test_a_foreign_writer_makes_the_same_files(ended: Ended, tmp_path: Path) -> None:
    signer = Signer.parse((ended.folder / SIGNING_KEY).read_text())
    foreign = write_foreign(tmp_path, signer, [found.data for found in all_found(ended.folder)])
    for name in needed(published(ended.folder)):
        assert (foreign / name).read_bytes() == (ended.log / name).read_bytes(), name


@pytest.mark.parametrize("which", [0, 1, 255, 256, 300, DECISIONS - 1])
def test_a_foreign_checker_accepts_a_proof(ended: Ended, tmp_path: Path, which: int) -> None:
    proof, entry = prove(ended, tmp_path, which)
    assert both_accept(ended, proof, entry)
    whole = entry.read_bytes()
    for altered in [*flipped(whole), whole[:-1], whole + b"\n", b""]:
        entry.write_bytes(altered)
        assert not both_accept(ended, proof, entry)


def test_both_refuse_an_altered_proof(ended: Ended, tmp_path: Path) -> None:
    proof, entry = prove(ended, tmp_path, 300)
    header, index, *path, blank, origin, size, root, empty, signature = proof.read_text().splitlines()
    assert len(path) > 3 and blank == empty == ""
    head, note = [header, index], [blank, origin, size, root, empty, signature]
    for altered in [
        [header.replace("v1", "v2"), index, *path, *note],
        [header, f"index {int(index.split()[1]) + 1}", *path, *note],
        [header, "index 9223372036854775808", *path, *note],
        [header, *path, *note],
        [*head, *path[1:], *note],
        [*head, *path[:-1], *note],
        [*head, *path[::-1], *note],
        [*head, *path, path[-1], *note],
        *([*head, *path[:at], another(path[at]), *path[at + 1 :], *note] for at in range(len(path))),
        [*head, *path, blank, origin + "x", size, root, empty, signature],
        [*head, *path, blank, origin, str(int(size) + 1), root, empty, signature],
        [*head, *path, blank, origin, size, another(root), empty, signature],
        [*head, *path, blank, origin, size, root, empty],
    ]:
        proof.write_text("".join(f"{line}\n" for line in altered))
        assert not both_accept(ended, proof, entry), altered
    proof.write_text("".join(f"{line}\n" for line in [*head, *path, *note]))
    assert both_accept(ended, proof, entry)


def another(hash64: str) -> str:
    """Another hash in base64."""
    return ("B" if hash64[0] == "A" else "A") + hash64[1:]


def prove(ended: Ended, folder: Path, which: int) -> tuple[Path, Path]:
    """The files that `log prove` makes of one of the decisions."""
    made = ended.cli("prove", ended.ids[which], "-o", folder, "--config", ended.config)
    assert made.exit_code == 0, made.output
    (proof,), (entry,) = folder.glob("*.tlog-proof"), folder.glob("*.json")
    return proof, entry


def both_accept(ended: Ended, proof: Path, entry: Path) -> bool:
    """Whether `log check` and Go's packages accept the proof; they must agree."""
    ours = ended.cli("check", proof, "--vkey", ended.vkey)
    assert ours.exit_code in (0, 1), ours.output
    assert (ours.exit_code == 0) == (proof_verdict(proof, entry, ended.vkey) is None)
    return ours.exit_code == 0


def flipped(data: bytes) -> list[bytes]:
    """One bit altered: of the first byte, of one in the middle, of the last."""
    middle = len(data) // 2
    return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in (0, middle, len(data) - 1)]


FILES: dict[str, Callable[[int], str]] = {
    "checkpoint": lambda size: "checkpoint",
    "full bundle": lambda size: "tile/entries/000",
    "partial bundle": lambda size: Tile(ENTRIES, 2, size % WIDTH).path,
    "full tile": lambda size: "tile/0/001",
    "partial tile": lambda size: Tile(0, 2, size % WIDTH).path,
    "upper tile": lambda size: "tile/1/000.p/2",
}


@pytest.mark.parametrize("kind", FILES)
def test_all_refuse_an_altered_file(ended: Ended, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "log"
    shutil.copytree(ended.log, copy)
    file = copy / FILES[kind](published(ended.folder))
    whole = file.read_bytes()
    assert who_accepts(ended, copy) == ["ours", "sumdb", "fsck"]
    for altered in [*flipped(whole), whole[:-1]]:
        file.write_bytes(altered)
        assert who_accepts(ended, copy) == []
    file.write_bytes(whole + b"\n")
    # fsck does not look at what follows the hashes of a tile.
    assert set(who_accepts(ended, copy)) <= ({"fsck"} if "tile" in kind else set())
    file.unlink()
    assert who_accepts(ended, copy) == []


def who_accepts(ended: Ended, log: Path) -> list[str]:
    """Who of `log verify`, Go's sumdb packages and fsck accepts this copy of the log."""
    ours = ended.cli("verify", "--folder", log, "--vkey", ended.vkey)
    assert ours.exit_code in (0, 1), ours.output
    said = {"ours": ours.exit_code == 0}
    said["sumdb"] = sumdb_verdict(log, ended.vkey) is None
    said["fsck"] = fsck_verdict(log, ended.vkey) is None
    return [name for name, accepts in said.items() if accepts]

"""What was said of a log before: by the checkpoint that it published, by one that is kept elsewhere, and by its key."""

from collections.abc import Collection
from pathlib import Path

from bridge.errors import ConfigFault, EvidenceInvalid, LogForked
from bridge.evidence.files import CHECKPOINT, VKEY
from bridge.tlog.checkpoint import Checkpoint, open_checkpoint
from bridge.tlog.note import VerifierKey

Said = tuple[Checkpoint, str]
"""A checkpoint, and where it stands."""
REBUILD = "When you know why, `issuance-bridge log rebuild` makes the published files again from the database"


def said_before(
    folder: Path, high_water: str, signed: Checkpoint, keys: Collection[VerifierKey], *, damaged: bool = False
) -> list[Said]:
    """The published checkpoint, and the one in the file `high_water` (if it names one). Their roots are not compared.

    LogForked when one of them does not hold, or covers more than `signed`, the last one; OSError when it cannot be
    read; ConfigFault when `high_water` names no file elsewhere. `damaged`: the published one need not hold.
    """
    said: list[Said] = []
    published = folder / CHECKPOINT
    if published.exists():
        try:
            said.append((_read(published, keys), str(published)))
        except EvidenceInvalid as error:
            if not damaged:
                raise LogForked(f"{published} does not hold: {error}. {REBUILD}") from error
    if high_water:
        if Path(high_water).resolve().is_relative_to(folder.resolve()):
            raise ConfigFault(f"evidence.high_water names {high_water}, which would be put back together with the log")
        said.append((_kept(Path(high_water), keys), f"{high_water} (evidence.high_water)"))
    for checkpoint, where in said:
        if checkpoint.size > signed.size:
            raise LogForked(
                f"{where} covers {checkpoint.size} entries, but the log in {folder} was signed up to {signed.size}: "
                "an older copy was put in its place, or another log"
            )
    return said


def check_vkey(folder: Path, keys: Collection[VerifierKey]) -> None:
    """LogForked when the published verifier key is not one of `keys`."""
    vkey = folder / VKEY
    if not vkey.exists():
        return
    try:
        known = VerifierKey.parse(vkey.read_text(encoding="utf-8")) in keys
    except (EvidenceInvalid, UnicodeDecodeError):
        known = False
    if not known:
        raise LogForked(f"{vkey} is not a key that this log was signed with. {REBUILD}")


def _kept(mark: Path, keys: Collection[VerifierKey]) -> Checkpoint:
    if not mark.exists():
        raise ConfigFault(
            f"evidence.high_water names {mark}, which is not there: write it with "
            f"`issuance-bridge log checkpoint --anchor {mark}`"
        )
    try:
        return _read(mark, keys)
    except EvidenceInvalid as error:
        raise LogForked(f"{mark} (evidence.high_water) is no checkpoint of this log: {error}") from error


def _read(path: Path, keys: Collection[VerifierKey]) -> Checkpoint:
    return open_checkpoint(path.read_bytes(), keys).checkpoint

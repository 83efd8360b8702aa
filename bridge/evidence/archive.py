"""Keeps every policy set that decides, beside the log, under its digest, so that its decisions can be replayed."""

import gzip
import hashlib
import io
import os
import zlib
from pathlib import Path

from bridge.errors import EvidenceUnavailable
from bridge.evidence.files import archived
from bridge.evidence.tree import make_folder, sync_names
from bridge.model.policy import PolicySet

_PACKED = 64 * 1024
"""A set has at most so many bytes more when it is packed than when it is not."""


class PolicyArchive:
    """The folder `policies` below the evidence folder. Each worker keeps what it decides with; once is enough."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, dict[str, str]] = {}

    def keep(self, policy_set: PolicySet) -> None:
        """Puts the set's bundle where it outlives a power loss. EvidenceUnavailable: the set must not decide."""
        path = self._folder / archived(policy_set.digest)
        try:
            there = _found(path, policy_set.bundle)
            if there is None:
                there = policy_set.bundle
                _write(path, there)
        except OSError as error:
            text = f"the policy set {policy_set.revision} cannot be kept in {path.parent}: {error.strerror or error}"
            raise EvidenceUnavailable(text) from error
        self._kept[policy_set.digest] = {"file": archived(policy_set.digest), "sha256": _sha256(there)}

    def told(self, digest: str) -> dict[str, str] | None:
        """Of a set that was kept, as its `policy` entry says it: `file` below the evidence folder, `sha256` (hex)."""
        return self._kept.get(digest)


def _found(path: Path, bundle: bytes) -> bytes | None:
    """What lies there, if it is the set: another version of the compressor may write other bytes, and those stay.

    What else lies there (a link, a pipe, something that unpacks to more) is written over, and no more of it is read.
    """
    if path.is_symlink() or not path.is_file():
        return None
    whole = gzip.decompress(bundle)
    with path.open("rb") as file:
        there = file.read(len(whole) + _PACKED)
    try:
        with gzip.open(io.BytesIO(there)) as unpacked:
            return there if there == bundle or unpacked.read(len(whole) + 1) == whole else None
    except (OSError, EOFError, zlib.error):  # damaged
        return None


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all, and on disk afterwards; the name in between is this process's own."""
    make_folder(path.parent)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with new.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    sync_names(path.parent)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

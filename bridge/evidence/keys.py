"""The log's own keys, made on the first start. The signing key names the log, and is never replaced silently."""

import os
import re
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.errors import ConfigFault, EvidenceInvalid, EvidenceUnavailable
from bridge.evidence.files import CHECKPOINT, DATABASE, DIGEST_KEY, SIGNING_KEY, VKEY
from bridge.evidence.tree import make_folder, sync_names
from bridge.model.ended import DIGEST
from bridge.model.issued import TokenDigest
from bridge.tlog.note import Signer, VerifierKey

DIGEST_KEY_BYTES = 32
_PUT_BACK = "put it back from its copy, or name another key in evidence.key (the change will stand in the log)"


def load_or_make(folder: Path, key_file: str, origin: str, now_ms: int, *, high_water: str = "") -> Signer:
    """The signer of the log in `folder`; its name is the log's origin: `origin` and the half-year it began in.

    None is made where `high_water` names a checkpoint: a new key cannot have signed it. ConfigFault when the key cannot
    be read or used, belongs to another log, or is not the one that signed this log and `key_file` does not name it.
    """
    path = Path(key_file) if key_file else folder / SIGNING_KEY
    known = _signed_with(folder)
    if not key_file and not path.exists():
        if known or (folder / VKEY).exists() or (folder / CHECKPOINT).exists():
            raise ConfigFault(f"{path} is gone, and the log in {folder} was signed with it: {_PUT_BACK}")
        if high_water:
            raise ConfigFault(
                f"evidence.high_water names {high_water}, a checkpoint of a log that has begun, and there is no "
                f"signing key in {folder}: put the log back, or name no such file before there is a log"
            )
        name = f"{origin}/{half_year(now_ms)}"
        _make(path, f"{Signer(name, Ed25519PrivateKey.generate())}\n".encode(), "signing key")
    signer = _load(path)
    if not re.fullmatch(rf"{re.escape(origin)}(/[0-9]{{4}}h[12])?", signer.name):
        raise ConfigFault(
            f"evidence.origin is {origin}, but the signing key {path} belongs to {signer.name}: set the one that is "
            "meant, or begin a log in another folder (evidence.path)"
        )
    if known and signer.name not in {key.name for key in known}:
        raise ConfigFault(
            f"the signing key {path} belongs to {signer.name}, but the log in {folder} to {known[0].name}"
        )
    if known and not key_file and signer.verifier not in known:
        raise ConfigFault(f"{path} is not the key that the log in {folder} was signed with: {_PUT_BACK}")
    return signer


def _load(path: Path) -> Signer:
    try:
        if path.stat().st_mode & 0o007:
            raise ConfigFault(f"the signing key {path} is open to every user of this machine: chmod 600 {path}")
        return Signer.parse(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise ConfigFault(f"the signing key {path} cannot be read: {error}") from error
    except EvidenceInvalid as error:
        raise ConfigFault(f"the signing key {path} cannot be used: {error}") from error


def _signed_with(folder: Path) -> list[VerifierKey]:
    """The keys that the log in `folder` was signed with, as its database knows them."""
    path = folder / DATABASE
    if not path.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=5)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'key'").fetchone():
                return []
            return [VerifierKey.parse(vkey) for (vkey,) in db.execute("SELECT vkey FROM key ORDER BY since DESC")]
    except (sqlite3.Error, EvidenceInvalid) as error:
        raise EvidenceUnavailable(f"the log in {folder} cannot be read: {error}") from error


def token_digest(folder: Path) -> TokenDigest:
    """The digest for ids of tokens in the log in `folder`; its key is made when there is none.

    ConfigFault when the key cannot be read or made. A lost one shows: entries carry the id of their key.
    """
    path = folder / DIGEST_KEY
    if not path.exists():
        if _ended_under_another(folder, ""):
            raise ConfigFault(f"the digest key {path} is gone, and this log tells of endings under it: put it back")
        _make(path, os.urandom(DIGEST_KEY_BYTES), "digest key")
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"the digest key {path} cannot be read: {error}") from error
    if len(key) != DIGEST_KEY_BYTES:
        raise ConfigFault(f"the digest key {path} has {len(key)} bytes, not {DIGEST_KEY_BYTES}: put its copy back")
    digest = TokenDigest(key)
    if _ended_under_another(folder, digest.key_id):
        raise ConfigFault(
            f"the digest key {path} is not the one under which this log tells of endings, so that nobody would be "
            "refused by them: put its copy back"
        )
    return digest


def _ended_under_another(folder: Path, key_id: str) -> bool:
    """Whether the log tells of an ending that is found only under another digest key."""
    path = folder / DATABASE
    if not path.exists():
        return False
    other = "SELECT 1 FROM about WHERE member = ? AND (value < ? OR value >= ?) LIMIT 1"
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=5)) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'about'").fetchone():
                return False
            return db.execute(other, (DIGEST, f"{key_id}:", f"{key_id};")).fetchone() is not None
    except sqlite3.Error as error:
        raise EvidenceUnavailable(f"the log in {folder} cannot be read: {error}") from error


def half_year(now_ms: int) -> str:
    """The half-year of an instant, in UTC: 2026h2."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{at.year}h{1 if at.month <= 6 else 2}"


def _make(path: Path, data: bytes, what: str) -> None:
    """Whole or not at all: another worker may be making it at the same moment, and the first one stays."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        make_folder(path.parent)
        new.unlink(missing_ok=True)  # in a container a process that was killed may have had the same number
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):
                path.hardlink_to(new)
        finally:
            new.unlink()
        sync_names(path.parent)
    except OSError as error:
        raise ConfigFault(f"the {what} {path} cannot be made: {error}") from error

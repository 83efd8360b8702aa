"""The log's own keys, made on the first start. The signing key names the log, and is never replaced silently."""

import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.evidence.files import CHECKPOINT, DIGEST_KEY, SIGNING_KEY, VKEY
from bridge.model.issued import TokenDigest
from bridge.tlog.note import Signer

DIGEST_KEY_BYTES = 32


def load_or_make(folder: Path, key_file: str, origin: str, now_ms: int) -> Signer:
    """The signer of the log in `folder`; its name is the log's origin: `origin` and the half-year it began in.

    ConfigFault when the key cannot be read, belongs to another log, or is gone although something was signed with it.
    """
    path = Path(key_file) if key_file else folder / SIGNING_KEY
    if not key_file and not path.exists():
        if (folder / VKEY).exists() or (folder / CHECKPOINT).exists():
            raise ConfigFault(
                f"{path} is gone, but {folder / VKEY} says that something was signed with it: put it back from its "
                "copy, or name another key in evidence.key (the change will stand in the log)"
            )
        name = f"{origin}/{half_year(now_ms)}"
        _make(path, f"{Signer(name, Ed25519PrivateKey.generate())}\n".encode(), "signing key")
    try:
        signer = Signer.parse(path.read_text(encoding="ascii"))
    except (OSError, ValueError) as error:
        raise ConfigFault(f"the signing key {path} cannot be read: {error}") from error
    except EvidenceInvalid as error:
        raise ConfigFault(f"the signing key {path} cannot be used: {error}") from error
    if signer.name != origin and not signer.name.startswith(f"{origin}/"):
        raise ConfigFault(
            f"evidence.origin is {origin}, but the signing key {path} belongs to {signer.name}: set the one that is "
            "meant, or begin a log in another folder (evidence.path)"
        )
    return signer


def token_digest(folder: Path) -> TokenDigest:
    """The digest for ids of tokens in the log in `folder`; its key is made when there is none.

    ConfigFault when the key cannot be read or made. A lost one shows: entries carry the id of their key.
    """
    path = folder / DIGEST_KEY
    if not path.exists():
        _make(path, os.urandom(DIGEST_KEY_BYTES), "digest key")
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"the digest key {path} cannot be read: {error}") from error
    if len(key) != DIGEST_KEY_BYTES:
        raise ConfigFault(f"the digest key {path} has {len(key)} bytes, not {DIGEST_KEY_BYTES}: put its copy back")
    return TokenDigest(key)


def half_year(now_ms: int) -> str:
    """The half-year of an instant, in UTC: 2026h2."""
    at = datetime.fromtimestamp(now_ms / 1000, UTC)
    return f"{at.year}h{1 if at.month <= 6 else 2}"


def _make(path: Path, data: bytes, what: str) -> None:
    """Whole or not at all: another worker may be making it at the same moment, and the first one stays."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            path.hardlink_to(new)
        except FileExistsError:
            pass
        finally:
            new.unlink()
    except OSError as error:
        raise ConfigFault(f"the {what} {path} cannot be made: {error}") from error

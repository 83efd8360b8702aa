"""Reads a file that says whom to trust (C2SP tlog-policy)."""

from pathlib import Path

from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.tlog.trust import Trust


def load_trust(file: Path) -> Trust:
    """ConfigFault names the file, and the line that cannot be used."""
    try:
        return Trust.parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFault(f"{file} cannot be read: {error}") from error
    except EvidenceInvalid as error:
        raise ConfigFault(f"{file}: {error}") from error

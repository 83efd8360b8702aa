"""A secret that lies in a file of its own."""

from pathlib import Path

from bridge.errors import ConfigFault


def read_secret(file: str, key: str) -> str:
    """The line of text in it. ConfigFault names the `key` of the configuration."""
    try:
        secret = Path(file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise ConfigFault(f"{key} {file} cannot be read: {reason}") from None
    if not secret or not secret.isprintable():
        raise ConfigFault(f"{key} {file} does not hold one line of text")
    return secret

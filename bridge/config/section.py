"""What all sections of the configuration share."""

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, StringConstraints

Label = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._:/@-]+$")]


class Section(BaseModel):
    """A table of the configuration; a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def is_loopback(host: str) -> bool:
    """Whether `host` names this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def http_url(url: str) -> str:
    """A URL that something is sent to, without a slash at its end. ValueError says what is allowed."""
    parts = urlsplit(url)
    try:
        named = parts.hostname and parts.port != 0
    except ValueError:
        named = None
    if parts.scheme not in ("http", "https") or not named or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be an http or https URL with a host, without login, query and fragment")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("must be printable ASCII without spaces")
    return url.rstrip("/")


def keeps_secrets(url: str) -> bool:
    """Whether a secret may be sent there: over https, or on loopback."""
    parts = urlsplit(url)
    return parts.scheme == "https" or is_loopback(parts.hostname or "")

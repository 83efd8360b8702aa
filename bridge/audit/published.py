"""The published log as an outsider sees it: files by name, from a folder or over HTTP."""

import stat
import time
from pathlib import Path
from typing import Protocol, Self
from urllib.parse import urlsplit

import httpx

from bridge.errors import ConfigFault, EvidenceInvalid, EvidenceUnavailable
from bridge.tlog.tiles import ENTRIES, WIDTH, Tile, split_bundle, split_hashes

MAX_FILE_BYTES = WIDTH * (2 + 65_535)
TIMEOUT_S = 30.0
"""Between two pieces of an answer, of which one file may take `FILE_S` in all."""
FILE_S = 300.0


class LogFiles(Protocol):
    """Reads the files of one log, by their names below its root (`checkpoint`, `tile/0/000`)."""

    def read(self, name: str) -> bytes | None:
        """The file's bytes; None when there is no such file. EvidenceUnavailable when that cannot be told."""


class FolderFiles:
    """The files in a folder, such as `log/` in an evidence folder, or a copy of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        path = self._folder / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a copy may hold what never ends
                raise EvidenceInvalid(f"{name} is no file")
            if status.st_size > MAX_FILE_BYTES:
                raise EvidenceInvalid(f"{name} is larger than such a file can be")
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise EvidenceUnavailable(f"{path} cannot be read: {error.strerror}") from error


class UrlFiles:
    """The files below a URL, such as `https://bridge.example/log/`; `token`: the bearer token of an auditor, if any."""

    def __init__(self, url: str, token: str | None = None) -> None:
        if token and not (token.isascii() and token.isprintable()):  # httpx would quote it in its error
            raise ConfigFault("the bearer token has characters that no header can hold")
        try:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ConfigFault(f"{url}: a URL that begins with http:// or https:// is needed")
            base, headers = httpx.URL(url.rstrip("/") + "/"), {"Authorization": f"Bearer {token}"} if token else {}
        except (ValueError, httpx.InvalidURL) as error:
            raise ConfigFault(f"{url}: {error}") from error
        self._client = httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT_S, follow_redirects=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self, name: str) -> bytes | None:
        try:
            until = time.monotonic() + FILE_S
            with self._client.stream("GET", name) as response:
                if response.status_code == 404:
                    return None
                if response.status_code != 200:
                    raise EvidenceUnavailable(f"{name}: the log answers with status {response.status_code}")
                data = bytearray()
                for part in response.iter_bytes():
                    data += part
                    if len(data) > MAX_FILE_BYTES:
                        raise EvidenceInvalid(f"{name} is larger than such a file can be")
                    if time.monotonic() > until:
                        raise EvidenceUnavailable(f"{name} did not come to its end within {FILE_S:g} s")
                return bytes(data)
        except httpx.HTTPError as error:
            raise EvidenceUnavailable(f"{name}: {type(error).__name__}: {error}") from error


def read_beside(path: Path) -> bytes:
    """A file that lies beside one that was named, perhaps in a stranger's folder. EvidenceInvalid when it is none.

    OSError when it cannot be read; too much of it is cut off, so that it fits nothing.
    """
    if not path.is_file():  # a pipe would be waited for, a device has no end
        raise EvidenceInvalid(f"{path.name} is no file")
    return read_named(path)


def read_named(path: Path) -> bytes:
    """What the user named may be a pipe; too much of it is cut off, so that it fits nothing."""
    with path.open("rb") as file:
        return file.read(MAX_FILE_BYTES + 1)


def read_checkpoint(files: LogFiles) -> bytes:
    """The published checkpoint. EvidenceInvalid when there is none: perhaps these are not the files of a log."""
    data = files.read("checkpoint")
    if data is None:
        raise EvidenceInvalid("checkpoint is missing: is this a published log, a folder log/ or an address …/log/ ?")
    return data


def read_needed(files: LogFiles, name: str) -> bytes:
    """A file that must be there. EvidenceInvalid when it is not."""
    data = files.read(name)
    if data is None:
        raise EvidenceInvalid(f"{name} is missing")
    return data


def read_tile(files: LogFiles, tile: Tile) -> list[bytes]:
    """The hashes of a tile, or the entries of a bundle; from the full one where a partial one is gone (tlog-tiles)."""
    data, found = files.read(tile.path), tile
    if data is None:
        found = Tile(tile.level, tile.index)
        data = read_needed(files, found.path)
    try:
        parts = (split_bundle if tile.level == ENTRIES else split_hashes)(data, found.width)
    except EvidenceInvalid as error:
        raise EvidenceInvalid(f"{found.path}: {error}") from error
    return parts[: tile.width]

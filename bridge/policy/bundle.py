"""OPA bundles, reproducibly: the same set gives the same bytes, under any clock and in any folder."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> bytes:
    """JSON with sorted names and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: an object, or a ValueError where a name stands twice in it."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return value


def contents(modules: dict[str, bytes], data: dict[str, Any], roots: list[str], revision: str) -> dict[str, bytes]:
    """The files of a bundle with these modules, one data.json, and a manifest that claims `roots`."""
    return {
        ".manifest": canonical({"rego_version": 1, "revision": revision, "roots": sorted(roots)}),
        "data.json": canonical(data),
        **modules,
    }


def pack(files: Mapping[str, bytes]) -> bytes:
    """The bundle (tar.gz) of these files."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo("/" + name)
            member.size, member.mode = len(files[name]), 0o644
            archive.addfile(member, io.BytesIO(files[name]))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="", compresslevel=6) as file:
        file.write(raw.getvalue())
    return packed.getvalue()


def unpack(bundle: bytes) -> dict[str, bytes]:
    """The files of a bundle that `pack` made."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(bundle)), mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member)
            files[member.name.removeprefix("/")] = content.read() if content else b""
    return files

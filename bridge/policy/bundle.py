"""OPA bundles, reproducibly: the same set gives the same bytes, under any clock and in any folder."""

import gzip
import io
import json
import tarfile
from typing import Any


def canonical(value: Any) -> bytes:
    """JSON with sorted names and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def write(modules: dict[str, bytes], data: dict[str, Any], roots: list[str], revision: str) -> bytes:
    """The bundle (tar.gz) with these modules, one data.json, and a manifest that claims `roots`."""
    files = {
        ".manifest": canonical({"rego_version": 1, "revision": revision, "roots": sorted(roots)}),
        "data.json": canonical(data),
        **modules,
    }
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

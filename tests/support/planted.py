"""Searches files for planted secrets, as they are and in the codings that something on the way might have used."""

import base64
from collections.abc import Iterable
from pathlib import Path


def traces(folder: Path, secrets: Iterable[str]) -> dict[str, set[str]]:
    """Secret -> the files below `folder` that hold it in any of its forms (relative names)."""
    files = {str(path.relative_to(folder)): path.read_bytes().lower() for path in folder.rglob("*") if path.is_file()}
    return {
        secret: {name for name, data in files.items() if any(form in data for form in forms(secret))}
        for secret in secrets
    }


def forms(secret: str) -> set[bytes]:
    """Raw (UTF-8, UTF-16), hex and base64 of it, wherever it begins in what was coded; all in lower case."""
    raw = secret.encode()
    found = {raw, raw.hex().encode(), secret.encode("utf-16-le")}
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + raw)
        whole = coded[-(-8 * shift // 6) : (8 * (shift + len(raw))) // 6]  # the characters made of the secret alone
        found |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    return {form.lower() for form in found}

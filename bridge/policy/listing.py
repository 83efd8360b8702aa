"""What a signature of an OPA bundle covers: each file with its SHA-256, reckoned as OPA does."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

SIGNATURES = ".signatures.json"
_STRUCTURED = ("data.json", ".manifest")


class _Number(str):
    """A number as it is spelt in the file."""

    __slots__ = ()


def listing(files: Mapping[str, bytes]) -> dict[str, str]:
    """File -> SHA-256 (hex) as OPA reckons it; ValueError for a data file that OPA could not read.

    Data and manifest are hashed as JSON with sorted names, all else as it is.
    """
    return {name: hashlib.sha256(_hashed(name, content)).hexdigest() for name, content in files.items()}


def _hashed(name: str, content: bytes) -> bytes:
    kind = PurePosixPath(name).name
    if kind in ("data.yaml", SIGNATURES):
        raise ValueError(f"{name} cannot stand in a signed bundle: build it with `policy build`")
    if kind not in _STRUCTURED:
        return content
    try:
        value = json.loads(content.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_no_number)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return "".join(_walk(value)).encode()


def _walk(value: Any) -> Iterator[str]:
    if isinstance(value, _Number):
        yield value
    elif isinstance(value, dict):
        for number, name in enumerate(sorted(value)):
            yield "," if number else "{"
            yield f"{_primitive(name)}:"
            yield from _walk(value[name])
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield "," if number else "["
            yield from _walk(item)
        yield "]" if value else "[]"
    else:
        yield _primitive(value)


def _primitive(value: Any) -> str:
    # Go escapes these two, which JSON does not ask for.
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")

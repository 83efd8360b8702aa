"""Strict JSON from outside: UTF-8, one value, no duplicate names, no NaN, bounded depth (RFC 8259, RFC 7493)."""

import json
import math
import re
from typing import Any, NoReturn

import orjson

from bridge.errors import MalformedRequest

MAX_DEPTH = 100
MAX_VALUES = 100_000
"""Members and elements of one body: to read as many as 4 MiB can hold would keep everybody waiting for seconds."""
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def loads(body: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """The one JSON value in `body`.

    Raises MalformedRequest, which says what is wrong and never quotes the body's values.
    """
    # The commas bound the number from above, so nearly every body skips the longer look.
    if body.count(b",") > MAX_VALUES and _STRING.sub(b"", body).count(b",") > MAX_VALUES:
        raise _malformed(f"the body has more than {MAX_VALUES} members and elements")
    value = _written_alike(body, max_depth)
    return _strictly(body, max_depth) if value is None else value


def _written_alike(body: bytes, max_depth: int) -> Any:
    """The value, when it is written down to these very bytes, so that nothing of them can have been lost; else None."""
    if body.count(b"{") + body.count(b"[") > max_depth:
        return None
    try:
        value = orjson.loads(body)
        return value if orjson.dumps(value) == body else None
    except (orjson.JSONDecodeError, TypeError):
        return None


def _strictly(body: bytes, max_depth: int) -> Any:
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _malformed("the body must be UTF-8") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise _too_deep(max_depth) from None
    except json.JSONDecodeError as error:
        raise _malformed(f"the body is not one JSON value: {error.msg} at byte {error.pos}") from None
    except ValueError:  # an integer of more digits than the interpreter converts
        raise _malformed("a number has too many digits") from None
    # The brackets bound the depth from above, so nearly every body skips the walk.
    if text.count("{") + text.count("[") > max_depth and _depth(value) > max_depth:
        raise _too_deep(max_depth)
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _malformed(f"the member name {name[:64]!r} stands twice in one object")
            seen.add(name)
    return result


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _malformed("a number is too large")
    return value


def _no_constant(name: str) -> NoReturn:
    raise _malformed(f"{name} is not JSON")


def _depth(value: Any) -> int:
    deepest = 0
    level = [value]
    while level:
        nested: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                nested.extend(item.values())
            elif isinstance(item, list):
                nested.extend(item)
            else:
                continue
        if any(isinstance(item, (dict, list)) for item in level):
            deepest += 1
        level = nested
    return deepest


def _refuse_lone_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _malformed("a string holds a lone surrogate") from None


def _too_deep(max_depth: int) -> MalformedRequest:
    return _malformed(f"the body is nested deeper than {max_depth} levels")


def _malformed(text: str) -> MalformedRequest:
    return MalformedRequest([("", text)])

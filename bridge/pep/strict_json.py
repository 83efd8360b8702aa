"""Strict JSON: UTF-8, one value, no duplicate names, no NaN, no lone surrogates, bounded depth (RFC 8259, RFC 7493)."""

import json
import math
from typing import Any, NoReturn

from bridge.pep.fault import BadReply

MAX_DEPTH = 64


def loads(body: bytes) -> Any:
    """The one JSON value in `body`. Raises BadReply, which quotes nothing of it."""
    try:
        value = json.loads(body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate does not encode
    except UnicodeError:
        raise BadReply("the reply is not UTF-8, or holds a lone surrogate") from None
    except (ValueError, RecursionError):
        raise BadReply("the reply is not one JSON value of reasonable size") from None
    if _deeper(value, MAX_DEPTH):
        raise BadReply(f"the reply is nested deeper than {MAX_DEPTH} levels")
    return value


def typed(value: Any) -> str:
    """One text for each JSON value, by type as well: 1, 1.0, true and "1" all differ."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _deeper(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a member name stands twice")
    return result


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError("a number is too large")
    return value


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)

"""The operations of WSO2's actions: which of them are allowed, as that server itself compares them."""

import re
from collections.abc import Sequence
from typing import Any

from bridge.doors.hooks._shown import member, texts
from bridge.errors import MalformedRequest

CLAIMS = "/accessToken/claims/"
AUDIENCE = CLAIMS + "aud/"
LIFETIME = CLAIMS + "expires_in"
_INDEX = re.compile(r"-|[+-]?[0-9]+")


class Allowed:
    """`allowedOperations` of one body. MalformedRequest when they are none; not there: nothing is allowed."""

    def __init__(self, operations: Any) -> None:
        self._paths: dict[str, set[str]] = {}
        for one in [] if operations is None else operations if isinstance(operations, list) else [None]:
            op, paths = member(one, "op"), texts(member(one, "paths"))
            if not isinstance(op, str) or paths is None:
                raise MalformedRequest([("/allowedOperations", "must be an array of objects with op and paths")])
            self._paths.setdefault(op, set()).update(paths)

    def __call__(self, op: str, path: str) -> bool:
        """Whether the very path is listed, or all below the one that it is in."""
        paths = self._paths.get(op, set())
        return path in paths or path[: path.rfind("/") + 1] in paths


def is_replaceable(name: str, value: Any, allowed: Allowed) -> bool:
    """Whether a claim that the token has can get any other value."""
    return _is_plain(name) and not isinstance(value, (list, dict)) and allowed("replace", CLAIMS + name)


def is_removable(name: str, value: Any, allowed: Allowed) -> bool:
    """Whether a claim that the token has can be taken out, or be emptied where it is a list."""
    if isinstance(value, list):
        return _is_plain(name) and texts(value) is not None and allowed("remove", f"{CLAIMS}{name}/0")
    return _is_plain(name) and not isinstance(value, dict) and allowed("remove", CLAIMS + name)


def removals(below: str, keep: Sequence[bool]) -> list[dict[str, Any]]:
    """What takes out the items of a list that are not to be kept: by their index, from the highest down."""
    return [{"op": "remove", "path": f"{below}{i}"} for i in reversed(range(len(keep))) if not keep[i]]


def _is_plain(name: str) -> bool:
    """Whether the server finds a claim by this name in a path: it splits at slashes, and takes `aud...` for `aud`."""
    return bool(name) and "/" not in name and not name.startswith("aud") and not _INDEX.fullmatch(name)

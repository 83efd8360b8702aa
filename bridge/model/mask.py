"""Takes secrets out of a request before anything else sees it, and personal values out of the evidence."""

from collections.abc import Callable, Iterable
from typing import Any

MASKED = "***"
SECRET_NAMES = ("authorization", "cookie", "code", "device_code", "user_code")
SECRET_SUFFIXES = ("token", "assertion", "secret", "password")
_HOLDERS = (dict, list)
Pointer = tuple[str, ...]
"""A JSON pointer (RFC 6901), split into its reference tokens."""


class SecretMask:
    """Replaces every string under a secret member name by `***`, at any depth; names compare without case.

    Objects under such a name stay and are looked into: `subject_token` holds validated claims, not a token.
    """

    def __init__(self, names: Iterable[str] = SECRET_NAMES, suffixes: Iterable[str] = SECRET_SUFFIXES) -> None:
        self._is_secret = _Names(frozenset(n.lower() for n in names), tuple(s.lower() for s in suffixes))

    def __call__(self, value: Any, *, secret: bool = False) -> Any:
        """`value` without its secrets; the argument is left as it is."""
        if isinstance(value, dict):  # nearly all members are strings: no call for those, nor for numbers
            is_secret = self._is_secret
            return {
                name: (MASKED if is_secret[name] else item)
                if type(item) is str
                else (self(item, secret=is_secret[name]) if type(item) in _HOLDERS else item)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self(item, secret=secret) if secret or type(item) in _HOLDERS else item for item in value]
        return MASKED if secret and isinstance(value, str) else value


class _Names(dict[str, bool]):
    """Name -> whether it is a secret's. Remembers names of usual length, up to a number that a caller cannot exceed."""

    def __init__(self, exact: frozenset[str], endings: tuple[str, ...]) -> None:
        super().__init__()
        self._exact, self._endings = exact, endings

    def __missing__(self, name: str) -> bool:
        lower = name.lower()
        secret = lower in self._exact or lower.endswith(self._endings)
        if len(name) <= 128 and len(self) < 4096:
            self[name] = secret
        return secret


def mask_pointers(document: dict[str, Any], pointers: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """A copy of `document` with the value at each JSON pointer replaced by `***`; see `replace_at`."""
    return replace_at(document, pointers, lambda _: MASKED)


def replace_at(
    document: dict[str, Any], pointers: Iterable[tuple[str, ...]], by: Callable[[Any], Any]
) -> dict[str, Any]:
    """A copy of `document` with `by` of the value at each JSON pointer (RFC 6901, split into its tokens).

    `*` stands for every element of an array or member of an object.
    """
    result = document
    for pointer in pointers:
        result = _replaced(result, pointer, by)
    return result


def parse_pointer(text: str) -> tuple[str, ...]:
    """The reference tokens of a JSON pointer (RFC 6901); ValueError when it does not begin with a slash."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer: it must begin with '/'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def write_pointer(tokens: Iterable[str]) -> str:
    """The JSON pointer of these reference tokens."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def covers(pointer: tuple[str, ...], place: tuple[str, ...]) -> bool:
    """Whether `pointer` means the value at `place`, or one around it."""
    return len(pointer) <= len(place) and all(head in ("*", name) for head, name in zip(pointer, place, strict=False))


def _replaced(value: Any, tokens: tuple[str, ...], by: Callable[[Any], Any]) -> Any:
    if not tokens:
        return by(value)
    head, rest = tokens[0], tokens[1:]
    if isinstance(value, dict):
        return {k: _replaced(v, rest, by) if head in ("*", k) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(v, rest, by) if head in ("*", str(i)) else v for i, v in enumerate(value)]
    return value

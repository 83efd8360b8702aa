"""Takes secrets out of a request before anything else sees it, and personal values out of the evidence."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

MASKED = "***"
SECRET_NAMES = ("authorization", "cookie", "code", "device_code", "user_code")
SECRET_SUFFIXES = ("token", "assertion", "secret", "password")


class SecretMask:
    """Replaces every string under a secret member name by `***`, at any depth; names compare without case.

    Objects under such a name stay and are looked into: `subject_token` holds validated claims, not a token.
    """

    def __init__(self, names: Iterable[str] = SECRET_NAMES, suffixes: Iterable[str] = SECRET_SUFFIXES) -> None:
        exact, endings = frozenset(n.lower() for n in names), tuple(s.lower() for s in suffixes)

        @lru_cache(maxsize=4096)
        def is_secret(name: str) -> bool:
            lower = name.lower()
            return lower in exact or (bool(endings) and lower.endswith(endings))

        self._is_secret = is_secret

    def __call__(self, value: Any, *, secret: bool = False) -> Any:
        """`value` without its secrets; the argument is left as it is."""
        if isinstance(value, dict):
            return {name: self(item, secret=self.names(name)) for name, item in value.items()}
        if isinstance(value, list):
            return [self(item, secret=secret) for item in value]
        return MASKED if secret and isinstance(value, str) else value

    def names(self, name: str) -> bool:
        """Whether `name` is the name of a secret."""
        # Long names are not worth a place in the cache, and an attacker could fill it with them.
        return self._is_secret(name) if len(name) <= 128 else self._is_secret.__wrapped__(name)


def mask_pointers(document: dict[str, Any], pointers: Iterable[tuple[str, ...]]) -> dict[str, Any]:
    """A copy of `document` with the value at each JSON pointer (RFC 6901, split into its tokens) replaced by `***`.

    `*` stands for every element of an array or member of an object.
    """
    result = document
    for pointer in pointers:
        result = _masked_at(result, pointer)
    return result


def parse_pointer(text: str) -> tuple[str, ...]:
    """The reference tokens of a JSON pointer (RFC 6901); ValueError when it does not begin with a slash."""
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not a JSON pointer: it must begin with '/'")
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in text[1:].split("/"))


def _masked_at(value: Any, tokens: tuple[str, ...]) -> Any:
    if not tokens:
        return MASKED
    head, rest = tokens[0], tokens[1:]
    if isinstance(value, dict):
        return {k: _masked_at(v, rest) if head in ("*", k) else v for k, v in value.items()}
    if isinstance(value, list):
        return [_masked_at(v, rest) if head in ("*", str(i)) else v for i, v in enumerate(value)]
    return value

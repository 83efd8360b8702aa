"""Salted commitments: an entry shows SHA-256(salt || value), and the value lies beside the log, where it can be erased.

A value that was named as personal stands as `{"commitment": "<base64>"}`, whatever its type was. A text or a member's
name that only mentions such a value stands as `commitment:<base64>`, so that texts stay texts.
"""

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.model.mask import write_pointer

SALT_BYTES = 16
MEMBER = "commitment"
_BASE64 = "[A-Za-z0-9+/]{43}="
_ALONE = re.compile(_BASE64)
_PREFIX = f"{MEMBER}:"
_IN_TEXT = re.compile(f"{_PREFIX}({_BASE64})")


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What a commitment hides: `value` is canonical JSON, exactly what would have stood in the entry.

    `path` is the JSON pointer to the commitment in its entry; that of a member's name points to the member.
    """

    path: str
    salt: bytes
    value: bytes

    @property
    def commitment(self) -> str:
        return commit(self.salt, self.value)

    @property
    def erased(self) -> bool:
        return not self.value


def commit(salt: bytes, value: bytes) -> str:
    """Base64 of SHA-256(salt || value)."""
    return base64.b64encode(hashlib.sha256(salt + value).digest()).decode()


def as_value(commitment: str) -> dict[str, str]:
    """A commitment in the place of a value."""
    return {MEMBER: commitment}


def as_text(commitment: str) -> str:
    """A commitment in the place of a text or a member's name."""
    return _PREFIX + commitment


def is_hidden(value: Any) -> bool:
    """Whether a commitment stands where a text should be."""
    return not isinstance(value, str) or value.startswith(_PREFIX)


def standing_in(value: Any, at: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """(JSON pointer, commitment) of every commitment in an entry, or in the part of it at `at`."""
    found: list[tuple[str, str]] = []
    _collect(value, at, found)
    return found


def reveal(value: Any, kept: Iterable[Disclosure]) -> Any:
    """`value` with what its commitments hide in their place, as far as it is kept."""
    return _revealed(value, {one.commitment: one.value for one in kept if not one.erased})


def _revealed(value: Any, hidden: Mapping[str, bytes]) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(alone := value.get(MEMBER), str) and alone in hidden:
            return orjson.loads(hidden[alone])
        return {_revealed(name, hidden): _revealed(item, hidden) for name, item in value.items()}
    if isinstance(value, list):
        return [_revealed(item, hidden) for item in value]
    if isinstance(value, str) and (found := hidden.get(value.removeprefix(_PREFIX))) and value.startswith(_PREFIX):
        return orjson.loads(found)
    return value


def _collect(value: Any, at: tuple[str, ...], found: list[tuple[str, str]]) -> None:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(alone := value.get(MEMBER), str) and _ALONE.fullmatch(alone):
            found.append((write_pointer(at), alone))
            return
        for name, item in value.items():
            if name.startswith(_PREFIX) and (match := _IN_TEXT.fullmatch(name)):
                found.append((write_pointer((*at, name)), match[1]))
            if type(item) is not str or item.startswith(_PREFIX):  # nearly all members are strings: no call for those
                _collect(item, (*at, name), found)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if type(item) is not str or item.startswith(_PREFIX):
                _collect(item, (*at, str(number)), found)
    elif isinstance(value, str) and (match := _IN_TEXT.fullmatch(value)):
        found.append((write_pointer(at), match[1]))

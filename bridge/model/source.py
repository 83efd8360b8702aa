"""External systems whose answers policies may use: what is declared of one, and what became of one question to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from bridge.model.mask import MASKED, write_pointer
from bridge.model.scope import is_scope_token

MAX_KEY_TEXT = 1024
Pointer = tuple[str, ...]
Key = tuple[str, ...]
"""The key values of one question, in the order of the declared pointers."""
Use = str | None
"""What a source is asked for: a scope, (None) the gate, or for other tuples the package of their resource's type.

The name of such a package is no scope by RFC 6749, so one cannot be taken for the other.
"""


class Status(StrEnum):
    """As `input.sources[NAME].status` has it. `fresh`: not older than the source's maximal age."""

    FRESH = "fresh"
    STALE = "stale"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Declared:
    """What the configuration says about a source; ages in seconds. `max_stale_s` counts for `stale` alone.

    `uses` holds no gate: that is told by `gate`.
    """

    name: str
    owner: str
    key: tuple[Pointer, ...]
    uses: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    gate: bool = False
    max_age_s: float = 60
    on_failure: Literal["deny", "stale", "absent"] = "deny"
    max_stale_s: float = 0

    def serves(self, use: Use) -> bool:
        """Whether it is asked for that."""
        if use is None:
            return self.gate
        return use in self.uses or (use.startswith(self.prefixes) and is_scope_token(use))

    def key_of(self, document: Mapping[str, Any]) -> Key | str:
        """The key values in an input document; a text that says which one is not there."""
        values: list[str] = []
        for pointer in self.key:
            value: Any = document
            for token in pointer:
                value = value.get(token) if isinstance(value, dict) else None
            # A masked secret would be one key for everybody.
            if not isinstance(value, str) or not 0 < len(value) <= MAX_KEY_TEXT or value == MASKED:
                return f"the request has no usable text at {write_pointer(pointer)}"
            values.append(value)
        return tuple(values)


@dataclass(frozen=True, slots=True)
class Held:
    """A value that a source gave. None: it answered that it has none. `at`: when it was asked for (monotonic, s).

    `size`: of the value as JSON, in bytes.
    """

    value: Any
    at: float
    size: int


@dataclass(frozen=True, slots=True)
class SourceAnswer:
    """What became of one question. `error` is for operators, and holds nothing of key, value or credentials.

    `keyless`: it was not asked, since the request lacks a value of its key.
    """

    source: Declared
    status: Status
    value: Any = None
    age_ms: int | None = None
    error: str | None = None
    size: int = 0
    keyless: bool = False

    @property
    def denies(self) -> bool:
        return self.status is Status.FAILED


def answer_of(source: Declared, held: Held, now: float) -> SourceAnswer:
    """The answer that a value is, when it was just given or is not too old."""
    return SourceAnswer(source, Status.FRESH, held.value, _age_ms(held, now), size=held.size)


def fall_back(source: Declared, held: Held | None, now: float, error: str) -> SourceAnswer:
    """What is answered where the source failed: by its failure mode, from an older value if there is one."""
    if source.on_failure == "absent":
        return SourceAnswer(source, Status.ABSENT, error=error)
    if source.on_failure == "stale" and held is not None and now - held.at <= source.max_stale_s:
        return SourceAnswer(source, Status.STALE, held.value, _age_ms(held, now), error, held.size)
    return SourceAnswer(source, Status.FAILED, error=error)


def _age_ms(held: Held, now: float) -> int:
    return max(0, int((now - held.at) * 1000))

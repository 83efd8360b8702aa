"""What is done about an ending, after it is in the log: steps at authorization servers and relying parties. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bridge.model.ended import Name


class Standing(StrEnum):
    """How far a step has come. FAILED is tried again; ACCEPTED was said yes to, where nothing can be looked at."""

    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    """What ended began anew in the meantime, and must not be touched any more."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `kind`: "notice", "consent", "sessions", "tokens", "client", "downstream".

    `name`: of whom or what, as the log names it: with `kind` it tells the step from others of its saga, also after a
    restart. `more`: further ids that are needed to do it.
    """

    kind: str
    name: Name
    more: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """What was asked (a method and a path, without ids and secrets), what was seen, and where the step stands by it.

    `seen` holds numbers, truths and short words of ours alone: nothing that the other side chose stands in the log.
    """

    standing: Standing
    asked: str
    seen: Mapping[str, Any]

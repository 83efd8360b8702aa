"""What is not confirmed yet: every ending whose saga is not settled, with its steps as the log has them."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from bridge.audit.reader import LogReader
from bridge.model.ended import MEMBERS, What
from bridge.model.issued import TokenDigest
from bridge.model.step import ENDING_ID
from bridge.model.times import now_ms
from bridge.saga.outbox import Ending, look

MOST = 1000
_OF_STEP = ("step", "connector", "standing", "asked", "observed", "attempts", "time")


def unconfirmed(folder: Path, digest: TokenDigest | None) -> list[dict[str, Any]]:
    """The oldest MOST of them, oldest first. EvidenceUnavailable when the log cannot be read."""
    with closing(LogReader(folder)) as reader:
        return [_told(one) for one in look(reader, digest).endings[:MOST]]


def unsettled_of(folder: Path, value: str) -> list[int]:
    """The endings that are not settled and name `value`, themselves or in a step. EvidenceUnavailable as above."""
    with closing(LogReader(folder)) as reader:
        found = look(reader, None).endings
    return [
        one.index for one in found if any(value in _named(entry).values() for entry in (one.entry, *one.steps.values()))
    ]


def _told(ending: Ending) -> dict[str, Any]:
    head = {"ending": ending.index, ENDING_ID: ending.id, **_named(ending.entry), "time": ending.entry["time"]}
    steps = [{**{member: one[member] for member in _OF_STEP}, **_named(one)} for one in ending.steps.values()]
    return {**head, "age_s": max(0, now_ms() - ending.at_ms) // 1000, "steps": steps}


def _named(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What an entry is about; an id that is hidden for good stands as `null`."""
    request, ids = entry["request"], dict[str, Any]()
    for member in MEMBERS[What(entry["what"])]:
        told = request.get(member)
        one = told.get("id") if isinstance(told, dict) else None
        ids[member] = one if isinstance(one, str) else None
    return {"what": entry["what"], "issuer": request.get("issuer"), **ids}

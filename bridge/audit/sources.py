"""What the log tells about external sources: how often each served, in which state, and when last."""

from collections import Counter
from dataclasses import dataclass, field

from bridge.audit.reader import LogReader
from bridge.model.times import parse_rfc3339

_MARK = b'"sources":[{'


@dataclass(slots=True)
class Seen:
    """Of one source, in the entries that were looked at; `status` and `at` (RFC 3339) are the last ones."""

    owner: str
    counts: Counter[str] = field(default_factory=Counter)
    status: str = ""
    at: str = ""


def seen_since(reader: LogReader, since_ms: int) -> dict[str, Seen]:
    """By the source's name, from the entries since then."""
    found: dict[str, Seen] = {}
    for one in reader.walk(_first_since(reader, since_ms)):
        if _MARK not in one.data:
            continue
        entry = one.entry
        for told in entry.get("sources", ()):
            seen = found.setdefault(told["name"], Seen(told["owner"]))
            seen.counts[told["status"]] += told.get("count", 1)
            seen.owner, seen.status, seen.at = told["owner"], told["status"], entry["time"]
    return found


def _first_since(reader: LogReader, since_ms: int) -> int:
    """Entries stand in the order of their times, give or take what is in flight."""
    low, high = 0, reader.size()
    while low < high:
        middle = (low + high) // 2
        at = parse_rfc3339(reader.at(middle).entry.get("time"))
        if at is not None and at < since_ms:
            low = middle + 1
        else:
            high = middle
    return low

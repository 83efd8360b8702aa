"""Points in time: milliseconds since the epoch inside, RFC 3339 in UTC outside; and UUIDv7 (RFC 9562)."""

import os
import re
import time
from datetime import UTC, datetime
from functools import lru_cache

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:[0-5]\d)", re.ASCII)
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def now_ms() -> int:
    """The wall clock, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def rfc3339(ms: int) -> str:
    """`ms` since the epoch as RFC 3339 in UTC, with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=16)
def _to_the_second(seconds: int) -> str:
    """Requests come many times a second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def parse_rfc3339(text: object, *, date_allowed: bool = False) -> int | None:
    """Milliseconds since the epoch, or None when `text` is not an RFC 3339 date-time (or full-date, where allowed)."""
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        if _RFC3339.fullmatch(text):
            return int(datetime.fromisoformat(text.upper()).timestamp() * 1000)
        if date_allowed and _FULL_DATE.fullmatch(text):
            return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return None


def uuid7(ms: int) -> str:
    """A UUID version 7 (RFC 9562, section 5.7) for the instant `ms`."""
    random = int.from_bytes(os.urandom(10))
    value = (ms & 0xFFFFFFFFFFFF) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & 0x3FFFFFFFFFFFFFFF
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

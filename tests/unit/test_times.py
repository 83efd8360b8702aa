"""Instants and identifiers."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.times import now_ms, parse_rfc3339, rfc3339, uuid7

LAST_MS = 253402300799999  # 9999-12-31T23:59:59.999Z


@given(st.integers(0, LAST_MS))
def test_what_is_written_reads_back_to_the_millisecond(ms: int) -> None:
    text = rfc3339(ms)
    parsed = parse_rfc3339(text)
    assert parsed is not None
    assert 0 <= ms - parsed <= 1
    assert parsed // 1000 == ms // 1000 or ms % 1000 == 0
    assert datetime.fromisoformat(text).tzinfo == UTC


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2026-06-01T12:00:00Z", "2026-06-01T12:00:00Z"),
        ("2026-06-01t12:00:00z", "2026-06-01T12:00:00Z"),
        ("2026-06-01T14:30:00+02:30", "2026-06-01T12:00:00Z"),
        ("2026-05-31T23:00:00-13:00", "2026-06-01T12:00:00Z"),
        ("2026-06-01T12:00:00-00:00", "2026-06-01T12:00:00Z"),
        ("2026-06-01T12:00:00.000999999999Z", "2026-06-01T12:00:00Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00Z"),
    ],
)
def test_forms_of_rfc_3339(text: str, same_as: str) -> None:
    assert parse_rfc3339(text) == int(datetime.fromisoformat(same_as).timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-06-01", "2026-06-01T12:00Z", "2026-06-01 12:00:00Z", "2026-06-01T12:00:00"),
        *("2026-06-01T12:00:00z ", " 2026-06-01T12:00:00Z", "2026-06-01T12:00:00Z\n", "2026-06-01T12:00:00+0200"),
        *("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-06-31T00:00:00Z", "2026-06-01T25:00:00Z"),
        *("2026-06-01T24:00:00Z", "2026-06-01T12:60:00Z", "2026-06-01T12:00:61Z", "2026-06-01T12:00:00,5Z"),
        *(
            "2026-06-01T12:00:00+24:00",
            "2026-06-01T12:00:00+00:60",
            "2026-06-01T12:00:00+00:99",
            "0000-01-01T00:00:00Z",
        ),
        *("20260601T120000Z", "2026-W23-1T12:00:00Z", "+2026-06-01T12:00:00Z", "26-06-01T12:00:00Z", "1780315200"),
        *("٢٠٢٦-06-01T12:00:00Z", "2026-06-01T12:00:00.٥Z", "2026-06-01T12:00:00." + "0" * 100 + "Z"),
    ],
)
def test_anything_else_is_no_instant(text: str) -> None:
    assert parse_rfc3339(text) is None


@pytest.mark.parametrize("value", [None, True, 0, 1780315200, 1.5, [], {}, ["2026-06-01T12:00:00Z"], b"2026-06-01"])
def test_only_text_is_an_instant(value: Any) -> None:
    assert parse_rfc3339(value, date_allowed=True) is None


def test_date_counts_from_its_first_instant_and_only_where_it_may() -> None:
    assert parse_rfc3339("2026-06-01", date_allowed=True) == parse_rfc3339("2026-06-01T00:00:00Z")
    assert parse_rfc3339("2026-06-31", date_allowed=True) is None
    assert parse_rfc3339("٢٠٢٦-06-01", date_allowed=True) is None


@given(st.text() | st.from_regex(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?"))
def test_reading_is_total(text: str) -> None:
    result = parse_rfc3339(text, date_allowed=True)
    assert result is None or isinstance(result, int)


@given(st.integers(0, 2**48 - 1))
def test_uuid7_holds_its_instant_version_and_variant(ms: int) -> None:
    value = uuid.UUID(uuid7(ms))
    assert (value.version, value.variant, value.int >> 80) == (7, uuid.RFC_4122, ms)


def test_uuid7_sorts_by_time_and_never_repeats() -> None:
    at = now_ms()
    assert uuid7(at) < uuid7(at + 1)
    assert len({uuid7(at) for _ in range(10_000)}) == 10_000


def test_uuid7_uses_all_of_its_random_bits() -> None:
    """A bit that never changes would be a fault of the layout."""
    seen_ones, seen_zeros = 0, 0
    for _ in range(200):
        value = uuid.UUID(uuid7(0)).int
        seen_ones |= value
        seen_zeros |= ~value
    random_bits = (0xFFF << 64) | (2**62 - 1)
    assert seen_ones & random_bits == random_bits
    assert seen_zeros & random_bits == random_bits

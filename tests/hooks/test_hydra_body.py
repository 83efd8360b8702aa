"""Reading a body of Ory Hydra's, without a bridge."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.doors.hooks.hydra_body import MARKER, read_body_of, seconds_of
from bridge.errors import MalformedRequest
from tests.hooks.recorded import captured


@pytest.mark.parametrize(
    ("time", "seconds"),
    [
        ("2026-11-23T18:50:11Z", 1795459811),
        ("2026-11-23T18:50:01.98Z", 1795459801.98),
        ("2026-11-23T18:50:01.123456789Z", 1795459801.123456),
        ("2026-11-23T19:50:11+01:00", 1795459811),
        ("2026-11-23T19:50:11.5+01:00", 1795459811.5),
        *(
            (time, None)
            for time in ("0001-01-01T00:00:00Z", "", "soon", "2026-11-23T18:50:11", "2026-13-01T00:00:00Z", 7)
        ),
    ],
)
def test_times_as_go_writes_them(time: Any, seconds: float | None) -> None:
    assert seconds_of(time) == seconds


_leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@settings(max_examples=60)
@given(st.sampled_from(["client_credentials", "authorization_code", "jwt_bearer"]), st.data())
def test_whatever_stands_in_a_body_it_is_read_or_malformed(name: str, data: st.DataObject) -> None:
    body = captured(name)
    place = body
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(_values)
            break
        place = place[key]
    with contextlib.suppress(MalformedRequest):
        told = read_body_of(body, refresh_hook=False)
        assert MARKER not in told.others

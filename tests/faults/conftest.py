"""What the tests of faults share."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    """The process log of a bridge inside the test, event by event."""
    with structlog.testing.capture_logs() as events:
        yield events

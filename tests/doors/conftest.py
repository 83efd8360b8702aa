"""One bridge without callers for the tests of the native door: on loopback, everyone may ask."""

from collections.abc import Iterator

import pytest

from tests.support.bridge import RunningBridge, running_bridge


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    # Time for a request of 4 MiB, and for a machine that does other things too.
    slow = {"deadline_ms": 20_000}
    with running_bridge(tmp_path_factory.mktemp("bridge"), server=slow, engine=slow) as running:
        yield running

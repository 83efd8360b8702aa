"""One bridge whose policies answer what they are told; on loopback, everyone may ask."""

from collections.abc import Iterator

import pytest

from tests.authzen.asking import write_saying
from tests.support.bridge import RunningBridge, running_bridge


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("authzen")
    slow = {"deadline_ms": 20_000}  # a machine that does other things too
    with running_bridge(folder, write_saying(folder / "rego"), server=slow, engine=slow) as running:
        yield running

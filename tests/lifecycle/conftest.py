"""What starts slowly is started once for all that need it."""

from collections.abc import Iterator

import pytest

from tests.lifecycle.real_servers import World, real_world


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Hydra, and a bridge that ends there what ends here."""
    with real_world(tmp_path_factory.mktemp("hydra")) as world:
        yield world

"""The published files: exactly what C2SP tlog-tiles asks for, at every size, and the same again after a rebuild."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bridge.cli.main import cli
from bridge.evidence.files import LOG
from tests.support.bridge import write_config

from .logs import SmallLog, contents, entries_of, expected_tiles, signed_sizes, small_log, tiles_in

CLOSELY = {1, 2, 3, 255, 256, 257, 258, 511, 512, 513, 700}


@pytest.fixture
def log(quick_path: Path) -> Iterator[SmallLog]:
    with small_log(quick_path / "evidence") as log:
        yield log


def assert_files(log: SmallLog) -> None:
    expected = expected_tiles(entries_of(log.folder), signed_sizes(log.folder))
    found = tiles_in(log.folder)
    assert found.keys() == expected.keys()
    assert found == expected


def rebuilt(log: SmallLog) -> dict[str, bytes]:
    """The published files after `log rebuild`."""
    log.close()
    config = write_config(log.folder.parent)
    done = CliRunner().invoke(cli, ["log", "rebuild", "--config", str(config)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return contents(log.folder / LOG)


def test_before_the_first_entry_there_is_only_the_key(log: SmallLog) -> None:
    log.publish()
    assert contents(log.folder / LOG).keys() == {"vkey"}
    assert rebuilt(log).keys() == {"vkey"}


def test_at_every_size_the_files_are_those_of_the_tree(log: SmallLog) -> None:
    for size in range(1, 701):
        log.grow(1)
        if size in CLOSELY:
            assert_files(log)
    before = contents(log.folder / LOG)
    assert rebuilt(log) == before


@pytest.mark.parametrize("seed", range(4))
def test_sizes_that_no_checkpoint_had_have_no_tiles(log: SmallLog, seed: int) -> None:
    chance = random.Random(seed)
    while log.publisher.signed.size < 700:
        log.grow(chance.choice([1, 2, 7, 90, 255, 256, 300]))
    assert_files(log)
    before = contents(log.folder / LOG)
    assert rebuilt(log) == before


def test_around_the_first_tile_of_the_third_level(log: SmallLog) -> None:
    log.grow(65_000, 534, 1)
    for _ in range(4):  # 65,536 is the second
        log.grow(1)
        assert_files(log)
    before = contents(log.folder / LOG)
    shutil.rmtree(log.folder / LOG)
    assert rebuilt(log) == before

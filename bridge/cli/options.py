"""What several commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

config_option: Callable[[Any], Any] = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="TOML file; every key is also an environment variable BRIDGE__SECTION__KEY.",
)
json_option: Callable[[Any], Any] = click.option("--json", "as_json", is_flag=True, help="For programs.")

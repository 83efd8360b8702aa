"""Groups of commands that import only the command that is called: who reads a log does not wait for an HTTP server."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

import click
from typing_extensions import override


class Commands(click.Group):
    """`places`: command -> `module:attribute`, in the order of the help text."""

    def __init__(self, places: Mapping[str, str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self._places = places

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._places)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._places:
            return None
        module, _, attribute = self._places[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), attribute))

"""The options by which commands choose entries."""

from collections.abc import Callable
from typing import Any

import click
from typing_extensions import override

from bridge.model.times import parse_rfc3339

OUTCOMES = ("allow", "deny", "conditional")


class Instant(click.ParamType[int]):
    """RFC 3339, or a full date (its midnight in UTC); ms since the epoch."""

    name = "time"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        instant = parse_rfc3339(value, date_allowed=True)
        if instant is None:
            self.fail(f"{value!r} is not a time: write 2026-03-01 or 2026-03-01T00:00:00Z", param, ctx)
        return instant


def filter_options(limit: int | None) -> Callable[[Any], Any]:
    """Options whose values, by name, are those of a `Filter`; `limit` is the default of --limit, None: no limit."""
    options = (
        click.option("--kind", help="decision, gap, start, heartbeat, policy, …"),
        click.option("--client"),
        click.option("--subject"),
        click.option("--scope", help="With --outcome: the outcome of this scope."),
        click.option("--outcome", type=click.Choice(OUTCOMES)),
        click.option("--rule", help="A finding's code, or PACKAGE/CODE."),
        click.option("--owner", help="Part of a package owner's name."),
        click.option("--exception", help="An exception path or id; 'any' for all of them."),
        click.option("--from", "since", type=Instant()),
        click.option("--to", "until", type=Instant(), help="Not included."),
        click.option(
            "--limit", type=click.IntRange(1, 1_000_000), default=limit, show_default=True, help="The newest N."
        ),
    )

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add

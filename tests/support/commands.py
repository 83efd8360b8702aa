"""The commands of a group, which imports them only when they are called."""

import click


def commands_of(group: click.Group) -> dict[str, click.Command]:
    context = click.Context(group)
    names = group.list_commands(context)
    return {name: found for name in names if (found := group.get_command(context, name)) is not None}

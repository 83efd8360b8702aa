"""`clients`, `subjects`, `sessions`, `delegations`, `lifecycle`: who may act for whom, and what ends."""

import click

from bridge.cli.commands import Commands

_CLIENTS = {
    "list": "bridge.cli.lifecycle.show:list_clients",
    "show": "bridge.cli.lifecycle.show:show",
    "import": "bridge.cli.lifecycle.imported:import_clients",
    "delete": "bridge.cli.lifecycle.end:delete_client",
    "reinstate": "bridge.cli.lifecycle.end:reinstate_client",
}
_SUBJECTS = {
    "end": "bridge.cli.lifecycle.end:end_subject",
    "reinstate": "bridge.cli.lifecycle.end:reinstate_subject",
}
_SESSIONS = {
    "end": "bridge.cli.lifecycle.end:end_session",
    "check": "bridge.cli.lifecycle.accepted:check_session",
}
_DELEGATIONS = {
    "revoke": "bridge.cli.lifecycle.end:revoke_delegation",
    "reinstate": "bridge.cli.lifecycle.end:reinstate_delegation",
}


@click.group(cls=Commands, places=_CLIENTS)
def clients() -> None:
    """What clients were granted, and for whom; end one."""


@click.group(cls=Commands, places=_SUBJECTS)
def subjects() -> None:
    """End a subject: nothing more is granted for it."""


@click.group(cls=Commands, places=_SESSIONS)
def sessions() -> None:
    """End a sign-in session, and see who still accepts it."""


@click.group(cls=Commands, places=_DELEGATIONS)
def delegations() -> None:
    """Take back what a subject lets a client do, or one grant."""


@click.group(cls=Commands, places={"status": "bridge.cli.lifecycle.status:status"})
def lifecycle() -> None:
    """What follows an ending."""

"""Whose signatures a command believes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bridge.audit.published import read_named
from bridge.config.trust import load_trust
from bridge.errors import ConfigFault, EvidenceInvalid
from bridge.tlog.note import VerifierKey
from bridge.tlog.trust import Trust

_file = click.Path(path_type=Path, dir_okay=False)
vkey_option: Callable[[Any], Any] = click.option(
    "--vkey", "vkeys", type=_file, multiple=True, help="A verifier key of the log, one in the file; may be repeated."
)
trust_option: Callable[[Any], Any] = click.option(
    "--trust", "policy", type=_file, help="Logs, witnesses and a quorum, as a C2SP tlog-policy file."
)


def read_trust(vkeys: tuple[Path, ...], policy: Path | None, fallback: Path) -> Trust:
    """From the options; without any, the key in `fallback`, and a line on standard error that says so.

    ConfigFault names the file that cannot be used.
    """
    if policy is not None:
        trust = load_trust(policy)
    else:
        trust = Trust()
        if not vkeys:
            if not fallback.exists():
                raise ConfigFault(f"name the log's key with --vkey (or --trust): there is none in {fallback}")
            click.echo(f"trusting the key in {fallback}: compare it with a copy that you were given", err=True)
            if not fallback.is_file():  # it would be waited for
                raise ConfigFault(f"{fallback} is no file")
            vkeys = (fallback,)
    for file in vkeys:
        trust.logs.append(_key(file))
    if not trust.logs:
        raise ConfigFault(f"{policy} names no log, and no --vkey is given")
    return trust


def _key(file: Path) -> VerifierKey:
    try:
        return VerifierKey.parse(read_named(file).decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFault(f"{file} cannot be read: {error}") from error
    except EvidenceInvalid as error:
        raise ConfigFault(f"{file}: {error}") from error

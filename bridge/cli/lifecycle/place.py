"""Where the commands of the lifecycle look and write: the configured log, its digest, its issuers."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from bridge.audit.delegations import Tree
from bridge.audit.reader import LogReader
from bridge.audit.register import opened
from bridge.config.settings import Settings
from bridge.evidence.files import DIGEST_KEY
from bridge.evidence.keys import token_digest

LOCAL = "local"
"""The issuer where no callers are configured."""


@contextmanager
def tree(settings: Settings) -> Iterator[Tree]:
    """The register, brought up to date. EvidenceUnavailable when there is no log."""
    folder = Path(settings.evidence.path)
    with closing(LogReader(folder)) as reader, opened(reader) as register:
        digest = token_digest(folder) if (folder / DIGEST_KEY).exists() else None
        yield Tree(register, None if digest is None else lambda name: name.digest(digest))


def issuer_of(settings: Settings, named: str | None) -> str:
    """The one that was named, else the only one that is configured."""
    if named is not None:
        return named
    issuers = sorted({caller.issuer or caller.name for caller in settings.callers if "token_service" in caller.roles})
    if len(issuers) > 1 or (settings.callers and not issuers):
        told = f": there are {', '.join(issuers)}" if issuers else ""
        raise click.UsageError(f"--issuer is needed{told}")
    return issuers[0] if issuers else LOCAL

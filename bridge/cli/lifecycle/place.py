"""Where the commands of the lifecycle look and write: the configured log, its digest, its issuers."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click
from pydantic import TypeAdapter, ValidationError

from bridge.audit.delegations import Tree
from bridge.audit.reader import LogReader
from bridge.audit.register import opened
from bridge.config.settings import Settings
from bridge.errors import ConfigFault
from bridge.evidence.files import DIGEST_KEY
from bridge.evidence.keys import token_digest
from bridge.model.ended import Name, What, meant
from bridge.model.issuance import Identifier

LOCAL = "local"
"""The issuer where no callers are configured."""
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)


def require_log(settings: Settings) -> None:
    """EvidenceUnavailable when there is no log, before anything is written."""
    LogReader(Path(settings.evidence.path)).close()


@contextmanager
def tree(settings: Settings) -> Iterator[Tree]:
    """The register, brought up to date. EvidenceUnavailable: there is no log; ConfigFault: no digest key."""
    folder = Path(settings.evidence.path)
    with closing(LogReader(folder)) as reader, opened(reader) as register:
        digest = token_digest(folder) if (folder / DIGEST_KEY).exists() else None
        if digest is None and register.tables.execute("SELECT 1 FROM ended").fetchone():
            raise ConfigFault(
                f"{folder / DIGEST_KEY} is gone, so that what has ended cannot be told: put its copy there"
            )
        yield Tree(register, None if digest is None else lambda name: name.digest(digest))


def name_of(settings: Settings, what: What, issuer: str | None, ids: Sequence[str]) -> Name:
    """What is meant, at the issuer that is named (None: the only one that is configured). UsageError: it cannot be."""
    return Name(what, issuer_of(settings, issuer), tuple(map(_checked, ids)))


def issuer_of(settings: Settings, named: str | None) -> str:
    """The one that was named, else the only one that is configured. UsageError: that spells it in another way."""
    known = issuers(settings)
    if named is not None:
        if (other := meant(named, known)) is not None:
            raise click.UsageError(f"--issuer: the callers' configuration has {other}: name it like that")
        return _checked(named)
    if len(known) != 1:
        told = f": there are {', '.join(known)}" if known else ""
        raise click.UsageError(f"--issuer is needed{told}")
    return known[0]


def issuers(settings: Settings) -> list[str]:
    """The authorization servers that the configuration lets ask."""
    if not settings.callers:
        return [LOCAL]
    return sorted({caller.issuer or caller.name for caller in settings.callers if "token_service" in caller.roles})


def _checked(text: str) -> str:
    try:
        return _IDENTIFIER.validate_python(text)
    except ValidationError:
        raise click.UsageError("an id or issuer has 1 to 512 characters, none of them a control character") from None

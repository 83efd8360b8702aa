"""`--token-file`: tokens are taken back at their server (RFC 7009) once what they were granted to has ended."""

import asyncio
from pathlib import Path
from typing import Any

import click

from bridge.cli.lifecycle.writing import commit, orders_of
from bridge.config.settings import Settings
from bridge.evidence.keys import token_digest
from bridge.model.ended import Name
from bridge.model.step import Token
from bridge.pdp.lifecycle import CLI, Done
from bridge.pdp.steps import StepEntries
from bridge.pdp.tokens import MAX_TOKEN, MOST, revoked, token_records
from bridge.registry import connectors_of, revokers_of


class Taking:
    """The tokens of one file, and where they go. UsageError when that cannot be."""

    def __init__(self, settings: Settings, name: Name, file: Path, *, dry_run: bool) -> None:
        if dry_run:
            raise click.UsageError("--token-file: a dry run takes no token back")
        self._settings, self._name, self._tokens = settings, name, _tokens_in(file)
        revokers = revokers_of(connectors_of(settings))
        if name.issuer not in revokers:
            raise click.UsageError("--token-file: no [[servers]] of kind rfc7009 is configured for this issuer")
        self._revoker = revokers[name.issuer]

    def __call__(self, made: Done) -> list[dict[str, Any]]:
        """`standing` and `observed` of each, which are on record then."""
        came = asyncio.run(revoked(self._revoker, self._tokens))
        entries = StepEntries(orders_of(self._settings), token_digest(Path(self._settings.evidence.path)))
        commit(self._settings, token_records(entries, self._name, made.receipt, self._revoker.kind, came, CLI))
        return [{"standing": one.standing.value, "observed": dict(one.seen)} for one in came]


def _tokens_in(file: Path) -> list[Token]:
    """UsageError tells nothing of them."""
    with file.open("rb") as read:
        lines = read.read(MOST * (MAX_TOKEN + 2) + 1).splitlines()
    texts = [one.strip().decode("latin-1") for one in lines if one.strip()]
    good = all(len(one) <= MAX_TOKEN and one.isascii() and one.isprintable() for one in texts)
    if not good or not 0 < len(texts) <= MOST:
        raise click.UsageError(f"{file}: 1 to {MOST} tokens, one a line, of at most {MAX_TOKEN} printable characters")
    return [Token(one) for one in texts]

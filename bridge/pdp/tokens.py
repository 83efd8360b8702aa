"""Tokens that an order brings along are taken back at their server: the bridge itself has none, and keeps none."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from bridge.model.ended import Name
from bridge.model.step import TOKEN, TOKENS, Observed, Step, Token
from bridge.pdp.lifecycle import DOOR
from bridge.pdp.prove import durable
from bridge.pdp.steps import StepEntries
from bridge.ports import Journal, Receipt, Record, Revoker

MOST = 20
MAX_TOKEN = 16 * 1024
"""Tokens of one order, and characters of each."""
WITHIN_S = 10.0
"""In which a server must have taken them back, other attempts included."""


class Tokens:
    """`revokers`: by their issuer."""

    def __init__(
        self, journal: Journal, entries: StepEntries, revokers: Mapping[str, Revoker], deadline_s: float
    ) -> None:
        self._journal, self._entries, self._revokers, self._deadline_s = journal, entries, revokers, deadline_s

    def known(self, issuer: str) -> bool:
        """Whether tokens of this authorization server can be taken back."""
        return issuer in self._revokers

    async def __call__(self, name: Name, ending: Receipt, tokens: Sequence[Token]) -> list[Observed]:
        """What came of each. EvidenceUnavailable: it is not on record; the order must be repeated, with its tokens."""
        revoker = self._revokers[name.issuer]
        found = await revoked(revoker, tokens)
        for record in token_records(self._entries, name, ending, revoker.kind, found, DOOR):
            await durable(self._journal, record, self._deadline_s)
        return found


async def revoked(revoker: Revoker, tokens: Sequence[Token]) -> list[Observed]:
    """What came of each token, in their order."""
    until = time.monotonic() + WITHIN_S
    return await asyncio.gather(*(revoker.revoke(token, until) for token in tokens))


def token_records(
    entries: StepEntries, name: Name, ending: Receipt, connector: str, found: Sequence[Observed], door: str
) -> list[Record]:
    """An entry for each token: which it was of so many, and never the token."""
    at, step = (ending.index, ending.entry["id"]), Step(TOKENS, name)
    return [
        entries.step(at, step, connector, one, 1, door=door, more={TOKEN: number, "tokens": len(found)})
        for number, one in enumerate(found, 1)
    ]

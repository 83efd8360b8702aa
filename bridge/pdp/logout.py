"""What a logout token says becomes endings of sessions; that a browser got the front-channel page is told, too."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.ended import KIND, Effect, Name, What
from bridge.model.issued import TokenDigest
from bridge.model.logout import JTI_DIGEST, Logout
from bridge.model.step import ENDING_ID, Observed, Standing, Step
from bridge.pdp.lifecycle import Lifecycle, Order
from bridge.pdp.prove import durable
from bridge.pdp.steps import StepEntries
from bridge.ports import Journal, Lookup, Receipt, Record

DOOR = "logout"
FRONTCHANNEL = "frontchannel"
AT_ONCE = 500
"""Endings in one transaction."""
log = structlog.get_logger(__name__)
AskMeant = Callable[[Logout], Awaitable["tuple[Sequence[str], bool]"]]
"""The sessions that a token means, and whether it came before. EvidenceUnavailable when the log cannot be read."""


class Logouts:
    """Acts on what was believed."""

    def __init__(self, lifecycle: Lifecycle, digest: TokenDigest, meant: AskMeant) -> None:
        self._lifecycle, self._digest, self._meant = lifecycle, digest, meant

    async def __call__(self, logout: Logout, request_id: str | None) -> bool:
        """Ends what the token means, durably; whether it came before. EvidenceUnavailable: it must come again."""
        sessions, repeated = await self._meant(logout)
        orders = [
            Order(
                Name(What.SESSION, logout.issuer, (session,)),
                Effect.ENDED,
                "back-channel logout",
                logout.issuer,
                DOOR,
                request_id,
                more={JTI_DIGEST: logout.digest(self._digest)},
            )
            for session in sessions
        ]
        for start in range(0, len(orders), AT_ONCE):
            await self._lifecycle.together(orders[start : start + AT_ONCE])
        return repeated


class Pages:
    """Writes down, once for each ending, that a browser was given the page that tells its applications."""

    def __init__(self, journal: Journal, entries: StepEntries, deadline_s: float) -> None:
        self._journal, self._entries, self._deadline_s = journal, entries, deadline_s

    async def served(self, name: Name, ending_id: str, ending: int, applications: int) -> None:
        """Of the session that ended at `ending`. A log that cannot be written keeps nobody from signing out."""
        observed = Observed(Standing.ACCEPTED, "page served", {"applications": applications})
        record = self._entries.step((ending, ending_id), Step(FRONTCHANNEL, name), DOOR, observed, 1, door=DOOR)
        try:
            await durable(self._journal, replace(record, finish=partial(_once, record)), self._deadline_s)
        except EvidenceUnavailable as error:
            log.error("frontchannel_unrecorded", ending=ending, reason=str(error))


def _once(record: Record, lookup: Lookup) -> Record | Receipt:
    """ports.Finish: nothing, where the log tells it already: a browser loads pages again."""
    before = lookup.about(KIND, ENDING_ID, record.entry[ENDING_ID])
    return next((one for one in before if one.entry.get("step") == FRONTCHANNEL), record)

"""Compares an authorization server's list of clients with the log: one that was deleted there ends here, too.

No server tells of a deletion. A list that cannot be right (of another database, by a wrong address) ends nobody, and a
client ends only when two lists in a row lack it, since tools that change a client delete it and make it anew, and when
the server, asked for it by its name, says that it is not there. What is known is told by the log, so that nothing is
forgotten by a restart.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

import structlog
from pydantic import TypeAdapter, ValidationError

from bridge.errors import EvidenceUnavailable
from bridge.model.ended import Effect, Name, What
from bridge.model.issuance import Identifier
from bridge.pdp.lifecycle import Lifecycle, Order
from bridge.pdp.prove import durable
from bridge.pdp.registered import registered
from bridge.pdp.steps import SAGA
from bridge.ports import Journal

REASON = "no longer at its authorization server"
FEW, PART = 10, 10
"""So many may be gone at once whatever they are of, and above that one in so many."""
DURABLE_S = 10.0
_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
log = structlog.get_logger(__name__)


@runtime_checkable
class Lister(Protocol):
    """A ports.Connector that can tell of single clients."""

    kind: str
    issuer: str | None

    async def clients(self) -> list[str] | None: ...

    async def has_client(self, client: str) -> bool | None:
        """Whether it is there; None: not known now."""


Known = Callable[[str], Mapping[str, bool]]
"""The clients of an issuer that the log tells of, and whether each has ended. EvidenceUnavailable."""


class Clients:
    """Of one server. `trouble`: why its clients are not compared, for operators; None when they are."""

    def __init__(self, lister: Lister, every_s: float, known: Known, journal: Journal, lifecycle: Lifecycle) -> None:
        self._lister, self.issuer, self._every_s = lister, lister.issuer or "", every_s
        self._known, self._journal, self._lifecycle = known, journal, lifecycle
        self.trouble: str | None = None
        self._missed: set[str] = set()
        """Those that the last list lacked."""

    async def run(self) -> None:
        while True:
            try:
                await self.look()
            except EvidenceUnavailable as error:
                self._note("clients_not_listed", f"the log does not answer: {error}")
            except Exception as error:  # noqa: BLE001 - whatever it was, the look must go on
                self._note("clients_not_listed", f"defect: {type(error).__name__}")
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """EvidenceUnavailable: the log could not be read or written; what is left undone is found again."""
        # Before the list, so that a client that comes and asks in between is not missed in it.
        known = await asyncio.to_thread(self._known, self.issuer)
        listed = await self._lister.clients()
        if listed is None:
            self._note("clients_not_listed", "its list of clients is not there, not whole or not understood")
            return
        there = set(listed)
        gone = sorted(client for client, ended in known.items() if not ended and client not in there)
        if wrong := _implausible(known, gone):
            self._note("clients_vanished", wrong)
            return
        self._note(None, None)
        await self._take_note([client for client in listed if client not in known and _is_identifier(client)])
        missed, self._missed = self._missed, set(gone)
        for client in sorted(missed.intersection(gone)):
            if await self._lister.has_client(client) is False:
                name = Name(What.CLIENT, self.issuer, (client,))
                await self._lifecycle(Order(name, Effect.ENDED, REASON, self._lister.kind, SAGA))

    async def _take_note(self, new: list[str]) -> None:
        if new:
            for record in registered(self.issuer, new, SAGA, self._lister.kind):
                await durable(self._journal, record, DURABLE_S)

    def _note(self, event: str | None, trouble: str | None) -> None:
        """Tells the operator once, until it changes."""
        if trouble != self.trouble:
            if event is None:
                log.info("clients_listed", issuer=self.issuer)
            elif event == "clients_vanished":
                log.error("clients_vanished", issuer=self.issuer, reason=trouble)
            else:
                log.warning("clients_not_listed", issuer=self.issuer, reason=trouble)
        self.trouble = trouble


def _implausible(known: Mapping[str, bool], gone: list[str]) -> str | None:
    """Why so many deletions are not believed."""
    living = sum(not ended for ended in known.values())
    if len(gone) > max(FEW, living / PART) or (len(gone) > 1 and len(gone) * 2 > living):
        return f"{len(gone)} of {living} clients are gone at once: nobody ends by that"
    return None


def _is_identifier(client: str) -> bool:
    """Whether it can ask at a door at all."""
    try:
        _IDENTIFIER.validate_python(client)
    except ValidationError:
        return False
    return True

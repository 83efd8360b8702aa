"""All that follows one ending, step by step, until nothing is left to do; what an attempt has to tell is an entry."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.ended import Name
from bridge.model.entry import exact
from bridge.model.step import CLIENT, NOTICE, Observed, Standing, Step
from bridge.pdp.prove import durable
from bridge.pdp.steps import StepEntries
from bridge.ports import Connector, Journal
from bridge.saga.outbox import Ending, superseded

MOST = 2000
"""Steps of one saga; a tree has more only where a name has thousands of grants."""
ATTEMPT_S, NOTICES_S, DURABLE_S = 20.0, 30.0, 10.0
"""One attempt at most; for how long the deletion of a client waits for notices; for an entry."""
FIRST_S, LONGEST_S = 1.0, 300.0
NEVER = float("-inf")
AT_ONCE = 8
"""Attempts of one saga at a time."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Means:
    """What sagas are done with. `most`: so many attempts at one server at a time, of all sagas.

    One that hangs must not keep the others waiting.
    """

    folder: Path
    journal: Journal
    entries: StepEntries
    tree: Callable[[Name], Awaitable[Mapping[str, Any]]]
    most: int
    planning: asyncio.Lock = field(default_factory=asyncio.Lock)
    """One plan at a time, so that who asks for a tree at a door waits for one of ours, and not for thousands."""
    _turns: dict[tuple[str, str | None], asyncio.Semaphore] = field(default_factory=dict)

    def turns(self, connector: Connector) -> asyncio.Semaphore:
        return self._turns.setdefault((connector.kind, connector.issuer), asyncio.Semaphore(self.most))


@dataclass(slots=True)
class _Todo:
    """A step, and how it stands. `told`: what was recorded last; `tries` since this saga was taken up."""

    step: Step
    connector: Connector
    told: Mapping[str, Any] | None
    attempts: int = 0
    tries: int = 0
    due: float = 0.0
    standing: Standing = Standing.FAILED

    def __post_init__(self) -> None:
        if self.told is not None:
            self.attempts, self.standing = self.told["attempts"], Standing(self.told["standing"])

    @property
    def open(self) -> bool:
        return self.standing is Standing.FAILED

    def later(self) -> None:
        self.tries += 1
        self.due = time.monotonic() + back_off(self.tries)


@dataclass(slots=True)
class Saga:
    """One of them. It goes on from what is recorded, so that it may be broken off anywhere."""

    ending: Ending
    means: Means
    connectors: Sequence[Connector]
    poked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when what ended has begun anew: what is left is superseded, and need not wait."""
    taken_up: float = field(default_factory=time.monotonic)
    _began: float = field(default_factory=time.monotonic)
    _whole: bool = True
    """Whether everything that hangs on it is known."""

    async def run(self) -> None:
        """Returns once it is settled."""
        todo = await self._until_done(self._plan)
        await self._until_done(lambda: self._work(todo))
        await self._until_done(lambda: self._settle(todo))

    async def _work(self, todo: list[_Todo]) -> None:
        left = [one for one in todo if one.open]
        while left:
            await self._pass(left)
            left = [one for one in left if one.open]
            if left and await self._poked(min(self._next(one, left) for one in left) - time.monotonic()):
                self._began = NEVER
                for one in left:
                    one.due = NEVER

    async def _plan(self) -> list[_Todo]:
        """The steps of all connectors in their order, each with what is recorded of it."""
        name = self.ending.name
        if name is None:
            log.warning("revocation_nameless", ending=self.ending.index)
            self._whole = False
            return []
        mine = [one for one in self.connectors if one.issuer in (None, name.issuer)]
        async with self.means.planning:
            tree = await self.means.tree(name)
        found = {
            self.means.entries.digest(step, connector.kind): (step, connector)
            for connector in mine
            for step in connector.steps(name, tree)
        }
        # What is recorded and is no step any more was of a server that is not configured now.
        gone = any(told["standing"] == Standing.FAILED for at, told in self.ending.steps.items() if at not in found)
        self._whole = not gone and "more" not in tree and len(found) <= MOST
        todo = [_Todo(*one, self.ending.steps.get(at)) for at, one in list(found.items())[:MOST]]
        return sorted(todo, key=lambda one: one.step.rank)

    async def _pass(self, left: list[_Todo]) -> None:
        """One attempt of each that is due; what goes first has been tried before what goes later.

        Of notices only those that come to it in NOTICES_S: many to one who does not answer must not hold up the rest.
        """
        places = asyncio.Semaphore(AT_ONCE)

        async def at_a_place(one: _Todo) -> None:
            async with AsyncExitStack() as held:
                try:
                    async with asyncio.timeout(NOTICES_S if one.step.kind == NOTICE else None):
                        await held.enter_async_context(places)
                        await held.enter_async_context(self.means.turns(one.connector))
                except TimeoutError:
                    return
                await self._attempt(one)

        for _, some in groupby(left, key=lambda one: one.step.rank):
            now = time.monotonic()
            await asyncio.gather(*(at_a_place(one) for one in some if self._next(one, left) <= now))

    def _next(self, one: _Todo, left: list[_Todo]) -> float:
        """When it may be tried (time.monotonic)."""
        if one.step.kind == CLIENT and any(other.step.kind == NOTICE and other.open for other in left):
            return max(one.due, self._began + NOTICES_S)
        return one.due

    async def _attempt(self, one: _Todo) -> None:
        try:
            if await asyncio.to_thread(superseded, self.means.folder, self.ending):
                observed = Observed(Standing.SUPERSEDED, "nothing", {})
            else:
                observed = await _done(one.connector, one.step)
                one.attempts += 1
            await self._tell(one, observed)
        except (EvidenceUnavailable, sqlite3.Error):  # it is tried again, which does no harm
            one.later()
            return
        one.standing = observed.standing
        if one.open:
            one.later()

    async def _tell(self, one: _Todo, observed: Observed) -> None:
        """An attempt that observes what the last recorded one did is counted, and not written again."""
        record = self.means.entries.step(self.ending.place, one.step, one.connector.kind, observed, one.attempts)
        members = ("standing", "asked", "observed")
        if one.told is None or any(one.told[member] != record.entry[member] for member in members):
            await durable(self.means.journal, record, DURABLE_S)
            one.told = record.entry

    async def _settle(self, todo: list[_Todo]) -> None:
        standings = {one.standing for one in todo}
        standing = Standing.ACCEPTED
        if Standing.SUPERSEDED in standings:
            standing = Standing.SUPERSEDED
        elif self._whole and standings == {Standing.CONFIRMED} and any(one.connector.issuer for one in todo):
            standing = Standing.CONFIRMED  # by a server: that grants ended here says nothing of it
        record = self.means.entries.settled(self.ending.place, self.ending.name, standing, len(todo))
        await durable(self.means.journal, record, DURABLE_S)

    async def _until_done(self, what: Callable[[], Awaitable[Any]]) -> Any:
        """Repeats it while the log cannot be read or written, or a connector has a defect."""
        for attempt in range(1, 1_000_000_000):
            try:
                return await what()
            except (EvidenceUnavailable, sqlite3.Error) as error:
                log.warning("revocation_delayed", ending=self.ending.index, reason=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - it stays unconfirmed, which alarms
                log.error("revocation_defect", ending=self.ending.index, reason=type(error).__name__)
            await self._poked(back_off(attempt))
        return None

    async def _poked(self, within_s: float) -> bool:
        """Waits so long, or until it is poked."""
        try:
            async with asyncio.timeout(max(0.0, within_s)):
                await self.poked.wait()
        except TimeoutError:
            return False
        self.poked.clear()
        return True


async def _done(connector: Connector, step: Step) -> Observed:
    """What came of one attempt, whatever happens."""
    asked = f"{connector.kind} {step.kind}"
    try:
        async with asyncio.timeout(ATTEMPT_S):
            observed = await connector.do(step)
        exact(dict(observed.seen))
    except TimeoutError:
        return Observed(Standing.FAILED, asked, {"fault": "timeout"})
    except Exception as error:  # noqa: BLE001 - a defect of one connector must not stop the others
        log.error("revocation_step_defect", connector=connector.kind, step=step.kind, reason=type(error).__name__)
        return Observed(Standing.FAILED, asked, {"fault": "defect"})
    return observed


def back_off(tries: int) -> float:
    """Seconds until the next attempt: doubled each time, and not the same for all."""
    longest = min(LONGEST_S, FIRST_S * 2.0 ** min(tries - 1, 30))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - to spread load, nothing is kept secret by it

"""What follows endings, for one worker: the connectors, the sagas that use them, and the lists of clients."""

import asyncio
from pathlib import Path

from bridge.config.settings import Settings
from bridge.model.issued import TokenDigest
from bridge.ops.metrics import Metrics
from bridge.pdp.lifecycle import Lifecycle, Orders
from bridge.pdp.logout import Pages
from bridge.pdp.steps import StepEntries
from bridge.pdp.tokens import Tokens
from bridge.ports import Journal
from bridge.registry import asks_tree, connectors_of, listings_of, revokers_of
from bridge.saga.clients import Clients
from bridge.saga.saga import Means
from bridge.saga.watch import Sagas

ATTEMPTS = 16
"""So many steps are tried at one server at a time, of all sagas."""


class Settling:
    """`primary`: one of the workers does for all of them what nobody waits for.

    `tokens`, `pages`, `tree`: what the doors of every worker need. ConfigFault when a connector cannot be made.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        orders: Orders,
        lifecycle: Lifecycle,
        digest: TokenDigest,
        metrics: Metrics,
        *,
        primary: bool,
    ) -> None:
        folder, deadline_s = Path(settings.evidence.path), settings.server.deadline_ms / 1000
        entries = StepEntries(orders, digest)
        self._connectors = connectors_of(settings)
        self.tree = asks_tree(folder, digest)
        self.tokens = Tokens(journal, entries, revokers_of(self._connectors), deadline_s)
        self.pages = Pages(journal, entries, deadline_s)
        means = Means(folder, journal, entries, self.tree, ATTEMPTS)
        sagas = Sagas(means, digest, self._connectors, lifecycle, settings.lifecycle.alarm_after_s, metrics)
        self._sagas = [sagas] if primary else []
        self.listings = listings_of(settings, self._connectors, digest, journal, lifecycle) if primary else []

    def begin(self) -> list[asyncio.Task[None]]:
        """Tasks that go on until they are cancelled."""
        running: list[Sagas | Clients] = [*self._sagas, *self.listings]
        return [asyncio.create_task(one.run(), name=type(one).__name__.lower()) for one in running]

    def observe(self) -> None:
        """Brings the metrics up to date, and tells of what takes too long."""
        for sagas in self._sagas:
            sagas.observe()

    def warnings(self) -> list[str]:
        """What an operator should look at."""
        found = [warning for sagas in self._sagas for warning in sagas.warnings()]
        return found + [f"clients of {one.issuer}: {one.trouble}" for one in self.listings if one.trouble is not None]

    async def close(self) -> None:
        for connector in self._connectors:
            await connector.close()

"""Tokens that others exchanged for tokens of what ended: each grant of theirs ends by an entry of its own."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bridge.errors import EvidenceUnavailable
from bridge.model.ended import HIDDEN, Effect, Name, What
from bridge.model.step import DOWNSTREAM, Observed, Standing, Step
from bridge.model.times import parse_rfc3339
from bridge.pdp.lifecycle import Lifecycle, Order
from bridge.pdp.steps import SAGA
from bridge.saga.outbox import Ending

LIVE_UNTIL = "live_until"


class Downstream:
    """ports.Connector, of one ending: the server in question is the bridge itself."""

    kind = "bridge"
    issuer: str | None = None

    def __init__(self, lifecycle: Lifecycle, ending: Ending) -> None:
        self._lifecycle, self._ending = lifecycle, ending

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        return [step for one in _exchanged(tree) for step in _of(one) if step.name != name]

    async def do(self, step: Step) -> Observed:
        """Without a grant that can be named, all there is to say is how long its tokens live, as far as is known."""
        if step.name.what is not What.GRANT:
            return _waited(step)
        order = Order(
            step.name, Effect.ENDED, f"follows ending {self._ending.index}", SAGA, SAGA, caused_by=self._ending.id
        )
        asked = "end of the grant"
        try:
            made = await self._lifecycle(order)
        except EvidenceUnavailable:
            return Observed(Standing.FAILED, asked, {"fault": "log"})
        return Observed(Standing.CONFIRMED, asked, {"ending": made.receipt.index})

    async def clients(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        """There is nothing to close."""


def _exchanged(told: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every delegation of the tree whose tokens were exchanged for those of another."""
    for one in told.get("exchanged", ()):
        yield one
        yield from _exchanged(one)
    for one in told.get("delegations", ()):
        yield from _exchanged(one)


def _of(one: Mapping[str, Any]) -> Iterator[Step]:
    grants = [grant for grant in one.get("grants", ()) if grant != HIDDEN]
    if grants:
        yield from (Step(DOWNSTREAM, Name(What.GRANT, one["issuer"], (grant,))) for grant in grants)
        return
    more = {LIVE_UNTIL: one[LIVE_UNTIL]} if LIVE_UNTIL in one else {}
    yield Step(DOWNSTREAM, Name(What.DELEGATION, one["issuer"], (one["client"], one["subject"]["id"])), more)


def _waited(step: Step) -> Observed:
    until = parse_rfc3339(step.more.get(LIVE_UNTIL))
    if until is None:
        return Observed(Standing.ACCEPTED, "nothing", {})
    over = until <= time.time() * 1000
    return Observed(Standing.CONFIRMED if over else Standing.ACCEPTED, "nothing", {LIVE_UNTIL: until // 1000})

"""What was done about an ending becomes entries of kind `revocation`: one for each step, and one when all is done."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bridge.model.commitment import Disclosure
from bridge.model.ended import KIND, Effect, Name
from bridge.model.entry import canonical, exact
from bridge.model.issued import TokenDigest
from bridge.model.step import ENDING_ID, TOKEN, Observed, Standing, Step
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.pdp.lifecycle import Orders
from bridge.ports import Lookup, Receipt, Record

SAGA = "saga"
"""The door of what nobody asked for at one."""
MAX_SEEN, MAX_ASKED = 2048, 256
"""Bytes of what was observed, and characters of what was asked, that an entry has room for."""


class StepEntries:
    """Makes records; names are hidden as in the entry of the ending itself."""

    def __init__(self, orders: Orders, digest: TokenDigest) -> None:
        self._orders, self._digest = orders, digest

    def digest(self, step: Step, connector: str) -> str:
        """By what a step is known again."""
        return step.digest(connector, self._digest)

    def step(
        self,
        ending: tuple[int, str],
        step: Step,
        connector: str,
        observed: Observed,
        attempts: int,
        *,
        door: str = SAGA,
        more: Mapping[str, Any] | None = None,
    ) -> Record:
        """Of one attempt. `ending`: index and id of its entry; `attempts`: so far, this one among them.

        Nothing but what became of tokens is written about an ending that is settled: the receipt is that entry's then.
        """
        request, kept = self._orders.hidden(step.name)
        seen = exact(dict(observed.seen))
        entry = {
            **_head(ending, Effect.STEP, door),
            "what": step.name.what.value,
            "request": request,
            "step": step.kind,
            "connector": connector,
            "step_digest": self.digest(step, connector),
            "asked": observed.asked[:MAX_ASKED],
            "observed": seen if len(canonical(seen)) <= MAX_SEEN else {"cut": True},
            "standing": observed.standing.value,
            "attempts": attempts,
            **(more or {}),
        }
        return _unless_settled(entry, kept)

    def settled(self, ending: tuple[int, str], name: Name | None, standing: Standing, steps: int) -> Record:
        """The last entry about an ending, which is written once."""
        request, kept = ({}, ()) if name is None else self._orders.hidden(name)
        entry = {
            **_head(ending, Effect.SETTLED, SAGA),
            **({} if name is None else {"what": name.what.value, "request": request}),
            "standing": standing.value,
            "steps": steps,
        }
        return _unless_settled(entry, kept)


def _head(ending: tuple[int, str], effect: Effect, door: str) -> dict[str, Any]:
    at = now_ms()
    head = {"v": 1, "kind": KIND, "id": uuid7(at), "time": rfc3339(at), "door": door, "effect": effect.value}
    return {**head, "ending": ending[0], ENDING_ID: ending[1]}


def _unless_settled(entry: dict[str, Any], kept: tuple[Disclosure, ...]) -> Record:
    record = Record(entry, disclosures=kept)
    return record if TOKEN in entry else replace(record, finish=partial(_finish, record))


def _finish(record: Record, log: Lookup) -> Record | Receipt:
    """ports.Finish. After the last one only others may stand that tell of tokens, or of a page that was served."""
    ending_id = record.entry[ENDING_ID]
    told = log.newest(KIND, ENDING_ID, [ending_id])
    if told and (TOKEN in told[0].entry or told[0].entry["door"] != SAGA):
        told = log.about(KIND, ENDING_ID, ending_id)
    return next((one for one in told if one.entry["effect"] == Effect.SETTLED), record)

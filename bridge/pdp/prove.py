"""Waits until a decision's entry is durable. What cannot be proven is denied, and that denial is told later."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from bridge.errors import EvidenceUnavailable
from bridge.model.decision import Code, Outcome
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.ended import ENDED
from bridge.pdp.gather import Call
from bridge.ports import Journal, Receipt, Record

log = structlog.get_logger(__name__)


class Prover:
    """Hands records to the log; the decision leaves as it was only with a receipt."""

    def __init__(self, journal: Journal, metrics: Metrics) -> None:
        self._journal, self._metrics = journal, metrics

    async def __call__(
        self, records: tuple[Record, ...], call: Call, decision_id: str, outcome: Outcome, *, until: float
    ) -> tuple[Code | None, Receipt | None]:
        """Why it must be denied after all (else None), and where it stands; waits until `until` (monotonic, s)."""
        before = time.monotonic()
        try:
            if not records:
                raise EvidenceUnavailable("no entry could be made")
            written = self._journal.append(*records)
            # Not wait_for: giving up waiting must not take the entry back.
            await asyncio.wait((written,), timeout=max(0.0, until - before))
            note(self._metrics.step, "record", time.monotonic() - before)
            if written.done():
                receipt = written.result()
                return (Code.ENDED if ENDED in receipt.entry else None), receipt
            written.add_done_callback(look_at)
            self.overrule(outcome, call, decision_id, Code.DEADLINE)
        except (Exception, asyncio.CancelledError) as error:
            if given_up():
                raise
            note(self._journal.denied_unrecorded)
            defect = None if isinstance(error, EvidenceUnavailable) else error
            log.error(
                "denied_unrecorded", decision_id=decision_id, caller=call.caller, reason=str(error), exc_info=defect
            )
            return Code.EVIDENCE_UNAVAILABLE, None
        return Code.DEADLINE, None

    def overrule(self, outcome: Outcome, call: Call, decision_id: str, code: Code | None) -> None:
        """The entry stands as it was handed over; a second one tells what was really answered, and why (`code`)."""
        at = now_ms()
        entry = {
            "v": 1,
            "kind": "overruled",
            "id": uuid7(at),
            "time": rfc3339(at),
            "decision_id": decision_id,
            "door": call.door,
            "caller": call.caller,
            "overruled": outcome.value,
            "outcome": Outcome.DENY.value,
            "reply": {"outcome": Outcome.DENY.value, "code": code and code.value},
        }
        self._journal.append_quietly(Record(entry), denials=1)


def note(what: Callable[..., None], *values: Any) -> None:
    """A number that cannot be noted must not make an error of an answer that is on record."""
    try:
        what(*values)
    except Exception:  # a metric that fails changes no decision
        log.exception("metrics_defect")


def given_up() -> bool:
    """Whether this task is cancelled itself, and not only something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def durable(journal: Journal, record: Record, within_s: float, *beside: Record) -> Receipt:
    """Where the record stands, once it and those `beside` it do, all or none.

    EvidenceUnavailable: nobody knows; giving up waiting does not take them back.
    """
    written = journal.append(record, *beside)
    written.add_done_callback(look_at)
    await asyncio.wait((written,), timeout=within_s)  # not wait_for, which would take it back
    if not written.done():
        raise EvidenceUnavailable("the entry was not durable in time")
    return written.result()


def look_at(written: asyncio.Future[Receipt]) -> None:
    """An entry that nobody waits for any more may still fail; the journal has told so already."""
    written.exception()

"""An ending becomes an entry, and from there on nothing is granted to what ended; so does a new beginning."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from bridge.errors import EvidenceUnavailable, NotEnded
from bridge.model.commitment import SALT_BYTES, Disclosure, as_value
from bridge.model.ended import DIGEST, ENDING_TIME, FINAL, KIND, Effect, Name
from bridge.model.entry import canonical
from bridge.model.issued import TokenDigest
from bridge.model.mask import Pointer, covers, mask_pointers, write_pointer
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.prove import durable, note
from bridge.ports import Journal, Lookup, Receipt, Record

DOOR, CLI = "lifecycle", "cli"
MAX_REASON = 500
_NOTHING = Receipt(-1, b"", {})
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody (`caller`) wants to end or to begin anew, and why; `door`: how it came."""

    name: Name
    effect: Effect
    reason: str
    caller: str
    door: str = DOOR
    request_id: str | None = None
    caused_by: str | None = None
    """The id of the ending that this one follows."""
    more: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Further members of the entry."""


@dataclass(frozen=True, slots=True)
class Done:
    """Where it stands. `repeated`: it had ended, or begun anew, before, and that is the entry."""

    receipt: Receipt
    repeated: bool


class Orders:
    """Makes records; `mask` and `personal` as of `record.Recorder`."""

    def __init__(self, digest: TokenDigest, mask: Sequence[Pointer] = (), personal: Sequence[Pointer] = ()) -> None:
        self._digest, self._mask, self._personal = digest, tuple(mask), tuple(personal)

    def hides(self, order: Order) -> bool:
        """Whether reason or caller would show for ever what the entry hides: an id in them."""
        said = f"{order.reason}\n{order.caller}".casefold()
        hidden = (*self._mask, *self._personal)
        shown = [one["id"] for member, one in _named(order.name) if _covered(hidden, member)]
        return any(one.casefold() in said for one in shown)

    def record(self, order: Order) -> Record:
        """To be handed to the log. What comes back for it is for `done`."""
        at, name = now_ms(), order.name
        request, kept = self.hidden(name)
        entry: dict[str, Any] = {
            "v": 1,
            "kind": KIND,
            "id": uuid7(at),
            "time": rfc3339(at),
            "door": order.door,
            "caller": order.caller,
            "effect": order.effect.value,
            "what": name.what.value,
            "request": request,
            DIGEST: name.digest(self._digest),
            "reason": order.reason,
            **order.more,
        }
        if order.request_id is not None:
            entry["request_id"] = order.request_id
        if order.caused_by is not None:
            entry["caused_by"] = order.caused_by
        return Record(entry, disclosures=kept, finish=partial(_finish, entry, kept))

    def hidden(self, name: Name) -> tuple[dict[str, Any], tuple[Disclosure, ...]]:
        """The name as an entry may show it, and what its commitments hide."""
        kept = list[Disclosure]()
        request = mask_pointers(name.request(), self._mask)
        for member, one in _named(name):
            if _covered(self._personal, member) and request[member] == one:
                path = write_pointer(("request", member, "id"))
                kept.append(Disclosure(path, os.urandom(SALT_BYTES), canonical(one["id"])))
                request[member] = {"id": as_value(kept[-1].commitment)}
        return request, tuple(kept)


def done(record: Record, receipt: Receipt) -> Done:
    """NotEnded: what shall begin anew has never ended."""
    if receipt is _NOTHING:
        raise NotEnded("it has not ended, so that it cannot begin anew")
    return Done(receipt, receipt.entry["id"] != record.entry["id"])


class Lifecycle:
    """Writes orders down; waits `deadline_s` for each to be durable."""

    def __init__(self, journal: Journal, orders: Orders, deadline_s: float, metrics: Metrics) -> None:
        self._journal, self._orders, self._deadline_s, self._metrics = journal, orders, deadline_s, metrics

    def hides(self, order: Order) -> bool:
        return self._orders.hides(order)

    async def together(self, orders: Sequence[Order]) -> None:
        """Of endings that come at once, and had not come before. EvidenceUnavailable: repeat all of them."""
        first, *others = map(self._orders.record, orders)
        await durable(self._journal, first, self._deadline_s, *others)
        for order in orders:
            note(self._metrics.revoked, order.name.what.value, order.effect.value)

    async def __call__(self, order: Order) -> Done:
        """EvidenceUnavailable: whether it ended is not known, and it must be repeated. NotEnded as of `done`."""
        if order.effect is Effect.REINSTATED and order.name.what in FINAL:
            raise NotEnded(f"a {order.name.what.value} that has ended does not begin anew")
        record = self._orders.record(order)
        try:
            found = done(record, await durable(self._journal, record, self._deadline_s))
        except EvidenceUnavailable as error:
            log.error("revocation_unrecorded", what=order.name.what.value, caller=order.caller, reason=str(error))
            raise
        if not found.repeated:
            note(self._metrics.revoked, order.name.what.value, order.effect.value)
        return found


def _named(name: Name) -> list[tuple[str, dict[str, str]]]:
    return [(member, one) for member, one in name.request().items() if member != "issuer"]


def _covered(pointers: Sequence[Pointer], member: str) -> bool:
    return any(covers(pointer, (member, "id")) for pointer in pointers)


def _finish(entry: dict[str, Any], kept: tuple[Disclosure, ...], log: Lookup) -> Record | Receipt:
    """ports.Finish: the entry, or the one that stands there already and says the same."""
    before = next(iter(log.newest(KIND, DIGEST, [entry[DIGEST]])), None)
    if before is not None and before.entry["effect"] == entry["effect"]:
        return before
    if entry["effect"] == Effect.ENDED:
        return Record(entry, disclosures=kept)
    if before is None:
        return _NOTHING
    # By the clock of whoever ended it, which may be ahead of the one that `time` is of.
    told = {"ending": before.index, ENDING_TIME: before.entry["time"]}
    return Record({**entry, **told}, disclosures=kept)

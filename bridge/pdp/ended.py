"""Nothing is granted to what ended: looked for in the transaction that records a decision, whatever policies say."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

from bridge.model.commitment import standing_in
from bridge.model.decision import Code, Outcome
from bridge.model.ended import DIGEST, ENDING_TIME, FINAL, KIND, Effect, Name, What, begun, names_in
from bridge.model.entry import fit
from bridge.model.issued import TokenDigest
from bridge.model.times import parse_rfc3339
from bridge.ports import Guard, Lookup, Receipt, Record

ENDED = "ended"
MAX_NAMES = 4096
"""Digests that are kept."""
"""The member of a decision that was refused so: which ending, and of what."""


class Endings:
    """Makes guards. `digest`: the log's own, by which endings are found."""

    def __init__(self, digest: TokenDigest) -> None:
        # One call may show the same names in each of its documents, and the writer is held while they are digested.
        self._digest = lru_cache(MAX_NAMES)(lambda name: name.digest(digest))

    def guard(self, request: Mapping[str, Any], issuer: str) -> Guard:
        """For the record of a decision that grants something for `request` (as it came, unmasked)."""
        return partial(self._guarded, request, issuer)

    def _guarded(self, request: Mapping[str, Any], issuer: str, record: Record, log: Lookup) -> Record:
        named = {self._digest(name): name for name in names_in(request, issuer)}
        told = {receipt.entry[DIGEST]: receipt for receipt in log.newest(KIND, DIGEST, list(named))}
        decided = parse_rfc3339(record.entry["time"]) or 0
        for digest, name in named.items():
            if digest in told and (index := _ending(told[digest], name, request, decided)) is not None:
                return _refused(record, index, name.what)
        return record


def _ending(told: Receipt, name: Name, request: Mapping[str, Any], decided: float) -> int | None:
    """The index of the ending that `request`, decided then (ms), falls under, if it does.

    `told`: the newest entry about `name`.
    """
    if told.entry["effect"] == Effect.ENDED or name.what in FINAL:
        return told.index
    # What ended began anew; what hangs on something older, or does not show that it is younger, stays as it was.
    began = begun(request, name.what, decided)
    known = [parse_rfc3339(told.entry.get(member)) for member in ("time", ENDING_TIME)]
    if began is None or began > max((at for at in known if at is not None), default=decided):
        return None
    ending: int = told.entry["ending"]
    return ending


def _refused(record: Record, index: int, what: What) -> Record:
    """The denial in the place of `record`. What policies said to it stays in `rules`."""
    entry, denied = record.entry, {"outcome": Outcome.DENY.value, "findings": [{"code": Code.ENDED.value}]}
    changed: dict[str, Any] = {
        **entry,
        "outcome": Outcome.DENY.value,
        "granted_scopes": [],
        "scopes": dict.fromkeys(entry["scopes"], denied),
        "findings": denied["findings"],
        "limit": {},
        "require": [],
        "crit": [],
        "reply": {"outcome": Outcome.DENY.value, "code": Code.ENDED.value},
        ENDED: {"index": index, "what": what.value},
    }
    if "claims" in entry:
        changed["claims"] = {}
    with suppress(ValueError):  # some bytes more than it should have; the writer's own bound is twice as high
        changed = fit(changed)
    standing = {path for path, _ in standing_in(changed)}
    # Of the request all is kept, also what was left out of the entry: by it the entry is found when it is to be erased.
    kept = tuple(one for one in record.disclosures if one.path in standing or one.path.startswith("/request/"))
    return replace(record, entry=changed, disclosures=kept)

"""What a token service reports to have minted becomes an entry. It has happened: it is compared, never refused."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog

from bridge.errors import EvidenceUnavailable, ReportOfAnother
from bridge.model.commitment import is_hidden
from bridge.model.issued import IssuedReport, Minted, TokenDigest, Violation, breaches, in_order
from bridge.model.personal import hide_repeats
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ops.metrics import Metrics
from bridge.pdp.prove import durable, note
from bridge.ports import Journal, Lookup, Receipt, Record

KIND = "issued"
DOOR = "issued"
_MAY_REPEAT = ("scopes", "audience", "request_id")
_SAID = ("caller", "exp", "scopes", "audience")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reported:
    """Where the report stands. `repeated`: it stood there already, word for word."""

    receipt: Receipt
    violations: list[str]
    repeated: bool


class Issued:
    """Writes reports down; waits `deadline_s` for each to be durable."""

    def __init__(self, journal: Journal, digest: TokenDigest, deadline_s: float, metrics: Metrics) -> None:
        self._journal, self._digest, self._deadline_s, self._metrics = journal, digest, deadline_s, metrics

    async def __call__(self, report: IssuedReport, caller: str, request_id: str | None) -> Reported:
        """The durable entry of `report`. EvidenceUnavailable: it must be repeated; ReportOfAnother: it never may be."""
        at = now_ms()
        entry = self._entry(report, caller, request_id, at)
        try:
            record = Record(entry, finish=partial(finish, entry, at))
            receipt = await durable(self._journal, record, self._deadline_s)
        except EvidenceUnavailable as error:
            log.error("report_unrecorded", decision_id=report.decision_id, caller=caller, reason=str(error))
            raise
        if receipt.entry["kind"] != KIND:
            raise ReportOfAnother("the decision was another caller's")
        reported = Reported(receipt, receipt.entry["violations"], receipt.entry["id"] != entry["id"])
        self._alarm(reported, report, caller)
        return reported

    def _entry(self, report: IssuedReport, caller: str, request_id: str | None, at: int) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "v": 1,
            "kind": KIND,
            "id": uuid7(at),
            "time": rfc3339(at),
            "door": DOOR,
            "caller": caller,
            "decision_id": report.decision_id,
            "jti_digest": self._digest(report.jti),
            "jti_key": self._digest.key_id,
            "exp": report.exp,
            "scopes": list(dict.fromkeys(report.scopes)),
            "audience": list(dict.fromkeys(report.audience)),
        }
        return entry if request_id is None else {**entry, "request_id": request_id}

    def _alarm(self, reported: Reported, report: IssuedReport, caller: str) -> None:
        """Of a repeated report, too: the first one may have been written without anybody being told."""
        if not reported.violations:
            return
        note(self._metrics.violated, reported.violations)
        log.error(
            "issuance_violation",
            violations=reported.violations,
            decision_id=report.decision_id,
            caller=caller,
            index=reported.receipt.index,
            repeated=reported.repeated,
        )


def finish(entry: dict[str, Any], at_ms: int, log: Lookup) -> Record | Receipt:
    """ports.Finish: `entry` with its violations; the very same one when it stands already; another's decision."""
    named = log.entry(entry["decision_id"])
    decided = named if named is not None and named.entry["kind"] == "decision" else None
    if decided is not None and decided.entry["caller"] != entry["caller"]:
        return decided
    of_token = log.about(KIND, "jti_digest", entry["jti_digest"])
    of_both = [earlier for earlier in of_token if earlier.entry["decision_id"] == entry["decision_id"]]
    for earlier in of_both:
        if all(_same(earlier.entry[name], entry[name]) for name in _SAID):
            return earlier
    minted = Minted(entry["scopes"], entry["audience"], entry["exp"], at_ms)
    overruled = bool(log.about("overruled", "decision_id", entry["decision_id"]))
    found = breaches(decided.entry if decided else None, minted, overruled=overruled)
    if of_both:
        found.add(Violation.CONTRADICTS_REPORT)
    if len(of_both) < len(of_token):
        found.add(Violation.JTI_REUSED)
    of_decision = log.about(KIND, "decision_id", entry["decision_id"])
    if any(earlier.entry["jti_digest"] != entry["jti_digest"] for earlier in of_decision):
        found.add(Violation.SECOND_TOKEN)
    told = {**entry, "violations": in_order(found)}
    if decided is None or not decided.hidden:
        return Record(told)
    told, disclosures = hide_repeats(told, _MAY_REPEAT, decided.entry, decided.hidden)
    return Record(told, disclosures=disclosures)


def _same(told: Any, now: Any) -> bool:
    """Whether a report says what an earlier one did; of what is erased there nothing contradicts it."""
    if not isinstance(told, list):
        return bool(told == now)
    return len(told) == len(now) and all(one == other or is_hidden(one) for one, other in zip(told, now, strict=True))

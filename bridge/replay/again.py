"""Decides recorded documents again, by the same query, reading, merging and writing down as the road of a request."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.errors import EngineTimeout
from bridge.model.decision import Code, Decision, Outcome
from bridge.model.entry import canonical
from bridge.model.scope import is_scope_token
from bridge.model.times import parse_rfc3339
from bridge.model.verdict import Verdict
from bridge.pdp.combine import combine
from bridge.pdp.decide import without_gate
from bridge.pdp.enrich import Informed, without_failed
from bridge.pdp.evaluate import Answers, Ask, Verdicts, evaluate
from bridge.pdp.gather import Batch, Call, encode
from bridge.pdp.record import Facts, Recorder
from bridge.pdp.record_tuples import Told, TupleFacts, TupleRecorder
from bridge.pdp.tuples import RULES, read_tuple, source_failed
from bridge.ports import Engine
from bridge.replay.recorded import (
    BY_POLICIES,
    NOT_OURS,
    NotReplayable,
    Reason,
    Recorded,
    RecordedTuples,
    Replayable,
    unreadable,
)

CHUNK_S = 120.0
QUERY_S = 30.0
"""For one chunk, and one query of it. Nobody waits for a reply; a package that never ends must end all the same."""


@dataclass(frozen=True, slots=True)
class Again:
    """What is decided now: `entry` as it would be written, with the rules of all its entries."""

    entry: Mapping[str, Any]
    decision: Decision | None = None
    verdicts: Verdicts | None = None


async def decide_again(engine: Engine, recorded: Sequence[Replayable]) -> list[Again | NotReplayable]:
    """Each by the set that `engine` answers with, in one query.

    Raises EngineUnavailable, EngineTimeout or PolicyMismatch when nothing usable comes. The scopes that other
    documents of the same token left (`within`) are those of then, also where that set leaves others.
    """
    asked = [_asks(one) for one in recorded]
    asks = dict(
        one for some in asked if isinstance(some, list) for one in some
    )  # a gate that counts often is asked once
    deadline = time.monotonic() + CHUNK_S
    said = await evaluate(engine, list(asks.values()), deadline=deadline, query_s=QUERY_S)
    chunk = _Chunk(engine, said, {key: place for place, key in enumerate(asks)})
    return [chunk.again(one) if isinstance(a, list) else a for one, a in zip(recorded, asked, strict=True)]


_Key = tuple[int, int | None]
"""The index of an entry, and which of its items is meant; None: it has one document."""


def _asks(one: Replayable) -> list[tuple[_Key, Ask]] | NotReplayable:
    """What to ask for one entry, with the document of the gate that counts."""
    try:
        if isinstance(one, RecordedTuples):
            asked = _asked(one).items()
            return [
                ((one.index, n), Ask(encode(d), resource=str(d["resource"]["type"]), rules=RULES)) for n, d in asked
            ]
        both = [each for each in (one, one.gate) if each is not None]
        return [((each.index, None), Ask(each.raw, each.gate is None, _mapped(each))) for each in both]
    except NOT_OURS as error:  # it must not take the others of its query with it
        return unreadable(error)


def _mapped(one: Recorded) -> tuple[str, ...]:
    return tuple(filter(is_scope_token, one.question.scopes))


def _asked(one: RecordedTuples) -> dict[int, dict[str, Any]]:
    codes = {told["item"]: told.get("code") for told in one.entry["decisions"]}
    return {
        number: document
        for number, document in one.documents.items()
        if document is not None and (codes[number] is None or codes[number] in BY_POLICIES)
    }


@dataclass(slots=True)
class _Chunk:
    """The answers to one query, and where in it each document stands."""

    engine: Engine
    said: Answers
    places: Mapping[_Key, int]

    def again(self, one: Replayable) -> Again | NotReplayable:
        try:
            return self._tuples(one) if isinstance(one, RecordedTuples) else self._decision(one)
        except EngineTimeout as error:
            return NotReplayable(Reason.ENGINE, str(error))
        except NOT_OURS as error:
            return unreadable(error)

    def _decision(self, one: Recorded) -> Again:
        decision, verdicts = self._decided(one)
        entry, batch = one.entry, one.entry.get("batch")
        facts = Facts(
            document=one.question.document,
            document_bytes=one.raw,
            engine=self.engine.status(),
            request_id=entry.get("request_id"),
            batch=None if batch is None else Batch(batch["id"], tuple(batch["items"])),
            gate_decision=None if batch is None else batch.get("gate_decision"),
            verdicts=verdicts,
            question=one.question,
            informed=one.informed,
        )
        decision, (first, *rest) = Recorder().record(decision, facts)
        now = _plain(first.entry)
        rules = [*now["rules"], *(rule for record in rest for rule in _plain(record.entry)["rules"])]
        return Again({**now, "rules": rules}, decision, verdicts)

    def _decided(self, one: Recorded) -> tuple[Decision, Verdicts]:
        """The decision, when its gate's own document is decided too. EngineTimeout: a package was late."""
        gate, question = one.gate, one.question
        at_gate = None if gate is None else self.places[gate.index, None]
        place = self.places[one.index, None]
        verdicts = self.said.verdicts(place, _mapped(one), question.now_ms, gate_of=at_gate)
        for verdict in (verdicts.gate, *verdicts.scopes.values()):
            _in_time(verdict)
        counting = without_failed(verdicts, one.informed if gate is None else gate.informed, one.informed)
        decision = combine(question, counting.gate, counting.scopes)
        if gate is not None and self._decided(gate)[0].gate.outcome is not Outcome.ALLOW:
            decision = without_gate(decision)
        return decision, verdicts

    def _tuples(self, one: RecordedTuples) -> Again:
        asked = _asked(one)
        told = [self._told(one, item, asked) for item in one.entry["decisions"]]
        if any(answer.code == Code.DEADLINE for answer in told):
            raise EngineTimeout("a package gave no answer in time")
        records = TupleRecorder().record(told, self._facts(one))
        entries = [_plain(record.entry) for record in records]
        rules = [rule for entry in entries for rule in entry["rules"]]
        decisions = [decision for entry in entries for decision in entry["decisions"]]
        return Again({**entries[0], "rules": rules, "decisions": decisions})

    def _told(self, one: RecordedTuples, item: Mapping[str, Any], asked: Mapping[int, dict[str, Any]]) -> Told:
        number = item["item"]
        if number not in asked:
            return Told(number, permit=False, code=item["code"])
        told = read_tuple(self.said, self.places[one.index, number], str(asked[number]["resource"]["type"]), number)
        return source_failed(told) if item.get("code") == Code.SOURCE_FAILED else told

    def _facts(self, one: RecordedTuples) -> TupleFacts:
        entry = one.entry
        documents = {number: document for number, document in one.documents.items() if document is not None}
        issuer = next((str(document["issuer"]) for document in documents.values()), "")
        return TupleFacts(
            call=Call(entry["door"], entry["caller"], issuer, entry.get("request_id")),
            batch=Batch(entry["batch"]["id"], tuple(entry["batch"]["items"])),
            entry_id=entry["id"],
            time_ms=parse_rfc3339(entry["time"]) or 0,
            documents=documents,
            raw={number: encode(document) for number, document in documents.items()},
            engine=self.engine.status(),
            policy_set=self.said.policy_set,
            informed={number: _informed(entry, number) for number in documents},
        )


def _informed(entry: Mapping[str, Any], number: int) -> Informed:
    def own(member: str) -> tuple[dict[str, Any], ...]:
        told = [one for one in entry[member] if one.get("item") == number]
        return tuple({name: value for name, value in one.items() if name != "item"} for one in told)

    return Informed(own("sources"), own("exceptions"))


def _in_time(verdict: Verdict) -> None:
    if verdict.error is not None and verdict.error_code == Code.DEADLINE:
        raise EngineTimeout(f"{verdict.package}: {verdict.error}")


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    """As it is read from a log."""
    plain: dict[str, Any] = orjson.loads(canonical(entry))
    return plain

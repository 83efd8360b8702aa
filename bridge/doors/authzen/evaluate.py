"""From AuthZEN tuples to the items of a reply: who answers which tuple, and what the answers come to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.doors._callers import AuthenticatedCaller
from bridge.doors.authzen.plan import Plan
from bridge.doors.authzen.shape import Item, issuance_item, refused_item, tuple_item
from bridge.errors import MalformedRequest
from bridge.model.authzen import Evaluations, Misfit, Semantic, Tuple
from bridge.model.times import now_ms, uuid7
from bridge.pdp.decide import Answered, Decide
from bridge.pdp.gather import Asking, Call, encode
from bridge.pdp.record_tuples import Told
from bridge.pdp.tuples import Question, Tuples

MALFORMED = "malformed"
MAX_DOCUMENTS_BYTES = 8 * 1024 * 1024
"""Of all input documents of a request, in which its defaults stand many times over."""
Planner = Callable[[Evaluations, Call, str], Plan]
"""How a dialect is read: what to ask for the tuples of a call, as the batch with this id."""


class Evaluate:
    """Answers the tuples of one request. `ceiling_s`: the operator's bound on lifetimes."""

    def __init__(self, decide: Decide, tuples: Tuples, planner: Planner, ceiling_s: int | None) -> None:
        self._decide, self._tuples = decide, tuples
        self._planner, self._ceiling_s = planner, ceiling_s

    async def __call__(self, asked: Evaluations, call: Call, caller: AuthenticatedCaller) -> bytes:
        """The reply's body. MalformedRequest: the request as a whole is at fault; CallerRefused: a grant type is."""
        batch_id = uuid7(now_ms())
        planned = self._planner(asked, call, batch_id)
        for asking in planned.askings:
            caller.require_grant_type(asking.request["grant_type"])
        if asked.single and isinstance(misfit := planned.refused.get(0), Misfit):
            raise MalformedRequest([("", misfit.reason)])
        questions = _others(asked, planned)
        _bound([*(asking.request for asking in planned.askings), *(q.tuple for q in questions)])
        answered, told = await self._ask(planned.askings, questions, call, batch_id)
        try:
            items = {**self._issuance_items(planned, answered), **_other_items(told, planned)}
            reply = [items[number] for number in range(len(asked.items))]
            if asked.bare:
                reply = [{"decision": item["decision"]} for item in reply]
            return encode(reply[0] if asked.single else {"evaluations": _until(asked.semantic, reply)})
        except Exception:  # what was decided was not said: the log tells so
            self._decide.unsaid(call, answered)
            self._tuples.unsaid(call, told)
            raise

    async def _ask(
        self, askings: Sequence[Asking], questions: list[Question], call: Call, batch_id: str
    ) -> tuple[Sequence[Answered], Sequence[Told]]:
        """Most requests are of one kind alone, which needs no task of its own."""
        if not questions:
            return await self._decide(askings), ()
        if not askings:
            return (), await self._tuples(call, batch_id, questions)
        return await asyncio.gather(self._decide(askings), self._tuples(call, batch_id, questions))

    def _issuance_items(self, planned: Plan, answered: Sequence[Answered]) -> dict[int, Item]:
        return {
            number: issuance_item(place, planned.askings[place.asking], answered[place.asking], self._ceiling_s, number)
            for number, place in planned.places.items()
        }


def _others(asked: Evaluations, planned: Plan) -> list[Question]:
    """The tuples that are not about issuance, and those that no policy is asked about."""
    return [
        Question(number, item.document() if isinstance(item, Tuple) else None, _code(planned.refused.get(number)))
        for number, item in enumerate(asked.items)
        if number not in planned.places
    ]


def _bound(documents: Sequence[Mapping[str, Any] | None]) -> None:
    """A document alone is about as large as the body that it came in; many may share one large default."""
    size = 0
    for document in documents:
        size += len(encode(document)) if len(documents) > 1 else 0
        if size > MAX_DOCUMENTS_BYTES:
            text = f"its {len(documents)} input documents would have more than {MAX_DOCUMENTS_BYTES} bytes"
            raise MalformedRequest([("/evaluations", text)], status=413)


def _code(refused: str | Misfit | None) -> str | None:
    return MALFORMED if isinstance(refused, Misfit) else refused


def _other_items(told: Sequence[Told], planned: Plan) -> dict[int, Item]:
    def item(one: Told) -> Item:
        why = planned.refused.get(one.number)
        if isinstance(why, Misfit):
            return refused_item(why)
        return tuple_item(permit=one.permit, context=one.context, code=one.code)

    return {one.number: item(one) for one in told}


def _until(semantic: Semantic, items: list[Item]) -> list[Item]:
    """The items that are answered. One that failed is no permit, so it ends a batch that any denial ends."""
    if semantic is Semantic.EXECUTE_ALL:
        return items
    last = semantic is Semantic.PERMIT_ON_FIRST_PERMIT
    stops = (number for number, item in enumerate(items) if item["decision"] is last)
    return items[: next(stops, len(items)) + 1]

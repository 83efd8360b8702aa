"""Decisions as a real engine's answers make them: what the log is filled with when it is measured."""

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import policies
from bench.policies import ISSUER
from bridge.engines.managed import ManagedOpa
from bridge.model.decision import Decision
from bridge.model.issuance import IssuanceRequest
from bridge.model.mask import SecretMask
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.pdp.combine import combine
from bridge.pdp.evaluate import Ask, evaluate
from bridge.pdp.gather import Call, encode, gather
from bridge.pdp.question import Question
from bridge.pdp.record import Facts
from bridge.policy.load import load
from bridge.policy.opa import find_opa

PACKAGES = 100
CALLER = "token-service"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request, what the policies said to it, and what came of it."""

    decision: Decision
    facts: Facts

    def again(self, draw: random.Random, at: int) -> "Answer":
        """The same for another user at another instant (`at`, ms): new in all that is new in each request."""
        before = self.facts.document
        user = {**before["subject"], "id": f"user-{draw.randrange(10**6)}"}
        new = {
            "id": uuid7(at),
            "time": rfc3339(at),
            "subject": user,
            "session": {"id": f"{draw.randrange(2**64):016x}"},
        }
        document = {**before, **new}
        return Answer(self.decision, replace(self.facts, document=document, document_bytes=encode(document)))


def ask(scratch: Path, scopes: int, count: int) -> list[Answer]:
    """`count` answers about `scopes` scopes each. Some clients and scopes are asked for much more than others."""
    folder = policies.write(scratch, "scopes", PACKAGES)
    return asyncio.run(_ask(folder, scopes, count))


def repeat(answers: list[Answer], seed: int, first_ms: int, step_ms: float) -> Iterator[Answer]:
    """Without end, one each `step_ms`."""
    draw, number = random.Random(seed), 0
    while True:
        yield draw.choice(answers).again(draw, int(first_ms + number * step_ms))
        number += 1


async def _ask(folder: policies.PolicyFolder, scopes: int, count: int) -> list[Answer]:
    engine, draw = ManagedOpa(find_opa()), random.Random(1)
    await engine.start(load(folder.path, find_opa()))
    try:
        return [await _answer(engine, _body(folder, draw, scopes)) for _ in range(count)]
    finally:
        await engine.close()


async def _answer(engine: ManagedOpa, body: bytes) -> Answer:
    at, started = now_ms(), time.monotonic()
    request = IssuanceRequest.model_validate_json(body)
    document = gather(request.document(), Call("native", CALLER, ISSUER), uuid7(at), at, SecretMask())
    raw = encode(document)
    asks = [Ask(raw, scopes=tuple(request.scopes))]
    said = await evaluate(engine, asks, deadline=started + 60, query_s=30)
    verdicts = said.verdicts(0, request.scopes, at)
    decision = combine(Question(document, at, None), verdicts.gate, verdicts.scopes)
    taken = int((time.monotonic() - started) * 1e6)
    return Answer(
        decision, Facts(document, raw, engine.status(), verdicts=verdicts, duration_us=taken, engine_us=taken)
    )


def _body(folder: policies.PolicyFolder, draw: random.Random, scopes: int) -> bytes:
    request: dict[str, Any] = folder.request(draw, int(time.time()) - 60)
    client = _low(draw, policies.CLIENTS)
    numbers = sorted({_low(draw, folder.count) for _ in range(scopes)} | set(range(scopes)))[-scopes:]
    request["client"] = {"id": f"client-{client}"}
    request["scopes"] = request["consented_scopes"] = [folder.scope(number) for number in numbers]
    request["subject"]["properties"] |= {"tenant": f"tenant-{client}", "flags": [draw.choice(("staff", "guest"))]}
    if draw.randrange(50) == 0:
        request["subject"]["properties"]["flags"] = ["suspended"]
    return encode(request)


def _low(draw: random.Random, below: int) -> int:
    """A number that is mostly a low one: a fifth and more of them are 0."""
    return int(below * draw.random() ** 3)

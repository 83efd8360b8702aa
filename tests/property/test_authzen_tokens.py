"""Random batches for several tokens: each is answered as if it were asked for alone, and narrowed by all that count."""

import asyncio
import json
import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.model.policy import GATE

from .test_authzen_batches import MAPPED, World

GRANTS = ("authorization_code", "token_exchange", "token_exchange", "jwt_bearer")
FAR = "behind"
Item = dict[str, Any]


class Narrowing(World):
    """Some packages narrow; each keeps its own scope."""

    def says(self, package: str, document: Mapping[str, Any]) -> dict[str, Any]:
        kind = document["grant_type"] if package == GATE else ""
        actor = document.get("actor", {}).get("id")
        about = package, document["subject"], document["audience"], document.get("context"), kind, actor
        if not self.yes(*about):
            return {"allow": True, "deny": [{"code": "no"}]}
        draw = random.Random(zlib.crc32(json.dumps([self.seed, *about], sort_keys=True).encode()))
        if draw.random() < 0.6:
            return {"allow": True}
        own = [] if package == GATE else [package.split('"')[1]]
        kept = sorted({*own, *(scope for scope in MAPPED if draw.random() < 0.75)})
        return {"allow": True, "limit": {"granted_scope": " ".join(kept)}}


@dataclass(frozen=True)
class Token:
    """The items that ask for one token: its gates, and its scopes."""

    gates: list[Item]
    scopes: list[Item]


def _item(subject: Item, name: str, target: str, context: Item) -> Item:
    resource = {"type": "audience", "id": target}
    return {"subject": subject, "action": {"name": name}, "resource": resource, "context": context}


def _token(number: int, draw: random.Random) -> Token:
    grant, target = draw.choice(GRANTS), draw.choice(["t1", "t2"])
    parties = [{"type": "user", "id": f"u{number}"}]
    if grant != "authorization_code" and draw.random() < 0.8:
        parties.append({"type": "workload", "id": f"w{number}"})
    gates = [_item(one, f"issue:access_token:{grant}", target, {}) for one in parties]
    scopes = []
    for scope in draw.sample(MAPPED, draw.randint(0, 4)):
        scopes.append(_item(parties[0], scope, target, draw.choice([{}, {"n": 1}])))
        if draw.random() < 0.3:
            scopes.append(_item(parties[-1], scope, draw.choice([target, FAR]), {}))
    return Token(gates, scopes)


def _asked(seed: int, items: list[Item]) -> tuple[Narrowing, list[Item]]:
    world = Narrowing(seed, 90)
    return world, asyncio.run(world.ask({"evaluations": items}))


@given(st.integers(0, 2**32))
def test_tokens_of_one_batch_do_not_touch_and_each_is_narrowed_by_all_that_counts(seed: int) -> None:
    draw = random.Random(seed)
    tokens = [_token(number, draw) for number in range(draw.randint(1, 3))]
    items = [*(one for token in tokens for one in token.gates), *(one for token in tokens for one in token.scopes)]
    world, reply = _asked(seed, items)
    by = {json.dumps(item): answer for item, answer in zip(items, reply, strict=True)}
    for token in tokens:
        own = [by[json.dumps(item)] for item in (*token.gates, *token.scopes)]
        _, alone = _asked(seed, [*token.gates, *token.scopes])
        assert [_told(one) for one in own] == [_told(one) for one in alone]
        permitted = [item for item in (*token.gates, *token.scopes) if by[json.dumps(item)]["decision"]]
        limits = [limit for item in permitted if (limit := _limit(world, item)) is not None]
        for item in permitted:
            assert item in token.gates or all(item["action"]["name"] in limit for limit in limits)


def _told(answer: Item) -> Any:
    return answer["decision"], answer.get("context", {}).get("issuance")


def _limit(world: Narrowing, item: Item) -> list[str] | None:
    """What the item's package leaves of the scopes; behind the target it leaves all."""
    name = item["action"]["name"]
    package = GATE if name.startswith("issue:") else f'issuance.scope["{name}"]'
    target = item["resource"]["id"]
    for one in (one["doc"] for query in world.queries for one in query):
        same = one["subject"] == item["subject"] and one["audience"] == [target]
        if target != FAR and same and one.get("context", {}) == item["context"]:
            limit = world.says(package, one).get("limit")
            return None if limit is None else limit["granted_scope"].split()
    return None

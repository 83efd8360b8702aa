"""Random AuthZEN batches through the bridge's own road, against a second reading of the contract.

The engine and the log are stand-ins that remember; all between the request's JSON and the reply's bytes is the bridge.
The oracle takes each tuple by itself: which document it belongs to, whose gate counts for it, and what comes out.
"""

import asyncio
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.config.authzen import AuthzenSection
from bridge.doors._callers import ALL_ROLES, AuthenticatedCaller
from bridge.doors.authzen.evaluate import Evaluate
from bridge.doors.authzen.sort import Sort
from bridge.errors import MalformedRequest
from bridge.model.authzen import read_evaluations
from bridge.model.mask import SecretMask
from bridge.model.policy import GATE, Package, PolicySet
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.ask import Limits
from bridge.pdp.decide import Decide
from bridge.pdp.enrich import Enrich
from bridge.pdp.gather import Call
from bridge.pdp.prove import Prover
from bridge.pdp.record import Recorder
from bridge.pdp.record_tuples import TupleRecorder
from bridge.pdp.tuples import Tuples
from bridge.ports import Engine, EngineStatus, Journal, Receipt, Record

MAPPED = ("a", "b", "c", "d")
DOOR = 'authzen.resource["door"]'
DIGEST = "d" * 64
PACKAGES = {name: Package(name, "p.rego", 1) for name in (GATE, DOOR, *(f'issuance.scope["{s}"]' for s in MAPPED))}
POLICIES = PolicySet(
    digest=DIGEST,
    revision="r",
    packages=PACKAGES,
    scopes={s: f'issuance.scope["{s}"]' for s in MAPPED},
    prefixes={},
    prefix_lengths=(),
    bundle=b"",
)
GATES = ("issue:access_token:authorization_code", "issue:refresh_token:authorization_code")
EXCHANGES = ("issue:access_token:token_exchange",)
ACTIONS = (*GATES, *EXCHANGES, "a", "b", "b", "a", "unmapped", "issue:x", "a b")
SUBJECTS = (
    {"type": "user", "id": "u"},
    {"type": "user", "id": "u", "properties": {"n": 1}},
    {"type": "client", "id": "c"},
    {"type": "workload", "id": "u"},
)
RESOURCES = ({"type": "audience", "id": "t1"}, {"type": "audience", "id": "t2"}, {"type": "door", "id": "t1"})
FINE: tuple[dict[str, Any], ...] = ({}, {"client_id": "c"}, {"n": 1}, {"client_id": None})
WRONG = {"acr": 1}


@dataclass
class World:
    """Says yes or no by `seed` alone, remembers what was asked and what was written down."""

    seed: int
    often: int
    queries: list[list[dict[str, Any]]] = field(default_factory=list)
    entries: list[dict[str, Any]] = field(default_factory=list)
    origin: str = "o"

    def yes(self, *about: Any) -> bool:
        return zlib.crc32(json.dumps([self.seed, *about], sort_keys=True).encode()) % 100 < self.often

    def says(self, package: str, document: Mapping[str, Any]) -> dict[str, Any]:
        if package == DOOR:
            return {"allow": self.yes(package, document["subject"], document["action"], document.get("context"))}
        kind = [document["token_type"], document["grant_type"]] if package == GATE else []
        told = package, document["subject"], document["audience"], document.get("context"), kind
        return {"allow": True} if self.yes(*told) else {"allow": True, "deny": [{"code": "no"}]}

    async def query(self, items: bytes, timeout_s: float) -> Any:
        asked = json.loads(items)
        self.queries.append(asked)
        answers: list[dict[str, Any]] = []
        for one in asked:
            document = one["doc"]
            if "resource" in one:
                rules = self.says(DOOR, document) if one["resource"] == "door" else {}
                answers.append({"id": one["id"], "resource": one["resource"], "rules": rules})
                continue
            named = {s: f'issuance.scope["{s}"]' for s in one["scopes"] if s in MAPPED}
            scopes = {s: {"package": p, "rules": self.says(p, document)} for s, p in named.items()}
            gate = [self.says(GATE, document)] if one["gate"] else []
            answers.append({"id": one["id"], "gate": gate, "scopes": scopes})
        return {"digest": DIGEST, "items": answers}

    def accepted(self) -> dict[str, PolicySet]:
        return {DIGEST: POLICIES}

    def status(self) -> EngineStatus:
        return EngineStatus("stub", "1", ready=True)

    def append(self, *records: Record) -> "asyncio.Future[Receipt]":
        self.entries.extend(record.entry for record in records)
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        future.set_result(Receipt(len(self.entries), b"\0" * 32, records[0].entry))
        return future

    async def ask(self, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        engine, journal, metrics, mask = cast("Engine", self), cast("Journal", self), Metrics(), SecretMask()
        admission, prover, limits = Admission(9, journal), Prover(journal, metrics), Limits(60, 60)
        decide = Decide(engine, admission, Recorder(), prover, mask, limits, metrics, Enrich([], mask, metrics))
        tuples = Tuples(engine, admission, TupleRecorder(), prover, mask, limits, metrics, Enrich([], mask, metrics))
        caller = AuthenticatedCaller("as", ALL_ROLES, "iss")
        evaluate = Evaluate(decide, tuples, Sort(AuthzenSection()), None)
        reply = await evaluate(read_evaluations(body, 200), Call("authzen", "as", "iss"), caller)
        found: list[dict[str, Any]] = json.loads(reply)["evaluations"]
        return found


_members = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.sampled_from(SUBJECTS),
        "action": st.sampled_from([{"name": name} for name in ACTIONS]),
        "resource": st.sampled_from((*RESOURCES, RESOURCES[0])),
        "context": st.sampled_from(FINE),
    },
)
_odd = st.sampled_from(
    [{"resource": {"id": "t1"}}, {"context": WRONG}, {"subject": None}, {"action": {"name": 1}}, {"context": None}]
)
_items = st.lists(
    st.builds(lambda item, odd: {**item, **odd}, _members, st.one_of(st.just({}), st.just({}), _odd)),
    min_size=1,
    max_size=9,
)
_whole = {"subject": SUBJECTS[0], "action": {"name": "a"}, "resource": RESOURCES[0]}
_bodies = st.builds(
    lambda defaults, items, whole: {**(_whole if whole else {}), **defaults, "evaluations": items},
    _members,
    _items,
    st.booleans(),
)


class Oracle:
    """Each tuple by itself."""

    def __init__(self, world: World, body: Mapping[str, Any]) -> None:
        self.world = world
        defaults = {name: body[name] for name in ("subject", "action", "resource", "context") if name in body}
        self.tuples = [{**defaults, **self._own(item)} for item in body["evaluations"]]
        self.scopes = [
            t["action"]["name"]
            for n, t in enumerate(self.tuples)
            if self.issued(n) and self.fits(n) and not self.gate(n)
        ]

    @staticmethod
    def _own(item: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in item.items() if name != "context" or value is not None}

    def readable(self, n: int) -> bool:
        t = self.tuples[n]
        needed = (("subject", ("type", "id")), ("action", ("name",)), ("resource", ("type", "id")))
        return all(isinstance((t.get(name) or {}).get(m), str) for name, members in needed for m in members)

    def issued(self, n: int) -> bool:
        return self.readable(n) and self.tuples[n]["resource"]["type"] == "audience"

    def fits(self, n: int) -> bool:
        return self.tuples[n].get("context") != WRONG

    def gate(self, n: int) -> list[str] | None:
        name = self.tuples[n]["action"]["name"]
        return name.split(":")[1:] if name in (*GATES, *EXCHANGES) else None

    def first_gate(self, n: int) -> int | None:
        """Of the same subject, at the same target; else anywhere."""
        who = [self.tuples[n]["subject"][m] for m in ("type", "id")]
        own = [m for m in range(len(self.tuples)) if self.issued(m) and self.gate(m)]
        own = [m for m in own if [self.tuples[m]["subject"][x] for x in ("type", "id")] == who]
        here = [m for m in own if self.tuples[m]["resource"]["id"] == self.tuples[n]["resource"]["id"]]
        return next(iter(here + own), None)

    def place(self, n: int) -> tuple[Any, int | None] | None:
        """What makes the document of tuple `n` what it is, and the tuple whose gate counts when that is another's."""
        if not self.issued(n) or not self.fits(n):
            return None
        at = n if self.gate(n) else self.first_gate(n)
        if at is None or not self.fits(at):
            return None
        key = [self.tuples[n]["subject"], self.tuples[n]["resource"]["id"], self.tuples[n].get("context") or {}]
        of_gate = [self.tuples[at]["subject"], self.tuples[at]["resource"]["id"], self.tuples[at].get("context") or {}]
        kind = self.gate(at)
        whose = [None, None] if key == of_gate else [of_gate, self.actor(at, at)]
        return [*key, kind, *whose, self.actor(n, at)], None if key == of_gate else at

    def says(self, n: int, package: str, kind: Any) -> bool:
        t = self.tuples[n]
        context = t.get("context") or None
        return self.world.yes(package, t["subject"], [t["resource"]["id"]], context, kind)

    def expected(self, n: int) -> bool:
        t = self.tuples[n]
        if not self.readable(n):
            return False
        if not self.issued(n):
            return self.world.yes(DOOR, t["subject"], t["action"], t.get("context") or None)
        if not self.fits(n):
            return False
        if kind := self.gate(n):
            return self.says(n, GATE, kind)
        at = self.first_gate(n)
        if at is None or not self.fits(at) or t["action"]["name"] not in MAPPED:
            return False
        return self.says(at, GATE, self.gate(at)) and self.says(n, f'issuance.scope["{t["action"]["name"]}"]', [])

    def second_gate(self, at: int) -> int | None:
        """Of the exchange that gate `at` belongs to, told gate by gate."""
        pair: tuple[list[int], list[int]] = ([], [])
        found: int | None = None
        for m in range(len(self.tuples)):
            if not self.issued(m) or self.gate(m) != self.gate(at):
                continue
            if self.tuples[m]["resource"]["id"] != self.tuples[at]["resource"]["id"]:
                continue
            first, second = pair
            if second or first:
                last = (second or first)[-1]
                if [self.tuples[last]["subject"][x] for x in ("type", "id")] == [
                    self.tuples[m]["subject"][x] for x in ("type", "id")
                ]:
                    (second or first).append(m)
                elif not second and self.tuples[m]["subject"]["type"] != "user":
                    second.append(m)
                else:
                    pair = ([m], [])
            else:
                first.append(m)
            if at in pair[0] + pair[1]:
                found = next(iter(pair[1]), None)
        return found

    def actor(self, n: int, at: int) -> Any:
        if (self.gate(at) or [""])[-1] != "token_exchange":
            return None
        second = self.second_gate(at)
        if second is not None:
            return self.tuples[second]["subject"] if self.fits(second) else None
        subject, client = self.tuples[n]["subject"], (self.tuples[n].get("context") or {}).get("client_id")
        return subject if subject["type"] != "user" and client in (None, subject["id"]) else None


assert settings.default is not None


@settings(max_examples=4 * settings.default.max_examples)
@given(_bodies, st.integers(0, 2**32), st.sampled_from([0, 60, 85, 100]))
def test_a_batch_agrees_with_a_second_reading_of_the_contract(body: dict[str, Any], seed: int, often: int) -> None:
    world = World(seed, often)
    oracle = Oracle(world, body)
    reply = asyncio.run(world.ask(body))
    count = len(oracle.tuples)
    assert [one["decision"] for one in reply] == [oracle.expected(n) for n in range(count)]
    _check_documents(world, oracle)
    _check_entries(world, oracle, reply)


def _check_documents(world: World, oracle: Oracle) -> None:
    places = [place for n in range(len(oracle.tuples)) if (place := oracle.place(n)) is not None]
    wanted = Counter(
        json.dumps(key, sort_keys=True) for key in {json.dumps(key, sort_keys=True): key for key, _ in places}.values()
    )
    issuance = [query for query in world.queries if "gate" in query[0]]
    assert len(issuance) == (1 if wanted else 0)
    assert len(world.queries) <= 2
    documents = [one for query in issuance for one in query]
    assert len(documents) == sum(wanted.values())
    assert sum(one["gate"] for one in documents) == sum(json.loads(key)[4] is None for key in wanted)
    for one in documents:
        document = one["doc"]
        context = document.get("context", {})
        named = context.get("client_id")
        if named is None and document["subject"]["type"] != "user":
            named = document["subject"]["id"]
        assert document.get("client", {}).get("id") == named
        assert document["scopes"] == list(dict.fromkeys(oracle.scopes))
        (target,) = document["audience"]
        kind = [document["token_type"], document["grant_type"]]
        start = json.dumps([document["subject"], target, context, kind], sort_keys=True)[:-1]
        actors = [json.loads(key)[-1] for key in wanted if key.startswith(start)]
        assert document.get("actor") in actors


def _check_entries(world: World, oracle: Oracle, reply: list[dict[str, Any]]) -> None:
    assert Counter(n for entry in world.entries for n in entry["batch"]["items"]) == Counter(range(len(reply)))
    by_item = {n: entry for entry in world.entries for n in entry["batch"]["items"]}
    others = [entry for entry in world.entries if entry["kind"] == "evaluation"]
    assert len(others) == (1 if any(oracle.place(n) is None for n in by_item) else 0)
    for n, entry in by_item.items():
        place = oracle.place(n)
        assert entry["kind"] == ("evaluation" if place is None else "decision")
        if place is None:
            continue
        gate = None if place[1] is None else by_item[place[1]]["id"]
        assert entry["batch"].get("gate_decision") == gate
        name = oracle.tuples[n]["action"]["name"]
        if not oracle.gate(n):
            assert (name in entry["granted_scopes"]) == reply[n]["decision"]
        elif reply[n]["decision"]:
            assert entry["outcome"] == "allow" or entry["scopes"]


@given(_bodies, st.integers(0, 2**32))
def test_the_answers_do_not_hang_on_what_else_is_in_the_batch(body: dict[str, Any], seed: int) -> None:
    """Tuples that are no gates take nothing from each other, and the order of what is no gate does not matter."""
    world = World(seed, 85)
    oracle = Oracle(world, body)
    whole = asyncio.run(world.ask(body))
    kept = [n for n in range(len(whole)) if oracle.issued(n) and oracle.gate(n)]
    for n in range(len(whole)):
        numbers = sorted({*kept, n})
        alone = asyncio.run(World(seed, 85).ask({**body, "evaluations": [body["evaluations"][m] for m in numbers]}))
        assert alone[numbers.index(n)]["decision"] == whole[n]["decision"]


@given(_bodies, st.sampled_from(["subject", "resource"]))
def test_a_default_context_of_the_wrong_type_refuses_what_it_reaches(body: dict[str, Any], name: str) -> None:
    items = [{k: v for k, v in item.items() if k != "context"} for item in body["evaluations"]]
    body = {**body, "context": WRONG, "evaluations": items}
    reaches = any(Oracle(World(0, 100), body).issued(n) for n in range(len(items)))
    if reaches:
        with pytest.raises(MalformedRequest):
            asyncio.run(World(0, 100).ask(body))
    else:
        assert len(asyncio.run(World(0, 100).ask(body))) == len(items)

"""Packages that fail, asked of a real OPA child: each denies its own scope alone, and a failing gate denies all."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from bridge.engines.managed import ManagedOpa
from bridge.errors import EngineTimeout, PolicyMismatch
from bridge.model.decision import Decision
from bridge.model.policy import PolicySet
from bridge.model.times import now_ms, rfc3339
from bridge.pdp.combine import combine
from bridge.pdp.evaluate import Ask, Verdicts, evaluate
from bridge.pdp.question import Question
from bridge.policy.load import load
from tests.policy.sets import write

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAILING = {
    "conflict": 'allow := true\n\nlimit := {"token_lifetime": 1}\n\nlimit := {"token_lifetime": 2} if input.context',
    "conflict_of_keys": 'allow := true\n\nclaims[k] := v if {\n\tsome k in ["a"]\n\tsome v in [1, 2]\n}',
    "wrong_type": 'allow := true\n\nlimit := "short"',
    "unknown_limit": 'allow := true\n\nlimit := {"lifetime": 60}',
    "negative_limit": 'allow := true\n\nlimit := {"token_lifetime": -1}',
    "fractional_limit": 'allow := true\n\nlimit := {"token_lifetime": 60.5}',
    "boolean_limit": 'allow := true\n\nlimit := {"token_lifetime": true}',
    "built_in_in_deny": 'allow := true\n\ndeny contains {"code": "x"} if time.parse_rfc3339_ns(input.context.date) < 0',
    "built_in_in_limit": 'allow := true\n\nlimit := {"token_lifetime": to_number(input.context.date)}',
    "built_in_in_require": 'allow := true\n\nrequire contains {"max_age": to_number(input.context.date)}',
    "built_in_in_claims": "allow := true\n\nclaims := json.unmarshal(input.context.date)",
    "built_in_in_allow": 'allow contains {"code": "x"} if not time.parse_rfc3339_ns(input.context.date) < 0',
    "unknown_requirement": 'allow := true\n\nrequire contains "mfa"',
    "empty_requirement": "allow := true\n\nrequire contains {}",
    "requirement_object": 'allow := true\n\nrequire := {"max_age": 1}',
    "protocol_claim": 'allow := true\n\nclaims := {"sub": "root"}',
    "crit_without_claim": 'allow := true\n\ncrit contains "a"',
    "allow_of_strings": 'allow contains "yes"',
    "allow_object": 'allow["yes"] := true',
}
EXPIRED = '{"kind": "waiver", "id": "x", "approved_by": ["a"], "expires": "2020-01-01T00:00:00Z"}'
DENYING = {
    "boolean_deny": "allow := true\n\ndeny := true",
    "deny_of_strings": 'allow := true\n\ndeny contains "no"',
    "deny_object": 'allow := true\n\ndeny["why"] := false',
    "deny_null": "allow := true\n\ndeny := null",
    "deny_empty_object": "allow := true\n\ndeny := {}",
    "nothing": "",
    "undefined": "allow if input.never",
    "allow_is_1": "allow := 1",
    "allow_is_true_as_text": 'allow := "true"',
    "expired": f'allow contains {{"code": "w", "exception": {EXPIRED}}}',
}
GOOD = {
    "good": 'allow contains {"code": "ok"}',
    "fine": 'allow := true\n\nclaims := {"seen": count(input.scopes)}',
}
GATE = """package issuance.gate

mode := object.get(input.context, "gate", "open")

allow if mode != "silent"

deny contains {"code": "closed"} if mode == "closed"
deny contains "no" if mode == "strings"
deny contains {"code": "late"} if { mode == "built_in_in_deny"; time.parse_rfc3339_ns("x") < 0 }

limit := {"token_lifetime": 60} if mode == "conflict"
limit := {"token_lifetime": 61} if mode == "conflict"
limit := "short" if mode == "wrong_type"
limit := {"lifetime": 60} if mode == "unknown_limit"
limit := {"token_lifetime": 0} if mode == "zero"
limit := {"token_lifetime": to_number("x")} if mode == "built_in_in_limit"

require contains "mfa" if mode == "unknown_requirement"
require contains {"max_age": to_number("x")} if mode == "built_in_in_require"
claims := {"sub": "root"} if mode == "protocol_claim"
"""
GATE_MODES = ["closed", "strings", "built_in_in_deny", "conflict", "wrong_type", "unknown_limit", "zero", "silent"]
GATE_MODES += ["built_in_in_limit", "unknown_requirement", "built_in_in_require", "protocol_claim"]
SLOW = (
    "allow if {\n\tmany := numbers.range(1, 3000)\n\tcount([1 | some a in many; some b in many; a * b == -1]) == 0\n}"
)
PREFIXED = {
    # Own packages below a prefix that says yes: not even their failure falls to it.
    "t:conflict": FAILING["conflict"],
    "t:built_in": FAILING["built_in_in_deny"],
    "t:undefined": "allow if input.never",
    "t:empty": "",
}


class Counting:
    """The engine itself, and a note of what it was asked; `delay_s` makes each answer later."""

    def __init__(self, engine: ManagedOpa, delay_s: float = 0.0) -> None:
        self._engine, self._delay_s = engine, delay_s
        self.asked: list[Any] = []
        self.at_once = self.most_at_once = 0

    async def query(self, items: bytes, timeout_s: float) -> Any:
        self.asked.append(orjson.loads(items))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.sleep(self._delay_s)
                return await self._engine.query(items, timeout_s)
        except TimeoutError:
            raise EngineTimeout("late") from None
        finally:
            self.at_once -= 1

    def accepted(self) -> Mapping[str, PolicySet]:
        return self._engine.accepted()

    async def start(self, policy_set: PolicySet) -> None:
        raise NotImplementedError

    activate = start

    def status(self) -> Any:
        return self._engine.status()

    async def close(self) -> None:
        raise NotImplementedError


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def engine(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ManagedOpa]:
    bodies = {**FAILING, **DENYING, **GOOD, "slow": SLOW, **PREFIXED}
    bodies |= {f"n{n}": "allow := true" for n in range(256)}
    bodies |= {f"bad{n}": FAILING["built_in_in_deny"] for n in range(60)}
    files: dict[str, str | bytes] = {
        f"s{number}.rego": f'package issuance.scope["{scope}"]\n\n{body}\n'
        for number, (scope, body) in enumerate(bodies.items())
    }
    files["gate.rego"] = GATE
    files["prefix.rego"] = 'package issuance.scope_prefix["t:"]\n\nallow := true\n'
    policies = await asyncio.to_thread(load, write(tmp_path_factory.mktemp("failing"), files), opa)
    managed = ManagedOpa(opa)
    await managed.start(policies)
    try:
        yield managed
    finally:
        await managed.close()


async def decide(
    engine: ManagedOpa | Counting, *scopes: str, deadline_s: float = 10.0, query_s: float = 5.0, **context: Any
) -> tuple[Decision, Verdicts]:
    at = now_ms()
    subject = {"type": "user", "id": "u"}
    document = {
        "id": "i",
        "time": rfc3339(at),
        "grant_type": "authorization_code",
        "client": {"id": "c"},
        "subject": subject,
        "scopes": list(scopes),
        "context": {"date": "not a date", **context},
    }
    deadline = time.monotonic() + deadline_s
    asks = [Ask(orjson.dumps(document), scopes=scopes)]
    verdicts = (await evaluate(engine, asks, deadline=deadline, query_s=query_s)).verdicts(0, scopes, at)
    return combine(Question(document, at), verdicts.gate, verdicts.scopes), verdicts


@pytest.mark.parametrize("scope", [*FAILING, *(name for name in PREFIXED if name in ("t:conflict", "t:built_in"))])
async def test_package_that_fails_denies_its_own_scope_alone(engine: ManagedOpa, scope: str) -> None:
    decision, verdicts = await decide(engine, "good", scope, "fine")
    assert decision.granted_scopes == ("good", "fine")
    assert [f.code for f in decision.scopes[scope].findings] == ["policy_error"]
    assert verdicts.scopes[scope].error
    assert decision.claims == {"seen": 3}, "a rule sees the whole request though it is asked for part of it"


async def test_engines_message_is_kept(engine: ManagedOpa) -> None:
    _, verdicts = await decide(engine, "conflict", "built_in_in_deny")
    conflict, built_in = (verdicts.scopes[s].error or "" for s in ("conflict", "built_in_in_deny"))
    assert "produced conflicting values" in conflict
    assert "time.parse_rfc3339_ns" in built_in
    assert all(".rego:" in text for text in (conflict, built_in))


@pytest.mark.parametrize("scope", [*DENYING, "t:undefined", "t:empty"])
async def test_package_that_does_not_say_yes_denies_its_own_scope_alone(engine: ManagedOpa, scope: str) -> None:
    counting = Counting(engine)
    decision, verdicts = await decide(counting, "good", scope, "fine")
    assert decision.granted_scopes == ("good", "fine")
    assert decision.scopes[scope].outcome == "deny"
    assert verdicts.scopes[scope].error is None or scope in {"allow_is_1", "allow_is_true_as_text"}
    assert len(counting.asked) == 1


async def test_all_of_them_at_once(engine: ManagedOpa) -> None:
    scopes = (*FAILING, "good", *DENYING, "fine", *PREFIXED, "t:other")
    decision, _ = await decide(engine, *scopes)
    assert decision.granted_scopes == ("good", "fine", "t:other")
    assert {s for s, a in decision.scopes.items() if a.outcome == "deny"} == {*FAILING, *DENYING, *PREFIXED}
    assert decision.claims == {"seen": len(scopes)}


@pytest.mark.parametrize("mode", GATE_MODES)
async def test_gate_that_fails_or_denies_denies_all(engine: ManagedOpa, mode: str) -> None:
    for scopes in (("good", "fine"), ()):
        decision, _ = await decide(engine, *scopes, gate=mode)
        assert (decision.outcome, decision.granted_scopes) == ("deny", ())
        assert {f.code for a in decision.scopes.values() for f in a.findings} <= {"gate_denied"}
    decision, _ = await decide(engine, *FAILING, "good", gate=mode)
    assert (decision.outcome, decision.granted_scopes) == ("deny", ())


async def test_gate_that_allows_is_needed_and_enough_for_no_scopes(engine: ManagedOpa) -> None:
    decision, _ = await decide(engine)
    assert (decision.outcome, decision.granted_scopes) == ("allow", ())


async def test_one_query_where_nothing_fails(engine: ManagedOpa) -> None:
    counting = Counting(engine)
    scopes = tuple(f"n{n}" for n in range(256))
    decision, _ = await decide(counting, *scopes)
    assert decision.granted_scopes == scopes
    assert len(counting.asked) == 1


async def test_halving_finds_the_failing_ones_with_few_queries_and_four_at_a_time(engine: ManagedOpa) -> None:
    counting = Counting(engine)
    scopes = [f"n{n}" for n in range(253)]
    for at, bad in ((0, "conflict"), (100, "built_in_in_deny"), (254, "built_in_in_limit")):
        scopes.insert(at, bad)
    decision, _ = await decide(counting, *scopes)
    assert decision.granted_scopes == tuple(s for s in scopes if s.startswith("n"))
    assert counting.most_at_once <= 4
    assert len(counting.asked) <= 2 + 3 * 2 * 8  # the gate apart, then two halves on each of eight levels, for each
    whole = {orjson.dumps(items[0]["doc"]) for items in counting.asked}
    assert len(whole) == 1, "each part carries the document unchanged"
    answered = [scope for items in counting.asked for scope in items[0]["scopes"]]
    assert set(answered) == set(scopes)


async def test_sixty_failing_packages_all_stand_alone(engine: ManagedOpa) -> None:
    scopes = tuple(f"{kind}{n}" for n in range(60) for kind in ("n", "bad"))
    decision, _ = await decide(engine, *scopes)
    assert decision.granted_scopes == tuple(f"n{n}" for n in range(60))


async def test_what_is_unanswered_at_the_deadline_is_denied(engine: ManagedOpa) -> None:
    """Each answer takes 60 ms and 200 ms are all there is: some halves are still out."""
    scopes = (*FAILING, *(f"n{n}" for n in range(40)))
    started = time.monotonic()
    decision, verdicts = await decide(Counting(engine, delay_s=0.06), *scopes, deadline_s=0.2)
    assert time.monotonic() - started < 0.5
    codes = {s: verdicts.scopes[s].error_code for s in scopes if verdicts.scopes[s].error}
    assert "deadline" in codes.values()
    late = {s for s, code in codes.items() if code == "deadline"}
    assert all(decision.scopes[s].outcome == "deny" for s in late)
    assert all([f.code for f in decision.scopes[s].findings] == ["deadline"] for s in late)
    assert not set(decision.granted_scopes) & {*late, *FAILING}


@pytest.mark.parametrize("deadline_s", [-1.0, 0.0])
async def test_deadline_that_has_passed_asks_nothing(engine: ManagedOpa, deadline_s: float) -> None:
    counting = Counting(engine)
    with pytest.raises(EngineTimeout):
        await decide(counting, "good", deadline_s=deadline_s)
    assert counting.asked == []


async def test_slow_package_ends_with_the_query_and_harms_no_other_request(engine: ManagedOpa) -> None:
    started = time.monotonic()
    with pytest.raises(EngineTimeout):
        await decide(engine, "good", "slow", query_s=0.1)
    assert time.monotonic() - started < 0.4
    decision, _ = await decide(engine, "good")
    assert decision.granted_scopes == ("good",)


async def test_answer_of_a_set_that_is_not_accepted_is_asked_anew_once_then_refused(engine: ManagedOpa) -> None:
    class Strict(Counting):
        def accepted(self) -> Mapping[str, PolicySet]:
            (policy_set,) = super().accepted().values()
            return {"another digest": policy_set}

    strict = Strict(engine)
    with pytest.raises(PolicyMismatch):
        await decide(strict, "good")
    assert len(strict.asked) == 2


async def test_answer_by_another_package_than_the_index_names_is_none(engine: ManagedOpa) -> None:
    class Swapped(Counting):
        async def query(self, items: bytes, timeout_s: float) -> Any:
            answer = await super().query(items, timeout_s)
            said = answer["items"][0]["scopes"]
            said["nothing"] = said["good"]
            return answer

    decision, _ = await decide(Swapped(engine), "good", "nothing")
    assert decision.granted_scopes == ("good",)
    assert [f.code for f in decision.scopes["nothing"].findings] == ["policy_error"]


async def test_kernel_and_bridge_agree_on_which_package_answers(engine: ManagedOpa) -> None:
    """Where they did not, the scope would be denied: an answer by another package than the index names is none."""
    scopes = ("t:x", "t:", "t", "T:x", "t:empty:x", "good:x", "goo", "unmapped")
    decision, verdicts = await decide(engine, *scopes)
    assert decision.granted_scopes == ("t:x", "t:", "t:empty:x")
    assert all(verdict.error is None for verdict in verdicts.scopes.values())
    denied = {s: [f.code for f in a.findings] for s, a in decision.scopes.items() if a.outcome == "deny"}
    assert denied == {s: ["unmapped_scope"] for s in ("t", "T:x", "good:x", "goo", "unmapped")}

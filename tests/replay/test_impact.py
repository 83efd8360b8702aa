"""`policy impact`: what it says of a candidate is what a bridge with the candidate decides."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.main import cli
from bridge.cli.policy.impact import NONE, Share
from bridge.replay import again, rerun
from bridge.replay.impact import changes
from bridge.replay.recorded import Recorded, RecordedTuples
from tests.authzen.asking import user
from tests.replay.asked import DATA, POLICIES, ask_authzen, ask_native, authzen, native, patient_bridge
from tests.support.bridge import run_cli, write_config
from tests.support.policies import write_policies

CANDIDATE = {
    **POLICIES,
    "issuance.scope.read": POLICIES["issuance.scope.read"].replace('"acme"', '"acme-2"')
    + '\ndeny contains {"code": "carol_out"} if input.subject.id == "carol"',
    "issuance.scope.write": POLICIES["issuance.scope.write"].replace(": 60", ": 30"),
    "issuance.scope.pay": POLICIES["issuance.scope.pay"].replace("acr:high", "acr:higher"),
    "issuance.scope.never": 'allow contains {"code": "now_for_all"}',
    'authzen.resource["door"]': 'allow if input.subject.id in {"bob", "mallory"}',
}
del CANDIDATE['issuance.scope_prefix["tenant:"]']


def ran(folder: Path, candidate: Path, *more: str) -> Any:
    config = write_config(folder, evidence={"path": str(folder / "evidence")})
    return run_cli("policy", "impact", str(candidate), "--config", str(config), *more)


async def recorded(folder: Path, bodies: list[dict[str, Any]], batches: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that a bridge writes when it is asked these, decisions first: a batch has two roads side by side."""
    async with patient_bridge(folder) as made:
        await ask_native(made, bodies)
        for batch in batches:
            await ask_authzen(made, batch)
        return [entry for kind in ("decision", "evaluation") for entry in made.entries() if entry["kind"] == kind]


async def test_what_it_says_is_what_a_bridge_with_the_candidate_decides(tmp_path: Path) -> None:
    chance = random.Random(41)
    bodies, batches = [native(chance) for _ in range(250)], [authzen(chance) for _ in range(12)]
    for folder, policies in (("then", POLICIES), ("now", CANDIDATE)):
        write_policies(tmp_path / folder / "rego", policies, DATA)
    then = await recorded(tmp_path / "then", bodies, batches)
    now = await recorded(tmp_path / "now", bodies, batches)
    done = ran(tmp_path / "then", tmp_path / "now" / "rego", "--json")
    *told, summary = [json.loads(text) for text in done.stdout.splitlines()]
    assert (done.returncode, summary["not_replayable"]) == (1, {}), done.stderr
    assert summary["decided"] == len(then)
    expected = {(n, *key) for n, pair in enumerate(zip(then, now, strict=True)) for key in differing(*pair)}
    places = {entry["id"]: n for n, entry in enumerate(then)}
    said = {
        (places[one["id"]], one["change"], one.get("scope") or one.get("resource"))
        for one in told
        if one["change"] in ("newly_denied", "newly_granted", "changed_limit", "changed_claims")
    }
    assert said == expected
    kinds = {kind for _, kind, _ in said}
    assert kinds == {"newly_denied", "newly_granted", "changed_limit", "changed_claims"}
    assert summary["changes"] == {
        kind: len({one["id"] for one in told if one["change"] == kind}) for kind in summary["changes"]
    }


def differing(then: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    """(change, scope or resource) by the two bridges' own entries."""
    if then["kind"] == "evaluation":
        for was, got in zip(then["decisions"], now["decisions"], strict=True):
            if was["outcome"] != got["outcome"]:
                yield ("newly_granted" if got["outcome"] == "allow" else "newly_denied"), "door"
        return
    was, got = set(then["granted_scopes"]), set(now["granted_scopes"])
    yield from (("newly_denied", scope) for scope in was - got)
    yield from (("newly_granted", scope) for scope in got - was)
    mints = [e["outcome"] == "allow" or bool(e["granted_scopes"]) for e in (then, now)]
    if not then["scopes"] and mints[0] is not mints[1]:
        yield ("newly_granted" if mints[1] else "newly_denied"), None
    if all(mints):
        if then["limit"] != now["limit"]:
            yield "changed_limit", None
        if (then["claims"], then["crit"]) != (now["claims"], now["crit"]):
            yield "changed_claims", None


ONE = {"grant_type": "authorization_code", "client": {"id": "shop"}, "subject": {"type": "user", "id": "carol"}}
CAUSES = {
    "read": ("newly_denied", [("deny", "carol_out", "now")]),
    "never": ("newly_granted", [("allow", "now_for_all", "now"), ("deny", "not_for_you", "no longer")]),
    "tenant:a": ("newly_denied", [("allow", "tenant", "no longer")]),
    "pay": ("changed_requirement", [("require", "require", "now")]),
}


async def test_it_names_the_rules(tmp_path: Path) -> None:
    write_policies(tmp_path / "candidate", CANDIDATE, DATA)
    write_policies(tmp_path / "rego", POLICIES, DATA)
    await recorded(tmp_path, [{**ONE, "scopes": [scope]} for scope in CAUSES], [])
    done = ran(tmp_path, tmp_path / "candidate", "--json")
    told = {one["scope"]: one for one in map(json.loads, done.stdout.splitlines()[:-1])}
    for scope, (change, rules) in CAUSES.items():
        assert told[scope]["change"] == change
        assert [(r["effect"], r["code"], r["speaks"]) for r in told[scope]["rules"]] == rules, scope
    text = ran(tmp_path, tmp_path / "candidate").stdout
    assert "4 decided again, 0 not replayable" in text
    assert 'deny carol_out in issuance.scope["read"]' in text
    assert "tenant:a" in text
    assert "FAIL  more than allowed: newly denied, newly granted, changed" in text


async def test_the_same_policies_change_nothing_and_a_folder_is_as_good_as_its_bundle(tmp_path: Path) -> None:
    write_policies(tmp_path / "rego", POLICIES, DATA)
    await recorded(tmp_path, [native(random.Random(seed)) for seed in range(40)], [])
    done = ran(tmp_path, tmp_path / "rego")
    assert done.returncode == 0, done.stdout
    assert "pass  within what is allowed" in done.stdout


ALLOWED: list[tuple[str, int]] = [
    ("", 1),
    ("--max-denied 2 --max-granted 1 --max-changed 1", 0),
    ("--max-denied 50% --max-granted 25% --max-changed 25%", 0),
    ("--max-denied 1 --max-granted 1 --max-changed 1", 1),
    ("--max-denied 2 --max-granted 24.9% --max-changed 1", 1),
    ("--max-denied half", 2),
    ("--max-denied -1", 2),
]


async def test_the_exit_code_follows_what_is_allowed(tmp_path: Path) -> None:
    write_policies(tmp_path / "candidate", CANDIDATE, DATA)
    write_policies(tmp_path / "rego", POLICIES, DATA)
    await recorded(tmp_path, [{**ONE, "scopes": [scope]} for scope in CAUSES], [])
    found = [(options, ran(tmp_path, tmp_path / "candidate", *options.split()).returncode) for options, _ in ALLOWED]
    assert found == ALLOWED


async def test_where_nothing_can_be_decided_again_it_fails(tmp_path: Path) -> None:
    write_policies(tmp_path / "rego", POLICIES, DATA)
    await recorded(tmp_path, [native(random.Random(1))], [])
    done = ran(tmp_path, tmp_path / "rego", "--client", "nobody-like-this")
    assert done.returncode == 1
    assert "FAIL  no decision could be decided again" in done.stdout


async def test_a_candidate_that_is_refused_is_told_with_its_reason(tmp_path: Path) -> None:
    write_policies(tmp_path / "rego", POLICIES, DATA)
    broken = write_policies(tmp_path / "broken", {"issuance.gate": "allow if nothing_of_the_kind"}, {})
    await recorded(tmp_path, [native(random.Random(1))], [])
    done = ran(tmp_path, broken)
    assert done.returncode == 1
    assert "nothing_of_the_kind" in done.stderr


def test_a_share_is_a_number_or_a_percentage() -> None:
    assert NONE.exceeded_by(1, 10_000)
    assert not NONE.exceeded_by(0, 10_000)
    assert not Share(0.5, percent=True).exceeded_by(50, 10_000)
    assert Share(0.5, percent=True).exceeded_by(51, 10_000)


async def test_weaker_step_up_larger_claims_and_another_context_are_changes(tmp_path: Path) -> None:
    then = {
        "issuance.gate": 'allow := true\nrequire contains {"acr_values": ["high"]} if input.context.step',
        'authzen.resource["door"]': 'allow := true\ncontext := {"until": "18:00"}',
    }
    now = {
        "issuance.gate": 'allow := true\nrequire contains {"acr_values": ["low"]} if input.context.step\n'
        'claims := {"long": concat("", [x | some n in numbers.range(1, 3300); x := "0123456789"])}',
        'authzen.resource["door"]': "allow := true",
    }
    write_policies(tmp_path / "rego", then)
    write_policies(tmp_path / "candidate", now)
    door = {"subject": user("alice"), "action": {"name": "open"}, "resource": {"type": "door", "id": "1"}}
    asked = [{**ONE, "scopes": []}, {**ONE, "scopes": [], "context": {"step": True}}]
    await recorded(tmp_path, asked, [{"evaluations": [door, door]}])
    done = ran(tmp_path, tmp_path / "candidate", "--json")
    *told, summary = [json.loads(text) for text in done.stdout.splitlines()]
    assert (done.returncode, summary["decided"], summary["changed"]) == (1, 3, 3), done.stderr
    assert {one["change"]: (one["was"], one["now"]) for one in told if one["change"] != "changed_claims"} == {
        "changed_requirement": ([{"acr_values": ["high"]}], [{"acr_values": ["low"]}]),
        "changed_context": ({"until": "18:00"}, None),
    }
    (claims,) = [one for one in told if one["change"] == "changed_claims"]
    assert claims["was"]["claims"] == {} and len(claims["now"]["claims"]["long"]) == 33_000


async def test_a_candidate_that_gives_no_answer_does_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_policies(tmp_path / "rego", POLICIES, DATA)
    slow = "\nallow if count([n | some n in numbers.range(1, 3000000); n > 0]) > 0"
    write_policies(tmp_path / "candidate", {**POLICIES, "issuance.scope.never": slow}, DATA)
    await recorded(tmp_path, [{**ONE, "scopes": [scope]} for scope in ("read", "never")], [])
    monkeypatch.setattr(again, "QUERY_S", 0.3)
    monkeypatch.setattr(rerun, "CHUNK", 1)
    arguments = ["policy", "impact", str(tmp_path / "candidate"), "--config", str(tmp_path / "bridge.toml")]
    assert await asyncio.to_thread(cli.main, arguments, standalone_mode=False) == 1
    told = capsys.readouterr().out
    assert "1 decided again, 1 not replayable" in told and "FAIL  more than allowed: without an answer" in told


def test_what_had_no_room_then_is_not_known_and_a_denial_has_no_context() -> None:
    door = {"resource": {"type": "door"}}

    def tuples(outcome: str, context: Any, **more: Any) -> list[str]:
        was, now = (
            {"decisions": [{"item": 0, "outcome": outcome, "context": c}], "rules": []} for c in (context, None)
        )
        return [c.kind for c in changes(RecordedTuples(0, {**was, **more}, {0: door}, "", 0), again.Again(now))]

    assert tuples("allow", {"until": "18:00"}) == ["changed_context"]
    assert tuples("deny", {"until": "18:00"}) == tuples("allow", {}, shortened=["context"]) == []

    def decision(crit: list[str], **more: Any) -> list[str]:
        told = {"outcome": "allow", "granted_scopes": [], "scopes": {}, "limit": {}, "rules": [], "crit": [], **more}
        own: Any = {"question": None, "informed": None, "raw": b"", "digest": "", "rules": ()}
        now = again.Again({**told, "claims": {"tenant": "acme"}, "crit": crit})
        return [c.kind for c in changes(Recorded(0, told, **own), now)]

    assert decision(["tenant"], claims={"tenant": "acme"}) == decision(["tenant"]) == ["changed_claims"]
    assert decision([], claims={}) == ["changed_claims"]
    assert decision([]) == []

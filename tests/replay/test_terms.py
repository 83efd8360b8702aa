"""Each thing that a decision hung on counts in its replay: without it, or with another, something else comes out."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.audit.reader import LogReader
from bridge.cli.log.replay import restoring
from bridge.config.settings import EngineSection
from bridge.policy.opa import find_opa
from bridge.registry import ENGINES
from bridge.replay.replay import Replay, Result
from tests.authzen.asking import TARGET, URN, batch, gate, item, write_saying
from tests.authzen.test_plain import batch as plain
from tests.authzen.test_plain import form
from tests.support.bridge import local_bridge, request
from tests.support.policies import POLICIES, write_policies
from tests.support.sources import source

from .asked import ask_authzen
from .playing import counted, play

OTHER = "https://other.example"


async def with_terms(evidence: Path, changed: dict[str, Any], at: int = 0) -> Result:
    """The replay of the decision number `at`, as if its entry had said these terms."""
    opa = find_opa()
    with closing(LogReader(evidence)) as reader:
        found = [one for one in reader.walk() if one.entry["kind"] == "decision"][at]
        terms = {name: value for name, value in {**found.entry["terms"], **changed}.items() if value is not None}
        lied = replace(found, data=json.dumps({**found.entry, "terms": terms}).encode())
        again = Replay(reader, restoring(evidence, opa), lambda: ENGINES["managed"](EngineSection(), opa))
        (result,) = [result async for result in again([lied])]
        return result


def members(result: Result) -> set[str]:
    assert result.state == "different"
    return {one.member for one in result.differences}


async def test_the_ceiling_on_lifetimes(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, policy={"path": str(policies), "max_token_lifetime_s": 1234}) as made:
        await made.ask(request("read"))
    assert counted(await play(made.evidence)) == {"same": 1}
    assert members(await with_terms(made.evidence, {"max_token_lifetime": None})) == {"limit"}


async def test_what_an_authzen_caller_declared_and_asked_for(tmp_path: Path) -> None:
    says = {
        "s:a": {"allow": True, "claims": {"t": 1}, "crit": ["t"]},
        "s:b": {"allow": True, "limit": {"audience": [OTHER]}},
    }
    asked = batch(gate(), "s:a", "s:b", item("s:c", target=OTHER), context={"client_id": "c", "says": says})
    async with local_bridge(tmp_path, write_saying(tmp_path / "rego")) as made:
        await ask_authzen(made, asked)
        await ask_authzen(made, {**asked, "context": {**asked["context"], "issuance": {"capabilities": [URN]}}})
    found = [entry for entry in made.entries() if entry["kind"] == "decision"]
    assert [entry["terms"].get("crit", True) for entry in found] == [False, False, True, True]
    assert found[0]["terms"]["targets"] == [TARGET, OTHER]
    assert counted(await play(made.evidence)) == {"same": 4}
    assert "scopes/s:a" in members(await with_terms(made.evidence, {"crit": None}))
    assert "scopes/s:b" in members(await with_terms(made.evidence, {"targets": "audience"}))
    assert "scopes/s:c" in members(await with_terms(made.evidence, {"scopes": None}))
    assert "scopes/s:b" in members(await with_terms(made.evidence, {"within": ["s:a"]}))
    failed = {"gate": False, "scopes": ["s:b"]}
    assert "scopes/s:b" in members(await with_terms(made.evidence, {"source_failed": failed}))


async def test_a_gate_that_is_asked_alone(tmp_path: Path) -> None:
    says = {"gate": {"allow": True, "limit": {"granted_scope": ""}}}
    async with local_bridge(tmp_path, write_saying(tmp_path / "rego")) as made:
        await ask_authzen(made, batch(gate(), context={"client_id": "c", "says": says}))
    (found,) = (entry for entry in made.entries() if entry["kind"] == "decision")
    assert found["terms"]["gate_alone"] and found["outcome"] == "deny"
    assert counted(await play(made.evidence)) == {"same": 1}
    assert "outcome" in members(await with_terms(made.evidence, {"gate_alone": None}))


@pytest.mark.parametrize("lifetime", [{}, {"token_lifetime": 60}])
async def test_a_dialect_that_says_yes_or_no(tmp_path: Path, lifetime: dict[str, int]) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    async with local_bridge(tmp_path, policies, authzen=form(**lifetime)) as made:
        await ask_authzen(made, plain("read", "write", "sealed", "pay"))
    found = [entry for entry in made.entries() if entry["kind"] == "decision"]
    assert all(entry["terms"]["bare"] == lifetime for entry in found)
    granted = {scope for entry in found for scope in entry["granted_scopes"]}
    assert granted == ({"read", "write"} if lifetime else {"read"})
    assert counted(await play(made.evidence)) == {"same": len(found)}
    changed = {"token_lifetime": 61 if lifetime else 60}
    results = [await with_terms(made.evidence, {"bare": changed}, at) for at in range(len(found))]
    assert [one for result in results for one in result.differences if one.member == "scopes/write"]


async def test_a_source_that_failed(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego")
    async with local_bridge(tmp_path, policies, sources=[source("http://127.0.0.1:9/v1", "read")]) as made:
        await made.ask(request("read", "write"))
    assert counted(await play(made.evidence)) == {"same": 1}
    assert "scopes/read" in members(await with_terms(made.evidence, {"source_failed": None}))

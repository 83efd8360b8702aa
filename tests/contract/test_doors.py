"""Each outcome at each door, as it goes over the wire; a hole in the table fails."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.contract.asking import BODIES, doors, load
from tests.contract.policies import BAD_DAYS, GOOD_DAYS
from tests.contract.record import answers
from tests.support.bridge import run_cli
from tests.support.evidence import entries

DOORS = doors()
OUTCOMES = (*GOOD_DAYS, *BAD_DAYS)


def test_every_door_has_every_outcome() -> None:
    kept = {(file.parent.name, file.stem) for file in BODIES.glob("*/*.json")}
    assert kept == {(door, outcome) for door in DOORS for outcome in OUTCOMES}
    assert len(DOORS) >= 10


async def test_every_door_answers_as_it_is_written_down(tmp_path: Path) -> None:
    different = [
        f"{door}/{outcome}: {answer}"
        async for door, outcome, answer in answers(tmp_path)
        if answer != load(door, outcome)["told"]
    ]
    assert different == []
    found = [entry for entry in entries(tmp_path / "evidence") if entry["kind"] in ("decision", "evaluation")]
    replayed = await asyncio.to_thread(run_cli, "log", "replay", "--config", tmp_path / "bridge.toml")
    assert (replayed.returncode, " 0 different" in replayed.stdout) == (0, True), replayed.stdout
    assert {entry["door"] for entry in found} == {
        "authzen",
        "curity",
        "hydra",
        "indigo_iam",
        "native",
        "okta",
        "opa",
        "wso2",
    }


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("door", DOORS)
def test_no_fault_and_no_denial_is_told_as_a_yes(door: str, outcome: str) -> None:
    answer = load(door, outcome)["told"]
    if outcome in ("deny", "engine_down", "log_down", "bad_caller", "bad_body", "consent", "step_up"):
        assert not is_yes(door, answer), answer
    if door == "v1-data-issuance-decision" and "result" in answer.get("body", {}):
        assert answer["body"]["result"]["allow"] is (outcome == "allow")
    if outcome == "allow" and door != "access-v1-evaluation":
        assert is_yes(door, answer), answer


def is_yes(door: str, answer: dict[str, Any]) -> bool:
    """Whether the token service mints anything, by the rules of that door."""
    body = answer.get("body")
    if not 200 <= answer["status"] < 300:
        return door == "hooks-okta"  # it mints when it gets no answer
    if door.startswith("hooks-hydra"):
        return True
    if not isinstance(body, dict):
        return True
    if door == "hooks-okta":
        return "error" not in body
    if door == "hooks-wso2":
        return body.get("actionStatus") == "SUCCESS"
    if door == "hooks-indigo-iam":
        return "filtered_scopes" in body
    if door == "v1-data-issuance-decision":
        return body["result"]["outcome"] != "deny" and bool(body["result"]["granted_scopes"])
    if door == "v1-issuance-decisions":
        return body["outcome"] != "deny" and bool(body["granted_scopes"])
    items = body.get("evaluations", [body])
    return all(item.get("decision") is True for item in items)

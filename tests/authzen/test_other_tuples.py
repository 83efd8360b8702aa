"""Tuples that are not about issuance: what their packages say permits, denies and goes out."""

from pathlib import Path

import pytest

from tests.support.bridge import local_bridge
from tests.support.policies import write_policies

from .asking import EVALUATION, EVALUATIONS


async def test_a_denial_wins_over_what_is_allowed(tmp_path: Path) -> None:
    """As in the packages of issuance: who writes `deny` means it."""
    rules = {
        "absent": "allow := true",
        "false": "allow := true\ndeny := false",
        "empty": "allow := true\ndeny contains 1 if input.subject.id == 2",
        "undefined": 'allow := true\ndeny if input.subject.id == "x"',
        "true": "allow := true\ndeny := true",
        "zero": "allow := true\ndeny := 0",
        "null": "allow := true\ndeny := null",
        "set": 'allow := true\ndeny contains "bob" if input.subject.id == "bob"',
        "objects": 'allow := true\ncontext := {"why": 1}\ndeny contains {"code": "no"}',
    }
    packages = {f'authzen.resource["{name}"]': text for name, text in rules.items()}
    policies = write_policies(tmp_path / "rego", {"issuance.gate": "allow := true", **packages})
    async with local_bridge(tmp_path, policies) as bridge:
        asked = [{"resource": {"type": name, "id": "1"}} for name in rules]
        body = {"subject": {"type": "user", "id": "bob"}, "action": {"name": "open"}, "evaluations": asked}
        async with bridge.session.post(EVALUATIONS, json=body) as response:
            told = dict(zip(rules, (await response.json())["evaluations"], strict=True))
    assert [name for name, one in told.items() if one["decision"]] == ["absent", "false", "empty", "undefined"]
    assert told["objects"]["context"] == {"reason_admin": {"403": "no_allow"}, "why": 1}


@pytest.mark.parametrize("name", ["issuance", "issuance_ext"])
async def test_no_other_tuple_says_anything_about_a_token(tmp_path: Path, name: str) -> None:
    """Nobody has checked it: a claim `sub`, say, or a scope that was not asked for."""
    context = f'context := {{"{name}": {{"claims": {{"sub": "root"}}}}}}'
    packages = {
        "issuance.gate": "allow := true",
        'authzen.resource["authorization_details"]': f"allow := true\n{context}",
    }
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", packages)) as bridge:
        body = {"subject": {"type": "user", "id": "u"}, "action": {"name": "issue:access_token:authorization_code"}}
        resource = {"type": "authorization_details", "id": "payment"}
        async with bridge.session.post(EVALUATION, json={**body, "resource": resource}) as response:
            reply = await response.json()
    assert reply == {"decision": False, "context": {"reason_admin": {"403": "policy_error"}}}

"""The package decides as bridge.pep does: the same wishes and replies, the same request, the same outcome."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from hypothesis import given, settings

from bridge import pep
from bridge.pep.merge import merge
from bridge.pep.reply import read
from tests.pep.test_never_broader import UNDERSTOOD, Case, cases
from tests.sdk_node.build import PACKAGE, node

PROGRAM = """
import { build } from './src/batch.js';
import { merge } from './src/merge.js';
import { read } from './src/reply.js';
import { asking } from './src/wish.js';
import { readFileSync, writeFileSync } from 'node:fs';
const understood = { claims: ['cap'], ownClaims: ['acr'] };
const [input, output] = process.argv.slice(1);
writeFileSync(output, JSON.stringify(JSON.parse(readFileSync(input, 'utf8')).map(({ wish, reply }) => {
  const known = asking(wish);
  const batch = build(known);
  const body = JSON.parse(batch.body);
  try {
    return { body, ...merge(known, batch, read(Buffer.from(reply), batch), understood) };
  } catch (error) {
    return { body, kind: error.name, error: error.error };
  }
})));
"""
# JavaScript has one kind of number: 1.0 is 1 there, and what a double does not hold as an integer is refused.
ONLY_IN_PYTHON = re.compile(r"\d\.0\b|e[+-]?\d|\d{16}")


def party(value: pep.Party) -> dict[str, Any]:
    return {"type": value.type, "id": value.id}


def in_javascript(case: Case) -> dict[str, Any]:
    wish = case.wish
    said: dict[str, Any] = {
        "subject": party(wish.subject),
        "clientId": wish.client_id,
        "grantType": wish.grant_type,
        "tokenType": wish.token_type,
        "audience": wish.audience,
        "scopes": wish.scopes,
        "defaultScopes": wish.default_scopes,
        "grantableScopes": wish.grantable_scopes,
        "authorizationDetails": wish.authorization_details,
    }
    if wish.lifetime is not None:
        said["lifetime"] = wish.lifetime
    if wish.exchange is not None:
        said["exchange"] = {"resources": wish.exchange.resources}
    return said


def step_up(value: pep.StepUp | None) -> dict[str, Any] | None:
    if value is None:
        return None
    age = {} if value.max_age is None else {"maxAge": value.max_age}
    return {"consent": value.consent, "acrValues": list(value.acr_values), **age, "amr": list(value.amr)}


def in_python(case: Case, reply: str) -> dict[str, Any]:
    body = json.loads(case.batch.body)
    try:
        answer = merge(case.wish, case.batch, read(reply.encode(), case.batch), UNDERSTOOD)
    except pep.NoDecision as fault:
        return {"body": body, "kind": type(fault).__name__, "error": fault.error}
    if isinstance(answer, pep.Refusal):
        said: dict[str, Any] = {"kind": "refusal", "error": answer.error, "description": answer.description}
        said |= {"reason": answer.reason, "stepUp": step_up(answer.step_up), "decisionIds": list(answer.decision_ids)}
    else:
        said = {
            "kind": "mint",
            "scopes": list(answer.scopes),
            "stateScope": answer.state_scope,
            "audience": list(answer.audience),
            "resources": list(answer.resources),
            "lifetime": answer.lifetime,
            "authorizationDetails": [dict(entry) for entry in answer.authorization_details],
            "claims": dict(answer.claims),
            "crit": list(answer.crit),
            "waiting": step_up(answer.waiting),
            "decisionIds": list(answer.decision_ids),
        }
    return {"body": body, **{name: value for name, value in said.items() if value is not None}}


def test_the_same_outcome(tmp_path: Path) -> None:
    drawn: list[tuple[Case, str]] = []

    @settings(max_examples=max(300, settings().max_examples))
    @given(case=cases())
    def draw(case: Case) -> None:
        reply = json.dumps(case.reply)
        if not ONLY_IN_PYTHON.search(reply):
            drawn.append((case, reply))

    draw()
    asked, answered = tmp_path / "asked.json", tmp_path / "answered.json"
    asked.write_text(json.dumps([{"wish": in_javascript(case), "reply": reply} for case, reply in drawn]))
    command = [node().node, "--input-type=module", "--eval", PROGRAM, str(asked), str(answered)]
    done = subprocess.run(command, cwd=PACKAGE, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    kinds: dict[str, int] = {}
    for (case, reply), said in zip(drawn, json.loads(answered.read_text()), strict=True):
        expected = in_python(case, reply)
        assert said == expected, f"{case.wish}\n{reply}"
        kinds[expected["kind"]] = kinds.get(expected["kind"], 0) + 1
    assert kinds.keys() == {"mint", "refusal", "BadReply"} and kinds["mint"] > 75, kinds

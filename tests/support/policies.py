"""Policy folders of the tests' own: one file per package, so that each test sees one thing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

POLICIES: dict[str, str] = {
    "issuance.gate": """
allow contains {"code": "open", "title": "Open house"}
deny contains {"code": "client_blocked", "title": "This client is blocked"} if input.client.id == "blocked"
""",
    "issuance.scope.read": 'allow contains {"code": "reader", "title": "Anyone reads"}',
    "issuance.scope.write": 'allow contains {"code": "writer"}\nlimit := {"token_lifetime": 60}',
    "issuance.scope.pay": """
allow contains {"code": "payer"}
require contains {"acr_values": ["urn:test:acr:high"], "max_age": 300}
limit := {"token_lifetime": 300, "audience": ["https://pay.example"]}
""",
    "issuance.scope.never": 'deny contains {"code": "not_for_you", "title": "Nobody gets this"}',
    "issuance.scope.sealed": """
allow := true
claims := {"tenant": "acme", "region": {"eu": [1, true, "x", 0.5]}}
crit contains "tenant"
""",
    "issuance.scope.detailed": """
allow := true
limit := {"authorization_details": [d | some d in input.authorization_details; d.type == "payment"]}
""",
    'issuance.scope_prefix["tenant:"]': 'allow contains {"code": "tenant"}',
}
"""A gate that lets all but the client `blocked` pass, and one scope for each shape of answer."""


def write_policies(folder: Path, policies: Mapping[str, str] = POLICIES, data: Mapping[str, Any] | None = None) -> Path:
    """`policies` (package -> its rules) as Rego files; a leading `# METADATA` block stays on its package."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (package, rules) in enumerate(policies.items()):
        head, rest = _split_head(rules.lstrip("\n"))
        (folder / f"p{number}.rego").write_text(f"{head}package {package}\n\n{rest}\n", encoding="utf-8")
    if data is not None:
        (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def _split_head(rules: str) -> tuple[str, str]:
    """A block that declares itself `scope: package` (as OPA's annotations do) goes before the package line."""
    lines = rules.splitlines(keepends=True)
    length = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    head = "".join(lines[:length])
    return (head, "".join(lines[length:])) if "# scope: package" in head else ("", rules)

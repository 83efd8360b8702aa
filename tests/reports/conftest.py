"""One bridge with the sample policies and one more scope, asked over both doors: what the reports are about."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.doors.issued import PATH as ISSUED
from bridge.model.times import now_ms
from tests.audit.logs import Done, command
from tests.docs.pages import ROOT
from tests.support.bridge import RunningBridge, running_bridge

FAR, PAST = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"
KEY = {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
LOUD = "evil\x9b2J|client"
_RULES = f"""# METADATA
# title: Exceptions of every kind
# authors:
#   - Odd Jobs <odd@example.com>
# custom:
#   risk: low
#   controls: [NIST SP 800-53 AC-6(9), NIST CSF PR.AC-4, Our own 7]
package issuance.scope["odd:jobs"]

import data.issuance.lib

# METADATA
# title: Too late
# custom:
#   code: stale
#   exception: {{kind: waiver, id: EX-0, approved_by: [ciso], expires: "{PAST}"}}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "order-service"

# METADATA
# title: Nobody approved it
# custom:
#   code: unapproved
#   exception: {{kind: waiver, id: EX-1, approved_by: [], expires: "{FAR}"}}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "order-service"

# METADATA
# title: Withdrawn
# custom:
#   code: withdrawn
#   exception: {{id: EX-2}}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "nobody"

# METADATA
# title: Only here
# custom:
#   code: holds
#   controls: [NHI3]
#   exception: {{kind: break_glass, id: EX-3, approved_by: [ciso], expires: "{FAR}"}}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "nightly-batch"
"""


@dataclass(frozen=True)
class Asked:
    """A bridge that has been asked `requests`, with its replies; `policies` is its folder."""

    bridge: RunningBridge
    policies: Path
    requests: list[dict[str, Any]]
    replies: list[dict[str, Any]]

    def report(self, *arguments: str) -> Done:
        """`issuance-bridge policy ARGUMENTS` with its configuration."""
        return command("policy", *arguments, "--config", self.bridge.config)

    def lines(self, *arguments: str) -> list[dict[str, Any]]:
        done = self.report(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def machine(*scopes: str, client: str = "nightly-batch", **members: Any) -> dict[str, Any]:
    return {"grant_type": "client_credentials", "client": {"id": client}, "scopes": list(scopes), "cnf": KEY, **members}


def person(*scopes: str, **members: Any) -> dict[str, Any]:
    known = {"client": {"id": "web-shop"}, "subject": {"type": "user", "id": "nina"}, "consented_scopes": list(scopes)}
    return {"grant_type": "authorization_code", "scopes": list(scopes), "cnf": KEY, **known, **members}


def requests() -> list[dict[str, Any]]:
    """What is asked at the native door; a fresh sign-in among it."""
    strong = {"acr": "urn:bank:acr:bankid", "auth_time": now_ms() // 1000}
    return [
        machine("accounts:read", audience=["https://accounts.example"]),
        machine("admin:users", "odd:jobs"),
        machine("admin:users"),
        machine("tenant:acme:read", "tenant:other:read"),
        machine("admin:users", "accounts:read", client="unknown-batch"),
        machine("accounts:read", client=LOUD),
        person("odd:jobs", client={"id": "order-service"}, grant_type="jwt_bearer"),
        person("openid", "accounts:read"),
        person("payments:write", authentication=strong),
        person("payments:write"),
        person("openid", grant_type="refresh_token", grant={"id": "g", "scopes": ["openid"]}),
    ]


def _batch() -> dict[str, Any]:
    """Two targets, so that there are two documents, and entries, about one request for one scope."""
    targets = ("https://accounts.example", "https://payments.example")
    evaluations = [
        {"action": {"name": name}, "resource": {"type": "audience", "id": target}}
        for target in targets
        for name in ("issue:access_token:authorization_code", "accounts:read")
    ]
    subject = {"type": "user", "id": "nina"}
    return {"subject": subject, "context": {"client_id": "web-shop", "cnf": KEY}, "evaluations": evaluations}


@pytest.fixture(scope="package")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("reports")
    policies = folder / "rego"
    shutil.copytree(ROOT / "rego", policies)
    (policies / "scopes" / "odd_jobs.rego").write_text(_RULES, encoding="utf-8")
    data = json.loads((policies / "data.json").read_text())
    for name in ("nightly-batch", "order-service"):
        data["registry"]["clients"]["local"][name]["scopes"].append("odd:jobs")
    data["exceptions"]["EX-9"] = {"kind": "waiver", "approved_by": ["ciso"], "expires": FAR}
    (policies / "data.json").write_text(json.dumps(data, indent=2), encoding="utf-8")
    with running_bridge(folder, policies) as bridge:
        bodies = requests()
        replies = [bridge.ask(body) for body in bodies]
        token = {"decision_id": replies[1]["decision_id"], "jti": "t-1", "exp": now_ms() // 1000 + 60}
        told = {**token, "scopes": ["admin:users"], "audience": ["https://admin.example"]}
        assert bridge.client.post(ISSUED, json=told).status_code in (200, 201), "the report of a token"
        assert bridge.client.post("/access/v1/evaluations", json=_batch()).status_code == 200
        yield Asked(bridge, policies, bodies, replies)

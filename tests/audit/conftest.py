"""One real log for the tests of this folder."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.audit.logs import wait_for_checkpoint
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.evidence import all_found
from tests.support.policies import POLICIES, write_policies

FAR, PAST = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"
HIDDEN = "S3CR3T-9d41"


def _excused(code: str, name: str, kind: str, expires: str) -> str:
    exception = {"kind": kind, "id": name, "approved_by": ["ciso"], "expires": expires}
    return f'allow contains {{"code": "{code}", "exception": {json.dumps(exception)}}}'


_OWNED = "# METADATA\n# scope: package\n# authors:\n#   - Payments <pay@example.org>\n# custom:\n#   risk: high\n"
_MORE = {
    "issuance.scope.waived": _OWNED
    + '\nallow contains {"code": "anyone"}\n'
    + _excused("waiver", "EX-1", "waiver", FAR),
    "issuance.scope.glass": _excused("emergency", "BG-1", "break_glass", FAR),
    "issuance.scope.stale": _excused("old", "EX-0", "waiver", PAST),
    "issuance.scope.broken": "allow if to_number(input.client.id) > 0",
}


@dataclass(frozen=True)
class Story:
    """A log that a running bridge has written and published; `ids`: what each entry shows -> its id."""

    bridge: RunningBridge
    ids: dict[str, str]

    @property
    def evidence(self) -> Path:
        return self.bridge.evidence


def _user(name: str) -> dict[str, Any]:
    return {"grant_type": "authorization_code", "subject": {"type": "user", "id": name}}


STORY: dict[str, dict[str, Any]] = {
    "read": request("read", client={"id": "web"}, session={"id": "s-1"}, **_user(HIDDEN)),
    "partly": request("read", "never", client={"id": "web"}, context={"password": HIDDEN}, **_user(HIDDEN)),
    "never": request("never", client={"id": "batch"}),
    "unmapped": request("nowhere", client={"id": "batch \u00e4\u0085"}),
    "waiting": request("pay", client={"id": "web"}, audience=["https://pay.example"], **_user(HIDDEN)),
    "partly_waiting": request("read", "pay", client={"id": "web"}, audience=["https://pay.example"], **_user(HIDDEN)),
    "waived": request("waived", "tenant:a", client={"id": "batch"}),
    "glass": request("glass", client={"id": "ops"}),
    "stale": request("stale", client={"id": "batch"}),
    "broken": request("broken", client={"id": "web"}, **_user(HIDDEN)),
    "blocked": request("read", client={"id": "blocked"}),
    "none": request(client={"id": "web"}, **_user(HIDDEN)),
}


@pytest.fixture(scope="package")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A bridge with the entries of STORY, all of them covered by its checkpoint; it masks who the subject is."""
    folder = tmp_path_factory.mktemp("story")
    policies = write_policies(folder / "rego", {**POLICIES, **_MORE})
    mask = {"path": str(folder / "evidence"), "mask": ["/subject/id"]}
    with running_bridge(folder, policies, evidence=mask) as bridge:
        ids = {name: bridge.ask(body)["decision_id"] for name, body in STORY.items()}
        wait_for_checkpoint(bridge.evidence, len(all_found(bridge.evidence)))  # the bridge's own are there, too
        yield Story(bridge, ids)

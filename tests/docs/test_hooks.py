"""The pages of the hooks: their configuration loads, and their request has their reply, by the sample policies."""

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from bridge.doors import data_api
from bridge.doors.hooks import indigo_iam, okta, wso2
from bridge.registry import ABILITIES
from tests.contract.asking import doors, told
from tests.docs.pages import DOCS, ROOT, blocks
from tests.support.bridge import local_bridge

PAGES: dict[str, tuple[str, dict[str, str]]] = {
    "okta.md": (okta.PATH, {"Authorization": "okta-secret"}),
    "wso2.md": (wso2.PATH, {"X-API-Key": "wso2-key"}),
    "indigo-iam.md": (indigo_iam.PATH, {}),
    "opa-data-api.md": (data_api.PATH, {}),
}


@pytest.mark.parametrize("name", PAGES)
async def test_the_documented_request_has_the_documented_reply(name: str, tmp_path: Path) -> None:
    path, headers = PAGES[name]
    found = {language: [b.text for b in blocks(DOCS / name) if b.language == language] for language in ("toml", "json")}
    (config,), (request, reply) = found["toml"], found["json"]
    sections: dict[str, Any] = tomllib.loads(config)
    hooks = sections.pop("hooks", {})
    policies = sections.pop("policy", {})
    sections |= {f"hooks.{hook}": keys for hook, keys in hooks.items()}
    if policies:
        sections["policy"] = {"path": str(ROOT / "rego"), **policies}
    async with local_bridge(tmp_path, ROOT / "rego", **sections) as bridge:
        async with bridge.session.post(path, json=json.loads(request), headers=headers) as response:
            said = told(response.status, response.headers, await response.read())
        assert said["body"] == told(200, response.headers, reply.encode())["body"]
        if headers:
            (secret,) = headers.values()
            assert sections["callers"][0]["token_sha256"] == hashlib.sha256(secret.encode()).hexdigest()


def test_the_table_is_what_the_doors_declare() -> None:
    assert ABILITIES.keys() == set(doors().values())
    command = [sys.executable, "-m", "scripts.abilities", "--check"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0

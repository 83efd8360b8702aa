"""The page for Curity: its configuration, request and reply are true of the sample policies."""

import json
import tomllib
from pathlib import Path

from bridge.doors.curity.door import PATH
from tests.docs.pages import DOCS, ROOT, blocks
from tests.support.bridge import local_bridge


async def test_the_documented_request_has_the_documented_reply(tmp_path: Path) -> None:
    config, request, reply = (block.text for block in blocks(DOCS / "curity.md"))
    async with local_bridge(tmp_path, ROOT / "rego", authzen=tomllib.loads(config)["authzen"]) as bridge:
        for body in (json.loads(request), {"input": json.loads(request)}):
            async with bridge.session.post(PATH, json=body) as response:
                assert await response.json() == json.loads(reply)

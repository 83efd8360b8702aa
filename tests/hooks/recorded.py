"""Bodies of Ory Hydra 2.3.0, as they were captured on loopback."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

BODIES = Path(__file__).parent / "bodies/hydra"
RECORDED = {file.stem: file.read_text(encoding="utf-8") for file in BODIES.glob("*.json")}


def captured(name: str) -> dict[str, Any]:
    """One body, with an access token that lives for an hour from now."""
    body: dict[str, Any] = json.loads(RECORDED[name])
    until = datetime.now(UTC) + timedelta(seconds=3599)
    body["session"]["id_token"]["expires_at"]["access_token"] = f"{until:%Y-%m-%dT%H:%M:%S}.123456789Z"
    return body

"""How each door is asked, and what is the same each time in what it says."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.config.settings import Settings
from bridge.server import Bridge

BODIES = Path(__file__).parent / "bodies"
SECRETS = {
    "hooks-hydra": {"X-Bridge-Key": "hydra-key"},
    "hooks-hydra-refresh": {"X-Bridge-Key": "hydra-key"},
    "hooks-okta": {"Authorization": "okta-secret"},
    "hooks-wso2": {"X-API-Key": "wso2-key"},
}
"""Door -> how its callers show who they are, where it is no bearer token."""
BEARER = {"Authorization": "Bearer any-service"}
NO_DECISIONS = re.compile(r"/v1/issuance/issued|/v1/lifecycle/.*|/v1/logout/.*|/access/v1/search/.*")
SECTIONS: dict[str, Any] = {
    "callers": [
        {"name": "service", "roles": ["token_service"], "token_sha256": hashlib.sha256(b"any-service").hexdigest()},
        *(
            {
                "name": name,
                "roles": ["token_service"],
                "header": header,
                "token_sha256": hashlib.sha256(secret.encode()).hexdigest(),
                "doors": [name],
            }
            for name, header, secret in (
                ("hydra", "X-Bridge-Key", "hydra-key"),
                ("okta", "Authorization", "okta-secret"),
                ("wso2", "X-API-Key", "wso2-key"),
            )
        ),
    ],
    "hooks.indigo_iam": {"grant_type": "authorization_code"},
    "server": {"deadline_ms": 20_000},
    "engine": {"deadline_ms": 20_000},
}


def doors() -> dict[str, str]:
    """Every door that decides, as the registry has them, with its path: `hooks-okta` is at `/hooks/okta`."""
    routes = Bridge(Settings()).application().router.routes()
    paths = {route.resource.canonical for route in routes if route.method == "POST" and route.resource is not None}
    return {path.strip("/").replace("/", "-"): path for path in sorted(paths) if not NO_DECISIONS.fullmatch(path)}


def headers_of(door: str, outcome: str) -> dict[str, str]:
    """Who asks; nobody we know in `bad_caller`."""
    shown = SECRETS.get(door, BEARER)
    if outcome == "bad_caller":
        shown = {name: f"{value}-not" for name, value in shown.items()}
    return {"Content-Type": "application/json", **shown}


def load(door: str, outcome: str) -> dict[str, Any]:
    """`body` (an object, or text that is sent as it is) and what is `told`: status, type and body."""
    kept: dict[str, Any] = json.loads((BODIES / door / f"{outcome}.json").read_text(encoding="utf-8"))
    return kept


def told(status: int, headers: Mapping[str, str], raw: bytes) -> dict[str, Any]:
    """The answer on the wire, less what is another one each time."""
    found: dict[str, Any] = {"status": status}
    if raw:
        found |= {"type": headers["Content-Type"], "body": _stable(json.loads(raw))}
    return found


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _stable(item) if name not in _EACH_TIME else f"<{name}>" for name, item in value.items()}
    if isinstance(value, list):
        return [_stable(item) for item in value]
    return value


_EACH_TIME = {"decision_id", "valid_until", "index", "leaf_hash", "origin"}

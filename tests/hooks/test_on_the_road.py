"""Okta and WSO2 through a whole bridge: time, defects, refusals, and what is kept of a body."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.asking import SECTIONS, headers_of, load
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.planted import traces
from tests.support.policies import write_policies

REFUSAL = {"error": {"errorSummary": "not allowed"}}
POLICIES = {
    "issuance.gate": "allow := true",
    "issuance.scope.allow": "allow := true",
    "issuance.scope.huge": """
allow := true
claims := {"big": concat("", [sprintf("%09d", [i]) | some i in numbers.range(1, 30000)])}
""",
}
SECRETS = tuple(f"planted-secret-{number}-" for number in range(11))


async def post(bridge: LocalBridge, door: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    path = "/" + door.replace("-", "/", 1)
    shown = headers_of(door, "allow") if headers is None else {"Content-Type": "application/json", **headers}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with bridge.session.post(path, data=io.BytesIO(data), headers=shown) as response:
        raw = await response.read()
        return response.status, json.loads(raw) if raw else None


async def test_okta_is_never_told_a_no_by_a_status(tmp_path: Path) -> None:
    body = load("hooks-okta", "allow")["body"]
    callers = [{**one, "grant_types": ["client_credentials"]} for one in SECTIONS["callers"] if one["name"] == "okta"]
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), callers=callers) as bridge:
        for sent, headers in [
            (body, {"Authorization": "another"}),
            (body, {}),
            (body, None),  # that caller may not ask for this grant
            (b"", None),
            (b"{", None),
            (b'{"a": 1, "a": 2}', None),
            (b"[" * 200, None),
            (b'"' + b"x" * (5 * 1024 * 1024) + b'"', None),
        ]:
            assert await post(bridge, "hooks-okta", sent, headers) == (200, REFUSAL)
        async with bridge.session.post("/hooks/okta", data=b"{}", headers={"Content-Type": "text/plain"}) as response:
            assert response.status == 200
        assert bridge.entries() == []


async def test_a_proxy_s_request_id_never_makes_an_error_of_an_answer(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:
        for request_id in ("x" * 300, "tab\there", "\xe9", "\udcff"):
            shown = {"Authorization": "okta-secret", "X-Request-ID": request_id}
            assert await post(bridge, "hooks-okta", load("hooks-okta", "deny")["body"], shown) == (200, REFUSAL)
            assert "request_id" not in bridge.entries()[-1]


async def test_a_reply_that_okta_would_not_read_is_a_no_that_is_on_record(tmp_path: Path) -> None:
    body = load("hooks-okta", "allow")["body"]
    body["data"]["access"]["scopes"] = {"huge": {"id": "1", "action": "GRANT"}}
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:
        assert await post(bridge, "hooks-okta", body) == (200, REFUSAL)
        decision = next(entry for entry in bridge.entries() if entry["kind"] == "decision")
        assert decision["outcome"] == "allow"
        async with asyncio.timeout(10):
            while not [entry for entry in bridge.entries() if entry["kind"] == "overruled"]:
                await asyncio.sleep(0.05)


async def test_each_product_is_answered_within_its_patience(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:
        # Deadlines of 20 s are configured.
        async def late(items: bytes, timeout_s: float) -> Any:
            await asyncio.sleep(min(timeout_s, 10))
            raise AssertionError("asked for longer than anybody waits")

        async def took(door: str) -> tuple[int, float]:
            started = time.monotonic()
            status, _ = await post(bridge, door, load(door, "allow")["body"])
            return status, time.monotonic() - started

        monkeypatch.setattr(bridge.bridge.engine, "query", late)
        waits = {"hooks-okta": (200, 2.5), "hooks-hydra": (403, 4.0), "hooks-wso2": (500, 4.9)}
        for (expected, most), (status, seconds) in zip(
            waits.values(), await asyncio.gather(*map(took, waits)), strict=True
        ):
            assert (status, seconds < most) == (expected, True), (most, seconds)


async def test_okta_is_told_no_in_time_when_its_body_is_late(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:

        async def stalled() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.sleep(8)

        started, headers = time.monotonic(), headers_of("hooks-okta", "allow")
        async with bridge.session.post("/hooks/okta", data=stalled(), headers=headers) as response:
            assert (response.status, await response.json()) == (200, REFUSAL)
        assert time.monotonic() - started < 2.5


async def test_secrets_of_a_body_are_kept_nowhere(tmp_path: Path) -> None:
    wso2, okta = load("hooks-wso2", "allow")["body"], load("hooks-okta", "allow")["body"]
    wso2["event"]["request"]["additionalParams"] = [
        {"name": "client_secret", "value": [SECRETS[0]]},
        {"name": "refresh_token", "value": [SECRETS[1]]},
        {"name": "code_verifier", "value": [SECRETS[5]]},
    ]
    wso2["event"]["request"]["additionalHeaders"] = [
        {"name": "Authorization", "value": [f"Basic {SECRETS[2]}"]},
        {"name": "Proxy-Authorization", "value": [SECRETS[6]]},
        {"name": "X-Api-Key", "value": [SECRETS[7]]},
        {"name": "DPoP", "value": [SECRETS[8]]},
    ]
    okta["data"]["context"]["protocol"]["request"] |= {"code": SECRETS[3], "client_assertion": SECRETS[4]}
    okta["data"]["context"]["protocol"]["request"] |= {"id_token_hint": SECRETS[9], "request": SECRETS[10]}
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:
        assert (await post(bridge, "hooks-wso2", wso2))[0] == 200
        assert (await post(bridge, "hooks-okta", okta))[0] == 204
        assert len([entry for entry in bridge.entries() if entry["outcome"] == "allow"]) == 2
    assert traces(tmp_path, SECRETS) == {secret: set() for secret in SECRETS}

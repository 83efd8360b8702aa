"""An OPA of the user's own that has nothing but what it fetches from the bridge which asks it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from bridge.doors import bundles
from tests.engines.servers import OpaProcess, free_port, opa_server
from tests.support.bridge import LocalBridge, bearer, caller, local_bridge, request, token_of
from tests.support.policies import POLICIES, write_policies
from tests.support.signing import key_files

MORE = {**POLICIES, "issuance.scope.more": "allow := true"}
CALLERS = [caller("opa", "operator"), caller("as")]


@contextlib.asynccontextmanager
async def polling_opa(folder: Path, port: int, **signing: Any) -> AsyncIterator[OpaProcess]:
    """`opa run --server` with the documented configuration, polling once a second."""
    configuration = {
        "services": {
            "bridge": {"url": f"http://127.0.0.1:{port}", "credentials": {"bearer": {"token": token_of("opa")}}}
        },
        "bundles": {
            "issuance": {
                "service": "bridge",
                "resource": bundles.PATH.lstrip("/"),
                "persist": False,
                "polling": {"min_delay_seconds": 1, "max_delay_seconds": 1},
                **({"signing": {"keyid": "2026"}} if signing else {}),
            }
        },
        **({"keys": {"2026": signing}} if signing else {}),
    }
    file = folder / "opa.json"
    file.write_text(json.dumps(configuration))
    async with opa_server("--config-file", file) as opa:
        yield opa


async def ready(bridge: LocalBridge) -> bool:
    async with bridge.session.get("/health/ready") as response:
        return response.status == 200


async def test_opa_with_our_url_as_its_bundle_service_becomes_ready_and_follows(tmp_path: Path) -> None:
    private, public = key_files(tmp_path)
    policies, port = write_policies(tmp_path / "policies"), free_port()
    section = {"path": str(policies), "signing_key": str(private), "signing_key_id": "2026"}
    async with (
        polling_opa(tmp_path, port, key=public.read_text(), algorithm="RS256") as opa,
        local_bridge(
            tmp_path,
            policies,
            policy=section,
            engine={"kind": "opa", "url": opa.url},
            server={"port": port},
            callers=CALLERS,
        ) as bridge,
    ):
        assert not await ready(bridge)
        async with asyncio.timeout(20):
            while not await ready(bridge):
                await asyncio.sleep(0.05)
        outcomes, stop = list[str](), asyncio.Event()

        async def ask_on() -> None:
            while not stop.is_set():
                outcomes.append((await bridge.ask(request("read"), headers=bearer("as")))["outcome"])

        asking = asyncio.create_task(ask_on())
        write_policies(policies, MORE)
        async with asyncio.timeout(20):
            while (await bridge.ask(request("more"), headers=bearer("as")))["outcome"] != "allow":
                await asyncio.sleep(0.05)
        assert await ready(bridge)
        stop.set()
        await asking
    assert set(outcomes) == {"allow"}
    digests = [entry["policy"]["digest"] for entry in bridge.entries() if entry["kind"] == "decision"]
    assert len(set(digests)) == 2


async def test_opa_that_trusts_another_key_never_answers(tmp_path: Path) -> None:
    private, _ = key_files(tmp_path)
    _, other = key_files(tmp_path, "rsa-other")
    policies, port = write_policies(tmp_path / "policies"), free_port()
    section = {"path": str(policies), "signing_key": str(private), "signing_key_id": "2026"}
    async with (
        polling_opa(tmp_path, port, key=other.read_text(), algorithm="RS256") as opa,
        local_bridge(
            tmp_path,
            policies,
            policy=section,
            engine={"kind": "opa", "url": opa.url},
            server={"port": port},
            callers=CALLERS,
        ) as bridge,
    ):
        await asyncio.sleep(3)
        assert not await ready(bridge)
        reply = await bridge.ask(request("read"), headers=bearer("as"))
        assert (reply["outcome"], reply["findings"][0]["code"]) == ("deny", "engine_unavailable")

"""`serve` as it is run: killed between steps, and with two workers."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.saga.server import Server, served
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

ISSUER = "local"
POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
HOOKED = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "hooked"), str(Path.cwd())])}


def running(folder: Path, peer: Server, **more: Any) -> Any:
    policies = folder / "rego"
    if not policies.exists():
        write_policies(policies, POLICIES)
    servers = [{"issuer": ISSUER, "kind": "hydra", "admin_url": peer.url}]
    return running_bridge(folder, policies, env=HOOKED, servers=servers, **more)


def granted(bridge: RunningBridge, subject: str) -> bool:
    who = {"client": {"id": "app"}, "subject": {"type": "user", "id": subject}, "grant_type": "authorization_code"}
    return bool(bridge.ask(request("read", **who))["outcome"] == "allow")


def end(bridge: RunningBridge, client: str) -> None:
    body = {"what": "client", "issuer": ISSUER, "client": client, "reason": "a test"}
    assert bridge.client.post("/v1/lifecycle/end", json=body).status_code == 200


def of(bridge: RunningBridge, effect: str) -> list[dict[str, Any]]:
    return [one for one in bridge.entries() if one.get("effect") == effect]


@pytest.mark.timeout(120)
def test_killed_between_any_two_steps_it_goes_on_and_does_no_step_twice_that_is_on_record(tmp_path: Path) -> None:
    """After what a call does, before the one that looks; test_sagas breaks off everywhere."""
    boundaries = [("GET", "consent", "before"), ("DELETE", "client", "after")]
    server = Server(there={"notice": {"app"}, "client": {"app"}, "consent": {"app/alice", "app/bob"}})
    with served(server):
        for number, (method, kind, when) in enumerate(boundaries):

            def hold(*call: str, wanted: tuple[str, str] = (method, kind), when: str = when) -> str | None:
                return when if call[:2] == wanted and not server.held.is_set() else None

            server.hold = hold
            server.held.clear()
            server.release.clear()
            with running(tmp_path, server) as bridge:
                if number == 0:
                    assert granted(bridge, "alice")
                    assert granted(bridge, "bob")
                    end(bridge, "app")
                assert server.held.wait(20), server.calls
                assert not granted(bridge, "alice")
                assert not of(bridge, "settled")
                before = {one["step_digest"] for one in of(bridge, "step") if one["standing"] == "confirmed"}
                bridge.stop(signal.SIGKILL)
                server.release.set()
            assert len(before) in ((1, 2), (3,))[number]  # consents go side by side
        server.hold = lambda *_: None
        with running(tmp_path, server) as bridge:
            (told,) = wait_until(lambda: of(bridge, "settled"), 20)
            assert (told["standing"], told["steps"]) == ("confirmed", 4)
            confirmed = [one["step_digest"] for one in of(bridge, "step") if one["standing"] == "confirmed"]
            assert len(confirmed) == len(set(confirmed)) == 4
            assert not granted(bridge, "alice")
    deleted = server.of("DELETE")
    assert list(dict.fromkeys(deleted)) == ["notice", "consent", "client"]
    # Only what was under way is done again: it may be, or may not be, and nobody knows.
    assert (deleted.count("notice"), deleted.count("client")) == (1, 2)
    assert deleted.count("consent") <= 4
    assert not any(server.there.values())


@pytest.mark.timeout(120)
def test_of_two_workers_one_does_it_and_another_takes_over(tmp_path: Path) -> None:
    server = Server(there={"client": {"app", "b", "c"}, "notice": {"app"}})
    with served(server), running(tmp_path, server, server={"port": 0, "workers": 2}) as bridge:
        for client in ("app", "b"):
            end(bridge, client)
        wait_until(lambda: len(of(bridge, "settled")) == 2, 20)
        first = [one for one in bridge.family()[1:] if one.cmdline()[-2:] == ["--worker", "0"]]
        first[0].kill()  # what ends now is found by the one that is started in its place
        for _ in range(20):  # the other one takes it, or nobody does yet
            try:
                end(bridge, "c")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        wait_until(lambda: len(of(bridge, "settled")) == 3, 20)
        assert {one["standing"] for one in of(bridge, "settled")} == {"confirmed"}
        assert sorted(server.of("DELETE")) == ["client"] * 3 + ["notice"] * 3
        assert {one["instance"] for one in of(bridge, "settled")} == {"bridge/0"}

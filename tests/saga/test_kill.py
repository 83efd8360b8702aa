"""`serve` as it is run, with two workers: one of them does what follows endings, and is killed between steps."""

import os
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
ADMIN = {"issuer": ISSUER, "kind": "hydra"}
POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
HOOKED = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "hooked"), str(Path.cwd())])}
BOUNDARIES = [("GET", "consent", "before"), ("DELETE", "client", "after")]
"""After what a call does, and before the one that looks; test_sagas breaks off everywhere."""


def granted(bridge: RunningBridge, subject: str) -> bool:
    who = {"client": {"id": "app"}, "subject": {"type": "user", "id": subject}, "grant_type": "authorization_code"}
    return bool(bridge.ask(request("read", **who))["outcome"] == "allow")


def end(bridge: RunningBridge, client: str) -> None:
    body = {"what": "client", "issuer": ISSUER, "client": client, "reason": "a test"}
    for _ in range(50):
        try:
            assert httpx.post(f"{bridge.url}/v1/lifecycle/end", json=body, trust_env=False).status_code == 200
        except httpx.TransportError:  # it was given to a worker that is killed
            time.sleep(0.1)
        else:
            return


def of(bridge: RunningBridge, effect: str) -> list[dict[str, Any]]:
    return [one for one in bridge.entries() if one.get("effect") == effect]


def confirmed(bridge: RunningBridge, client: str) -> list[str]:
    found = [one for one in of(bridge, "step") if one["standing"] == "confirmed"]
    return [one["step_digest"] for one in found if one["request"]["client"]["id"] == client]


@pytest.mark.timeout(120)
def test_killed_between_steps_it_goes_on_and_does_nothing_again_that_is_on_record(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES)
    there = {"notice": {"app"}, "client": {"app", "other"}, "consent": {"app/alice", "app/bob"}}
    with served(Server(there=there)) as server:
        sections: dict[str, Any] = {
            "server": {"port": 0, "workers": 2},
            "servers": [{**ADMIN, "admin_url": server.url}],
        }
        with running_bridge(tmp_path, policies, env=HOOKED, **sections) as bridge:
            assert granted(bridge, "alice")
            assert granted(bridge, "bob")
            for number, (method, kind, when) in enumerate(BOUNDARIES):

                def hold(*call: str, wanted: tuple[str, str] = (method, kind), when: str = when) -> str | None:
                    mine = call[:2] == wanted and call[2].startswith("app")  # another client ends beside it
                    return when if mine and not server.held.is_set() else None

                server.held.clear()
                server.release.clear()
                server.hold = hold
                if number == 0:
                    end(bridge, "app")
                    assert not granted(bridge, "alice")
                assert server.held.wait(30), server.calls
                settled = [one for one in of(bridge, "settled") if one["request"]["client"]["id"] == "app"]
                assert not settled
                assert len(confirmed(bridge, "app")) in ((1, 2), (3,))[number]  # consents go side by side
                (doing,) = [one for one in bridge.family() if one.cmdline()[-2:] == ["--worker", "0"]]
                doing.kill()
                end(bridge, "other")  # found by the one that is started in its place
                server.release.set()
            wait_until(lambda: len(of(bridge, "settled")) == 2, 30)
            told = of(bridge, "settled")
            assert sorted((one["standing"], one["steps"]) for one in told) == [("confirmed", 2), ("confirmed", 4)]
            assert {one["instance"] for one in told} == {"bridge/0"}
            for client, steps in (("app", 4), ("other", 2)):
                assert len(confirmed(bridge, client)) == len(set(confirmed(bridge, client))) == steps
    deleted = [(kind, ids) for method, kind, ids in server.calls if method == "DELETE"]
    mine = [kind for kind, ids in deleted if ids.startswith("app")]
    assert list(dict.fromkeys(mine)) == ["notice", "consent", "client"]
    # Only what was under way is done again: it may be done, or not, and nobody knows.
    assert (mine.count("notice"), mine.count("client")) == (1, 2)
    assert mine.count("consent") <= 4
    assert not any(server.there.values())

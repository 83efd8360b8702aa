"""A real bridge and an unmodified Hydra 2.3.0: one connected event, whatever is killed or down meanwhile."""

import contextlib
import json
import threading
from functools import partial
from typing import Any

import psutil

from tests.lifecycle.admin_proxy import Asked
from tests.lifecycle.real_servers import World, session_of
from tests.support.bridge import starting_bridge
from tests.support.waiting import wait_until

LIVE, DEAD = (True, True), (False, False)
CONSENT = "/admin/oauth2/auth/sessions/consent"


def delete(world: World, client: str) -> str:
    """Ends it by a command; the id of the entry."""
    made = world.bridge.cli("clients", "delete", client, "--issuer", world.issuer, "--reason", "a test", "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["id"])


def settled(world: World, ending: str, within_s: float = 20) -> dict[str, Any]:
    """The entry that says that all is done about it."""
    return wait_until(lambda: next(iter(about(world, ending, "settled")), None), within_s) or {}


def kill(pid: int) -> None:
    """As when the machine goes down: nothing of it is left to finish anything."""
    bridge = psutil.Process(pid)
    for one in [bridge, *bridge.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            one.kill()


def about(world: World, ending: str, effect: str) -> list[dict[str, Any]]:
    return [one for one in world.bridge.entries() if one.get("effect") == effect and one["ending_id"] == ending]


def test_deleting_a_client_ends_all_that_hangs_on_it_and_nothing_else(world: World) -> None:
    world.client("one", "two")
    mine = [world.delegate("one", user) for user in ("alice", "bob")]
    other = world.delegate("two", "alice")
    assert [world.lives("one", each) for each in mine] == [LIVE, LIVE]
    told = settled(world, ending := delete(world, "one"))
    assert (told["standing"], told["steps"]) == ("accepted", 5)
    steps = sorted((step["step"], step["standing"]) for step in about(world, ending, "step"))
    # Nobody looks behind the 200 of an application that has no session check.
    seen = [("client", "confirmed"), ("consent", "confirmed"), ("consent", "confirmed")]
    assert steps == [*seen, ("notice", "accepted"), ("notice", "accepted")]
    notices = world.parties.of("one")
    assert {(claims["sub"], claims["sid"]) for claims in notices} == {
        (user, session_of(each)) for user, each in zip(("alice", "bob"), mine, strict=True)
    }
    deleted = world.admin.first["DELETE", "/admin/clients/one"]
    assert all(at < deleted for at, path, _ in world.parties.told if path == "/one")
    assert world.parties.of("two") == []
    assert [world.lives("one", each) for each in mine] == [DEAD, DEAD]
    listed = world.hydra.admin.get(CONSENT, params={"subject": "alice"}).json()
    assert "one" not in [each["consent_request"]["client"]["client_id"] for each in listed]
    assert world.hydra.admin.get("/admin/clients/one").status_code == 404
    assert world.lives("two", other) == LIVE
    assert world.bridge.cli("lifecycle", "status").returncode == 0


def test_a_deletion_made_at_hydra_is_noticed_and_completed(world: World) -> None:
    (server,) = world.sections["servers"]
    world.client("direct", "indirect", "idle")
    mine, other = world.delegate("direct", "carol"), world.delegate("indirect", "carol")
    assert world.hydra.admin.delete("/admin/clients/direct").status_code == 204
    world.start(servers=[{**server, "list_clients_s": 1}])
    ended = wait_until(lambda: [one for one in world.bridge.entries() if _gone(one, "direct")], 20)
    assert settled(world, ended[0]["id"])["standing"] == "confirmed"
    assert (world.lives("direct", mine), world.lives("indirect", other)) == (DEAD, LIVE)
    (known,) = [one for one in world.bridge.entries() if one["kind"] == "clients"]
    assert (known["door"], known["caller"]) == ("saga", "hydra")
    assert {"id": "idle"} in known["clients"] and {"id": "indirect"} not in known["clients"]
    world.start(servers=[server])


def test_killed_between_any_two_calls_it_is_completed_and_harms_nobody_twice(world: World) -> None:
    world.client("killed", "spared")
    mine, other = world.delegate("killed", "dan"), world.delegate("spared", "dan")
    client = "/admin/clients/killed"
    # In the first step when Hydra has done it, between the two, in the second when Hydra has done it.
    points = [("after", "DELETE", CONSENT), ("before", "DELETE", client), ("after", "DELETE", client)]
    left, struck, running = list(points), threading.Event(), world.bridge.process.pid

    def strike(when: str, asked: Asked) -> bool:
        """Whether the bridge is dead; it is killed at the first of what is left."""
        if left and left[0] == (when, *asked) and not struck.is_set():
            left.pop(0)
            kill(running)
            struck.set()
            return True
        return struck.is_set()

    world.admin.before, world.admin.after = partial(strike, "before"), partial(strike, "after")
    before, ending = len(world.admin.asked), delete(world, "killed")
    assert struck.wait(20), left
    world.running.close()
    for _ in points[1:]:
        struck.clear()
        # It goes on before it listens.
        with starting_bridge(world.folder, world.folder / "rego", **world.sections) as starting:
            running = starting.process.pid
            assert struck.wait(40), left
    struck.clear()
    world.start()
    assert settled(world, ending)["standing"] == "confirmed"
    assert (left, world.lives("killed", mine), world.lives("spared", other)) == ([], DEAD, LIVE)
    # Only what was under way is done again; what is on record is not.
    asked = world.admin.asked[before:]
    assert [asked.count(("DELETE", path)) for path in (CONSENT, client)] == [2, 3]


def test_while_hydra_is_down_the_refusal_stands_and_the_rest_is_shown_and_done_later(world: World) -> None:
    world.client("later", "unhurt")
    mine, other = world.delegate("later", "fred"), world.delegate("unhurt", "fred")
    world.admin.down = True
    ending = delete(world, "later")
    wait_until(lambda: len(about(world, ending, "step")) == 2, 20)
    # Hydra itself would still refresh: it asks the bridge, which refuses.
    assert world.hydra.introspected(mine.body["access_token"])["active"]
    assert world.lives("later", mine) == (True, False)
    assert world.lives("unhurt", other) == LIVE
    status = world.bridge.cli("lifecycle", "status", "--json")
    assert status.returncode == 1
    (shown,) = [json.loads(line) for line in status.stdout.splitlines()]
    assert shown["ending_id"] == ending
    assert {step["standing"] for step in shown["steps"]} == {"failed"}
    assert not about(world, ending, "settled")
    world.admin.down = False
    assert settled(world, ending, 60)["standing"] == "confirmed"
    assert (world.lives("later", mine), world.lives("unhurt", other)) == (DEAD, LIVE)
    assert world.bridge.cli("lifecycle", "status").returncode == 0


def _gone(entry: dict[str, Any], client: str) -> bool:
    """Whether it says that the client was not there any more."""
    saga = entry.get("effect") == "ended" and entry["door"] == "saga"
    return saga and bool(entry["request"]["client"] == {"id": client})

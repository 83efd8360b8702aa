"""What the contract's bodies get at each door is refused there once their client, or their subject, has ended."""

from pathlib import Path

import pytest

from bridge.model.ended import Effect, Name, What
from bridge.pdp.lifecycle import Order
from bridge.replay.recorded import NotReplayable, Reason, Records
from tests.contract.asking import SECTIONS, doors
from tests.contract.policies import POLICIES
from tests.contract.record import ask
from tests.contract.test_doors import is_yes
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.evidence import all_found, reading
from tests.support.policies import write_policies


async def end(bridge: LocalBridge, what: What) -> None:
    """Ends every client, or every subject, that was granted something."""
    for entry in [entry for entry in bridge.entries() if entry["kind"] == "decision" and entry["outcome"] == "allow"]:
        request = entry["request"]
        if what.value in request:
            name = Name(what, request["issuer"], (request[what.value]["id"],))
            await bridge.bridge.lifecycle(Order(name, Effect.ENDED, "a test", "ops"))


@pytest.mark.parametrize("what", [What.CLIENT, What.SUBJECT])
async def test_every_door_refuses(tmp_path: Path, what: What) -> None:
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", POLICIES), **SECTIONS) as bridge:
        before = {door: await ask(bridge, door, path, "allow") for door, path in doors().items()}
        assert all(is_yes(door, answer) for door, answer in before.items() if door != "access-v1-evaluation")
        asked = len(bridge.entries())
        await end(bridge, what)
        after = {door: await ask(bridge, door, path, "allow") for door, path in doors().items()}
        assert {door for door, answer in after.items() if is_yes(door, answer)} == set()
        entries = bridge.entries()[asked:]
        refused = [entry for entry in entries if entry["kind"] == "decision"]
        assert len(refused) >= len(doors()) - 1
        assert all(entry["outcome"] == "deny" and entry["ended"]["what"] == what.value for entry in refused)
    with reading(bridge.evidence) as reader:
        read = [Records(reader).read(one) for one in all_found(bridge.evidence) if "ended" in one.entry]
    assert read == [NotReplayable(Reason.ENDED)] * len(refused)

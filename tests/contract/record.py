"""Writes anew what each door answers to the kept bodies: `python -m tests.contract.record`; then read the diff."""

import asyncio
import errno
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from tests.contract.asking import BODIES, SECTIONS, doors, headers_of, load, told
from tests.contract.policies import GOOD_DAYS, POLICIES
from tests.support.bridge import LocalBridge, local_bridge
from tests.support.policies import write_policies


async def ask(bridge: LocalBridge, door: str, path: str, outcome: str) -> dict[str, Any]:
    """What the door says now."""
    body = load(door, outcome)["body"]
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    async with bridge.session.post(path, data=data, headers=headers_of(door, outcome)) as response:
        return told(response.status, response.headers, await response.read())


def without_disk(bridge: LocalBridge) -> None:
    """Takes the log away."""

    def refuse(records: Any) -> Any:
        raise OSError(errno.EIO, "the disk is gone")

    bridge.bridge.journal._store.commit = refuse  # type: ignore[method-assign]


async def answers(folder: Path) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    """(door, outcome, answer) of all."""
    policies = write_policies(folder / "rego", POLICIES)
    async with local_bridge(folder, policies, **SECTIONS) as bridge:
        for outcome in (*GOOD_DAYS, "engine_down"):
            if outcome == "engine_down":
                await bridge.bridge.engine.close()
            for door, path in doors().items():
                yield door, outcome, await ask(bridge, door, path, outcome)
    async with local_bridge(folder / "log", policies, **SECTIONS) as bridge:
        without_disk(bridge)
        for door, path in doors().items():
            yield door, "log_down", await ask(bridge, door, path, "log_down")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async for door, outcome, answer in answers(Path(folder)):
            file = BODIES / door / f"{outcome}.json"
            kept = {**load(door, outcome), "told": answer}
            file.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())

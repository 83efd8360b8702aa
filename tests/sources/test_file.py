"""A source that is a file: watched, and as old as the last look that found it good."""

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from bridge.model.source import Declared, Status
from bridge.sources import file as file_source
from bridge.sources.file import FileSource
from tests.support.bridge import local_bridge, request
from tests.support.policies import write_policies
from tests.support.sources import source

POLICIES = {
    "issuance.gate": 'allow contains {"code": "open"}',
    "issuance.scope.seen": 'allow contains {"code": "managed"} if input.sources.posture.value.managed',
}


def replace(path: Path, value: Any) -> None:
    """As an operator should: whole, in one step."""
    new = path.with_suffix(".new")
    new.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    os.replace(new, path)  # noqa: PTH105 - the one atomic step


async def until(bridge: Any, wanted: str, seconds: float = 5) -> None:
    ends = time.monotonic() + seconds
    while (reply := await bridge.ask(request("seen")))["outcome"] != wanted:
        assert time.monotonic() < ends, reply
        await asyncio.sleep(0.1)


async def test_a_watched_file_is_taken_up(tmp_path: Path) -> None:
    people = tmp_path / "people.json"
    replace(people, {"c": {"managed": False}})
    table = source(f"file://{people}", max_age_s=2)
    async with local_bridge(tmp_path, write_policies(tmp_path / "p", POLICIES), sources=[table]) as bridge:
        assert (await bridge.ask(request("seen")))["outcome"] == "deny"
        replace(people, {"c": {"managed": True}})
        await until(bridge, "allow")
        replace(people, "{")
        await until(bridge, "deny")  # not before what is known is older than max_age_s
        reply = await bridge.ask(request("seen"))
        assert reply["scopes"]["seen"]["findings"][0]["code"] == "source_failed"
        entry = await asyncio.to_thread(bridge.entry_of, reply["decision_id"])
        assert "strict JSON" in entry["exceptions"][0]["message"]
        assert any("source posture" in text for text in bridge.bridge.warnings())
        replace(people, {"c": {"managed": True}})
        await until(bridge, "allow")
        assert bridge.bridge.warnings() == []


async def test_several_keys_are_levels_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    replace(path, {"nina": {"web": {"ok": 1}, "cli": 2}, "odd": 3})
    asked = FileSource(Declared("s", "o", (("a",), ("b",))), path)
    await asked.start()
    try:
        found = {
            key: await asked.ask(key, 0) for key in (("nina", "web"), ("nina", "cli"), ("web", "nina"), ("odd", "x"))
        }
        assert [a.value for a in found.values()] == [{"ok": 1}, 2, None, None]
        assert {a.status for a in found.values()} == {Status.FRESH}
    finally:
        await asked.close()


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1, "a": 2}', "{" * 40, '{"a": NaN}', '{"a": 1} {}'])
async def test_a_file_that_is_no_table_says_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.json"
    replace(path, content)
    asked = FileSource(Declared("s", "o", (("a",),)), path)
    await asked.start()
    assert (await asked.ask(("a",), 0)).status is Status.FAILED
    await asked.close()


async def test_a_large_value_and_a_large_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.json"
    replace(path, {"a": "x" * 70_000, "b": "small"})
    asked = FileSource(Declared("s", "o", (("a",),)), path)
    await asked.start()
    assert (await asked.ask(("a",), 0)).status is Status.FAILED
    assert (await asked.ask(("b",), 0)).value == "small"
    await asked.close()
    monkeypatch.setattr(file_source, "MAX_FILE_BYTES", 1000)
    asked = FileSource(Declared("s", "o", (("a",),)), path)
    await asked.start()
    assert "longer than" in str((await asked.ask(("b",), 0)).error)
    await asked.close()


async def test_a_file_of_equal_size_and_time_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_source, "FILE_LOOK_S", 0.02)
    path = tmp_path / "t.json"
    path.write_text('{"a": "good"}')
    os.utime(path, (0, 0))
    asked = FileSource(Declared("s", "o", (("a",),)), path)
    await asked.start()
    assert (await asked.ask(("a",), 0)).value == "good"
    path.write_text('{"a": "evil"}')
    os.utime(path, (0, 0))  # as tools do that copy, unpack, or build the same bytes twice
    ends = time.monotonic() + 5
    while (await asked.ask(("a",), 0)).value != "evil":
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
    await asked.close()


async def test_a_named_pipe_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    os.mkfifo(path)
    asked = FileSource(Declared("s", "o", (("a",),)), path)
    await asyncio.wait_for(asked.start(), 2)
    assert (await asked.ask(("a",), 0)).error == "it is no file"
    await asked.close()


async def test_a_file_that_is_not_there_is_stale_within_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_source, "FILE_LOOK_S", 0.05)
    path = tmp_path / "t.json"
    replace(path, {"a": 1})
    asked = FileSource(Declared("s", "o", (("a",),), max_age_s=0.2, on_failure="stale", max_stale_s=0.6), path)
    await asked.start()
    path.unlink()
    seen = []
    for _ in range(20):
        seen.append((await asked.ask(("a",), 0)).status)
        await asyncio.sleep(0.05)
    await asked.close()
    assert list(dict.fromkeys(seen)) == [Status.FRESH, Status.STALE, Status.FAILED]

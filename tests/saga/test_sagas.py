"""The sagas over a real log, without a bridge: whatever fails and wherever it is broken off, each settles once."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.doors.lifecycle import AskTree
from bridge.errors import EvidenceUnavailable
from bridge.evidence.journal import GroupCommitJournal
from bridge.evidence.keys import token_digest
from bridge.evidence.store import SqliteStore
from bridge.evidence.tree import make_folder
from bridge.model.ended import Effect, Name, What
from bridge.model.step import ORDER, Observed, Standing, Step
from bridge.model.times import now_ms
from bridge.ops.metrics import Metrics
from bridge.pdp import lifecycle
from bridge.pdp.lifecycle import Lifecycle, Order, Orders
from bridge.pdp.steps import StepEntries
from bridge.registry import asks_tree
from bridge.saga import saga, watch
from bridge.saga.outbox import news
from bridge.saga.saga import Means, back_off
from bridge.saga.status import unconfirmed
from bridge.saga.watch import Sagas
from tests.support.evidence import all_entries
from tests.support.waiting import until

ISSUER = "https://as.example"
CLIENT = Name(What.CLIENT, ISSUER, ("app",))
WHO = [Name(What.DELEGATION, ISSUER, ("app", subject)) for subject in ("alice", "bob")]


@pytest.fixture(autouse=True)
def hurry() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in ((saga, "FIRST_S", 0.004), (saga, "NOTICES_S", 0.3), (watch, "LOOK_S", 0.01)):
            patch.setattr(module, name, value)
        yield


@dataclass
class Peer:
    """ports.Connector. `faults`: of each step what its attempts come to before one is good."""

    plan: list[Step]
    faults: dict[Step, list[str]] = field(default_factory=dict)
    calls: list[Step] = field(default_factory=list)
    stop_at: int | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    kind: str = "peer"
    issuer: str | None = ISSUER

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        return list(self.plan) if name.ids == CLIENT.ids else []

    async def do(self, step: Step) -> Observed:
        self.calls.append(step)
        if self.stop_at is not None and len(self.calls) >= self.stop_at:
            self.stopped.set()
            await asyncio.Event().wait()
        fault = self.faults[step].pop(0) if self.faults.get(step) else None
        if fault == "defect":
            raise ValueError("a secret of the other side")
        if fault is not None:
            return Observed(Standing.FAILED, "DELETE /it", {"status": int(fault)})
        return Observed(Standing.CONFIRMED, "DELETE /it", {"status": 204})

    async def clients(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        pass


@dataclass
class Log:
    folder: Path
    journal: GroupCommitJournal
    lifecycle: Lifecycle
    entries: StepEntries

    @contextlib.asynccontextmanager
    async def watched(self, *peers: Peer, tree: AskTree | None = None) -> AsyncIterator[Sagas]:
        digest = token_digest(self.folder)
        tree = tree or asks_tree(self.folder, digest)
        means = Means(self.folder, self.journal, self.entries, tree, saga.AT_ONCE)
        sagas = Sagas(means, digest, peers, self.lifecycle, 1, Metrics())
        task = asyncio.create_task(sagas.run())
        try:
            yield sagas
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def end(self, effect: Effect = Effect.ENDED, name: Name = CLIENT) -> int:
        return (await self.lifecycle(Order(name, effect, "a test", "ops"))).receipt.index

    def told(self, effect: Effect) -> list[dict[str, Any]]:
        return [one for one in all_entries(self.folder) if one.get("effect") == effect]

    async def settled(self) -> dict[str, Any]:
        async def looked() -> list[dict[str, Any]]:
            return self.told(Effect.SETTLED)

        (one,) = await until(looked)
        return one


@contextlib.asynccontextmanager
async def log(folder: Path) -> AsyncIterator[Log]:
    make_folder(folder)
    digest, metrics = token_digest(folder), Metrics()
    journal = GroupCommitJournal(SqliteStore(folder, "bridge/0"), "log", metrics)
    await journal.start()
    orders = Orders(digest)
    try:
        yield Log(folder, journal, Lifecycle(journal, orders, 5, metrics), StepEntries(orders, digest))
    finally:
        await journal.close()


def plan(*kinds: str) -> list[Step]:
    """The steps of these kinds, each once; of consents two."""
    return [Step(kind, one) for kind in kinds for one in (WHO if kind == "consent" else [CLIENT])]


FAULTS = st.lists(st.sampled_from(["500", "503", "defect"]), max_size=3)


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_whatever_fails_and_wherever_it_is_broken_off_it_settles_once(data: st.DataObject) -> None:
    kinds = data.draw(st.permutations(["notice", "consent", "sessions", "tokens", "client"]))
    steps = plan(*kinds[: data.draw(st.integers(1, 5))])
    faults = {step: data.draw(FAULTS) for step in steps}
    stops = data.draw(st.lists(st.integers(1, 6), max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(settles(Path(folder) / "evidence", steps, faults, stops))


async def settles(folder: Path, steps: list[Step], faults: dict[Step, list[str]], stops: list[int]) -> None:
    wanted = {step: len(found) + 1 for step, found in faults.items()}
    peer = Peer(steps, faults)
    async with log(folder) as found:
        await found.end()
    for stop in stops:
        async with log(folder) as found:
            peer.stop_at, peer.stopped = len(peer.calls) + stop, asyncio.Event()
            async with found.watched(peer):
                waiting = [asyncio.create_task(peer.stopped.wait()), asyncio.create_task(found.settled())]
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for one in waiting:
                    one.cancel()
                await asyncio.gather(*waiting, return_exceptions=True)
            peer.stop_at = None
    async with log(folder) as found:
        async with found.watched(peer):
            told = await found.settled()
            await asyncio.sleep(0.05)  # nothing more comes
        await found.settled()
        assert (told["standing"], told["steps"]) == ("confirmed", len(steps))
        entries = found.told(Effect.STEP)
        assert max(entry["iseq"] for entry in entries) < told["iseq"]
        for step in steps:
            mine = [entry for entry in entries if entry["step_digest"] == found.entries.digest(step, "peer")]
            assert [entry["standing"] for entry in mine][-1] == "confirmed"
            assert all(entry["standing"] == "failed" for entry in mine[:-1])
            counts = [entry["attempts"] for entry in mine]
            assert counts == sorted(set(counts))  # each counts those before it
            made = peer.calls.count(step)
            assert made >= wanted[step]
            # What was broken off, or counted and not written, is tried again; nothing else is.
            assert wanted[step] >= counts[-1] if stops else counts[-1] == made == wanted[step]
        firsts = [ORDER[step.kind] for step in dict.fromkeys(peer.calls)]
        assert firsts == sorted(firsts)
        assert "secret" not in str(all_entries(folder))


async def test_an_attempt_that_sees_nothing_new_is_counted_and_not_written(tmp_path: Path) -> None:
    (step,) = steps = plan("sessions")
    async with log(tmp_path / "evidence") as found, found.watched(Peer(steps, {step: ["503"] * 4 + ["500"]})):
        await found.end()
        await found.settled()
        assert [(e["observed"], e["attempts"]) for e in found.told(Effect.STEP)] == [
            ({"status": 503}, 1),
            ({"status": 500}, 5),
            ({"status": 204}, 6),
        ]


async def test_the_deletion_of_a_client_waits_for_notices_and_not_for_ever(tmp_path: Path) -> None:
    notice, *consents, client = steps = plan("notice", "consent", "client")
    peer = Peer(steps[::-1], {notice: ["503"] * 60})
    async with log(tmp_path / "evidence") as found, found.watched(peer):
        await found.end()

        async def gone() -> bool:
            return client in peer.calls

        await until(gone)
        before = peer.calls[: peer.calls.index(client)]
        assert set(before) == {notice, *consents}
        assert before[0] == notice
        assert before.count(notice) > 2  # others go on while it is tried again
        assert not found.told(Effect.SETTLED)
        peer.faults[notice] = []
        assert (await found.settled())["standing"] == "confirmed"


def many(kind: str) -> list[Step]:
    """More than are tried at a time."""
    return [Step(kind, Name(What.DELEGATION, ISSUER, ("app", f"user-{n}"))) for n in range(saga.AT_ONCE * 3)]


async def test_many_notices_to_one_who_hangs_hold_up_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saga, "ATTEMPT_S", 0.8)
    hanging, server = Peer(many("notice"), stop_at=1, kind="logout", issuer=None), Peer(plan("consent", "client"))
    async with log(tmp_path / "evidence") as found, found.watched(hanging, server):
        await found.end()

        async def gone() -> bool:
            return len(server.calls) == 3

        await until(gone)
        assert len(hanging.calls) <= saga.AT_ONCE * 2
        hanging.stop_at = None
        assert (await found.settled())["standing"] == "confirmed"
        assert set(hanging.calls) == set(hanging.plan)


async def test_a_server_that_hangs_does_not_keep_another_waiting(tmp_path: Path) -> None:
    other = Name(What.CLIENT, "https://other.example", CLIENT.ids)
    hanging, healthy = Peer(many("consent"), stop_at=1), Peer([Step("client", other)], issuer=other.issuer)
    async with log(tmp_path / "evidence") as found, found.watched(hanging, healthy):
        await found.end()
        await hanging.stopped.wait()
        await found.end(name=other)
        assert (await found.settled())["request"]["issuer"] == other.issuer


async def test_of_many_endings_one_asks_for_its_tree_at_a_time(tmp_path: Path) -> None:
    """Who asks at a door waits for one of them, and not for all."""
    asking = most = 0

    async def tree(_: Name) -> dict[str, Any]:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        await asyncio.sleep(0.01)
        asking -= 1
        return {"delegations": [], "exchanged": []}

    async with log(tmp_path / "evidence") as found:
        for number in range(9):
            await found.end(name=Name(What.CLIENT, ISSUER, (f"client-{number}",)))
        async with found.watched(tree=tree):

            async def settled() -> bool:
                return len(found.told(Effect.SETTLED)) == 9

            await until(settled)
    assert most == 1


async def test_what_begins_anew_is_left_alone(tmp_path: Path) -> None:
    _, client = steps = plan("sessions", "client")
    peer = Peer(steps, {client: ["503"] * 1000})
    async with log(tmp_path / "evidence") as found, found.watched(peer):
        ended = await found.end()

        async def tried() -> bool:
            return client in peer.calls

        await until(tried)
        await found.end(Effect.REINSTATED)
        told = await found.settled()
        assert (told["standing"], told["ending"]) == ("superseded", ended)
        standings = {e["step"]: e["standing"] for e in found.told(Effect.STEP)}
        assert standings == {"sessions": "confirmed", "client": "superseded"}
        calls = len(peer.calls)
        await asyncio.sleep(0.1)
        assert len(peer.calls) == calls


@pytest.mark.parametrize("fault", [EvidenceUnavailable("the log is away"), TypeError("a secret")])
async def test_a_look_that_fails_is_told_and_looked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_: Any) -> None:
        raise fault

    monkeypatch.setattr(watch, "news", broken)
    async with log(tmp_path) as found, found.watched(Peer(plan("client"))) as sagas:
        await found.end()

        async def warned() -> list[str]:
            return sagas.warnings()

        (warning,) = await until(warned)
        assert "endings cannot be looked for" in warning
        assert "a secret" not in warning
        monkeypatch.setattr(watch, "news", news)
        assert (await found.settled())["standing"] == "confirmed"
        assert sagas.warnings() == []


async def test_a_clock_that_was_set_back_does_not_put_off_the_alarm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "now_ms", lambda: now_ms() + 86_400_000)
    (step,) = steps = plan("sessions")
    peer = Peer(steps, {step: ["503"] * 1000})
    async with log(tmp_path) as found, found.watched(peer) as sagas:
        await found.end()

        async def warned() -> list[str]:
            return sagas.warnings()

        assert "1 endings are not confirmed after 1 s" in (await until(warned))[0]


async def test_two_at_once_settle_once_all_the_same(tmp_path: Path) -> None:
    async with log(tmp_path / "evidence") as found, found.watched(Peer(plan("sessions"))):
        async with found.watched(Peer(plan("sessions"))):
            await found.end()
            await found.settled()
            await asyncio.sleep(0.1)
        await found.settled()


async def test_what_is_accepted_and_what_nobody_was_asked_about_is_not_called_confirmed(tmp_path: Path) -> None:
    async with log(tmp_path / "evidence") as found, found.watched(Peer(plan("sessions"), issuer="https://other")):
        await found.end()
        told = await found.settled()
        assert (told["standing"], told["steps"]) == ("accepted", 0)


async def test_a_server_that_is_configured_no_more_is_not_waited_for(tmp_path: Path) -> None:
    (step,) = steps = plan("sessions")
    async with log(tmp_path / "evidence") as found:
        await found.end()
        peer = Peer(steps, {step: ["503"] * 1000})
        async with found.watched(peer):

            async def tried() -> list[Any]:
                return found.told(Effect.STEP)

            await until(tried)
            (waiting,) = unconfirmed(found.folder, token_digest(found.folder))
            assert (waiting["client"], waiting["steps"][0]["standing"]) == ("app", "failed")
        async with found.watched():
            assert (await found.settled())["standing"] == "accepted"
        assert unconfirmed(found.folder, None) == []


def test_back_off_grows_to_five_minutes_and_is_never_the_same_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saga, "FIRST_S", 1.0)
    for tries, longest in ((1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)):
        found = {back_off(tries) for _ in range(50)}
        assert len(found) > 10
        assert longest * 0.75 <= min(found) <= max(found) <= longest

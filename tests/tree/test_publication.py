"""Publishing beside the decisions: soon, by one alone, and to the end."""

import contextlib
import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from bridge.errors import EvidenceLocked, LogForked
from bridge.evidence.files import CHECKPOINT
from bridge.evidence.publish import Publisher
from bridge.evidence.store import owned
from bridge.tlog.checkpoint import Checkpoint
from bridge.tlog.note import Note
from tests.support.bridge import RunningBridge, request, running_bridge
from tests.support.evidence import all_entries
from tests.support.waiting import wait_until

from .logs import entries_of, expected_tiles, publisher_of, signed_sizes, small_log, tiles_in

TWO = {"workers": 2, "deadline_ms": 10_000}
PATIENT = {"deadline_ms": 5_000}


def checkpoint_in(data: bytes) -> Checkpoint:
    return Checkpoint.parse(Note.parse(data).text)


def published(folder: Path) -> Checkpoint:
    return checkpoint_in((folder / CHECKPOINT).read_bytes())


class Load:
    """Clients that ask, each on connections of its own, and an auditor who looks at the checkpoint all the time."""

    def __init__(self, bridge: RunningBridge, clients: int = 4) -> None:
        self.indexes: list[tuple[float, int]] = []
        self.sizes: list[tuple[float, int]] = []
        self._bridge = bridge
        self._asking, self._looking = threading.Event(), threading.Event()
        self._clients = [threading.Thread(target=self._repeat, args=(self._asking, self._ask)) for _ in range(clients)]
        self._auditor = threading.Thread(target=self._repeat, args=(self._looking, self._look))
        for event, threads in ((self._asking, self._clients), (self._looking, [self._auditor])):
            event.set()
            for thread in threads:
                thread.start()

    def _repeat(self, going_on: threading.Event, act: Callable[[httpx.Client], None]) -> None:
        while going_on.is_set():
            with (
                contextlib.suppress(httpx.TransportError),
                httpx.Client(base_url=self._bridge.url, trust_env=False, timeout=30) as client,
            ):
                act(client)
            time.sleep(0.02)

    def _ask(self, client: httpx.Client) -> None:
        for _ in range(20):
            reply = RunningBridge(**{**vars(self._bridge), "client": client}).ask(request("read"))
            self.indexes.append((time.monotonic(), reply["evidence"]["index"]))

    def _look(self, client: httpx.Client) -> None:
        response = client.get("/log/checkpoint")
        if response.status_code == 200:
            self.sizes.append((time.monotonic(), checkpoint_in(response.content).size))

    def longest_look(self) -> float:
        """How long the auditor had to wait to see anything at all: seconds that a busy machine adds to each lag."""
        return max(after - before for (before, _), (after, _) in itertools.pairwise(self.sizes))

    def end(self) -> None:
        """Stops asking, and looks until all is published."""
        self._asking.clear()
        for client in self._clients:
            client.join()
        last = max(index for _, index in self.indexes)
        try:
            wait_until(lambda: bool(self.sizes) and self.sizes[-1][1] > last)
        finally:
            self._looking.clear()
            self._auditor.join()
        assert sorted(size for _, size in self.sizes) == [size for _, size in self.sizes]

    def lags(self) -> list[float]:
        """For each reply how long (s) it took until a published checkpoint covered its entry."""
        found, at = [], 0
        for told, index in sorted(self.indexes, key=lambda one: one[1]):
            while self.sizes[at][1] <= index:
                at += 1
            found.append(self.sizes[at][0] - told)
        return found


@contextlib.contextmanager
def load(bridge: RunningBridge) -> Iterator[Load]:
    load = Load(bridge)
    try:
        yield load
    finally:
        load.end()


def assert_published_whole(folder: Path) -> None:
    """Every entry is covered, and the files are those of the tree."""
    entries, sizes = entries_of(folder), signed_sizes(folder)
    assert published(folder).size == len(entries) == sizes[-1]
    assert tiles_in(folder) == expected_tiles(entries, sizes)


def test_a_checkpoint_covers_an_entry_soon_after_its_reply_and_the_end_covers_all(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        with load(bridge) as seen:
            time.sleep(4)
            wait_until(lambda: len(seen.indexes) > 100, 40)
        assert max(seen.lags()) < 2 + 2 * seen.longest_look()
        for _ in range(3):
            bridge.ask(request("read"))
        assert bridge.stop() == 0
        assert "Traceback" not in bridge.log_text()
    assert_published_whole(bridge.evidence)


def worker(bridge: RunningBridge, number: int) -> psutil.Process:
    """The process of this worker."""
    (found,) = (
        process
        for process in psutil.Process(bridge.process.pid).children()
        if process.cmdline()[-2:] == ["--worker", str(number)]
    )
    return found


def test_one_of_two_workers_publishes_and_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        with load(bridge) as seen:
            wait_until(lambda: len(seen.indexes) > 50)
            worker(bridge, 0).kill()
            wait_until(lambda: len(bridge.log_events("listening")) == 3, 20)
        assert not bridge.log_events("publishing_stopped")
        assert bridge.stop() == 0
    assert_published_whole(bridge.evidence)


def test_the_end_covers_what_a_slow_worker_still_writes(tmp_path: Path) -> None:
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        slow = worker(bridge, 1)
        slow.suspend()
        bridge.process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
        slow.resume()
        assert bridge.process.wait(20) == 0
    assert [row["kind"] for row in all_entries(bridge.evidence)].count("stop") == 2
    assert_published_whole(bridge.evidence)


def test_workers_hold_the_folder_when_who_started_them_is_gone(tmp_path: Path) -> None:
    """They still write, and one of them signs: another bridge must not begin beside them."""
    with running_bridge(tmp_path, server=TWO, engine=PATIENT) as bridge:
        workers = [worker(bridge, number) for number in (0, 1)]
        for process in workers:
            process.suspend()
        bridge.process.send_signal(signal.SIGKILL)
        bridge.process.wait()
        with pytest.raises(EvidenceLocked), owned(bridge.evidence):
            pass
        for process in workers:
            process.resume()
        psutil.wait_procs(workers, timeout=15)
        with owned(bridge.evidence):
            pass


def test_of_two_publishers_one_is_fenced(tmp_path: Path) -> None:
    """Behind the back of the lock: never two checkpoints of one size."""
    with small_log(tmp_path, 10) as log:
        other = publisher_of(tmp_path)
        other.open()
        log.grow(5)
        with pytest.raises(LogForked, match="another publisher has signed this log"):
            other.integrate()
        log.write(3)
        with pytest.raises(LogForked, match="another publisher has signed this log"):
            other.integrate()
        log.publish()
        other.close()
        assert signed_sizes(tmp_path) == [10, 15, 18]
    assert_published_whole(tmp_path)


def test_who_was_overtaken_publishes_nothing_older(tmp_path: Path) -> None:
    with small_log(tmp_path, 10) as log:
        log.write(5)
        slow = log.publisher.integrate()
        assert slow is not None
        other = publisher_of(tmp_path)
        other.open()
        assert other.integrate() == slow
        other.publish(slow)
        log.write(5)
        newer = other.integrate()
        assert newer is not None
        other.publish(newer)
        other.close()
        with pytest.raises(LogForked, match="another publisher has signed this log"):
            log.publisher.publish(slow)
    assert_published_whole(tmp_path)


def test_publishers_at_once_never_sign_one_size_twice(tmp_path: Path) -> None:
    def integrate(one: Publisher) -> str:
        try:
            one.integrate()
        except LogForked as error:
            return str(error)
        return ""

    with small_log(tmp_path, 10) as log:
        for _ in range(20):
            log.write(3)
            publishers = [publisher_of(tmp_path) for _ in range(3)]
            for one in publishers:
                one.open()
            with ThreadPoolExecutor(3) as pool:
                fenced = "another publisher has signed this log: there must be only one"
                assert sorted(pool.map(integrate, publishers)) == ["", fenced, fenced]
            for one in publishers:
                one.close()
        log.publisher.open()
        log.publish()
    assert_published_whole(tmp_path)

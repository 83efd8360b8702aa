"""How fast a log of many entries is verified, proven and asked."""

import contextlib
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bridge.audit.exceptions import Key, Taken, taken_in
from bridge.audit.filter import Filter
from bridge.audit.prove import Prover
from bridge.audit.published import FolderFiles
from bridge.audit.query import Queries
from bridge.audit.reader import LogReader
from bridge.audit.spoken import Rule, Spoken, spoken_in
from bridge.audit.usage import Usage
from bridge.audit.window import Window
from bridge.evidence.files import INDEX, LOG, VKEY
from bridge.model.times import parse_rfc3339
from bridge.tlog.note import VerifierKey
from bridge.tlog.trust import Trust

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Times:
    """CPU and wall time of each go, in s; `found`: entries, of a query."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    found: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def go(self, clock: Callable[[], float] = time.process_time) -> Iterator[None]:
        wall, cpu = time.perf_counter(), clock()
        yield
        self.cpu.append(clock() - cpu)
        self.wall.append(time.perf_counter() - wall)


def command(folder: Path, *arguments: str, rounds: int = 1) -> Times:
    """`issuance-bridge log …` on this evidence folder, its start included. RuntimeError when it does not end well."""
    environment, times = {**os.environ, "BRIDGE__EVIDENCE__PATH": str(folder)}, Times()
    for _ in range(rounds):
        with times.go(_children):
            done = subprocess.run(
                [sys.executable, "-m", "bridge", "log", *arguments],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode != 0:
            raise RuntimeError(f"log {' '.join(arguments)}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return times


def proofs(folder: Path, count: int) -> Times:
    """From an index to a verified proof, each by a prover that has read nothing before."""
    trust, draw, times = Trust(logs=[VerifierKey.parse((folder / VKEY).read_text())]), random.Random(5), Times()
    with contextlib.closing(LogReader(folder)) as reader:
        size = reader.size()
        for _ in range(count):
            index = draw.randrange(size)
            with times.go():
                bytes(Prover(FolderFiles(folder / LOG), trust).prove(index, reader.at(index).data))
    return times


def tables(folder: Path) -> Times:
    """Makes the query tables anew."""
    times = Times()
    (folder / INDEX).unlink(missing_ok=True)
    with contextlib.closing(LogReader(folder)) as reader, times.go():
        times.found.append(len(Queries(reader).query(Filter(limit=1))))
    return times


def queries(folder: Path, rounds: int) -> dict[str, Times]:
    """What an auditor asks, the newest 100 of it; answers read whole."""
    with contextlib.closing(LogReader(folder)) as reader:
        last = parse_rfc3339(reader.at(reader.size() - 1).entry["time"]) or 0
        old, a_day = last - 20 * DAY_MS, last - 19 * DAY_MS
        asked = {
            "a busy scope, a busy client": Filter(scope="svc0:read", client="client-0"),
            "both, one day 20 days ago": Filter(scope="svc0:read", client="client-0", since=old, until=a_day),
            "a busy scope": Filter(scope="svc0:read"),
            "a busy scope, that day": Filter(scope="svc0:read", since=old, until=a_day),
            "a busy scope, denied": Filter(scope="svc0:read", outcome="deny"),
            "a rare scope, a busy client": Filter(scope="svc99:read", client="client-0"),
            "a rare scope": Filter(scope="svc99:read"),
            "a busy client": Filter(client="client-0"),
            "a rare client": Filter(client="client-49"),
            "one user": Filter(subject="user-4711"),
            "whatever was denied": Filter(outcome="deny"),
            "by a rule of one package": Filter(rule='issuance.scope["svc0:read"]/user'),
            "by a rule that never spoke": Filter(rule="no_such_rule"),
            "by rules of an owner": Filter(owner="team-7@example.com"),
            "on an exception path": Filter(exception="any"),
            "one hour, 20 days ago": Filter(since=old, until=old + DAY_MS // 24),
        }
        times = {name: Times() for name in asked}
        for _ in range(rounds):
            for name, wanted in asked.items():
                with times[name].go():
                    found = [one.entry for one in Queries(reader).query(wanted)]
                times[name].found.append(len(found))
    return times


def reports(folder: Path) -> dict[str, Times]:
    """What reports on policies take from the whole log, in a process that has read nothing before."""
    times, ever = {name: Times() for name in ("usage", "exceptions", "rules that spoke")}, Window(0, 10**15)
    taken: dict[Key, Taken] = {}
    spoken: dict[Rule, Spoken] = {}
    with contextlib.closing(LogReader(folder)) as reader:
        with times["usage"].go():
            (usage := Usage(ever)).read(reader)
        times["usage"].found.append(usage.entries)
        with times["exceptions"].go():
            taken_in(reader, ever, taken)
        times["exceptions"].found.append(sum(one.recorded for one in taken.values()))
        with times["rules that spoke"].go():
            spoken_in(reader, ever, spoken)
        times["rules that spoke"].found.append(sum(sum(one.effects.values()) for one in spoken.values()))
    return times


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

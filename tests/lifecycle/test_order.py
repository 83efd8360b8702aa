"""The property over the log: above an ending's index nothing is granted to what ended, whoever writes, whoever dies."""

import contextlib
import http.client
import json
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from bridge.evidence.files import DATABASE
from bridge.evidence.keys import token_digest
from bridge.model.ended import DIGEST, KIND, names_in
from bridge.model.entry import FOUND_BY
from bridge.model.issued import TokenDigest
from tests.faults.whole import Row, assert_dense, rows
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

POLICIES = {"issuance.gate": "allow := true", "issuance.scope.read": "allow := true"}
DECISIONS, ENDINGS, THREADS, BATCH = 10_000, 100, 6, 50
IDS = 60
GATE, SCOPE = "issue:access_token:authorization_code", "read"


def granted_after_its_ending(log: list[Row], digest: TokenDigest) -> list[int]:
    """The indexes of entries that grant something to what had ended before, by the log alone."""
    ended: set[str] = set()
    found = []
    for row in log:
        entry = row.entry
        if entry["kind"] == KIND and DIGEST in entry:
            ended.add(entry[DIGEST])
        elif entry["kind"] == "decision" and entry["outcome"] != "deny":
            request = entry["request"]
            if {name.digest(digest) for name in names_in(request, request["issuer"])} & ended:
                found.append(row.index)
    return found


class Load:
    """Threads that ask until so many decisions are made; what a kill breaks is asked anew."""

    def __init__(self, bridge: RunningBridge) -> None:
        self.made, self.most, self.replies, self._bridge = 0, DECISIONS, list[dict[str, Any]](), bridge
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_on, args=(seed,)) for seed in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def wait_for(self, made: int) -> None:
        wait_until(lambda: self.made >= made, 60)

    def close(self) -> None:
        """Waits for the last decision, or ends where the test has failed."""
        self.most = self.made if sys.exc_info()[0] else self.most
        for thread in self._threads:
            thread.join()

    def _ask_on(self, seed: int) -> None:
        chance = random.Random(seed)
        while self.made < self.most:
            with connection(self._bridge) as http_connection:
                for _ in range(8):  # then on another connection, which may lead to the other worker
                    path, body, count = batch(chance) if chance.random() < 0.7 else native(chance)
                    reply = post(http_connection, path, body)
                    with self._lock:
                        self.made += count
                        if count == 1:
                            self.replies.append(reply)


@contextlib.contextmanager
def connection(bridge: RunningBridge) -> Iterator[http.client.HTTPConnection]:
    made = http.client.HTTPConnection("127.0.0.1", bridge.port, timeout=30)
    with contextlib.closing(made), contextlib.suppress(OSError, http.client.HTTPException):
        yield made


def post(to: http.client.HTTPConnection, path: str, body: Any) -> dict[str, Any]:
    to.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    answer = to.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    assert answer.status == 200, found
    return found


def pair(chance: random.Random) -> tuple[str, str]:
    return f"client-{chance.randrange(IDS)}", f"alice-{chance.randrange(IDS)}"


def native(chance: random.Random) -> tuple[str, Any, int]:
    client, subject = pair(chance)
    asked = {"grant_type": "authorization_code", "client": {"id": client}, "subject": {"type": "user", "id": subject}}
    return "/v1/issuance/decisions", {**asked, "scopes": ["read"]}, 1


def batch(chance: random.Random) -> tuple[str, Any, int]:
    items: list[dict[str, Any]] = []
    for _ in range(BATCH):
        client, subject = pair(chance)
        shared = {"subject": {"type": "user", "id": subject}, "context": {"client_id": client}}
        items.extend({**shared, "action": {"name": name}} for name in (GATE, SCOPE))
    return (
        "/access/v1/evaluations",
        {"resource": {"type": "audience", "id": "https://api.example"}, "evaluations": items},
        BATCH,
    )


def ending(number: int) -> dict[str, Any]:
    """Of clients, subjects and delegations; none of them twice."""
    what = ("client", "delegation", "subject", "delegation")[number % 4]
    ids = {"client": f"client-{number // 4}", "subject": f"alice-{number // 4}"}
    if what == "delegation":
        ids = {"client": f"client-{IDS - 1 - number // 4}", "subject": f"alice-{IDS - 1 - number % 31}"}
    named = {member: one for member, one in ids.items() if what in (member, "delegation")}
    return {"what": what, "issuer": "local", "reason": "a test", **named}


def test_with_two_workers_under_load_and_kills_no_entry_grants_to_what_ended(tmp_path: Path) -> None:
    server = {"workers": 2, "deadline_ms": 20_000}
    policies = write_policies(tmp_path / "rego", POLICIES)
    told: list[dict[str, Any]] = []
    started = running_bridge(tmp_path, policies, server=server, engine={"deadline_ms": 15_000})
    with started as bridge, contextlib.closing(Load(bridge)) as load:
        for number in range(ENDINGS):
            load.wait_for(int(number * DECISIONS * 0.9 / ENDINGS))
            if number in (ENDINGS // 3, 2 * ENDINGS // 3):
                workers = [p for p in psutil.Process(bridge.process.pid).children() if "--worker" in p.cmdline()]
                workers[number % 2].send_signal(signal.SIGKILL)
            while len(told) == number:
                with connection(bridge) as made:
                    told.append(post(made, "/v1/lifecycle/end", ending(number)))
    log = rows(bridge.evidence)
    assert_dense(log)
    decided = [row.entry for row in log if row.entry["kind"] == "decision"]
    assert len(decided) >= DECISIONS
    endings = {row.index for row in log if row.entry["kind"] == KIND and row.entry["effect"] == "ended"}
    assert endings == {one["evidence"]["index"] for one in told}
    assert len({one["evidence"]["index"] for one in told}) == ENDINGS
    refused = [entry for entry in decided if "ended" in entry]
    assert min(len(refused), len(decided) - len(refused)) > DECISIONS // 20  # it did matter, both ways
    assert all(entry["outcome"] == "deny" and not entry["granted_scopes"] for entry in refused)
    assert granted_after_its_ending(log, token_digest(bridge.evidence)) == []
    for reply in load.replies:
        entry = log[reply["evidence"]["index"]].entry
        assert (reply["outcome"], reply["granted_scopes"]) == (entry["outcome"], entry["granted_scopes"])
    assert found_by(bridge.evidence) == [
        (member, row.entry[member], row.entry["kind"], row.index)
        for row in log
        for member in FOUND_BY
        if member in row.entry
    ]


def found_by(folder: Path) -> list[tuple[str, str, str, int]]:
    """How the writer finds entries by what they are about: what the log itself says, and nothing else."""
    with contextlib.closing(sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)) as db:
        return db.execute("SELECT member, value, kind, idx FROM about ORDER BY idx, member").fetchall()

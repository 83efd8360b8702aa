"""Logs for these tests: entries made by hand, in a real database, published by the real publisher."""

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bridge.cli.main import cli
from bridge.errors import BridgeError
from bridge.evidence import keys
from bridge.evidence.publish import Publisher
from bridge.evidence.store import SqliteStore
from bridge.model.times import rfc3339, uuid7
from bridge.ports import Record
from tests.support.waiting import wait_until

ORIGIN = "log.example/bridge"
START_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z


def entry(n: int, kind: str = "decision", **members: Any) -> dict[str, Any]:
    """The n-th entry: what every entry has, and `members`."""
    at = START_MS + n * 1000
    return {"v": 1, "kind": kind, "id": uuid7(at), "time": rfc3339(at), **members}


def decision(n: int, **members: Any) -> dict[str, Any]:
    """A small decision: the client `shop` was allowed `read`."""
    known = {
        "caller": "as",
        "door": "native",
        "outcome": "allow",
        "granted_scopes": ["read"],
        "reply": {"outcome": "allow", "code": None},
        "request": {"client": {"id": "shop"}, "subject": {"type": "user", "id": "nina"}, "scopes": ["read"]},
        "scopes": {"read": {"outcome": "allow", "findings": [{"code": "reader"}]}},
        "findings": [{"code": "known"}],
        "rules": [
            {"package": "issuance.gate", "code": "known", "effect": "allow", "owner": "Platform"},
            {"package": 'issuance.scope["read"]', "code": "reader", "effect": "allow", "owner": "Readers"},
        ],
        "policy": {"revision": "r1", "digest": "d1"},
        "exceptions": [],
    }
    return entry(n, **{**known, **members})


def write(folder: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Commits the entries; a checkpoint does not cover them yet."""
    store = SqliteStore(folder, "test/0")
    store.open()
    store.commit([Record(one) for one in entries])
    store.close()


def publish(folder: Path, origin: str = ORIGIN) -> None:
    """Integrates, signs and publishes all that was committed."""
    publisher = Publisher(folder, keys.load_or_make(folder, "", origin, START_MS))
    with contextlib.closing(publisher):
        publisher.open()
        note = publisher.integrate()
        assert note is not None
        publisher.publish(note)


def log_of(folder: Path, entries: Iterable[dict[str, Any]]) -> Path:
    """An evidence folder with a published log of these entries."""
    write(folder, entries)
    publish(folder)
    return folder


def covered(evidence: Path) -> int:
    """How many entries the published checkpoint covers."""
    checkpoint = evidence / "log" / "checkpoint"
    return int(checkpoint.read_text().split("\n")[1]) if checkpoint.exists() else 0


def wait_for_checkpoint(evidence: Path, size: int) -> None:
    """Until the running bridge has published a checkpoint that covers `size` entries."""
    wait_until(lambda: covered(evidence) >= size)


def environment(evidence: Path) -> dict[str, str]:
    """For a command that works on this evidence folder."""
    return {"BRIDGE__EVIDENCE__PATH": str(evidence)}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def command(*arguments: str | Path, evidence: Path | None = None) -> Done:
    """`issuance-bridge ARGUMENTS` to its end, in this process: a hundred of them take a while otherwise."""
    known = {} if evidence is None else environment(evidence)
    ended = CliRunner().invoke(cli, [str(argument) for argument in arguments], env=known)
    if ended.exception is None or isinstance(ended.exception, SystemExit):
        return Done(ended.exit_code, ended.stdout, ended.stderr)
    if not isinstance(ended.exception, BridgeError):
        raise ended.exception
    return Done(1, ended.stdout, f"issuance-bridge: {ended.exception}")  # as cli.main.run says it


def exported(evidence: Path, *options: str) -> list[dict[str, Any]]:
    """What `log export` prints, each line decoded."""
    done = command("log", "export", *options, evidence=evidence)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]  # splitlines knows other ends of a line, too

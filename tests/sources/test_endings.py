"""The log as a source: what a policy learns of a client's last ending, and the sample that waits for it."""

import tomllib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bridge.audit.standing import standing_of
from bridge.cli.main import cli
from bridge.config.sources import SourceSection
from bridge.errors import EvidenceUnavailable
from bridge.evidence.keys import token_digest
from bridge.evidence.store import SqliteStore
from bridge.model.ended import Effect, Name, What
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.pdp.lifecycle import Order, Orders
from bridge.ports import Receipt, Record
from tests.support.bridge import local_bridge

SAMPLE = Path("examples/after_an_ending")
SECTION = tomllib.loads((SAMPLE / "bridge.toml").read_text())["sources"][0]
CLIENT = Name(What.CLIENT, "local", ("bookkeeper",))
ASKED = {
    "grant_type": "client_credentials",
    "subject": {"type": "client", "id": "bookkeeper"},
    "client": {"id": "bookkeeper"},
    "scopes": ["ledger:write"],
}
Write = Callable[[Record], Receipt]


def written(folder: Path, record: Record) -> Receipt:
    with closing(SqliteStore(folder, "test", beside=True)) as store:
        store.open()
        (receipt,) = store.commit([record])
    return receipt


def order(folder: Path, effect: Effect, name: Name = CLIENT) -> Receipt:
    return written(folder, Orders(token_digest(folder)).record(Order(name, effect, "a test", "test")))


def settled(folder: Path, ending: Receipt, standing: str) -> None:
    about = {"ending": ending.index, "ending_id": ending.entry["id"], "effect": "settled", "standing": standing}
    at = now_ms()
    written(folder, Record({"v": 1, "kind": "revocation", "id": uuid7(at), "time": rfc3339(at), **about}))


def told(folder: Path, client: str = "bookkeeper", issuer: str = "local") -> Any:
    digest = token_digest(folder)
    return standing_of(folder, lambda name: name.digest(digest), issuer, client)


def test_the_last_ending_is_told_with_how_far_it_has_come(tmp_path: Path) -> None:
    with pytest.raises(EvidenceUnavailable, match="no log"):
        told(tmp_path)
    first = order(tmp_path, Effect.ENDED)
    order(tmp_path, Effect.ENDED, Name(What.SUBJECT, "local", ("other",)))
    assert told(tmp_path) == {"ending": 0, "time": first.entry["time"], "standing": "pending"}
    assert told(tmp_path, "other") is None
    assert told(tmp_path, issuer="https://other.example") is None
    settled(tmp_path, first, "accepted")
    assert told(tmp_path)["standing"] == "accepted"
    order(tmp_path, Effect.REINSTATED)
    assert told(tmp_path) == {"ending": 0, "time": first.entry["time"], "standing": "accepted"}
    second = order(tmp_path, Effect.ENDED)
    assert told(tmp_path)["ending"] == second.index
    assert told(tmp_path)["standing"] == "pending"


async def test_the_sample_waits_until_the_ending_is_confirmed(tmp_path: Path) -> None:
    async with local_bridge(tmp_path, SAMPLE / "rego", sources=[SECTION]) as bridge:
        folder = bridge.evidence

        async def answer() -> tuple[str, list[str]]:
            reply = await bridge.ask(ASKED)
            return reply["outcome"], [finding["code"] for finding in reply["scopes"]["ledger:write"]["findings"]]

        assert await answer() == ("allow", ["client_writes"])
        ending = order(folder, Effect.ENDED)
        assert (await answer())[1] == ["ending_unconfirmed"]
        order(folder, Effect.REINSTATED)
        assert await answer() == ("deny", ["ending_unconfirmed"])
        settled(folder, ending, "confirmed")
        assert await answer() == ("allow", ["client_writes"])


async def test_a_log_that_cannot_be_read_denies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise EvidenceUnavailable("it cannot be read")

    monkeypatch.setattr("bridge.registry.standing_of", broken)
    async with local_bridge(tmp_path, SAMPLE / "rego", sources=[SECTION]) as bridge:
        reply = await bridge.ask(ASKED)
        found = [finding["code"] for finding in reply["scopes"]["ledger:write"]["findings"]]
        assert found == ["ending_unknown", "source_failed"]


@pytest.mark.parametrize(
    "change",
    [
        {"url": "lifecycle:subjects"},
        {"url": "lifecycle://clients"},
        {"key": ["/client/id"]},
        {"key": ["/client/id", "/issuer"]},
        {"on_failure": "stale", "max_stale_s": 60},
        {"token_file": "token"},
    ],
)
def test_what_the_log_does_not_know_is_refused(change: dict[str, Any]) -> None:
    SourceSection.model_validate(SECTION)
    with pytest.raises(ValueError, match=r"lifecycle:clients|the log has the key"):
        SourceSection.model_validate({**SECTION, **change})


@pytest.mark.parametrize("command", [("lint", "--strict"), ("test",)])
def test_the_sample_is_sound(command: tuple[str, ...]) -> None:
    found = CliRunner().invoke(cli, ["policy", *command, str(SAMPLE / "rego")])
    assert found.exit_code == 0, found.output

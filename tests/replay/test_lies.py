"""What an entry says and its document does not is found; what no bridge writes harms no other entry."""

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge.audit.reader import Found, LogReader
from bridge.cli.log.replay import restoring
from bridge.config.settings import EngineSection
from bridge.policy.opa import find_opa
from bridge.registry import ENGINES
from bridge.replay.compare import differences
from bridge.replay.replay import Replay
from tests.authzen.asking import batch, gate, item, user
from tests.support.bridge import local_bridge, request

from .asked import ask_authzen, patient_bridge

Lies = dict[str, tuple[dict[str, Any], Any]]


async def replayed(evidence: Path, monkeypatch: pytest.MonkeyPatch, kind: str, lies: Lies) -> list[str]:
    """What becomes of each lie (members of the first entry of `kind`, and its document, None: as it is), and of it."""
    opa, documents = find_opa(), dict[bytes, bytes]()
    with closing(LogReader(evidence)) as reader:
        first = next(one for one in reader.walk() if one.entry["kind"] == kind)
        found = [*(_lied(first, documents, *lie) for lie in lies.values()), first]
        found = [replace(one, index=1000 + n) for n, one in enumerate(found)]
        whole = reader.document(first) or b""
        monkeypatch.setattr(reader, "document", lambda one: documents.get(one.data, whole))
        again = Replay(reader, restoring(evidence, opa), lambda: ENGINES["managed"](EngineSection(), opa))
        results = [result async for result in again(found)]
    return [
        result.reason.reason if result.reason else ", ".join(d.member for d in result.differences) or result.state
        for result in results
    ]


def _lied(found: Found, documents: dict[bytes, bytes], members: dict[str, Any], document: Any) -> Found:
    told = {**found.entry, **members}
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    if document is not None:
        told["input_digest"] = hashlib.sha256(raw).hexdigest()
    data = json.dumps({name: value for name, value in told.items() if value is not None}).encode()
    if document is not None:
        documents[data] = raw
    return replace(found, data=data)


async def test_what_a_decision_says_beside_its_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with local_bridge(tmp_path) as made:
        reply = await made.ask(request("read"))
    entry, document = made.entry_of(reply["decision_id"]), made.input_of(reply["decision_id"])
    shown = entry["request"]
    hidden = {"shortened": ["outcome", "granted_scopes", "limit", "claims", "scopes", "reply", "findings"]}
    denied = {"outcome": "deny", "granted_scopes": ["never"], "limit": {"token_lifetime": 9}, "claims": {"tenant": "x"}}
    lies: dict[str, tuple[dict[str, Any], Any, str]] = {
        "id": ({"id": "01a214e0-194e-7889-935b-8f2676e4b4ad"}, None, "id"),
        "time": ({"time": "2026-01-01T00:00:00.000Z"}, None, "time"),
        "caller": ({"caller": "another"}, None, "caller"),
        "request": ({"request": {**shown, "client": {"id": "admin"}}}, None, "request"),
        "more": ({"request": {**shown, "phase": "authorization"}}, None, "request"),
        "less": ({"request": {name: shown[name] for name in shown if name != "grant_type"}}, None, "request"),
        "no scopes shown": ({"request": {**shown, "scopes": []}}, None, "request"),
        "a waiver": ({"exceptions": [{"path": "waiver", "id": "EX-1"}]}, None, "exceptions"),
        "masked": ({"request": {**shown, "client": "***"}}, None, "same"),
        "another's document": ({}, {**document, "client": {"id": "admin"}}, "request"),
        "left out": ({**hidden, **denied}, None, "outcome, granted_scopes, limit, claims"),
        "no rules": ({"rules": [7]}, None, "unreadable"),
        "no scopes": ({"scopes": "read"}, None, "unreadable"),
        "no id": ({"id": None}, None, "id"),
        "NaN": ({}, json.dumps({**document, "context": {"n": float("nan")}}).encode(), "unreadable"),
        "UTF-16": ({}, json.dumps(document).encode("utf-16"), "unreadable"),
        "deep": ({}, b"[" * 100_000, "unreadable"),
        "numbers": ({}, {**document, "scopes": [1]}, "unreadable"),
    }
    told = await replayed(made.evidence, monkeypatch, "decision", {n: (e, d) for n, (e, d, _) in lies.items()})
    assert dict(zip(lies, told, strict=False)) == {name: expected for name, (*_, expected) in lies.items()}
    assert told[-1] == "same"


async def test_what_an_evaluation_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = {"action": {"name": "open"}, "resource": {"type": "door", "id": "d1"}, "context": {"note": 1.5}}
    async with patient_bridge(tmp_path) as made:
        await ask_authzen(made, {"evaluations": [{"subject": user(name), **door} for name in ("alice", "mallory")]})
    (entry,) = [one for one in made.entries() if one["kind"] == "evaluation"]
    with closing(LogReader(made.evidence)) as reader:
        found = next(one for one in reader.walk() if one.entry["kind"] == "evaluation")
        documents = json.loads(reader.document(found) or b"")
    shown = [entry["request"]["tuples"][n] for n in (1, 0)]
    lies: dict[str, tuple[dict[str, Any], Any, str]] = {
        "request": ({"request": {"tuples": shown}}, None, "request"),
        "swapped": ({}, documents[::-1], "decisions, request"),
        "no type": ({}, [{**documents[0], "resource": {}}, documents[1]], "unreadable"),
        "too few": ({}, documents[:1], "unreadable"),
        "codes": ({"decisions": [{**one, "code": []} for one in entry["decisions"]]}, None, "unreadable"),
    }
    told = await replayed(made.evidence, monkeypatch, "evaluation", {n: (e, d) for n, (e, d, _) in lies.items()})
    assert dict(zip(lies, told, strict=False)) == {name: expected for name, (*_, expected) in lies.items()}
    assert told[-1] == "same"


async def test_the_gate_of_another_batch_does_not_count(tmp_path: Path) -> None:
    targets = ("https://api.example", "https://pay.example")
    asked = batch(gate(), *(item("read", target=target) for target in targets), context={"client_id": "shop"})
    async with patient_bridge(tmp_path) as made:
        await ask_authzen(made, asked)
        await ask_authzen(made, asked)
    opa = find_opa()
    with closing(LogReader(made.evidence)) as reader:
        found = [one for one in reader.walk() if one.entry["kind"] == "decision"]
        behind = [one for one in found if "gate_decision" in one.entry["batch"]]
        first, last = behind[0], behind[-1]
        lent = {**first.entry["batch"], "gate_decision": last.entry["batch"]["gate_decision"]}
        lied = replace(first, data=json.dumps({**first.entry, "batch": lent}).encode())
        again = Replay(reader, restoring(made.evidence, opa), lambda: ENGINES["managed"](EngineSection(), opa))
        results = [result async for result in again([lied, last])]
    assert [result.reason and result.reason.reason for result in results] == ["gate", None]


def test_titles_that_had_no_room_are_those_of_findings() -> None:
    finding = {"code": "ok", "title": "Fine"}

    def entry(title: str, **more: Any) -> dict[str, Any]:
        scope = {"outcome": "allow", "findings": [finding], "claims": {"title": title}}
        return {"request": {}, "exceptions": [], "rules": [], "scopes": {"a": scope}, "findings": [finding], **more}

    bare = {"findings": [{"code": "ok"}], "shortened": ["titles", "claims"]}
    assert differences(entry("clerk", **bare), [], entry("clerk")) == []
    assert [d.member for d in differences(entry("clerk", **bare), [], entry("boss"))] == ["scopes/a"]

"""Reports of minted tokens: each is on record, with how it breaks its decision; none is refused for that."""

import base64
import errno
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from bridge.doors.issued import PATH
from bridge.evidence.files import DIGEST_KEY
from bridge.model.decision import VALID_FOR_MS
from bridge.model.issued import LEEWAY_MS, TokenDigest, Violation
from bridge.model.times import now_ms, rfc3339, uuid7
from bridge.ports import Record
from tests.faults.disk import DiskFaults
from tests.support.bridge import (
    LocalBridge,
    RunningBridge,
    bearer,
    caller,
    local_bridge,
    request,
    running_bridge,
    token_of,
)
from tests.support.evidence import all_found
from tests.support.policies import write_policies
from tests.support.waiting import wait_until

from .problems import pointers_in, problem_in

API, OTHER = "https://api.example", "https://other.example"
POLICIES = {
    "issuance.gate": "allow := true",
    "issuance.scope.read": "allow := true",
    "issuance.scope.write": 'allow := true\nlimit := {"token_lifetime": 60}',
    "issuance.scope.api": f'allow := true\nlimit := {{"audience": ["{API}"]}}',
    "issuance.scope.never": "deny := true",
    "issuance.scope.later": 'allow := true\nrequire contains "consent"',
}
USER = {"grant_type": "authorization_code", "subject": {"type": "user", "id": "alice"}}


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    folder = tmp_path_factory.mktemp("issued")
    callers = [caller("as"), caller("other"), caller("auditor", "auditor"), caller("operator", "operator")]
    with running_bridge(folder, write_policies(folder / "rego", POLICIES), callers=callers) as running:
        yield running


def ask(bridge: RunningBridge, *scopes: str, **members: Any) -> str:
    """The id of a decision on these scopes, asked for by `as`."""
    return str(bridge.ask(request(*scopes, **members), headers=bearer("as"))["decision_id"])


def report(decision_id: str, *scopes: str, life: float = 30, **members: Any) -> dict[str, Any]:
    """A report of a token that lives for `life` seconds from now, with a `jti` of its own."""
    token = {"jti": uuid4().hex, "exp": int(time.time() + life), "scopes": list(scopes), "audience": [API]}
    return {"decision_id": decision_id, **token, **members}


def post(bridge: RunningBridge, body: Any, name: str = "as", **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return bridge.client.post(
        PATH, content=content, headers={"Content-Type": "application/json", **bearer(name), **headers}
    )


def told(bridge: RunningBridge, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    response = post(bridge, body, **options)
    assert response.status_code == 200, response.text
    reply: dict[str, Any] = response.json()
    return reply


def counted(bridge: RunningBridge) -> dict[str, float]:
    """The counter, by violation."""
    text = bridge.get("/metrics", headers=bearer("operator")).text
    found = re.findall(r'^issuance_violations_total\{violation="(\w+)"\} (\S+)$', text, re.MULTILINE)
    return {violation: float(value) for violation, value in found}


def grown(bridge: RunningBridge, before: dict[str, float]) -> dict[str, float]:
    return {name: value - before[name] for name, value in counted(bridge).items() if value != before[name]}


def test_a_token_as_decided_is_on_record_and_nothing_is_alarmed(bridge: RunningBridge) -> None:
    before, alarms = counted(bridge), len(bridge.log_events("issuance_violation"))
    assert before.keys() == {violation.value for violation in Violation}
    decision_id = ask(bridge, "read", "write")
    body = report(decision_id, "read", "write", "read")
    response = post(bridge, body, **{"X-Request-ID": "r-1"})
    assert response.headers["X-Request-ID"] == "r-1"
    reply = response.json()
    found = all_found(bridge.evidence)[reply["evidence"]["index"]]
    assert reply == {
        "id": found.entry["id"],
        "violations": [],
        "evidence": {
            "origin": reply["evidence"]["origin"],
            "index": found.index,
            "leaf_hash": base64.b64encode(found.leaf_hash).decode(),
        },
    }
    digest = TokenDigest((bridge.evidence / DIGEST_KEY).read_bytes())
    entry = dict(found.entry)
    assert abs(now_ms() - int(entry["id"].replace("-", "")[:12], 16)) < 30_000
    assert [entry.pop(name) for name in ("instance", "epoch")] == ["bridge/0", 1]
    del entry["id"], entry["time"], entry["iseq"]
    assert entry == {
        "v": 1,
        "kind": "issued",
        "door": "issued",
        "caller": "as",
        "request_id": "r-1",
        "decision_id": decision_id,
        "jti_digest": digest(body["jti"]),
        "jti_key": digest.key_id,
        "exp": body["exp"],
        "scopes": ["read", "write"],
        "audience": [API],
        "violations": [],
    }
    assert grown(bridge, before) == {}
    assert len(bridge.log_events("issuance_violation")) == alarms


def test_fewer_scopes_a_shorter_life_and_a_smaller_audience_are_as_decided(bridge: RunningBridge) -> None:
    decision_id = ask(bridge, "read", "write", audience=[API, OTHER])
    assert told(bridge, report(decision_id, "read", life=1))["violations"] == []


def broken(bridge: RunningBridge) -> dict[str, list[dict[str, Any]]]:
    """For each violation, reports of which the last one has just this one."""
    reused, second, contradicted = (ask(bridge, "read") for _ in range(3))
    used = report(reused, "read")
    conditional = ask(bridge, "later", **USER)
    limited, asked = ask(bridge, "api"), ask(bridge, "read", audience=[API])
    first = report(contradicted, "read")
    return {
        "unknown_decision": [report(str(uuid4()), "read")],
        "after_denial": [report(ask(bridge, "never"))],
        "after_denial, waiting": [report(conditional)],
        "second_token": [report(second, "read"), report(second, "read")],
        "more_scopes": [report(ask(bridge, "read", "never"), "read", "never")],
        "longer_life": [report(ask(bridge, "write"), "write", life=67)],
        "wider_audience": [report(limited, "api", audience=[API, OTHER])],
        "wider_audience, asked": [report(asked, "read", audience=[OTHER])],
        "wider_audience, nobody's": [report(ask(bridge, "api"), "api", audience=[])],
        "jti_reused": [used, report(ask(bridge, "read"), "read", jti=used["jti"])],
        "contradicts_report": [first, {**first, "exp": first["exp"] + 1}],
    }


def test_each_violation_is_answered_recorded_counted_and_alarmed(bridge: RunningBridge) -> None:
    for name, (*earlier, last) in broken(bridge).items():
        code = name.split(",")[0]
        assert all(told(bridge, body)["violations"] == [] for body in earlier), name
        before = counted(bridge)
        reply = told(bridge, last)
        assert reply["violations"] == [code], name
        entry = all_found(bridge.evidence)[reply["evidence"]["index"]].entry
        assert (entry["violations"], entry["decision_id"]) == ([code], last["decision_id"])
        assert grown(bridge, before) == {code: 1}, name
        alarm = bridge.log_events("issuance_violation")[-1]
        assert (alarm["level"], alarm["violations"], alarm["decision_id"], alarm["index"]) == (
            "error",
            [code],
            last["decision_id"],
            reply["evidence"]["index"],
        )


def test_all_that_is_broken_is_told(bridge: RunningBridge) -> None:
    decision_id = ask(bridge, "write", "never", audience=[API])
    told(bridge, report(decision_id, "write"))
    body = report(decision_id, "write", "never", "unheard-of", life=3600, audience=[OTHER])
    assert told(bridge, body)["violations"] == ["second_token", "more_scopes", "longer_life", "wider_audience"]
    denied = report(ask(bridge, "never"), "never")
    assert told(bridge, denied)["violations"] == ["after_denial", "more_scopes"]


@pytest.mark.parametrize("kind", ["issued", "nonsense", "a\\u2028b"])
def test_what_is_no_decision_is_unknown(bridge: RunningBridge, kind: str) -> None:
    decision_id = told(bridge, report(ask(bridge, "read"), "read"))["id"] if kind == "issued" else kind
    assert told(bridge, report(decision_id))["violations"] == ["unknown_decision"]


def test_the_very_same_report_makes_no_second_entry(bridge: RunningBridge) -> None:
    decision_id = ask(bridge, "write")
    body = report(decision_id, "write", life=3600)
    first = told(bridge, body)
    size, before = len(bridge.entries()), counted(bridge)
    assert told(bridge, body, **{"X-Request-ID": "again"}) == {**first, "repeated": True}
    assert told(bridge, {**body, "scopes": ["write", "write"]}) == {**first, "repeated": True}
    assert len(bridge.entries()) == size
    # Whoever repeats may not have heard the first answer, and neither may the operator.
    assert grown(bridge, before) == {"longer_life": 2}
    assert bridge.log_events("issuance_violation")[-1]["repeated"] is True


@pytest.mark.parametrize("change", [{"exp": 1}, {"scopes": []}, {"audience": [API, OTHER]}])
def test_other_content_for_the_same_token_is_told(bridge: RunningBridge, change: dict[str, Any]) -> None:
    decision_id = ask(bridge, "read")
    body = report(decision_id, "read")
    first, second = told(bridge, body), told(bridge, {**body, **change})
    assert (first["violations"], second["violations"]) == ([], ["contradicts_report"])
    assert first["id"] != second["id"]
    assert "repeated" not in second
    assert told(bridge, body) == {**first, "repeated": True}


def test_a_decision_is_reported_by_who_asked(bridge: RunningBridge) -> None:
    decision_id = ask(bridge, "read")
    size, before = len(bridge.entries()), counted(bridge)
    problem_in(post(bridge, report(decision_id, "read"), "other"), 403)
    for name in ("auditor", "operator"):
        problem_in(post(bridge, report(decision_id, "read"), name), 403)
    problem_in(post(bridge, report(decision_id, "read"), "nobody"), 401)
    assert len(bridge.entries()) == size
    assert grown(bridge, before) == {}
    reasons = [event["reason"] for event in bridge.log_events("call_refused")[-4:]]
    assert reasons == ["forbidden_decision", "forbidden", "forbidden", "unauthenticated"]
    assert told(bridge, report(decision_id, "read"))["violations"] == []


def test_the_same_report_of_another_caller_is_not_a_repetition(bridge: RunningBridge) -> None:
    body = report(str(uuid4()))
    told(bridge, body)
    assert told(bridge, body, name="other")["violations"] == ["unknown_decision", "contradicts_report"]


GOOD = {"decision_id": "d", "jti": "j", "exp": 1, "scopes": [], "audience": []}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        *(({name: None}, f"/{name}") for name in GOOD),
        ({"decision_id": ""}, "/decision_id"),
        ({"decision_id": "x" * 129}, "/decision_id"),
        ({"jti": ""}, "/jti"),
        ({"jti": "a\nb"}, "/jti"),
        ({"jti": "x" * 513}, "/jti"),
        ({"exp": -1}, "/exp"),
        ({"exp": 1.5}, "/exp"),
        ({"exp": "1"}, "/exp"),
        ({"exp": True}, "/exp"),
        ({"exp": 2**53}, "/exp"),
        ({"scopes": "read"}, "/scopes"),
        ({"scopes": [1]}, "/scopes/0"),
        ({"scopes": ["s"] * 257}, "/scopes"),
        ({"scopes": ["s" * 8193]}, "/scopes"),
        ({"audience": API}, "/audience"),
        ({"audience": ["s"] * 257}, "/audience"),
        ({"audience": ["\x01" * 1400]}, "/audience"),
        ({"context": {}}, "/context"),
        ({"kind": "issued"}, "/kind"),
    ],
)
def test_an_error_names_the_member(bridge: RunningBridge, change: dict[str, Any], pointer: str) -> None:
    response = post(bridge, {**GOOD, **change})
    assert pointers_in(response) == [pointer]
    assert "context'" not in response.text


@pytest.mark.parametrize("name", GOOD)
def test_every_member_is_needed(bridge: RunningBridge, name: str) -> None:
    assert pointers_in(post(bridge, {n: value for n, value in GOOD.items() if n != name})) == [f"/{name}"]


def test_the_body_is_read_as_strictly_as_at_the_native_door(bridge: RunningBridge) -> None:
    for body in (b"", b"[]", b"{", json.dumps(GOOD).encode()[:-1] + b', "jti": "k"}', b'{"exp": NaN}'):
        problem_in(post(bridge, body), 400)
    problem_in(post(bridge, GOOD, **{"Content-Type": "text/plain"}), 415)
    problem_in(post(bridge, b" " * (4 * 1024 * 1024 + 1)), 413)
    problem_in(bridge.get(PATH, headers=bearer("as")), 405)


def test_the_largest_report_fits_an_entry(bridge: RunningBridge) -> None:
    scopes, audience = ([f"{name}{n:03}" + '"' * 12 for n in range(256)] for name in "sa")
    reply = told(bridge, report('"' * 128, *scopes, audience=audience, jti="é" * 512))
    entry = all_found(bridge.evidence)[reply["evidence"]["index"]].entry
    assert (entry["scopes"], entry["audience"]) == (scopes, audience)


def test_the_token_id_is_kept_nowhere(bridge: RunningBridge) -> None:
    body = report(ask(bridge, "read"), "never", life=10**6, jti=f"SECRET-JTI-{uuid4().hex}")
    replies = [post(bridge, body), post(bridge, {**body, "exp": 7}), post(bridge, body), post(bridge, body, "other")]
    replies += [post(bridge, {**body, "jti": [body["jti"]]}), post(bridge, {**body, body["jti"]: 1})]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 403, 400, 400]
    replies[-1] = replies[0]  # it names the member that it does not know
    kept = {path.name: path.read_bytes() for path in bridge.evidence.rglob("*") if path.is_file()}
    assert {DIGEST_KEY, "evidence.sqlite", "evidence.sqlite-wal"} <= kept.keys()
    kept |= {"process log": bridge.log_file.read_bytes()}
    kept |= {"metrics": bridge.get("/metrics", headers=bearer("operator")).content}
    kept |= {f"reply {n}": reply.content for n, reply in enumerate(replies)}
    for name, content in kept.items():
        assert body["jti"].encode() not in content, name
        assert b"SECRET-JTI" not in content, name
        assert token_of("as").encode() not in content, name


def test_the_digest_key_is_private_and_stays(tmp_path: Path) -> None:
    with running_bridge(tmp_path) as bridge:
        decision_id = bridge.ask(request("read"))["decision_id"]
        body = report(decision_id, "read")
        first = told(bridge, body)
        key = bridge.evidence / DIGEST_KEY
        assert (len(key.read_bytes()), key.stat().st_mode & 0o777) == (32, 0o600)
        assert not list(bridge.evidence.glob("digest.key.*"))
    with running_bridge(tmp_path) as bridge:
        assert told(bridge, body) == {**first, "repeated": True}
        assert told(bridge, report(decision_id, "read"))["violations"] == ["second_token"]


def test_log_show_and_query_tell_of_reports(bridge: RunningBridge) -> None:
    decision_id = ask(bridge, "read")
    told(bridge, report(decision_id, "read"))
    told(bridge, report(decision_id, "read", "write"))
    shown = bridge.cli("log", "show", decision_id)
    assert [line for line in shown.stdout.splitlines() if line.startswith(("no", "as", "!"))] == [
        "no exception path",
        "as decided",
        "! violates its decision: second_token, more_scopes",
    ]
    lines = bridge.cli("log", "query", "--limit", "3").stdout.splitlines()
    assert re.search(r"^!.* issued .* read=issued write=issued .*VIOLATES: second_token more_scopes$", lines[0])
    assert re.search(r"^ .* issued .* read=issued", lines[1])
    found = bridge.cli("log", "query", "--scope", "write", "--limit", "1", "--json")
    assert json.loads(found.stdout)["entry"]["decision_id"] == decision_id


async def reported(local: LocalBridge, body: dict[str, Any]) -> list[str]:
    async with local.session.post(PATH, json=body) as response:
        assert response.status == 200, await response.text()
        violations: list[str] = (await response.json())["violations"]
        return violations


async def test_a_decision_that_was_overruled_is_a_denial(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as local:
        decision_id = (await local.ask(request("read")))["decision_id"]
        at = now_ms()
        overruled = {"v": 1, "kind": "overruled", "id": uuid7(at), "time": rfc3339(at), "decision_id": decision_id}
        await local.bridge.journal.append(Record({**overruled, "outcome": "deny"}))
        assert await reported(local, report(decision_id, "read")) == ["after_denial"]


@pytest.mark.parametrize("past_ms", [0, 1000])
async def test_more_than_five_seconds_after_the_decision_ran_out_is_late(tmp_path: Path, past_ms: int) -> None:
    async with local_bridge(tmp_path) as local:
        decision_id = (await local.ask(request("read")))["decision_id"]
        # As the bridge wrote it, some time ago.
        at = now_ms() - VALID_FOR_MS - LEEWAY_MS + (-past_ms if past_ms else 5_000)
        entry = {
            name: v for name, v in local.entry_of(decision_id).items() if name not in ("instance", "epoch", "iseq")
        }
        await local.bridge.journal.append(Record({**entry, "id": uuid7(at), "time": rfc3339(at)}))
        old = local.entries()[-1]["id"]
        assert await reported(local, report(old, "read")) == (["late"] if past_ms else [])


async def test_a_caller_of_some_doors_only_may_report(tmp_path: Path) -> None:
    callers = [caller("as", doors=["native"], grant_types=["client_credentials"])]
    async with local_bridge(tmp_path, callers=callers) as local:
        decision_id = (await local.ask(request("read"), headers=bearer("as")))["decision_id"]
        async with local.session.post(PATH, json=report(decision_id, "read"), headers=bearer("as")) as response:
            assert (await response.json())["violations"] == []


async def test_masked_values_are_not_compared(tmp_path: Path) -> None:
    evidence = {"path": str(tmp_path / "evidence"), "mask": ["/audience/*"]}
    async with local_bridge(tmp_path, evidence=evidence) as local:
        decision_id = (await local.ask(request("read", audience=[API])))["decision_id"]
        assert await reported(local, report(decision_id, "read", audience=[OTHER])) == []


def at_once(bridge: RunningBridge, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each on a connection of its own: the kernel deals them out to the workers."""

    def one(body: dict[str, Any]) -> dict[str, Any]:
        with httpx.Client(base_url=bridge.url, trust_env=False, timeout=30) as client:
            response = client.post(PATH, json=body)
            assert response.status_code == 200, response.text
            reply: dict[str, Any] = response.json()
            return reply

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(one, bodies))


def test_two_workers_cannot_both_miss_a_second_token(tmp_path: Path) -> None:
    server = {"workers": 2, "deadline_ms": 20_000}
    with running_bridge(tmp_path, server=server, engine={"deadline_ms": 10_000}) as bridge:
        for _ in range(10):
            decision_id = bridge.ask(request("read"))["decision_id"]
            replies = at_once(bridge, [report(decision_id, "read") for _ in range(8)])
            assert sorted(reply["violations"] for reply in replies) == [[], *[["second_token"]] * 7]
            body = report(bridge.ask(request("read"))["decision_id"], "read")
            same = at_once(bridge, [body] * 8)
            assert sum("repeated" not in reply for reply in same) == 1
            assert len({reply["evidence"]["index"] for reply in same}) == 1
        entries = [entry for entry in bridge.entries() if entry["kind"] == "issued"]
        assert len(entries) == 10 * 9
        assert {entry["instance"] for entry in entries} == {"bridge/0", "bridge/1"}
        wait_until(lambda: 'violation="second_token"} 70.0' in bridge.get("/metrics").text)


def test_while_the_log_cannot_be_written_the_report_must_be_repeated(tmp_path: Path) -> None:
    faults = DiskFaults(tmp_path / "faults", tmp_path / "evidence")
    with running_bridge(
        tmp_path,
        write_policies(tmp_path / "rego", POLICIES),
        env=faults.env(),
        callers=[caller("as"), caller("operator", "operator")],
    ) as bridge:
        body = report(ask(bridge, "read"), "never")
        before, size = counted(bridge), len(bridge.entries())
        faults.set("sync", fail=errno.EIO)
        for _ in range(3):
            response = post(bridge, body)
            problem_in(response, 503)
            assert response.headers["Retry-After"] == "1"
        assert grown(bridge, before) == {}
        assert not bridge.log_events("issuance_violation")
        assert [event["decision_id"] for event in bridge.log_events("report_unrecorded")] == [body["decision_id"]] * 3
        faults.clear()
        wait_until(lambda: bridge.get("/health/ready").status_code == 200, 20)
        assert told(bridge, body)["violations"] == ["more_scopes"]
        told(bridge, body)
        kinds = [entry["kind"] for entry in bridge.entries()[size:]]
        assert kinds.count("issued") == 1
        # A report is no denial: no gap entry counts it.
        assert sum(entry["denied"] for entry in bridge.entries() if entry["kind"] == "gap") == 0
        assert "Traceback" not in bridge.log_text()


def test_a_report_that_takes_too_long_is_repeated_and_found(tmp_path: Path) -> None:
    faults = DiskFaults(tmp_path / "faults", tmp_path / "evidence")
    with running_bridge(tmp_path, env=faults.env(), server={"deadline_ms": 300}) as bridge:
        body = report(bridge.ask(request("read"))["decision_id"], "read")
        faults.set("sync", delay_ms=800)
        problem_in(post(bridge, body), 503)
        faults.clear()
        wait_until(lambda: post(bridge, body).status_code == 200)
        assert told(bridge, body)["repeated"] is True
        assert [entry["kind"] for entry in bridge.entries()].count("issued") == 1

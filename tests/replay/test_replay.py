"""Every decision that was recorded comes out again; a lie does not, and what cannot be decided again is counted."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bridge import kernel
from bridge.audit.reader import LogReader
from bridge.cli.log.replay import restoring
from bridge.model.policy import PolicySet
from bridge.model.times import now_ms, rfc3339
from bridge.policy import bundle, source
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.replay.engines import RUNNING
from bridge.replay.recorded import NotReplayable, Records
from tests.authzen.asking import TARGET, batch, gate, item, party, user, write_saying
from tests.engines.servers import opa_server
from tests.support.bridge import local_bridge, request, run_cli
from tests.support.evidence import entries
from tests.support.policies import write_policies
from tests.support.sources import source as source_table
from tests.support.sources import source_server, text

from .asked import AT_ONCE, POLICIES, ask_authzen, ask_native, authzen, native, patient_bridge
from .playing import archive_of, counted, play

DECISIONS = 10_000


@pytest.mark.timeout(180)
async def test_ten_thousand_random_decisions_come_out_again(tmp_path: Path) -> None:
    chance = random.Random(20_261_125)
    async with patient_bridge(tmp_path, policy={"path": str(tmp_path / "rego"), "max_token_lifetime_s": 1800}) as made:
        for _ in range(6000 // AT_ONCE):
            await ask_native(made, [native(chance) for _ in range(AT_ONCE)])
        while made.bridge.journal.last_iseq < DECISIONS + 50:
            await ask_authzen(made, authzen(chance))
        found = [entry for entry in made.entries() if entry["kind"] in ("decision", "evaluation")]
    outcomes = Counter(entry["outcome"] for entry in found)
    assert len(found) >= DECISIONS and outcomes["deny"] > len(found) / 2 and min(outcomes.values()) > 100
    told = {name for entry in found for name in entry.get("terms", {})}
    assert told >= {"max_token_lifetime", "scopes", "targets", "crit", "gate_alone"}
    paths = {taken["path"] for entry in found for taken in entry["exceptions"]}
    assert paths == {"waiver", "expired_exception", "policy_error"}
    assert any("gate_decision" in entry.get("batch", {}) for entry in found)
    before = time.process_time()
    results = await play(made.evidence)
    assert time.process_time() - before < 60
    assert counted(results) == {"same": len(found)}, [r for r in results if r.state != "same"][:3]


async def test_an_engine_that_lies_by_one_rule_is_found(tmp_path: Path) -> None:
    """A server of the user's own answers with the digest of the set, and with one rule of another one."""
    policies = write_policies(tmp_path / "rego")
    honest = load(policies, find_opa())
    doctored = tmp_path / "doctored.tar.gz"
    doctored.write_bytes(_with(honest, 'deny contains {"code": "not_for_you"', 'allow contains {"code": "for_you"'))
    async with (
        opa_server("--bundle", doctored) as server,
        local_bridge(tmp_path, policies, engine={"kind": "opa", "url": server.url}) as made,
    ):
        reply = await made.ask(request("never", "read"))
        await made.ask(request("read"))
    assert reply["granted_scopes"] == ["never", "read"]
    results = await play(made.evidence)
    assert [result.state for result in results] == ["different", "same"]
    assert {d.member for d in results[0].differences} == {"granted_scopes", "scopes/never", "rules"}
    done = run_cli("log", "replay", "--config", tmp_path / "bridge.toml")
    assert done.returncode == 1 and "1 same, 1 different, 0 not replayable" in done.stdout
    assert f"DIFFERENT {results[0].index} {reply['decision_id']} granted_scopes" in done.stdout
    done = run_cli("log", "replay", "--json", "--config", tmp_path / "bridge.toml")
    told = [json.loads(one) for one in done.stdout.splitlines()]
    assert told[0]["differences"][0] == {"member": "granted_scopes", "recorded": ["never", "read"], "now": ["read"]}
    assert told[1] == {"same": 1, "different": 1, "not_replayable": {}}


def _with(policy_set: PolicySet, old: str, new: str) -> bytes:
    """The set's bundle with one text in its modules replaced; it goes on claiming the set's digest."""
    file = Path(f"/proc/self/fd/{_memory(policy_set.bundle)}")
    found = source._read_bundle(file)
    modules = {name: content.replace(old.encode(), new.encode()) for name, content in found.modules.items()}
    assert modules != found.modules
    data = json.loads(found.data["data.json"])
    return bundle.pack(bundle.contents(modules, data, sorted({"authzen", *data}), policy_set.digest))


def _memory(content: bytes) -> int:
    handle = os.memfd_create("bundle")
    os.write(handle, content)
    return handle


async def test_a_liar_in_the_archive_is_not_run(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as made:
        await made.ask(request("never"))
    kept = archive_of(made.evidence)
    policy_set = restoring(made.evidence, find_opa())(kept.name.split(".")[0])
    whole = kept.read_bytes()
    assert policy_set.bundle == whole
    for spoilt in (
        _with(policy_set, 'deny contains {"code": "not_for_you"', 'allow contains {"code": "for_you"'),
        _with(policy_set, "data.issuance.gate[k]", "data.issuance.open[k]"),  # the kernel
        whole[: len(whole) // 2],
        b"",
        b"not a bundle",
    ):
        kept.write_bytes(spoilt)
        assert counted(await play(made.evidence)) == {"archive_damaged": 1}
    kept.unlink()
    (tmp_path / "other").mkdir()
    other = load(write_policies(tmp_path / "other", {"issuance.gate": "allow := true"}), find_opa())
    kept.write_bytes(other.bundle)
    (result,) = await play(made.evidence)
    assert result.reason is not None and other.digest in result.reason.text
    kept.unlink()
    assert counted(await play(made.evidence)) == {"archive_missing": 1}


async def test_an_index_that_is_not_that_of_the_modules_is_not_run(tmp_path: Path) -> None:
    """The digest does not cover it, and it says which package answers for which scope."""
    async with local_bridge(tmp_path) as made:
        await made.ask(request("read"))
    kept = archive_of(made.evidence)
    found = source.read(kept)
    data = json.loads(found.data["data.json"])
    data["issuance"]["index"]["scopes"]["never"] = 'issuance.scope["read"]'
    kept.write_bytes(
        bundle.pack(bundle.contents(found.modules, data, ["issuance", "authzen"], kept.name.split(".")[0]))
    )
    (result,) = await play(made.evidence)
    assert result.reason is not None and "index does not belong" in result.reason.text


async def test_a_set_is_replayed_with_the_kernel_that_it_decided_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = {name: content + b"\n# of an older version\n" for name, content in kernel.MODULES.items()}
    with monkeypatch.context() as then:
        then.setattr(kernel, "MODULES", older)
        async with local_bridge(tmp_path) as made:
            await made.ask(request("read"))
    async with local_bridge(tmp_path) as made:
        await made.ask(request("read"))
    assert len(list((made.evidence / "policies").iterdir())) == 2
    assert counted(await play(made.evidence)) == {"same": 2}


async def test_more_sets_in_one_range_than_are_kept_running(tmp_path: Path) -> None:
    policies = write_policies(
        tmp_path / "rego", {"issuance.gate": "allow := true", "issuance.scope.a": "allow := true"}
    )
    for rules in ('deny contains "no"', *(f'allow contains {{"code": "c{n}"}}' for n in range(RUNNING + 1))):
        (policies / "p1.rego").write_text(f"package issuance.scope.a\n\n{rules}\n")
        async with local_bridge(tmp_path, policies) as made:
            await made.ask(request("a"))
            await made.ask(request("a"))
    decided = [e for e in entries(tmp_path / "evidence") if e["kind"] == "decision"]
    assert len({entry["policy"]["digest"] for entry in decided}) == RUNNING + 2
    assert [entry["outcome"] for entry in decided] == ["deny"] * 2 + ["allow"] * 2 * (RUNNING + 1)
    assert counted(await play(tmp_path / "evidence")) == {"same": len(decided)}


async def test_what_fellows_and_second_gates_narrowed_comes_out_again(tmp_path: Path) -> None:
    exchange = gate(grant_type="token_exchange")
    says = {
        f"alice@{TARGET} gate": {"allow": True, "limit": {"granted_scope": "s:a s:b"}},
        f"edge@{TARGET} gate": {"allow": True, "limit": {"granted_scope": "s:b s:c"}},
        "bob@https://other.example gate": {"allow": True, "deny": ["no"]},
    }
    asked = batch(
        *(exchange, item(exchange, party("workload", "edge")), "s:a", "s:b", "s:c"),
        *(item("s:a", target="https://other.example"), item("s:b", target="https://third.example")),
        *(item(gate(), user("bob"), "https://other.example"), item("s:a", user("bob"), "https://third.example")),
        context={"client_id": "c", "says": says},
    )
    async with local_bridge(tmp_path, write_saying(tmp_path / "rego")) as made:
        await ask_authzen(made, asked)
    found = [entry for entry in made.entries() if entry["kind"] == "decision"]
    assert any("within" in entry["terms"] for entry in found)
    assert sum("gate_decision" in entry["batch"] for entry in found) == 3
    assert counted(await play(made.evidence)) == {"same": len(found)}


_POSTURE = """
allow if input.sources.posture.value == "good"
allow if input.sources.posture.status == "absent"
allow if input.client.id == "trusted"
"""


@pytest.mark.parametrize("on_failure", ["deny", "absent", "stale"])
async def test_what_failed_and_stale_sources_did_comes_out_again(tmp_path: Path, on_failure: str) -> None:
    sets = {"issuance.gate": "allow := true", "issuance.scope.seen": _POSTURE, "issuance.scope.read": "allow := true"}
    sets['authzen.resource["door"]'] = 'allow if input.subject.id == "trusted"'
    policies = write_policies(tmp_path / "rego", sets)
    more: dict[str, Any] = {"max_stale_s": 3600} if on_failure == "stale" else {}
    async with source_server({"trusted": "good"}) as server:
        tables = [
            source_table(server.url, "seen", max_age_s=0, on_failure=on_failure, key=["/client/id"], **more),
            {
                **source_table(server.url, key=["/subject/id"], name="doors", max_age_s=0),
                "scopes": [],
                "resource_types": ["door"],
            },
        ]
        async with local_bridge(tmp_path, policies, sources=tables) as made:
            door = {"subject": user("trusted"), "action": {"name": "open"}, "resource": {"type": "door", "id": "1"}}
            for answer in (None, text("no", status=500)):
                server.answer = answer
                for client in ("trusted", "other"):
                    await made.ask(request("seen", "read", client={"id": client}))
                await ask_authzen(made, {"evaluations": [door, {**door, "subject": user("other")}]})
    found = [entry for entry in made.entries() if entry["kind"] in ("decision", "evaluation")]
    failed = [entry for entry in found if "source_failed" in entry.get("terms", {})]
    assert len(failed) == {"deny": 2, "absent": 0, "stale": 0}[on_failure]
    assert counted(await play(made.evidence)) == {"same": 6}


async def test_a_gate_whose_source_failed_comes_out_again(tmp_path: Path) -> None:
    table = {**source_table("http://127.0.0.1:9/v1"), "scopes": ["gate"]}
    async with local_bridge(tmp_path, sources=[table]) as made:
        reply = await made.ask(request("read", "never"))
    assert reply["outcome"] == "deny"
    assert made.entry_of(reply["decision_id"])["terms"] == {"source_failed": {"gate": True, "scopes": []}}
    assert counted(await play(made.evidence)) == {"same": 1}


async def test_a_waiver_that_has_expired_since_still_counts_for_what_it_was_used_for(tmp_path: Path) -> None:
    until = rfc3339(now_ms() + 2500)
    waiver = f'{{"kind": "waiver", "id": "EX-1", "approved_by": ["ciso"], "expires": "{until}"}}'
    scope = f'allow contains {{"code": "waived", "exception": {waiver}}}'
    policies = write_policies(tmp_path / "rego", {"issuance.gate": "allow := true", "issuance.scope.a": scope})
    async with local_bridge(tmp_path, policies) as made:
        assert (await made.ask(request("a")))["outcome"] == "allow"
        while rfc3339(now_ms()) <= until:
            await asyncio.sleep(0.05)
        assert (await made.ask(request("a")))["outcome"] == "deny"
    assert counted(await play(made.evidence)) == {"same": 2}


async def test_personal_values_come_out_again_and_what_is_erased_is_counted(tmp_path: Path) -> None:
    personal = ["/subject/id", "/subject/properties", "/audience", "/resource/id"]
    evidence = {"path": str(tmp_path / "evidence"), "personal": personal}
    chance = random.Random(4)
    async with patient_bridge(tmp_path, evidence=evidence) as made:
        await ask_native(made, [native(chance) for _ in range(60)])
        for _ in range(4):
            await ask_authzen(made, authzen(chance))
        carol = {**native(chance), "grant_type": "authorization_code", "subject": party("user", "carol-the-erased")}
        await ask_native(made, [carol])
    found = [entry for entry in made.entries() if entry["kind"] in ("decision", "evaluation")]
    assert any("commitment" in json.dumps(entry["terms"]) for entry in found if "terms" in entry)
    assert counted(await play(made.evidence)) == {"same": len(found)}
    told = ("--subject", "carol-the-erased", "--reason", "asked for", "--by", "dpo")
    done = run_cli("log", "erase", *told, "--config", tmp_path / "bridge.toml")
    assert done.returncode == 0, done.stderr
    assert counted(await play(made.evidence)) == {"same": len(found) - 1, "erased": 1}
    done = run_cli("log", "replay", "--config", tmp_path / "bridge.toml")
    assert done.returncode == 0 and "1 erased: the document was erased" in done.stdout


async def test_a_masked_audience_is_not_told_by_the_terms(tmp_path: Path) -> None:
    evidence = {"path": str(tmp_path / "evidence"), "mask": ["/audience/0"]}
    targets = [item(gate()), item("s:a", target="https://secret.example"), item("s:b")]
    async with local_bridge(tmp_path, write_saying(tmp_path / "rego"), evidence=evidence) as made:
        await ask_authzen(made, batch(*targets, target="https://hidden.example"))
    found = [entry for entry in made.entries() if entry["kind"] == "decision"]
    assert [entry["terms"]["targets"] for entry in found] == ["***", "***"]
    assert counted(await play(made.evidence)) == {"unreadable": 1, "gate": 1}


async def test_what_no_policy_decided_and_searches_are_counted(tmp_path: Path) -> None:
    policies = write_policies(tmp_path / "rego", POLICIES, {"registry": {"clients": {}}})
    async with (
        opa_server() as empty,
        local_bridge(tmp_path, policies, engine={"kind": "opa", "url": empty.url}) as made,
    ):
        await made.ask(request("read"))
    async with local_bridge(tmp_path, policies) as made:
        body = {"subject": user(), "action": {"name": "open"}, "resource": {"type": "door"}}
        async with made.session.post("/access/v1/search/resource", json=body) as response:
            assert response.status == 200
        await ask_authzen(made, {"evaluations": [{"subject": {"type": "user"}}, {"action": {"name": "x"}}]})
        await ask_authzen(made, batch(item("read"), item("write")))  # no gate
    assert counted(await play(made.evidence)) == {"no_policy": 3, "search": 1}


async def test_rules_that_follow_in_entries_of_their_own(tmp_path: Path) -> None:
    names = [f"s{n}" for n in range(60)]
    controls = "".join(f"\n#     - {n} {'c' * 100}" for n in range(8))
    head = f"# METADATA\n# scope: package\n# custom:\n#   controls:{controls}\n"
    sets = {"issuance.gate": "allow := true", **{f"issuance.scope.{name}": f"{head}\nallow := true" for name in names}}
    async with local_bridge(tmp_path, write_policies(tmp_path / "rego", sets)) as made:
        reply = await made.ask(request(*names))
    assert made.entry_of(reply["decision_id"])["rules_follow"]
    assert counted(await play(made.evidence)) == {"same": 1}


async def test_entries_that_were_shortened(tmp_path: Path) -> None:
    """Some are too long for `terms`, and what hangs on the gate of such a one cannot be decided again, either."""
    targets = [f"https://{n:03}{'y' * 400}.example" for n in range(100)]
    async with local_bridge(tmp_path, write_saying(tmp_path / "rego")) as made:
        await made.ask(request("s:a", context={"long": "x" * 40_000, "says": {"deny": ["never"]}}))
        await ask_authzen(made, batch(gate(), *(item("s:a", target=target) for target in targets)))
    found = [entry for entry in made.entries() if entry["kind"] == "decision"]
    assert [entry.get("shortened", []) for entry in found[:2]] == [
        ["request"],
        ["request", "claims", "titles", "names", "terms"],
    ]
    assert all("terms" in entry["shortened"] for entry in found[1:])
    assert counted(await play(made.evidence)) == {"same": 1, "no_terms": 101}


async def test_a_part_that_was_late_is_not_decided_again(tmp_path: Path) -> None:
    slow = "allow if count([n | some n in numbers.range(1, 3000000); n > 0]) > 0"
    policies = write_policies(tmp_path / "rego", {"issuance.gate": "allow := true", "issuance.scope.slow": slow})
    async with local_bridge(tmp_path, policies, engine={"deadline_ms": 30}) as made:
        reply = await made.ask(request("slow"))
    assert reply["outcome"] == "deny"
    assert set(counted(await play(made.evidence))) <= {"late", "no_policy"}


async def test_a_range_and_the_filters_of_a_query(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as made:
        places = [
            (await made.ask(request("read", client={"id": client})))["evidence"]["index"] for client in ("a", "b", "b")
        ]
    config = tmp_path / "bridge.toml"
    for options, same in (
        ((), 3),
        (("--client", "b", "--from", "2020-01-01"), 2),
        (("--start", str(places[1]), "--stop", str(places[2])), 1),
        (("--client", "a", "--start", str(places[1])), 0),
    ):
        done = run_cli("log", "replay", *options, "--config", config)
        assert (done.returncode, done.stdout) == (0, f"{same} same, 0 different, 0 not replayable\n"), done.stderr


async def test_an_entry_without_terms_is_of_an_older_version(tmp_path: Path) -> None:
    async with local_bridge(tmp_path) as made:
        await made.ask(request("read"))
    with closing(LogReader(made.evidence)) as reader:
        (found,) = (one for one in reader.walk() if one.entry["kind"] == "decision")
        for changes, reason in (
            ({"terms": None}, "no_terms"),
            ({"terms": {"scopes": "all"}}, "unreadable"),
            ({"policy": {"digest": "../../etc/passwd"}}, "unreadable"),
            ({"batch": {"id": "b", "items": [0], "gate_decision": "nobody"}}, "gate"),
            ({"exceptions": [7]}, "unreadable"),
            ({"sources": None}, "unreadable"),
        ):
            changed = replace(found, data=json.dumps({**found.entry, **changes}).encode())
            read = Records(reader).read(changed)
            assert isinstance(read, NotReplayable) and read.reason == reason, changes

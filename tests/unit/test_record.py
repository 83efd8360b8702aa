"""What stands in the evidence: every rule that spoke, every exception path, and never more than an entry holds."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bridge.doors.native import parse
from bridge.model.decision import Decision, deny_all
from bridge.model.entry import MAX_ENTRY_BYTES, canonical
from bridge.model.mask import SecretMask, parse_pointer
from bridge.model.policy import GATE, Package, PolicySet
from bridge.model.verdict import Verdict, read_verdict
from bridge.pdp.combine import combine
from bridge.pdp.evaluate import Verdicts
from bridge.pdp.gather import Call, encode, gather
from bridge.pdp.question import Question
from bridge.pdp.record import Facts, Recorder
from bridge.ports import EngineStatus, Record

NOW_MS = 1_780_315_200_000
ENGINE = EngineStatus("managed", "1.22.2", ready=True)
WAIVER = {"kind": "waiver", "id": "EX-1", "approved_by": ["ciso"], "expires": "2036-01-01T00:00:00Z"}
BOUND = MAX_ENTRY_BYTES - 512  # the writer adds instance, epoch and iseq


def facts(body: dict[str, Any], **members: Any) -> Facts:
    """A request as it comes through the native door."""
    request = parse(json.dumps({"grant_type": "client_credentials", "client": {"id": "c"}, **body}).encode(), 256)
    document = gather(request.document(), Call("native", "caller", "https://as.example"), "id", NOW_MS, SecretMask())
    return Facts(document, encode(document), ENGINE, **members)


def policy_set(packages: Mapping[str, Package]) -> PolicySet:
    return PolicySet("d" * 64, "d" * 16, packages, {}, {}, (), b"")


def package(name: str, **members: Any) -> Package:
    return Package(name, f"{name}.rego", 1, **members)


def record(
    scopes: Mapping[str, Any], gate: Any = None, packages: Mapping[str, Package] | None = None, **body: Any
) -> tuple[Decision, tuple[Record, ...]]:
    """Decides with these answers of the packages (scope -> (package, rules), or rules alone) and records it."""
    known = facts({"scopes": list(scopes), **body})

    def verdict(name: str, said: Any) -> Verdict:
        return Verdict(name, error=str(said)) if isinstance(said, Exception) else read_verdict(name, said, NOW_MS)

    read = {s: verdict(*(said if isinstance(said, tuple) else (f"p[{s}]", said))) for s, said in scopes.items()}
    top = verdict(GATE, {"allow": True} if gate is None else gate)
    decision = combine(Question(known.document, NOW_MS), top, read)
    full = Facts(known.document, known.document_bytes, ENGINE, verdicts=Verdicts(policy_set(packages or {}), top, read))
    return Recorder().record(decision, full)


def test_rules_of_256_packages_with_long_owners_are_all_on_record() -> None:
    names = [f"s{n:03d}" for n in range(256)]
    packages = {
        f"p[{name}]": package(f"p[{name}]", owner="ö" * 256, risk="high", controls=("OWASP NHI5:2025",) * 16)
        for name in names
    }
    said = {
        name: {"allow": [{"code": f"code-{name}", "title": "t" * 256}], "limit": {"token_lifetime": 60}}
        for name in names
    }
    decision, records = record(said, packages=packages)
    assert decision.granted_scopes == tuple(names)
    entries = [r.entry for r in records]
    assert all(len(canonical(e)) <= BOUND for e in entries)
    on_record = {(rule["package"], rule["code"], rule["effect"]) for e in entries for rule in e["rules"]}
    wanted = {(f"p[{n}]", code, effect) for n in names for code, effect in ((f"code-{n}", "allow"), ("limit", "limit"))}
    assert on_record == {*wanted, (GATE, "allow", "allow")}
    assert all(rule["owner"] == "ö" * 256 for e in entries for rule in e["rules"] if rule["package"] != GATE)
    assert (entries[0]["kind"], entries[0]["rules_follow"], entries[0]["outcome"]) == ("decision", True, "allow")
    assert entries[0]["scopes"].keys() == set(names)
    assert {(e["kind"], e["decision_id"]) for e in entries[1:]} == {("rules", "id")}
    assert [r.input is not None for r in records] == [True] + [False] * (len(records) - 1)
    assert len({e["id"] for e in entries}) == len(entries)


def test_small_decision_is_one_entry_with_all_its_parts() -> None:
    packages = {"p[a]": package("p[a]", owner="Team A <a@example.com>", risk="low", controls=("C1",), rows={"ok": 12})}
    _, (only,) = record({"a": {"allow": [{"code": "ok", "title": "Fine"}], "claims": {"n": 0.5}}}, packages=packages)
    entry = only.entry
    assert entry["rules"] == [
        {"package": GATE, "code": "allow", "effect": "allow"},
        {
            "package": "p[a]",
            "code": "ok",
            "effect": "allow",
            "file": "p[a].rego",
            "row": 12,
            "controls": ["C1"],
            "owner": "Team A <a@example.com>",
            "risk": "low",
        },
        {
            "package": "p[a]",
            "code": "claims",
            "effect": "claims",
            "file": "p[a].rego",
            "row": 1,
            "controls": ["C1"],
            "owner": "Team A <a@example.com>",
            "risk": "low",
        },
    ]
    assert entry["claims"] == {"n": {"number": "0.5"}}
    assert entry["exceptions"] == []
    assert (entry["v"], entry["kind"], entry["granted_scopes"]) == (1, "decision", ["a"])
    assert entry["policy"] == {"revision": "d" * 16, "digest": "d" * 64}


def test_every_effect_is_on_record() -> None:
    said = {
        "allow": [{"code": "yes"}],
        "deny": [{"code": "no"}, {"code": "later", "effective_on": "2099-01-01"}],
        "require": ["consent"],
        "limit": {"token_lifetime": 1},
        "claims": {"a": 1},
    }
    _, (only,) = record({"a": said})
    effects = {(r["effect"], r["code"]) for r in only.entry["rules"] if r["package"] == "p[a]"}
    pairs = {("allow", "yes"), ("deny", "no"), ("warn", "later")}
    assert effects == pairs | {(name, name) for name in ("require", "limit", "claims")}


def test_each_exception_path_of_a_shared_prefix_package_is_told() -> None:
    """Two scopes, one package: one by its rule, one by a waiver, one by an expired one, one failed."""
    shared = "issuance.scope_prefix[t:]"
    expired = {**WAIVER, "id": "EX-2", "expires": "2020-01-01T00:00:00Z"}
    _, (only,) = record(
        {
            "t:plain": (shared, {"allow": [{"code": "member"}]}),
            "t:waived": (shared, {"allow": [{"code": "waived", "exception": WAIVER}]}),
            "t:again": (shared, {"allow": [{"code": "waived", "exception": WAIVER}]}),
            "t:expired": (shared, {"allow": [{"code": "old", "exception": expired}]}),
            "t:failed": (shared, ValueError("conflict")),
        }
    )
    told = [(e["path"], e.get("id"), e["package"]) for e in only.entry["exceptions"]]
    assert sorted(told, key=str) == [
        ("expired_exception", "EX-2", shared),
        ("policy_error", None, shared),
        ("waiver", "EX-1", shared),
    ]


def test_exception_names_who_approved_it_and_until_when() -> None:
    _, (only,) = record({"a": {"allow": [{"code": "w", "exception": {**WAIVER, "kind": "break_glass"}}]}})
    assert only.entry["exceptions"] == [
        {
            "path": "break_glass",
            "package": "p[a]",
            "code": "w",
            "id": "EX-1",
            "approved_by": ["ciso"],
            "expires": "2036-01-01T00:00:00Z",
        }
    ]


def test_policy_errors_message_goes_to_the_evidence() -> None:
    _, (only,) = record({"a": ValueError("x.rego:3: eval_conflict_error")})
    (told,) = only.entry["exceptions"]
    assert (told["path"], told["message"]) == ("policy_error", "x.rego:3: eval_conflict_error")


@pytest.mark.parametrize("gate", [True, False])
def test_details_beyond_what_was_asked_for_are_a_policy_error_on_record(gate: bool) -> None:
    wide = {"allow": True, "limit": {"authorization_details": [{"type": "pay", "max": 2}]}}
    said = ({"a": {"allow": True}}, wide) if gate else ({"a": wide}, None)
    decision, (only,) = record(*said, authorization_details=[{"type": "pay", "max": 1}])
    assert decision.granted_scopes == ()
    (told,) = only.entry["exceptions"]
    assert (told["path"], told["package"]) == ("policy_error", GATE if gate else "p[a]")
    assert "authorization_details" in told["message"]


CODES: dict[str, tuple[Any, Any, str | None]] = {
    "only the scope is denied": ([{"code": "open"}], {"deny": [{"code": "no"}]}, None),
    "the gate denies": ([{"code": "open"}], {"allow": True}, "shut"),
    "by a code that it allows by as well": ([{"code": "shut"}], {"allow": True}, "shut"),
    "the request is denied": ([{"code": "open"}], {"allow": True, "limit": {"audience": []}}, "no_audience"),
}


@pytest.mark.parametrize("name", CODES)
def test_reply_has_a_code_only_where_the_request_as_a_whole_is_denied(name: str) -> None:
    allow, scope, code = CODES[name]
    gate = {"allow": allow, "deny": [{"code": "shut"}] if code == "shut" else []}
    decision, (only,) = record({"a": scope}, gate)
    assert decision.granted_scopes == ()
    assert only.entry["reply"] == {"outcome": "deny", "code": code}


BIG_NAMES: dict[str, Any] = {
    "grant_type": "\U0001f600" * 128,
    "token_type": "\U0001f600" * 128,
    "client": {"id": "\U0001f600" * 512},
    "subject": {"type": "user", "id": "\U0001f600" * 512},
    "actor": {"type": "\U0001f600" * 128, "id": '"' * 512},
    "session": {"id": "\\" * 512},
    "context": {"x": "x" * 100_000},
}


@pytest.mark.parametrize("char", ["x", "\\", '"', "\x01", "ü", "\U0001f600"])
def test_largest_request_that_the_door_takes_still_fits_an_entry(char: str) -> None:
    """256 scopes, 8 KiB of them, and every name as long as it may be: no denial may go without its entry."""
    each = max(1, 8192 // 256 // len(json.dumps(char, ensure_ascii=False).encode()[1:-1]) - 4)
    scopes = [f"{n:03d}{char * each}" for n in range(256)]
    known = facts({**BIG_NAMES, "scopes": scopes}, request_id="r" * 256, fault="f" * 5000)
    for code in ("engine_unavailable", "requirement_unmeetable"):
        decision, (only,) = Recorder().record(deny_all(scopes, code), known)
        assert len(canonical(only.entry)) <= BOUND
        assert only.entry["scopes"].keys() == set(scopes)
        assert decision.findings[0].code == code


@pytest.mark.parametrize(
    "claims",
    [
        {"big": "x" * 10_000_000},
        {"deep": json.loads("[" * 99 + "]" * 99)},
        {str(n): 0.1 for n in range(5000)},
    ],
    ids=["long", "deep", "many"],
)
def test_claims_may_go_and_the_decision_stands(claims: dict[str, Any]) -> None:
    decision, (only,) = record({"a": {"allow": True, "claims": claims}})
    assert decision.granted_scopes == ("a",)
    assert len(canonical(only.entry)) <= BOUND


def test_decision_that_no_entry_can_hold_is_denied_and_recorded() -> None:
    """What cannot be proven is not granted: details have no place to go."""
    detail = {"type": "t", "x": "x" * 40_000}
    said = {"a": {"allow": True, "limit": {"authorization_details": [detail]}}}
    decision, (only,) = record(said, authorization_details=[detail])
    assert (decision.outcome, decision.granted_scopes) == ("deny", ())
    assert (only.entry["outcome"], only.entry["granted_scopes"]) == ("deny", [])
    assert only.entry["exceptions"][0]["path"] == "policy_error"
    assert only.entry["reply"] == {"outcome": "deny", "code": "policy_error"}


def test_masked_values_are_not_in_the_entry_and_stay_in_what_the_engine_saw() -> None:
    known = facts(
        {"scopes": [], "client": {"id": "c", "properties": {"pnr": "19121212-1212"}}, "context": {"ip": ["::1"]}}
    )
    recorder = Recorder((parse_pointer("/client/properties/pnr"), parse_pointer("/context/ip/*")))
    _, (only,) = recorder.record(deny_all([], "deadline"), known)
    assert "19121212" not in canonical(only.entry).decode()
    assert only.entry["request"]["context"] == {"ip": ["***"]}
    assert only.input is not None
    assert b"19121212" in only.input


@pytest.mark.parametrize("pointer", ["/client", "/subject", "/scopes", "/", "/grant_type", "/client/id"])
def test_any_part_of_the_request_may_be_masked_however_big_it_is(pointer: str) -> None:
    known = facts({**BIG_NAMES, "scopes": ["a"]})
    _, (only,) = Recorder((parse_pointer(pointer),)).record(deny_all(["a"], "deadline"), known)
    assert len(canonical(only.entry)) <= BOUND


def test_secrets_are_in_neither() -> None:
    known = facts({"scopes": [], "context": {"authorization": "Bearer PLANTED", "a": [{"code": "PLANTED"}]}})
    _, (only,) = Recorder().record(deny_all([], "deadline"), known)
    assert "PLANTED" not in canonical(only.entry).decode()
    assert only.input is not None
    assert b"PLANTED" not in only.input

"""What changed between two states, as an auditor wants to be told."""

import hashlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.evidence.changes import config_changes, config_state, parted, policy_changes, without_login
from bridge.model.entry import MAX_ENTRY_BYTES, canonical

PAY = 'issuance.scope["pay"]'


def state(files: dict[str, str], **packages: dict[str, Any]) -> dict[str, Any]:
    return {"packages": {name.replace("PAY", PAY): told for name, told in packages.items()}, "files": files}


def package(file: str = "pay.rego", owner: str | None = "Payments", risk: str | None = "high") -> dict[str, Any]:
    return {"file": file, "owner": owner, "risk": risk}


def test_a_first_set_is_all_added() -> None:
    after = state({"pay.rego": "1", "lib.rego": "2", "data": "3"}, PAY=package())
    assert policy_changes({}, after) == [
        {"change": "added", "package": PAY, "file": "pay.rego", "owner": "Payments", "risk": "high"},
        {"change": "added", "file": "data"},
        {"change": "added", "file": "lib.rego"},
    ]


def test_a_changed_owner_and_a_lowered_risk_are_marked() -> None:
    before = state({"pay.rego": "1"}, PAY=package())
    for now, marks, was in (
        (package(owner="Other"), ["owner_changed"], {"owner": "Payments"}),
        (package(owner=None), ["owner_changed"], {"owner": "Payments"}),
        (package(risk="low"), ["risk_lowered"], {"risk": "high"}),
        (package(risk=None), ["risk_lowered"], {"risk": "high"}),
        (package(file="b.rego"), ["file_changed"], {"file": "pay.rego"}),
    ):
        (item,) = (i for i in policy_changes(before, state({"pay.rego": "1"}, PAY=now)) if "package" in i)
        assert (item["change"], item["marks"], item["was"]) == ("changed", marks, was)


def test_a_raised_risk_is_told_and_not_marked() -> None:
    before = state({"pay.rego": "1"}, PAY=package(risk="low"))
    (item,) = policy_changes(before, state({"pay.rego": "1"}, PAY=package()))
    assert ("marks" in item, item["was"]) == (False, {"risk": "low"})


def test_another_text_of_a_package_is_a_change() -> None:
    before, after = state({"pay.rego": "1"}, PAY=package()), state({"pay.rego": "2"}, PAY=package())
    assert [item["change"] for item in policy_changes(before, after)] == ["changed"]
    assert policy_changes(after, after) == []


def test_what_is_gone_is_told_with_its_last_owner() -> None:
    before = state({"pay.rego": "1", "lib.rego": "2"}, PAY=package())
    removed = {"change": "removed", "package": PAY, "file": "pay.rego", "owner": "Payments", "risk": "high"}
    assert policy_changes(before, state({})) == [removed, {"change": "removed", "file": "lib.rego"}]


def test_configuration_is_compared_key_by_key_and_digests_of_tokens_are_not_shown() -> None:
    def settings(**members: Any) -> dict[str, Any]:
        caller = {"name": "as", "roles": ["token_service"], "token_sha256": ["ab"]} | members
        return config_state({"server": {"port": 1}, "callers": [caller]})

    assert config_changes(settings(), settings()) == []
    assert config_changes(settings(), settings(roles=["operator"], token_sha256=["cd"])) == [
        {"key": "callers.as.roles", "from": ["token_service"], "to": ["operator"]},
        {"key": "callers.as.token_sha256"},
    ]


@given(st.lists(st.text(max_size=3000), max_size=60))
def test_parts_fit_entries_and_lose_nothing(names: list[str]) -> None:
    items = [{"change": "added", "file": name} for name in names]
    entries = parted({"kind": "policy"}, items)
    assert [item for entry in entries for item in entry["changes"]] == items
    assert all(len(canonical(entry)) < MAX_ENTRY_BYTES - 1024 for entry in entries)
    assert len(entries) == 1 or [e["part"] for e in entries] == list(range(1, entries[0]["parts"] + 1))


def test_a_value_that_no_entry_has_room_for_is_told_by_its_digest() -> None:
    items: list[dict[str, Any]] = [
        {"key": "server.port", "to": 1},
        {"key": "evidence.mask", "from": [], "to": ["/" + "x" * 70_000]},
    ]
    (entry,) = parted({"kind": "config"}, items)
    digest = hashlib.sha256(canonical(items[1]["to"])).hexdigest()
    assert entry["changes"] == [items[0], {"key": "evidence.mask", "from": [], "to": {"sha256": digest}}]


def test_what_logs_in_to_an_engine_is_not_shown() -> None:
    for login in ("planted-user:planted-word", "planted-user", "planted@user:planted:word@"):
        flat = config_state({"engine": {"url": f"https://{login}@opa.example:1/a@b", "kind": "opa"}})
        assert flat == {"engine.url": "https://***@opa.example:1/a@b", "engine.kind": "opa"}
    for plain in ("http://opa.example/a@b", "unix:///run/opa@1.sock", "a@b", "mail://"):
        assert without_login(plain) == plain

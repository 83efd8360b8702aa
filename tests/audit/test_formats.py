"""Each row of an export in its format: NDJSON, OCSF, CloudEvents; of a real log and of entries made by hand."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from bridge.audit.covered import Row
from bridge.audit.export import FORMATS
from bridge.audit.formats import ocsf
from bridge.audit.formats.cloudevents import source
from bridge.model.entry import canonical
from bridge.model.times import parse_rfc3339
from bridge.tlog.merkle import leaf_hash
from tests.audit.conftest import HIDDEN, STORY, Story
from tests.audit.logs import ORIGIN, decision, entry, exported, log_of
from tests.audit.ocsf_schema import CLASSES
from tests.support.evidence import all_found

URI = r"([A-Za-z0-9._~!$&'()*,;=@/-]|%[0-9A-F]{2})+"
VALIDATORS = {uid: Draft202012Validator(schema) for uid, schema in CLASSES.items()}


def row(data: dict[str, Any], index: int = 7) -> Row:
    raw = canonical(data)
    return Row(f"{ORIGIN}/2026h1", index, leaf_hash(raw), raw, json.loads(raw))


def as_ocsf(data: dict[str, Any]) -> dict[str, Any]:
    """The OCSF event of an entry, which must be one by the schema."""
    event: dict[str, Any] = json.loads(ocsf.line(row(data)))
    assert_ocsf(event)
    return event


def assert_ocsf(event: dict[str, Any]) -> None:
    errors = list(VALIDATORS[event["class_uid"]].iter_errors(event))
    assert errors == [], errors[0].message
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    if event.get("disposition_id") == 99:
        assert event["disposition"]
    if event["activity_id"] == 99:
        assert event["activity_name"]


def assert_cloudevent(event: dict[str, Any]) -> None:
    """CloudEvents 1.0.2, sections 2 and 3, and its JSON format."""
    assert {"specversion", "id", "source", "type"} <= event.keys()
    assert event["specversion"] == "1.0"
    for name, value in event.items():
        if name == "data":
            continue
        assert re.fullmatch("[a-z][a-z0-9]{0,19}", name), name
        assert isinstance(value, str)  # an integer would be bounded by 32 bits
        assert value
        assert not re.search("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]", value)
    assert re.fullmatch(URI, event["source"])
    assert ":" not in event["source"].split("/")[0]
    assert parse_rfc3339(event["time"]) is not None
    assert event["datacontenttype"] == "application/json"


def decisions(story: Story, form: str) -> dict[str, dict[str, Any]]:
    """The rows of the story's decisions: a real log tells of its bridge, too."""
    rows = exported(story.evidence, "--format", form)
    told = [row for row, one in zip(rows, all_found(story.evidence), strict=True) if one.entry["kind"] == "decision"]
    return dict(zip(STORY, told, strict=True))


@pytest.mark.parametrize("form", FORMATS)
def test_every_entry_is_a_row_with_its_place(story: Story, form: str) -> None:
    found = all_found(story.evidence)
    rows = exported(story.evidence, "--format", form)
    assert len(rows) == len(found) > len(STORY)
    for told, one in zip(rows, found, strict=True):
        origin, index, leaf, entry_id = place_of(told, form)
        assert origin.startswith("localhost/issuance-bridge/")
        assert (index, entry_id) == (one.index, one.entry["id"])
        assert base64.b64decode(leaf) == hashlib.sha256(b"\x00" + one.data).digest()


def place_of(told: dict[str, Any], form: str) -> tuple[str, int, str, str]:
    """Log, index, leaf hash and the entry's id, from where each format has them."""
    match form:
        case "ndjson":
            return told["log_origin"], told["leaf_index"], told["leaf_hash"], told["entry"]["id"]
        case "ocsf":
            evidence = told["unmapped"]["evidence"]
            assert told["metadata"]["sequence"] == evidence["leaf_index"]
            return evidence["log_origin"], evidence["leaf_index"], evidence["leaf_hash"], told["metadata"]["uid"]
        case _:
            return told["source"], int(told["leafindex"]), told["leafhash"], told["id"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_exact_bytes_are_in_the_row(story: Story, form: str) -> None:
    output = story.evidence.parent / f"rows.{form}"
    output.unlink(missing_ok=True)
    assert exported(story.evidence, "--format", form, "--output", str(output)) == []
    for line, one in zip(output.read_bytes().split(b"\n")[:-1], all_found(story.evidence), strict=True):
        if form == "ocsf":
            assert json.loads(line)["raw_data"].encode() == one.data
        else:
            assert line.count(one.data) == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_secret_shows_nowhere_that_the_entry_does_not_show_it(story: Story, form: str) -> None:
    told = json.dumps(exported(story.evidence, "--format", form))
    assert HIDDEN not in told
    assert HIDDEN in str(story.bridge.input_of(story.ids["read"]))  # it was there to be taken


OURS = {"issuance-bridge", "oauth.token.issue", "security_control", "1.5.0", "gate"}
OURS |= {"allowed", "denied", "conditional", "Conditional", "1.0", "application/json", "issuance-bridge.decision.v1"}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from texts(inner)


@pytest.mark.parametrize("form", ["ocsf", "cloudevents"])
def test_a_row_says_nothing_beside_the_entry_and_its_place(story: Story, form: str) -> None:
    kept = [one for one in all_found(story.evidence) if one.entry["kind"] == "decision"]
    for told, one in zip(decisions(story, form).values(), kept, strict=True):
        known = {*texts(one.entry), *OURS, *one.entry.get("scopes", {})}
        known |= {f"{rule['package']}/{rule['code']}" for rule in one.entry.get("rules", ())}
        place = {str(one.index), base64.b64encode(one.leaf_hash).decode(), "localhost/issuance-bridge/2026h2"}
        told.pop("raw_data", None)
        origins = {text for text in texts(told) if text.startswith("localhost/issuance-bridge/")}
        assert set(texts(told)) - known - place - origins == set()


def test_ocsf_of_a_real_log(story: Story) -> None:
    rows = decisions(story, "ocsf")
    for event in rows.values():
        assert_ocsf(event)
        assert event["type_uid"] == 600301
        assert event["metadata"]["profiles"] == ["security_control"]
    shown = {
        name: (event["action_id"], event["disposition_id"], event["status_id"], event["severity_id"])
        for name, event in rows.items()
    }
    assert shown == {
        "read": (1, 1, 1, 1),
        "partly": (1, 1, 1, 1),
        "never": (2, 26, 2, 1),
        "unmapped": (2, 26, 2, 1),
        "waiting": (2, 99, 2, 1),
        "partly_waiting": (1, 99, 1, 1),
        "waived": (1, 1, 1, 3),
        "glass": (1, 1, 1, 4),
        "stale": (2, 26, 2, 3),
        "broken": (2, 26, 2, 4),
        "blocked": (2, 26, 2, 1),
        "none": (1, 1, 1, 1),
    }
    assert rows["read"]["actor"]["app_uid"] == "web"
    assert rows["read"]["actor"]["user"] == {"uid": "***"}
    assert rows["read"]["actor"]["session"] == {"uid": "s-1"}
    assert rows["read"]["src_endpoint"] == {"svc_name": "local"}
    assert "user" not in rows["never"]["actor"]


def test_each_scope_is_an_authorization_with_its_rule_and_owner(story: Story) -> None:
    rows = decisions(story, "ocsf")

    def told(name: str) -> dict[str, tuple[str, str | None, str | None]]:
        found = rows[name]["actor"].get("authorizations", [])
        return {
            one["policy"]["name"]: (
                one["decision"],
                one["policy"].get("uid"),
                one["policy"].get("group", {}).get("name"),
            )
            for one in found
        }

    assert told("partly") == {
        "read": ("allowed", 'issuance.scope["read"]/reader', None),
        "never": ("denied", 'issuance.scope["never"]/not_for_you', None),
    }
    assert told("unmapped") == {"nowhere": ("denied", "unmapped_scope", None)}
    # Two rules allowed it, and the one on an exception path is told: it must not hide behind the other.
    assert told("waived") == {
        "waived": ("allowed", 'issuance.scope["waived"]/waiver', "Payments <pay@example.org>"),
        "tenant:a": ("allowed", 'issuance.scope_prefix["tenant:"]/tenant', None),
    }
    assert rows["waived"]["unmapped"]["exceptions"][0]["id"] == "EX-1"
    (waived,) = [one for one in rows["waived"]["actor"]["authorizations"] if one["policy"]["name"] == "waived"]
    assert sorted(waived["policy"]["data"]["codes"]) == ["anyone", "waiver"]
    assert waived["policy"]["version"] == story.bridge.entry_of(story.ids["waived"])["policy"]["revision"]
    assert told("waiting")["pay"][:1] == ("conditional",)
    assert told("none") == {}
    assert rows["blocked"]["policy"]["uid"] == "issuance.gate/client_blocked"


def test_the_longest_prefix_is_told_and_never_beside_a_package_of_its_own() -> None:
    def spoke(package: str, code: str) -> dict[str, Any]:
        return {"package": package, "code": code, "effect": "allow", "owner": code}

    rules = [
        spoke('issuance.scope_prefix["a:"]', "short"),
        spoke('issuance.scope_prefix["a:\\"b"]', "long"),
        spoke('issuance.scope["a:own"]', "own"),
    ]
    asked = {'a:"bc': "long", "a:x": "short", "a:own": "own", "b": "other"}
    scopes = {scope: {"outcome": "allow", "findings": [{"code": code}]} for scope, code in asked.items()}
    event = as_ocsf(decision(0, scopes=scopes, rules=rules))
    assert {one["policy"]["name"]: one["policy"]["uid"] for one in event["actor"]["authorizations"]} == {
        'a:"bc': 'issuance.scope_prefix["a:\\"b"]/long',
        "a:x": 'issuance.scope_prefix["a:"]/short',
        "a:own": 'issuance.scope["a:own"]/own',
        "b": "other",
    }


BESIDE: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    "overruled": (
        {"decision_id": "d", "outcome": "deny", "reply": {"outcome": "deny", "code": "deadline"}},
        (6003, 1, 3),
    ),
    "issued": ({"decision_id": "d", "caller": "as", "scopes": ["read"], "violations": []}, (6003, 1, 1)),
    "access": ({"caller": "auditor"}, (6003, 2, 1)),
    "search": ({"caller": "auditor", "request": {"subject": {"type": "user", "id": "u"}}}, (6003, 2, 1)),
    "evaluation": ({"caller": "as", "exceptions": [{"path": "policy_error"}]}, (6003, 2, 4)),
    "start": ({}, (6002, 3, 1)),
    "stop": ({}, (6002, 4, 1)),
    "policy": ({}, (3004, 3, 1)),
    "config": ({}, (3004, 3, 1)),
    "key": ({}, (3004, 3, 1)),
    "gap": ({"from": "x", "to": "y", "denied": 2, "exceptions": [{"path": "fail_closed"}]}, (6008, 1, 4)),
    "overloaded": ({"from": "x", "to": "y", "denied": 2, "outcome": "deny"}, (6008, 1, 3)),
    "heartbeat": ({}, (0, 99, 1)),
    "rules": ({"decision_id": "d", "rules": []}, (0, 99, 1)),
    "not known yet": ({}, (0, 99, 1)),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_what_is_no_decision_has_a_class_too(kind: str) -> None:
    members, expected = BESIDE[kind]
    event = as_ocsf(entry(0, kind, **members))
    assert (event["class_uid"], event["activity_id"], event["severity_id"]) == expected
    assert event["metadata"]["event_code"] == kind
    if "decision_id" in members:
        assert event["metadata"]["correlation_uid"] == "d"


def test_an_overruled_answer_is_a_denied_call() -> None:
    event = as_ocsf(entry(0, "overruled", **BESIDE["overruled"][0]))
    assert (event["action_id"], event["disposition_id"], event["status_code"]) == (2, 26, "deadline")


def test_what_was_issued_against_the_decision_is_severe() -> None:
    event = as_ocsf(entry(0, "issued", caller="as", scopes=["read", "pay"], violations=["late"]))
    assert event["severity_id"] == 4
    told = [(a["decision"], a["policy"]["name"]) for a in event["actor"]["authorizations"]]
    assert told == [("issued", "read"), ("issued", "pay")]


def test_an_evaluation_tells_of_each_tuple() -> None:
    told = [{"item": 0, "outcome": "allow"}, {"item": 2, "outcome": "deny", "code": "no_allow"}]
    tuples = [{"resource": {"type": "door", "id": "d"}, "subject": {"type": "user", "id": "u"}}, {"resource": "***"}]
    event = as_ocsf(entry(0, "evaluation", caller="as", request={"tuples": tuples}, decisions=told))
    assert event["actor"]["authorizations"] == [
        {"decision": "allowed", "policy": {"name": "door"}},
        {"decision": "denied", "policy": {"name": "", "uid": "no_allow"}},
    ]


def test_the_version_is_what_was_asked_for(tmp_path: Path) -> None:
    log = log_of(tmp_path, [decision(0)])
    (event,) = exported(log, "--format", "ocsf", "--ocsf-version", "1.8.0")
    assert event["metadata"]["version"] == "1.8.0"
    (event,) = exported(log, "--format", "ocsf")
    assert event["metadata"]["version"] == "1.5.0"


MASKED = st.sampled_from(
    [
        {"client": "***", "subject": "***", "session": "***"},
        {"client": {"id": "***"}, "subject": {"type": "***", "id": "***"}},
        {"client": {"id": "x\u0085y"}},
        {"client": {"id": "\U0001f600 \u00e4"}, "subject": {"type": "client", "id": "c"}},
        {},
    ]
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "request": MASKED,
        "outcome": st.sampled_from(["allow", "deny", "conditional"]),
        "granted_scopes": st.lists(st.text(max_size=5), max_size=2),
        "reply": st.fixed_dictionaries({"code": st.sampled_from([None, "deadline"])}),
        "scopes": st.dictionaries(
            st.text(max_size=5),
            st.fixed_dictionaries(
                {"outcome": st.sampled_from(["allow", "deny"]), "findings": st.just([{"code": "c"}]) | st.just([])}
            ),
            max_size=2,
        ),
        "findings": st.just([]) | st.just([{"code": "c"}]),
        "rules": st.just([]) | st.just([{"package": "issuance.gate", "code": "c", "effect": "allow"}]),
        "exceptions": st.just([]) | st.just([{"path": "policy_error", "message": "m"}]),
        "caller": st.just("as"),
        "policy": st.just({"revision": "r", "digest": "d"}),
        "request_id": st.just("r-1"),
        "decision_id": st.just("d"),
        "rules_follow": st.just(True),
    },
)


@given(kind=st.sampled_from(["decision", *BESIDE]), members=MEMBERS)
def test_whatever_an_entry_lacks_it_has_a_row(kind: str, members: dict[str, Any]) -> None:
    one = row(entry(0, kind, **members))
    assert_ocsf(json.loads(ocsf.line(one)))
    event = json.loads(FORMATS["cloudevents"](one))
    assert_cloudevent(event)
    assert event["data"] == one.entry
    assert json.loads(FORMATS["ndjson"](one))["entry"] == one.entry


def test_cloudevents_of_a_real_log(story: Story) -> None:
    rows = decisions(story, "cloudevents")
    for name, event in rows.items():
        assert_cloudevent(event)
        assert event["id"] == story.ids[name]
        assert event["type"] == "issuance-bridge.decision.v1"
    assert rows["read"]["subject"] == "web"
    assert "subject" not in rows["unmapped"]  # it holds a control character, and stands in `data`
    assert rows["unmapped"]["data"]["request"]["client"]["id"] == STORY["unmapped"]["client"]["id"]


@given(st.from_regex(r"[^\s+]{1,20}", fullmatch=True))
def test_any_origin_is_a_uri_reference(origin: str) -> None:
    try:
        origin.encode()
    except UnicodeEncodeError:
        return
    assert re.fullmatch(URI, source(origin))
    assert unquote(source(origin)) == origin

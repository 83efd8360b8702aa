"""Records of decisions whose request has personal values: with too many rules, too big to hold, and after a defect."""

import json
from typing import Any

from bridge.doors.native import parse
from bridge.model.commitment import reveal
from bridge.model.decision import deny_all
from bridge.model.entry import MAX_ENTRY_BYTES, canonical
from bridge.model.mask import SecretMask, parse_pointer
from bridge.model.policy import GATE, Package
from bridge.model.verdict import read_verdict
from bridge.pdp.combine import combine
from bridge.pdp.evaluate import Verdicts
from bridge.pdp.gather import Asking, Call, encode, gather
from bridge.pdp.question import Question
from bridge.pdp.record import Facts, Recorder
from bridge.ports import EngineStatus, Record
from tests.unit.test_record import policy_set

NOW_MS = 1_780_315_200_000
ENGINE = EngineStatus("managed", "1.22.2", ready=True)
SUBJECT = "Quetzal-7f3a"
RECORDER = Recorder((), (parse_pointer("/subject/id"),))


def asking(*scopes: str, **members: Any) -> Asking:
    body = {"grant_type": "authorization_code", "client": {"id": "c"}, "subject": {"type": "user", "id": SUBJECT}}
    request = parse(json.dumps({**body, "scopes": scopes, **members}).encode(), 256)
    return Asking(request.document(), Call("native", "caller", "https://as.example"))


def recorded(asked: Asking, said: dict[str, Any], packages: dict[str, Package] | None = None) -> tuple[Record, ...]:
    document = gather(asked.request, asked.call, "id", NOW_MS, SecretMask(), salted=RECORDER.salted)
    verdicts = {scope: read_verdict(f"p[{scope}]", rules, NOW_MS) for scope, rules in said.items()}
    gate = read_verdict(GATE, {"allow": True}, NOW_MS)
    decision = combine(Question(document, NOW_MS), gate, verdicts)
    full = Facts(document, encode(document), ENGINE, verdicts=Verdicts(policy_set(packages or {}), gate, verdicts))
    return RECORDER.record(decision, full)[1]


def hidden_in(records: tuple[Record, ...]) -> None:
    """No entry shows the subject, each fits, and what is kept beside each opens it."""
    for record in records:
        assert SUBJECT not in json.dumps(record.entry)
        assert len(canonical(record.entry)) <= MAX_ENTRY_BYTES - 512
    assert any(SUBJECT in json.dumps(reveal(record.entry, record.disclosures)) for record in records)


def test_codes_in_entries_of_rules_are_disclosed_with_those() -> None:
    scopes = [f"s{n:03d}" for n in range(150)]
    said = {s: {"allow": [{"code": f"{s}-{SUBJECT}"}]} for s in scopes}
    packages = {f"p[{s}]": Package(f"p[{s}]", f"{s}.rego", 1, owner="o" * 200) for s in scopes}
    records = recorded(asking(*scopes), said, packages)
    hidden_in(records)
    rules = [record for record in records if record.entry["kind"] == "rules"]
    assert len(rules) > 1
    for record in rules:
        opened = reveal(record.entry, record.disclosures)["rules"]
        assert all(rule["code"] == "allow" or SUBJECT in rule["code"] for rule in opened)


def test_the_input_document_has_a_salt_of_its_own_that_no_entry_shows() -> None:
    said = {"a": {"allow": [{"code": "ok", "title": "x"}]}}
    inputs = [json.loads(recorded(asking("a"), said)[0].input or b"") for _ in range(2)]
    assert len({document["salt"] for document in inputs}) == 2
    first = recorded(asking("a"), {"a": {"allow": [{"code": "ok", "title": inputs[0]["salt"]}]}})[0]
    assert "salt" not in first.entry["request"]


def test_a_policy_that_repeats_the_salt_does_not_publish_it() -> None:
    asked = asking("a")
    document = gather(asked.request, asked.call, "id", NOW_MS, SecretMask(), salted=True)
    said = read_verdict("p[a]", {"allow": [{"code": "ok", "title": f"by {document['salt']}"}]}, NOW_MS)
    gate = read_verdict(GATE, {"allow": True}, NOW_MS)
    decision = combine(Question(document, NOW_MS), gate, {"a": said})
    full = Facts(document, encode(document), ENGINE, verdicts=Verdicts(policy_set({}), gate, {"a": said}))
    assert document["salt"] not in json.dumps(RECORDER.record(decision, full)[1][0].entry)


def test_without_personal_values_nothing_is_salted_or_disclosed() -> None:
    asked = asking("a")
    document = gather(asked.request, asked.call, "id", NOW_MS, SecretMask(), salted=Recorder().salted)
    assert "salt" not in document
    decision = deny_all(("a",), "deadline")
    (record,) = Recorder().record(decision, Facts(document, encode(document), ENGINE, fault=SUBJECT))[1]
    assert record.disclosures == ()
    assert record.entry["exceptions"][0]["message"] == SUBJECT


def test_a_decision_that_does_not_fit_is_denied_without_showing_anybody() -> None:
    waiver = {"kind": "waiver", "approved_by": ["ciso"], "expires": "2036-01-01T00:00:00Z"}
    said = {
        f"s{n}": {"allow": [{"code": f"c{m}", "exception": {**waiver, "id": f"{n}-{m}-{SUBJECT}"}} for m in range(60)]}
        for n in range(8)
    }
    records = recorded(asking(*said), said)
    hidden_in(records)
    assert records[0].entry["outcome"] == "deny"
    assert records[0].entry["exceptions"] == [
        {"path": "policy_error", "message": "the decision did not fit an entry and was denied"}
    ]


def test_the_record_of_a_defect_shows_nobody_either() -> None:
    asked = asking("a", f"of:{SUBJECT}", context={"x": SUBJECT}, client={"id": f"app-of-{SUBJECT}"})
    _, records = RECORDER.defect(asked, "id", NOW_MS, "KeyError")
    assert len(records) == 1
    hidden_in(records)
    assert records[0].entry["scopes"]["a"]["outcome"] == "deny"

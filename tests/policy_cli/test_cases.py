"""`policy test`: Rego tests, coverage, and case tables that are answered as the bridge would."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from bridge.errors import PolicyRefused
from bridge.policy.answer import CHUNK
from bridge.policy.cases import GRANT_TYPES, read_cases
from bridge.policy.folder import read
from bridge.policy.syntax import load_yaml
from tests.docs.pages import ROOT
from tests.policy.sets import GATE, write
from tests.policy_cli.commands import Ran

SCOPE = """package issuance.scope["a:b"]

import data.issuance.lib

# METADATA
# title: A user
# custom:
#   code: user
allow contains lib.finding(rego.metadata.chain()) if input.subject.type == "user"

# METADATA
# title: Known
# custom:
#   code: lost
deny contains lib.finding(rego.metadata.chain()) if input.sources.posture.value.lost

require contains {"acr_values": ["gold"]}

limit["token_lifetime"] := 300

claims["tenant"] := "acme" if input.context.tenant
"""
TEST = """package issuance_test.a

import data.issuance.scope["a:b"] as policy

test_user_allowed if count(policy.allow) == 1 with input.subject.type as "user"

test_lost_denied if count(policy.deny) == 1 with input.sources.posture.value.lost as true

test_rest if {
	policy.limit == {"token_lifetime": 300}
	count(policy.require) == 1
	policy.claims == {"tenant": "acme"} with input.context.tenant as true
}
"""
GOOD_CASES = """
defaults: {client: shop, grant_type: authorization_code, scope: a:b}
cases:
  - {name: gold, authentication: {acr: gold}, expect: allow, limit: {token_lifetime: 300, audience: null}}
  - {name: waits, expect: conditional, granted: "", require: [{acr_values: [gold]}]}
  - {name: no user, client: [shop, batch], grant_type: client_credentials, expect: deny, codes: [no_allow]}
  - {name: unmapped, scope: [other, "a:b:c"], expect: deny, codes: [unmapped_scope]}
  - {name: claims, authentication: {acr: gold}, context: {tenant: 1}, expect: allow, claims: {tenant: acme}}
  - {name: also by the user's rule, authentication: {acr: gold}, expect: allow, codes: [user]}
  - {name: lost, sources: {posture: {status: fresh, value: {lost: true}}}, expect: deny, codes: [lost]}
  - {name: two of which one is granted, scope: a:b other, authentication: {acr: gold}, expect: allow, granted: a:b}
"""
WHOLE = {
    **GATE,
    "a.rego": SCOPE,
    "a_test.rego": TEST,
    "gate_test.rego": "package issuance_test.gate\n\nimport data.issuance.gate\n\ntest_open if gate.allow\n",
}

ROW = "name: a, client: a, grant_type: ciba, scope: a"

Policy = Callable[..., Ran]


def test_all_passes(tmp_path: Path, policy: Policy) -> None:
    folder = write(tmp_path, {**WHOLE, "cases/a.yaml": GOOD_CASES})
    ran = policy("test", folder)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "tests     pass  4 passed, 0 failed",
        "coverage  pass  100.0 % of the rows, all files (at least 100 %)",
        "cases     pass  10 passed, 0 failed",
    ]
    assert [(line["check"], line["state"]) for line in policy("test", folder, "--json").lines] == [
        ("tests", "pass"),
        ("coverage", "pass"),
        ("cases", "pass"),
    ]


@pytest.mark.parametrize(
    ("row", "differences"),
    [
        ("expect: deny, authentication: {acr: gold}", [("outcome", "deny", "allow")]),
        ("expect: allow", [("outcome", "allow", "conditional")]),
        ("expect: conditional, require: [consent]", [("require", ["consent"], [{"acr_values": ["gold"]}])]),
        ("expect: conditional, granted: a:b", [("granted", "a:b", "")]),
        (
            "expect: allow, authentication: {acr: gold}, limit: {token_lifetime: 301}",
            [("limit.token_lifetime", 301, 300)],
        ),
        (
            "expect: allow, authentication: {acr: gold}, limit: {token_lifetime: null}",
            [("limit.token_lifetime", None, 300)],
        ),
        ("expect: allow, authentication: {acr: gold}, claims: {tenant: acme}", [("claims.tenant", "acme", None)]),
        ("expect: allow, authentication: {acr: gold}, codes: [user, other]", [("codes", ["other"], ["allow", "user"])]),
    ],
)
def test_case_that_is_not_as_expected(row: str, differences: list[object], tmp_path: Path, policy: Policy) -> None:
    table = f"cases:\n  - {{name: one, client: shop, grant_type: authorization_code, scope: a:b, {row}}}\n"
    folder = write(tmp_path, {**WHOLE, "cases/a.yaml": table})
    ran = policy("test", folder, "--json")
    assert ran.code == 1
    case = ran.lines[0]
    assert [(d["what"], d["expected"], d["got"]) for d in case["differences"]] == differences
    assert (case["file"], case["row"], case["text"], case["client"]) == ("cases/a.yaml", 2, "one", "shop")
    assert {"package": 'issuance.scope["a:b"]', "rule": "allow", "code": "user", "file": "a.rego", "row": 9} in case[
        "spoke"
    ]
    assert ran.lines[-1] == {"check": "cases", "state": "fail", "text": "0 passed, 1 failed"}


def test_text_says_which_rules_spoke(tmp_path: Path, policy: Policy) -> None:
    table = "cases:\n  - {name: no user, client: shop, grant_type: client_credentials, scope: a:b, expect: allow}\n"
    ran = policy("test", write(tmp_path, {**WHOLE, "cases/a.yaml": table}))
    assert ran.code == 1
    assert ran.out.splitlines()[:4] == [
        "cases/a.yaml:2: case: no user (shop, client_credentials, a:b)",
        '    outcome: expected "allow", got "deny"',
        "    allow allow (issuance.gate, gate.rego:1)",
        "    no_allow (the bridge itself)",
    ]


def test_control_characters_of_a_policy_stay_off_the_terminal(tmp_path: Path, policy: Policy) -> None:
    hostile = SCOPE + '\ndeny contains {"code": "\\u001b]0;x\\u0007\\ncases     pass", "title": "t"} if input.client\n'
    table = f"cases:\n  - {{{ROW}, expect: allow}}\n".replace("scope: a,", "scope: a:b,")
    data = '{"exceptions": {"\\u001b]0;x\\u0007\\nb.rego:1: error": {}}}'
    folder = write(tmp_path, {**WHOLE, "a.rego": hostile, "cases/a.yaml": table, "data.json": data})
    for command in ("test", "lint"):
        out = policy(command, folder).out
        assert r"\x1b]0;x\x07\n" in out
        assert "\x1b" not in out and "\ncases     pass" not in out and "\nb.rego" not in out


def test_package_that_fails_is_told_with_the_message(tmp_path: Path, policy: Policy) -> None:
    failing = SCOPE + '\ndeny contains {"code": "x"} if time.parse_rfc3339_ns(input.context.day) > 0\n'
    table = (
        "cases:\n  - {name: odd, client: a, grant_type: ciba, scope: a:b, context: {day: soon}, "
        "authentication: {acr: gold}, expect: allow}\n"
    )
    ran = policy(
        "test", write(tmp_path, {**WHOLE, "a.rego": failing, "cases/a.yaml": table}), "--threshold", "0", "--json"
    )
    assert ran.code == 1
    (error,) = [voice for voice in ran.lines[0]["spoke"] if voice["rule"] == "error"]
    assert "time.parse_rfc3339_ns" in error["code"]


def test_rego_test_that_fails(tmp_path: Path, policy: Policy) -> None:
    ran = policy("test", write(tmp_path, {**WHOLE, "a_test.rego": TEST + "\ntest_wrong if false\n"}))
    assert ran.code == 1
    assert ran.out.splitlines()[:2] == ["a_test.rego:15: test: test_wrong", "tests     fail  4 passed, 1 failed"]


def test_row_that_no_test_reaches(tmp_path: Path, policy: Policy) -> None:
    folder = write(tmp_path, {**WHOLE, "a_test.rego": TEST.replace("policy.claims", "true #")})
    ran = policy("test", folder)
    assert ran.code == 1
    assert ran.out.splitlines()[0] == "a.rego:21: coverage: no test reaches this"
    assert policy("test", folder, "--threshold", "80").code == 0
    assert policy("test", folder, "--threshold", "101").code == 2


def test_builtin_that_fails_in_a_test_is_found(tmp_path: Path, policy: Policy) -> None:
    odd = '\ntest_odd if not policy.broken with input.context.day as "soon"\n'
    policies = SCOPE + "\nbroken if time.parse_rfc3339_ns(input.context.day) > 0\n"
    ran = policy("test", write(tmp_path, {**WHOLE, "a.rego": policies, "a_test.rego": TEST + odd}), "--threshold", "0")
    assert ran.code == 1
    assert "strict: a built-in fails" in ran.out and "time.parse_rfc3339_ns" in ran.out


def test_refused_set_and_folder_without_tests(tmp_path: Path, policy: Policy) -> None:
    ran = policy("test", write(tmp_path / "bad", {"a.rego": "package issuance.lib\n"}))
    assert ran.code == 1 and "a.rego:1: package issuance.lib is reserved" in ran.err
    assert policy("test", write(tmp_path / "untested", GATE)).code == 1
    assert policy("test", write(tmp_path / "untested", GATE), "--threshold", "0").code == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cases:\n  - {name: a, client: a, grant_type: ciba, scope: a, expect: maybe}\n", "cases/0/expect"),
        ("cases:\n  - {name: a, client: a, grant_type: ciba, scope: a, expect: deny, scop: b}\n", "cases/0/scop"),
        ("cases:\n  - {name: a, client: a, scope: a, expect: deny}\n", ":2: 'a': grant_type must be named"),
        ("defaults: {time: soon}\ncases:\n  - {name: a, expect: deny}\n", "time must be RFC 3339"),
        ("cases: [\n", "no YAML"),
        (
            "cases:\n  - {name: a, client: a, grant_type: ciba, scope: a, expect: deny}\n---\ncases: []\n",
            "more than one",
        ),
        ("cases:\n  - {name: a, client: '', grant_type: ciba, scope: a, expect: deny}\n", "cases/0/client"),
        (f"cases:\n  - {{{ROW}, expect: deny, expect: allow}}\n", 'row 2: "expect" stands twice'),
        (f"cases:\n  - {{{ROW}, expect: deny}}\ncases:\n  - {{{ROW}, expect: allow}}\n", 'row 3: "cases" stands twice'),
        (f"cases:\n  - {{{ROW}, expect: deny, codes: , granted: }}\n", "codes, granted: say what is expected"),
        (f"cases:\n  - {{{ROW}, expect: allow, limit: {{token_lifetim: null}}}}\n", "limit has no token_lifetim"),
        (f"cases:\n\t- {{{ROW}, expect: deny}}\n", "a tab"),
        ("- a\n", "holds no `cases:`"),
    ],
)
def test_table_that_is_none_is_refused(text: str, reason: str, opa: Path) -> None:
    with pytest.raises(PolicyRefused) as refused:
        read_cases({"cases/a.yaml": text.encode()}, opa)
    assert reason in str(refused.value) and all(line.startswith("cases/a.yaml") for line in refused.value.reasons)


def test_tables_of_both_endings_and_below_are_read(tmp_path: Path) -> None:
    names = ["cases/a.yaml", "cases/b.yml", "cases/below/c.yaml"]
    others = ["cases/README.md", "cases/.hidden.yaml", "other/cases/a.yaml", "a.yaml"]
    folder = write(tmp_path, {**GATE, **dict.fromkeys([*names, *others], "cases: []\n")})
    assert list(read(folder).cases) == names


def test_the_beginning_of_time_is_a_time_like_any_other(tmp_path: Path, policy: Policy) -> None:
    policies = SCOPE + '\ndeny contains {"code": "early"} if startswith(input.time, "1970-01-01")\n'
    table = f'cases:\n  - {{{ROW}, scope: a:b, time: "1970-01-01T00:00:00Z", expect: deny, codes: [early]}}\n'
    table = table.replace("scope: a, ", "")
    folder = write(tmp_path, {**WHOLE, "a.rego": policies, "cases/a.yaml": table})
    assert "cases     pass  1 passed" in policy("test", folder).out


def test_spaces_alone_part_scopes(opa: Path) -> None:
    table = 'cases:\n  - {name: a, client: a, grant_type: ciba, scope: "a\u00a0b  c", expect: deny}\n'
    (question,) = read_cases({"cases/a.yaml": table.encode()}, opa)
    assert question.request["scopes"] == ["a\u00a0b", "c"]


def test_rows_are_multiplied_in_order(opa: Path) -> None:
    table = (
        "cases:\n- name: a\n  client: [x, y]\n  grant_type: [ciba, password]\n  scope: [s, 't u', '']\n  expect: deny\n"
    )
    questions = read_cases({"cases/a.yaml": table.encode()}, opa)
    assert len(questions) == 12 and {question.row for question in questions} == {2}
    assert [q.request["scopes"] for q in questions[:3]] == [["s"], ["t", "u"], []]
    assert str(questions[0]) == "cases/a.yaml:2: 'a' (x, ciba, s)"


def test_the_schema_takes_the_sample_tables_and_refuses_others(policy: Policy, opa: Path) -> None:
    schema = json.loads(policy("schema", "--cases").out)
    validator = jsonschema.Draft202012Validator(schema)
    tables = sorted((ROOT / "rego" / "cases").glob("*.yaml"))
    assert len(tables) == 7
    for table in tables:
        validator.validate(load_yaml(opa, table.read_text()))
    assert not validator.is_valid({"cases": []}) and not validator.is_valid({"cases": [{"name": "a", "expect": "yes"}]})


def test_the_samples_pass_every_one(policy: Policy, opa: Path) -> None:
    questions = read_cases(read(ROOT / "rego").cases, opa)
    assert len(questions) > CHUNK
    ran = policy("test", ROOT / "rego")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == f"cases     pass  {len(questions)} passed, 0 failed"


def test_every_named_grant_type_is_one_that_the_bridge_documents() -> None:
    text = (ROOT / "docs" / "token-services.md").read_text()
    assert [name for name in GRANT_TYPES if name not in text] == []


def test_failed_source_denies_what_uses_it_whatever_the_package_says(tmp_path: Path, policy: Policy) -> None:
    row = (
        "client: shop, grant_type: ciba, scope: a:b, authentication: {acr: gold}, sources: {posture: {status: failed}}"
    )
    table = f"cases:\n  - {{name: down, {row}, expect: deny, codes: [source_failed]}}\n"
    folder = write(tmp_path / "policies", {**WHOLE, "cases/a.yaml": table})
    config = write(tmp_path, {"bridge.toml": SOURCES}) / "bridge.toml"
    assert policy("test", folder, "--config", config).code == 0
    config.write_text(SOURCES.replace("a:b", "gate"))
    assert policy("test", folder, "--config", config).code == 0
    assert policy("test", folder).code == 1  # without the declaration nobody knows that the scope uses it


def test_answer_of_a_source_that_the_bridge_would_not_ask_is_no_case(tmp_path: Path, policy: Policy) -> None:
    told = "sources: {postur: {status: fresh, value: {lost: true}}}"
    rows = f"  - {{{ROW}, scope: a:b, expect: deny, {told.replace('postur', 'posture')}}}\n"
    rows += f"  - {{{ROW}, scope: other, expect: deny, {told.replace('postur', 'posture')}}}\n"
    rows += f"  - {{{ROW}, scope: a:b, authentication: {{acr: gold}}, expect: allow, {told}}}\n"
    table = "cases:\n" + rows.replace("scope: a, ", "")
    folder = write(tmp_path / "policies", {**WHOLE, "cases/a.yaml": table})
    config = write(tmp_path, {"bridge.toml": SOURCES}) / "bridge.toml"
    ran = policy("test", folder, "--config", config, "--json")
    assert ran.code == 1
    wrong = [(line["row"], line["differences"]) for line in ran.lines if line["check"] == "case"]
    expected = "asked for these scopes"
    assert wrong == [
        (3, [{"what": "sources.posture", "expected": expected, "got": []}]),
        (4, [{"what": "sources.postur", "expected": expected, "got": ["posture"]}]),
    ]
    assert policy("test", folder).code == 0  # nothing is known of any source


def test_secret_of_a_source_is_masked_as_in_a_decision(tmp_path: Path, policy: Policy) -> None:
    rules = SCOPE.replace("value.lost", 'value.api_token == "s3cret"')
    told = "sources: {posture: {status: fresh, value: {api_token: s3cret}}}"
    row = f"{ROW}, {told}, authentication: {{acr: gold}}, expect: allow".replace("scope: a,", "scope: a:b,")
    folder = write(tmp_path, {**WHOLE, "a.rego": rules, "cases/a.yaml": f"cases:\n  - {{{row}}}\n"})
    assert "cases     pass  1 passed" in policy("test", folder, "--threshold", "0").out


def test_the_ceiling_of_the_configuration_counts(tmp_path: Path, policy: Policy) -> None:
    row = f"{ROW}, authentication: {{acr: gold}}, expect: allow, limit: {{token_lifetime: 60}}"
    table = f"cases:\n  - {{{row}}}\n".replace("scope: a,", "scope: a:b,")
    folder = write(tmp_path / "policies", {**WHOLE, "cases/a.yaml": table})
    config = write(tmp_path, {"bridge.toml": "[policy]\nmax_token_lifetime_s = 60\n"}) / "bridge.toml"
    assert policy("test", folder, "--config", config).code == 0
    assert policy("test", folder).code == 1


SOURCES = """[[sources]]
name = "posture"
owner = "Devices <devices@example.com>"
url = "https://posture.example/v1"
key = ["/subject/id"]
scopes = ["a:b"]
"""

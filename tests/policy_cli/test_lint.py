"""Each rule of `policy lint`: one folder that breaks it, beside one that does not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import PolicyRefused
from bridge.policy.lint import closed_objects, lint
from bridge.policy.load import load
from bridge.policy.schema import input_schema
from tests.docs.pages import ROOT as ROOT_FOLDER
from tests.docs.pages import section, table_names
from tests.policy.sets import write
from tests.policy_cli.commands import Ran

ABOUT = """# METADATA
# title: A
# authors:
#   - A Team <a@example.com>
# custom:
#   risk: {risk}
"""
HEAD = 'package issuance.scope["a:b"]\n\nimport data.issuance.lib\n'
USER = """
# METADATA
# title: A user
# custom:
#   code: user
allow contains lib.finding(rego.metadata.chain()) if input.subject.type == "user"
"""
DENY = """
# METADATA
# title: Down
# custom:
#   code: down
deny contains lib.finding(rego.metadata.chain()) if """
LIMIT = '\nlimit["token_lifetime"] := 300\n'
CASES = """
defaults: {client: shop}
cases:
  - name: nobody
    grant_type: [authorization_code, client_credentials, refresh_token, token_exchange, device_code, jwt_bearer,
      saml2_bearer, ciba, password, implicit, pre_authorized_code]
    scope: a:b
    expect: deny
"""
EXCEPTION = """
# METADATA
# title: A waiver
# custom:
#   code: waiver
#   exception: {exception}
allow contains lib.finding(rego.metadata.chain()) if input.client.id == "batch"
"""
GATE = HEAD.replace('.scope["a:b"]', ".gate")
RESOURCE = 'package authzen.resource["door"]\n'


def scope(rules: str = USER, risk: str = "low", head: str = HEAD) -> str:
    return ABOUT.format(risk=risk) + head + rules


def resource(rules: str) -> dict[str, str]:
    return {"door.rego": scope(rules, head=RESOURCE)}


def exception(text: str) -> dict[str, str]:
    return {"a.rego": scope(EXCEPTION.replace("{exception}", text))}


WHOLE = '{kind: waiver, id: EX-1, approved_by: [ciso, cfo], expires: "2099-01-01T00:00:00Z"}'
REGISTER = '{"exceptions": {"EX-2": {"kind": "waiver", "approved_by": ["ciso"], "expires": "%s"}}}'
SOURCE_RULES = USER + DENY + "not _managed\n\n_managed if input.sources.posture.value.managed\n"
SOURCE_TEST = """package issuance_test.a

import data.issuance.scope["a:b"] as policy

test_posture_unknown_denied if {
	count(policy.deny) == 1 with input as {"sources": {"posture": {"status": "failed"}}}
}
"""

SCHEMAS = "schemas:\n#   - input: schema.input\n# custom:"
DOWN = """cases:
  - {name: down, client: a, grant_type: ciba, scope: a:b, expect: deny, sources: {posture: {status: absent}}}
"""

BROKEN: dict[str, list[tuple[dict[str, str], dict[str, str]]]] = {
    "unformatted": [({"a.rego": scope().replace(" ==", "==")}, {"a.rego": scope()})],
    "rego_type_error": [
        ({"a.rego": scope(USER + "\n_now := time.now_ns()\n")}, {"a.rego": scope(USER + "\n_now := input.time\n")}),
    ],
    "rego_compile_error": [
        ({"a.rego": scope(head=HEAD + "import data.registry\n")}, {"a.rego": scope()}),
    ],
    "refused": [
        ({"a.rego": scope(head=HEAD.replace('scope["a:b"]', 'scope_prefix[""]'))}, {"a.rego": scope()}),
    ],
    "owner_missing": [
        ({"a.rego": scope().replace("# authors:\n#   - A Team <a@example.com>\n", "")}, {"a.rego": scope()}),
    ],
    "title_missing": [
        ({"a.rego": scope().replace("# title: A\n", "")}, {"a.rego": scope()}),
        ({"a.rego": scope().replace("# title: A user\n", "")}, {"a.rego": scope()}),
    ],
    "risk_missing": [
        ({"a.rego": scope().replace("# custom:\n#   risk: low\n", "")}, {"a.rego": scope()}),
    ],
    "risk_unknown": [({"a.rego": scope(risk="hihg")}, {"a.rego": scope(risk="medium")})],
    "code_missing": [
        ({"a.rego": scope().replace("# custom:\n#   code: user\n", "")}, {"a.rego": scope()}),
        (
            {"a.rego": scope(USER + "\ndeny if input.context.down\n")},
            {"a.rego": scope(USER + "\n_a if input.context.down\n")},
        ),
        (
            {"a.rego": scope(USER + '\ndeny contains "down" if input.door == "native"\n')},
            {"a.rego": scope(USER + '\ndeny contains {"code": "down", "title": "Down"} if input.door == "native"\n')},
        ),
    ],
    "not_a_set": [
        ({"a.rego": scope(USER + "\ndeny[x] if some x in input.scopes\n")}, {"a.rego": scope()}),
        (
            {"a.rego": scope(USER + '\nrequire["consent"] if input.client\n')},
            {"a.rego": scope(USER + '\nrequire contains "consent"\n')},
        ),
    ],
    "code_not_unique": [
        ({"a.rego": scope(USER + USER)}, {"a.rego": scope(USER + USER.replace("code: user", "code: other"))}),
    ],
    "exception_incomplete": [
        (exception(WHOLE.replace("approved_by: [ciso, cfo], ", "")), exception(WHOLE)),
        (exception(WHOLE.replace("[ciso, cfo]", "[]")), exception(WHOLE)),
        (exception(WHOLE.replace("2099-01-01T00:00:00Z", "next year")), exception(WHOLE)),
        (exception(WHOLE.replace("kind: waiver", "kind: favour")), exception(WHOLE)),
        (
            {"a.rego": scope(), "data.json": REGISTER.replace('"kind": "waiver", ', "") % "2099-01-01T00:00:00Z"},
            {"a.rego": scope(), "data.json": REGISTER % "2099-01-01T00:00:00Z"},
        ),
    ],
    "exception_expired": [
        (exception(WHOLE.replace("2099", "2020")), exception(WHOLE)),
        (
            {"a.rego": scope(), "data.json": REGISTER % "2020-01-01T00:00:00Z"},
            {"a.rego": scope(), "data.json": REGISTER % "2099-01-01T00:00:00Z"},
        ),
    ],
    "exception_unknown": [
        (
            exception("{id: EX-3}"),
            {**exception("{id: EX-2}"), "data.json": REGISTER % "2099-01-01T00:00:00Z"},
        ),
    ],
    "lifetime_missing": [
        (
            {"a.rego": scope(risk="high"), "cases/a.yaml": CASES},
            {"a.rego": scope(USER + LIMIT, "high"), "cases/a.yaml": CASES},
        ),
    ],
    "boolean_allow": [
        (
            {
                "a.rego": scope(LIMIT + "\nallow if input.door\n", "high", HEAD.split("\n", maxsplit=1)[0] + "\n"),
                "cases/a.yaml": CASES,
            },
            {"a.rego": scope("\nallow if input.door\n", "low", HEAD.split("\n", maxsplit=1)[0] + "\n")},
        ),
    ],
    "grant_type_untested": [
        (
            {"a.rego": scope(USER + LIMIT, "high"), "cases/a.yaml": CASES.replace("ciba, ", "")},
            {"a.rego": scope(USER + LIMIT, "high"), "cases/a.yaml": CASES},
        ),
        (
            {"a.rego": scope(USER + LIMIT, "high"), "cases/a.yaml": CASES.replace("scope: a:b", "scope: a:c")},
            {
                "a.rego": scope(USER + LIMIT, "high"),
                "cases/a.yaml": CASES.replace("ciba, ", ""),
                "a_test.rego": SOURCE_TEST.replace("failed", "ciba"),
            },
        ),
    ],
    "name_nearly": [
        ({"a.rego": scope(USER + f"\n{name} := {{1}}\n")}, {"a.rego": scope(USER + f"\n_{name} := {{1}}\n")})
        for name in ("dney", "limits", "clams", "requird", "allaw", "Deny")
    ]
    + [(resource("\nallow if input.id\n\ncontxt := {}\n"), resource("\nallow if input.id\n\nlimits := {}\n"))],
    "never_asked": [
        (
            {"a.rego": scope("\nallow if input.action.name\n", head=RESOURCE.replace("door", "audience"))},
            resource("\nallow if input.action.name\n"),
        )
    ],
    "input_unknown": [
        ({"a.rego": scope(USER.replace("subject.type", path))}, {"a.rego": scope()})
        for path in ("subjekt.type", "subject.kind", "authentication.acrs", "sources.a.valu", 'subject["typ"]')
    ]
    + [
        (
            {"a.rego": scope(USER + '\n_a := object.get(input, "clint", null)\n')},
            {"a.rego": scope(USER + '\n_a := object.get(input, "client", null)\n')},
        ),
        (
            {"a.rego": scope(USER + '\n_a := object.get(input, ["client", "idd"], 1)\n')},
            {"a.rego": scope(USER + '\n_a := object.get(input, ["client", "properties", "idd"], 1)\n')},
        ),
        (
            {"a.rego": scope(USER + "\n_a if input.scope\n")},
            {"a.rego": scope(USER + "\n_a if input.scope\n", head=HEAD.replace('scope["a:b"]', 'scope_prefix["a:"]'))},
        ),
        # With the schema in its annotation `opa check` finds it as well, and says less.
        (
            {"a.rego": scope(USER.replace("subject.type", "subject.kind")).replace("custom:", SCHEMAS, 1)},
            {"a.rego": scope()},
        ),
        (resource("\nallow if input.scopes\n"), resource("\nallow if input.action.name\n")),
        (
            {"a.rego": scope(USER + "\n_a if who.kind\n", head=HEAD + "import input.subject as who\n")},
            {"a.rego": scope(USER + "\n_a if who.type\n", head=HEAD + "import input.subject as who\n")},
        ),
    ],
    "secret_read": [
        (
            {"a.rego": scope(USER + f"\n_a if input.{path}\n")},
            {"a.rego": scope(USER + "\n_a if input.subject_token.sub\n")},
        )
        for path in (
            "context.authorization",
            "context.id_token",
            "subject_token.client_secret",
            "context.deep.user_code",
        )
    ],
    "scope_tree_read": [
        (
            {"a.rego": scope(USER + '\n_a := object.get(data.issuance.scope, ["c", "allow"], false)\n', head=GATE)},
            {
                "a.rego": scope(USER + '\n_a := data.issuance.scope["c"].allow\n'),
                "c.rego": scope(head=HEAD.replace("a:b", "c")),
            },
        ),
        (
            {
                "a.rego": scope(
                    USER + '\n_a := object.get(s, "c", false)\n', head=GATE + "import data.issuance.scope as s\n"
                )
            },
            {"a.rego": scope(USER + '\n_a := object.get(data.registry, "c", false)\n')},
        ),
    ],
    "source_untested": [
        ({"a.rego": scope(SOURCE_RULES)}, {"a.rego": scope(SOURCE_RULES), "a_test.rego": SOURCE_TEST}),
        (
            {"a.rego": scope(SOURCE_RULES), "a_test.rego": SOURCE_TEST.replace("failed", "fresh")},
            {
                "a.rego": scope(SOURCE_RULES),
                "cases/a.yaml": DOWN,
            },
        ),
        (
            {"a.rego": scope(USER + "\n_a if not input.sources.posture.value.lost\n")},
            {"a.rego": scope(USER + "\n_a if input.sources.posture.value.managed\n")},
        ),
        (
            {"a.rego": scope(USER + "\n_a if [f | some f in input.sources.posture.value.flags] == []\n")},
            {"a.rego": scope(USER + '\n_a if "managed" in input.sources.posture.value.flags\n')},
        ),
        (
            {"a.rego": scope(USER + DENY + "input.sources.posture.value.lost\n")},
            {"a.rego": scope(USER + DENY + "input.context.lost\n")},
        ),
    ],
    "case_malformed": [
        ({"a.rego": scope(), "cases/a.yaml": text}, {"a.rego": scope(), "cases/a.yaml": CASES})
        for text in (
            "cases: []\n",
            "a: [\n",
            CASES.replace("expect", "expected"),
            CASES.replace("client: shop", ""),
            CASES.replace("scope: a:b", "scope: a:b\n    actor: {type: client}"),
        )
    ],
}
WARNINGS = {"risk_missing", "exception_expired"}
CLEAN: list[Any] = []
PAIRS = [pytest.param(code, *pair, id=f"{code}-{n}") for code, pairs in BROKEN.items() for n, pair in enumerate(pairs)]


@pytest.mark.parametrize(("code", "bad", "good"), PAIRS)
def test_rule_finds_what_breaks_it_and_nothing_else(code: str, bad: Any, good: Any, tmp_path: Path, opa: Path) -> None:
    found = lint(write(tmp_path / "bad", bad), opa)
    assert {complaint.code for complaint in found} - {"unformatted"} == {code} - {"unformatted"}
    assert code in {complaint.code for complaint in found}
    for complaint in found:
        assert complaint.severity == ("warning" if complaint.code in WARNINGS else "error")
        assert complaint.file in bad and 0 < complaint.row <= len(bad[complaint.file].splitlines())
        assert complaint.message and complaint.remedy
    if good.items() not in CLEAN:  # several are the same
        assert {complaint.code for complaint in lint(write(tmp_path / "good", good), opa)} - {"unformatted"} == set()
        CLEAN.append(good.items())


def test_what_the_bridge_refuses_is_found_with_file_and_row(tmp_path: Path, opa: Path) -> None:
    folder = write(tmp_path, {"a.rego": "package issuance.lib\n\nx := 1\n", "b.rego": "package b\n\nx := \n"})
    with pytest.raises(PolicyRefused):
        load(folder, opa)
    assert {(c.file, c.row, c.code) for c in lint(folder, opa)} >= {("b.rego", 4, "rego_parse_error")}


def test_the_whole_command(tmp_path: Path, policy: Callable[..., Ran]) -> None:
    bad = write(tmp_path / "bad", {"a.rego": scope(USER + "\ndney := {1}\n")})
    ran = policy("lint", bad)
    assert ran.code == 1
    assert ran.out.splitlines() == [
        "a.rego:17: error name_nearly: the rule dney is nearly deny, and nothing reads it",
        "    write deny, or give the helper a name that begins with _",
    ]
    assert ran.err == f"{bad}: 1 errors, 0 warnings\n"
    (line,) = policy("lint", bad, "--json").lines
    assert line.keys() == {"file", "row", "code", "severity", "message", "remedy"}
    assert (line["file"], line["row"], line["code"], line["severity"]) == ("a.rego", 17, "name_nearly", "error")
    good = write(tmp_path / "good", {"a.rego": scope()})
    assert policy("lint", good) == Ran(0, f"{good}: 0 errors, 0 warnings\n", "")
    warned = write(tmp_path / "warned", exception(WHOLE.replace("2099", "2020")))
    assert [policy("lint", warned).code, policy("lint", warned, "--strict").code] == [0, 1]
    assert policy("lint", tmp_path / "nowhere").code == 2


def test_the_sample_policies_are_clean(opa: Path) -> None:
    assert lint(ROOT_FOLDER / "rego", opa) == []


def test_every_code_is_documented_and_broken_here() -> None:
    rules = ROOT_FOLDER / "bridge" / "policy"
    files = [*(rules / "lint").rglob("*.rego"), rules / "lint.py"]
    text = "\n".join(file.read_text() for file in files if not file.name.endswith("_test.rego"))
    codes = set(
        re.findall(
            r'"((?:\w+_(?:missing|unknown|unique|incomplete|expired|allow|untested|nearly|read|asked|malformed))|unformatted|refused|not_a_set)"',
            text,
        )
    )
    documented = table_names(section(ROOT_FOLDER / "docs" / "policy-engineers.md", "### `policy lint`"))
    assert documented - {"rego_..._error"} == codes
    assert codes <= BROKEN.keys()


def test_objects_of_the_schema_that_take_nothing_else() -> None:
    closed = {"/".join(found["path"]): found["members"] for found in closed_objects(input_schema())}
    assert closed["client"] == ["id", "properties"] and closed["sources/*"] == ["age_ms", "status", "value"]
    assert "subject/properties" not in closed and "context" not in closed

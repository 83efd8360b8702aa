"""The kernel as OPA runs it: one query, strict built-in errors, each package alone, and only the packages asked for."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.model.verdict import FIELDS
from tests.policy.sets import GATE, EvaluationError, Kernel

FILES: dict[str, str | bytes] = {
    "gate.rego": """package issuance.gate

allow := true
claims := {"door": input.door}
limit := {"granted_scope": input.scope}
""",
    "openid.rego": """package issuance.scope.openid

allow contains {"code": "all", "scopes": input.scopes}
deny contains {"code": "has_scope"} if input.scope
require contains "consent"
limit := {"token_lifetime": 60}
claims := {"a": 1}
crit contains "a"
helper := "not one of the six"
""",
    # It exists and says nothing: the prefix below would say yes.
    "tenant_admin.rego": 'package issuance.scope["tenant:admin"]\n\nallow if input.never\n',
    "empty.rego": 'package issuance.scope["tenant:empty"]\n',
    "p1.rego": 'package issuance.scope_prefix["t"]\n\nallow := true\nclaims := {"for": input.scope}\n',
    "p2.rego": 'package issuance.scope_prefix["tenant:"]\n\nallow := true\nclaims := {"for": input.scope}\n',
    "p3.rego": 'package issuance.scope_prefix["tenant:a"]\n\nclaims := {"for": input.scope}\n',
    "p4.rego": 'package issuance.scope_prefix["tenant:a:deep:"]\n\nallow if input.never\n',
}


@pytest.fixture(scope="module")
def kernel(opa: Path, tmp_path_factory: pytest.TempPathFactory) -> Kernel:
    return Kernel(opa, tmp_path_factory.mktemp("kernel"), FILES)


def test_answer_has_the_digest_and_only_the_rules_of_the_contract(kernel: Kernel) -> None:
    doc = {"scopes": ["openid", "x"], "door": "native"}
    answer = kernel.ask({"id": "q1", "doc": doc, "gate": True, "scopes": ["openid"]})
    assert answer.digest == kernel.policies.digest
    assert answer.items == [
        {
            "id": "q1",
            "gate": [{"allow": True, "claims": {"door": "native"}}],
            "scopes": {
                "openid": {
                    "package": 'issuance.scope["openid"]',
                    "rules": {
                        "allow": [{"code": "all", "scopes": ["openid", "x"]}],
                        "deny": [],
                        "require": ["consent"],
                        "limit": {"token_lifetime": 60},
                        "claims": {"a": 1},
                        "crit": ["a"],
                    },
                }
            },
        }
    ]
    assert answer.items[0]["scopes"]["openid"]["rules"].keys() == set(FIELDS)


def test_gate_is_asked_only_when_it_shall_be(kernel: Kernel) -> None:
    item: dict[str, Any] = {"id": "i", "doc": {"scopes": []}, "gate": False, "scopes": []}
    assert kernel.ask(item).items == [{"id": "i", "gate": [], "scopes": {}}]
    assert kernel.ask({**item, "gate": True}, item).items[0]["gate"] != []


def test_rule_sees_all_scopes_though_it_is_asked_for_part(kernel: Kernel) -> None:
    doc = {"scopes": ["openid", "tenant:x", "unmapped"]}
    (item,) = kernel.ask({"id": "i", "doc": doc, "gate": False, "scopes": ["openid"]}).items
    assert item["scopes"]["openid"]["rules"]["allow"][0]["scopes"] == doc["scopes"]


@pytest.mark.parametrize("scope", ["tenant:admin", "tenant:empty"])
def test_package_that_exists_and_is_undefined_never_falls_to_a_prefix(kernel: Kernel, scope: str) -> None:
    (item,) = kernel.ask({"id": "i", "doc": {}, "gate": False, "scopes": [scope]}).items
    assert item["scopes"] == {scope: {"package": f'issuance.scope["{scope}"]', "rules": {}}}


@pytest.mark.parametrize(
    ("scope", "prefix", "allows"),
    [
        ("t", "t", True),
        ("tx", "t", True),
        ("tenant", "t", True),
        ("tenant:", "tenant:", True),
        ("tenant:b", "tenant:", True),
        ("tenant:a", "tenant:a", False),
        ("tenant:admi", "tenant:a", False),
        ("tenant:admin2", "tenant:a", False),
        ("tenant:a:deep", "tenant:a", False),
        ("tenant:a:deep:x", "tenant:a:deep:", False),
    ],
)
def test_longest_prefix_wins_even_when_it_says_nothing(kernel: Kernel, scope: str, prefix: str, allows: bool) -> None:
    (item,) = kernel.ask({"id": "i", "doc": {}, "gate": False, "scopes": [scope]}).items
    said = item["scopes"][scope]
    assert said["package"] == f'issuance.scope_prefix["{prefix}"]'
    assert said["rules"].get("allow", False) is allows
    assert kernel.policies.package_for(scope) == said["package"]


@pytest.mark.parametrize("scope", ["x", "T", "Tenant:a", "openi", "openid2", "OPENID", "", " openid", "ﬀ"])
def test_scope_without_any_package_is_absent(kernel: Kernel, scope: str) -> None:
    (item,) = kernel.ask({"id": "i", "doc": {}, "gate": False, "scopes": [scope]}).items
    assert item["scopes"] == {}
    assert kernel.policies.package_for(scope) is None


def test_scope_is_in_the_input_of_prefix_packages_only_and_each_sees_its_own(kernel: Kernel) -> None:
    scopes = ["tenant:b", "openid", "tenant:c", "tx"]
    (item,) = kernel.ask({"id": "i", "doc": {"scopes": scopes}, "gate": True, "scopes": scopes}).items
    said = {scope: found["rules"] for scope, found in item["scopes"].items()}
    assert [said[s]["claims"]["for"] for s in ("tenant:b", "tenant:c", "tx")] == ["tenant:b", "tenant:c", "tx"]
    assert said["openid"]["deny"] == []  # its deny speaks when input.scope is there
    assert "limit" not in item["gate"][0]  # which is made of input.scope


def test_items_of_one_query_see_their_own_documents_only(kernel: Kernel) -> None:
    items = [
        {"id": str(n), "doc": {"door": f"d{n}", "scopes": [f"s{n}"]}, "gate": True, "scopes": ["openid"]}
        for n in range(5)
    ]
    items.append({"id": "bare", "doc": {}, "gate": True, "scopes": ["openid"]})
    answers = {item["id"]: item for item in kernel.ask(*items).items}
    for n in range(5):
        assert answers[str(n)]["gate"][0]["claims"] == {"door": f"d{n}"}
        assert answers[str(n)]["scopes"]["openid"]["rules"]["allow"][0]["scopes"] == [f"s{n}"]
    assert answers["bare"]["gate"] == [{"allow": True}]
    assert answers["bare"]["scopes"]["openid"]["rules"]["allow"] == []


def test_policies_see_nothing_of_the_kernels_own_input(opa: Path, tmp_path: Path) -> None:
    files = {"gate.rego": 'package issuance.gate\n\nallow contains {"code": k} if some k, _ in input\n'}
    kernel = Kernel(opa, tmp_path, files)
    (item,) = kernel.ask({"id": "i", "doc": {"door": "d"}, "gate": True, "scopes": ["x"]}).items
    assert item["gate"] == [{"allow": [{"code": "door"}]}]


HOSTILE = [
    *(
        '"]',
        '"].allow',
        "../gate",
        "..",
        "/",
        "//",
        "__proto__",
        "constructor",
        "%2F",
        "%00",
        "a%2fb",
        "a/b",
        "a.b",
        "[_]",
    ),
    *(
        "_",
        "*",
        "$",
        "{}",
        "{x}",
        "x[0]",
        "\\",
        "\\u0061",
        "'",
        "`",
        "#",
        ";",
        "a;b",
        "issuance",
        "data",
        "input",
        "gate",
    ),
    *(
        "scope",
        "index",
        "digest",
        "null",
        "true",
        "0",
        "-1",
        "1e9",
        "\x00",
        "\n",
        "a\nb",
        "\u2028",
        "é",
        "e\u0301",
        "\U0001f600",
    ),
    *("İ", "ı", "ß", "\ufeff", "\u202e", "tenant:\U0001f600", "x" * 8192, "\U0001f600" * 2000, "tenant:" + "y" * 8192),
]


def test_hostile_scope_names_reach_no_package_but_their_own(kernel: Kernel) -> None:
    (item,) = kernel.ask({"id": "i", "doc": {"scopes": HOSTILE}, "gate": False, "scopes": HOSTILE}).items
    answered = {scope: said["package"] for scope, said in item["scopes"].items()}
    expected = {scope: kernel.policies.package_for(scope) for scope in HOSTILE}
    assert answered == {scope: package for scope, package in expected.items() if package is not None}
    assert {"true", "tenant:\U0001f600", "tenant:" + "y" * 8192} == answered.keys()  # each begins with t
    assert all(item["scopes"][s]["rules"]["claims"]["for"] == s for s in answered)


def test_hostile_scope_names_may_have_packages(opa: Path, tmp_path: Path) -> None:
    names = [name for name in HOSTILE if "\ufeff" not in name]  # which OPA's parser does not take
    files = {
        f"s{n}.rego": f'package issuance.scope[{json.dumps(name)}]\n\nallow contains {{"code": "c{n}"}}\n'
        for n, name in enumerate(names)
    }
    kernel = Kernel(opa, tmp_path, {**GATE, **files})
    rules = kernel.rules(*HOSTILE)
    assert rules == {name: {"allow": [{"code": f"c{n}"}]} for n, name in enumerate(names)}


FAILING = {
    "a built-in in deny": 'deny contains {"code": "old"} if time.parse_rfc3339_ns(input.date) < 0',
    "a built-in in allow": 'allow contains {"code": "x"} if to_number(input.date) > 0',
    "a built-in in limit": 'limit := {"token_lifetime": to_number(input.date)}',
    "a built-in in require": 'require contains {"max_age": to_number(input.date)}',
    "a built-in in claims": 'claims := {"n": json.unmarshal(input.date)}',
    "a built-in in crit": "crit contains base64.decode(input.date)",
    "a built-in behind not": 'allow contains {"code": "x"} if not time.parse_rfc3339_ns(input.date) < 0',
    "a built-in in a helper": 'deny contains f if f := _found\n\n_found := {"code": numbers.range(1, input.date)}',
    "a conflict": 'limit := {"token_lifetime": 1} if input.date\n\nlimit := {"token_lifetime": 2} if input.scopes',
    "a conflict of keys": 'claims[k] := v if {\n\tsome k in ["a"]\n\tsome v in [1, 2]\n}',
    "a conflict of a function": 'deny contains {"code": f(1)}\n\nf(x) := x\n\nf(x) := 2 if x == 1',
    "division by zero": 'limit := {"token_lifetime": 1 / input.zero}',
}


@pytest.mark.parametrize("what", FAILING)
def test_built_in_that_fails_is_an_error_and_never_a_silent_rule(opa: Path, tmp_path: Path, what: str) -> None:
    package = f"package issuance.scope.x\n\n{'' if 'allow' in FAILING[what] else 'allow := true'}\n\n{FAILING[what]}\n"
    kernel = Kernel(opa, tmp_path, {**GATE, "x.rego": package, "y.rego": "package issuance.scope.y\n\nallow := true\n"})
    with pytest.raises(EvaluationError):
        kernel.rules("x", date="not a date", zero=0)
    assert kernel.rules("y", date="not a date", zero=0) == {"y": {"allow": True}}


def test_own_package_that_fails_never_falls_to_a_prefix(opa: Path, tmp_path: Path) -> None:
    files = {
        "x.rego": f'package issuance.scope["t:x"]\n\nallow := true\n\n{FAILING["a built-in in deny"]}\n',
        "p.rego": 'package issuance.scope_prefix["t:"]\n\nallow := true\n',
    }
    with pytest.raises(EvaluationError):
        Kernel(opa, tmp_path, {**GATE, **files}).rules("t:x", date="not a date")


def test_sources_and_numbers_go_in_and_come_out_as_they_are(opa: Path, tmp_path: Path) -> None:
    kernel = Kernel(opa, tmp_path, {**GATE, "x.rego": "package issuance.scope.x\n\nclaims := input.context\n"})
    context = {"a": 1, "b": 1.5, "c": [True, None, {}], "d": 2**63 - 1, "e": "\u2028\U0001f600\x00", "": {"x": -0.25}}
    assert kernel.rules("x", context=context)["x"]["claims"] == context


def many(count: int) -> Iterator[tuple[str, str]]:
    """A gate, `count` scope packages and as many prefixes of all lengths from 4 to 9."""
    yield from GATE.items()
    rules = 'allow if input.client.id == "c"\n\ndeny contains {"code": "bad"} if input.bad\n'
    for n in range(count):
        yield f"s{n}.rego", f'package issuance.scope["s{n}"]\n\n{rules}'
        prefix = f"p{n}".ljust(3 + n % 6, "-")
        yield f"p{n}.rego", f'package issuance.scope_prefix["{prefix}:"]\n\nallow if startswith(input.scope, "p")\n'


def test_cost_is_flat_in_the_number_of_packages_and_prefixes(opa: Path, tmp_path: Path) -> None:
    """Counted, not timed: the packages that were touched, and OPA's own counters of look-ups and evaluations."""
    scopes = ["s0", "s1", "s9", "p0-:x", "p5------:y", "unmapped", "p"]
    item = {"id": "i", "doc": {"client": {"id": "c"}, "scopes": scopes}, "gate": True, "scopes": scopes}
    seen = []
    for count in (10, 1000):
        kernel = Kernel(opa, tmp_path / str(count), dict(many(count)))
        assert (len(kernel.policies.scopes), len(kernel.policies.prefixes)) == (count, count)
        assert {kernel.policies.package_for(s) is None for s in scopes[:5]} == {False}
        touched = kernel.ask(item, flags=("--coverage",)).touched
        profile = kernel.ask(item, flags=("--profile-limit", "1000")).raw["profile"]
        counters = kernel.ask(item, flags=("--metrics", "--instrument")).counters
        assert counters["counter_eval_op_virtual_cache_miss"] > 0
        seen.append((touched, sum(line["num_eval"] for line in profile), counters))
    assert seen[0][0] == {"gate.rego", "s0.rego", "s1.rego", "s9.rego", "p0.rego", "p5.rego"}
    assert seen[0] == seen[1]

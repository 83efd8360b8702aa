"""What a policy set is refused for at load, each alone; and what looks alike and is accepted."""

import json
import os
import tempfile
from pathlib import Path

import pytest

from bridge.errors import PolicyRefused
from bridge.model.policy import PolicySet
from bridge.policy import source
from bridge.policy.load import load
from tests.policy.sets import GATE, Kernel, write
from tests.support.rights import unprivileged

Files = dict[str, str | bytes]
ALLOWED = "allowed here: issuance.gate, issuance.scope[S], issuance.scope_prefix[P], authzen.resource[T]"


def refusal(opa: Path, folder: Path, files: Files) -> str:
    """The one reason, or several joined."""
    with pytest.raises(PolicyRefused) as refused:
        load(write(folder / "set", {**GATE, **files}), opa)
    assert refused.value.reasons
    assert str(folder / "set") not in "".join(refused.value.reasons)
    return "\n".join(refused.value.reasons)


def reserved(package: str) -> tuple[Files, list[str]]:
    """A module that declares `package` from its third row on."""
    return {"sub/x.rego": f"# whose\n\npackage {package}\n\nallow := true\n"}, [
        "sub/x.rego:3: package",
        "reserved",
        ALLOWED,
    ]


PACKAGES = [
    *("issuance", "authzen", "issuance.scope", "issuance.scope_prefix", "authzen.resource", "issuance.gates"),
    *("issuance.kernel", "issuance.lib", "issuance.index", "issuance.gate.deny", 'issuance.gate["x"]', "issuance.Gate"),
    *('issuance.scope["a"].b', 'issuance.scope["a"]["b"]', "issuance.scope.a.allow", 'issuance.scope_prefix["a:"].b'),
    *("authzen.gate", 'authzen.resource["a"].b', "authzen.resource.a.b", 'issuance["scope"]', 'issuance["kernel"]'),
    *("issuance.kernel.answer", 'issuance["index"].scopes', "authzen.resources.a", "issuance.scopes.a"),
]


@pytest.mark.parametrize("package", PACKAGES)
def test_reserved_package(opa: Path, tmp_path: Path, package: str) -> None:
    files, said = reserved(package)
    reason = refusal(opa, tmp_path, files)
    assert all(part in reason for part in said), reason


SCOPE = 'package issuance.scope["pay:write"]\n\nallow := true\n'
DUPLICATES: dict[str, Files] = {
    "the same scope": {"a.rego": SCOPE, "b.rego": SCOPE},
    "a rule added to another owner's package": {
        "a.rego": SCOPE,
        "team_b/b.rego": '# mine\npackage issuance.scope["pay:write"]\n\nallow if input.client.id == "mine"\n',
    },
    "dotted and bracketed": {"a.rego": "package issuance.scope.pay\n", "b.rego": 'package issuance.scope["pay"]\n'},
    "escaped": {"a.rego": "package issuance.scope.pay\n", "b.rego": 'package issuance.scope["\\u0070ay"]\n'},
    "the gate": {"b.rego": "package issuance.gate\n\nallow := true\n"},
    "the gate in brackets": {"b.rego": 'package issuance["gate"]\n\nallow := true\n'},
    "a prefix": {"a.rego": 'package issuance.scope_prefix["t:"]\n', "b.rego": 'package issuance.scope_prefix["t:"]\n'},
    "a resource": {"a.rego": "package authzen.resource.doc\n", "b.rego": 'package authzen.resource["doc"]\n'},
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_package_in_two_files(opa: Path, tmp_path: Path, name: str) -> None:
    reason = refusal(opa, tmp_path, DUPLICATES[name])
    second, first = ("b.rego", "a.rego") if "a.rego" in DUPLICATES[name] else ("gate.rego", "b.rego")
    assert f"{second}:" in reason
    assert f"is declared in {first} already" in reason


POSING = '{"issuance": {"scope": {"admin": {"allow": true}}}}'
DATA: dict[str, tuple[Files, str]] = {
    "data.json that poses as a scope package": ({"data.json": POSING}, "issuance"),
    "by its folder": ({"issuance/data.json": '{"scope": {"admin": {"allow": true}}}'}, "issuance"),
    "by a deeper folder": ({"issuance/scope/admin/data.json": '{"allow": true}'}, "issuance"),
    "in YAML": ({"data.yaml": "issuance:\n  scope:\n    admin:\n      allow: true\n"}, "issuance"),
    "in YAML by its folder": ({"issuance/gate/data.yaml": "allow: true\n"}, "issuance"),
    "an index of its own": ({"data.json": '{"issuance": {"index": {"scopes": {"x": "y"}}}}'}, "issuance"),
    "an empty key": ({"data.json": '{"issuance": {}}'}, "issuance"),
    "null": ({"data.json": '{"issuance": null}'}, "issuance"),
    "escaped": ({"data.json": '{"\\u0069ssuance": {}}'}, "issuance"),
    "the other key": ({"data.json": '{"authzen": {"resource": {"x": {"allow": true}}}}'}, "authzen"),
    "the other key by its folder": ({"authzen/data.json": "{}"}, "authzen"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_at_a_reserved_key(opa: Path, tmp_path: Path, name: str) -> None:
    files, key = DATA[name]
    assert refusal(opa, tmp_path, files) == f"data: the key {key!r} is reserved"


@pytest.mark.parametrize("key", ["a/b", "https://as.example", "a%2Fb", "100%", "/", "", "system"])
def test_data_that_opa_would_not_load_is_refused_since_denials_that_read_it_would_fall_silent(
    opa: Path, tmp_path: Path, key: str
) -> None:
    reason = refusal(opa, tmp_path, {"data.json": json.dumps({key: {"c": 1}})})
    assert reason == f"data: the key {key!r} cannot stand at the top of an OPA bundle"


def test_odd_names_at_the_top_of_data_reach_the_policies(opa: Path, tmp_path: Path) -> None:
    odd = {key: {"b/c": 1} for key in (".", "..", "*", "a b", "?", "#", "a.b", "\\", "é", "~1", "System", "\x00")}
    read = ", ".join(f"{json.dumps(key)}: data[{json.dumps(key)}]" for key in odd)
    body = f"package issuance.scope.x\n\nallow := true\nclaims := {{{read}}}\n"
    kernel = Kernel(opa, tmp_path, {**GATE, "x.rego": body, "data.json": json.dumps(odd)})
    assert kernel.rules("x")["x"]["claims"] == odd


def rule(text: str) -> Files:
    """A scope package whose fourth row is `text`."""
    return {"s/x.rego": f"package issuance.scope.x\n\nallow := true\n{text}\n"}


BUILT_INS = {
    "http.send": 'deny contains r if r := http.send({"method": "GET", "url": "http://127.0.0.1:1"})',
    "time.now_ns": "deny contains t if t := time.now_ns()",
    "rand.intn": 'deny contains n if n := rand.intn("x", 3)',
    "opa.runtime": "deny contains r if r := opa.runtime()",
    "io.jwt.decode_verify": 'deny contains r if r := io.jwt.decode_verify("", {})',
    "net.lookup_ip_addr": 'deny contains r if r := net.lookup_ip_addr("localhost")',
    "uuid.rfc4122": 'deny contains r if r := uuid.rfc4122("x")',
    "json.match_schema": 'deny contains r if r := json.match_schema("x", {"$ref": "http://127.0.0.1:1"})',
    "no.such_thing": "deny contains r if r := no.such_thing(1)",
}


@pytest.mark.parametrize("name", BUILT_INS)
def test_built_in_that_is_not_allowed(opa: Path, tmp_path: Path, name: str) -> None:
    reason = refusal(opa, tmp_path, rule(BUILT_INS[name]))
    assert "s/x.rego:4: " in reason
    assert f"undefined function {name}" in reason


@pytest.mark.parametrize("name", ["http.send", "time.now_ns"])
def test_folder_cannot_bring_capabilities_of_its_own(opa: Path, tmp_path: Path, name: str) -> None:
    every = b'{"builtins": [], "allow_net": ["127.0.0.1"]}'
    assert name in refusal(opa, tmp_path, {**rule(BUILT_INS[name]), "capabilities.json": every})


OTHERS: dict[str, tuple[Files, list[str]]] = {
    "deny as a function": (rule("deny(x) := x"), ["s/x.rego:1: deny is a function in issuance.scope"]),
    "a branch of deny as a function": (rule("deny.all(x) := x"), ["s/x.rego:1: deny is a function"]),
    "an exception for the whole document": (
        {
            "s/x.rego": "package issuance.scope.x\n\n# METADATA\n# scope: document\n# custom:\n#   exception: {id: E}\n"
            "allow contains {} if false\n"
        },
        ["s/x.rego:7: custom.exception in annotations of scope document: it is read at a rule only"],
    ),
    "empty prefix": (
        {"p.rego": '# all\npackage issuance.scope_prefix[""]\n\nallow := true\n'},
        ["p.rego:2: the prefix is empty"],
    ),
    "broken syntax": ({"s/x.rego": "package x\n\nallow if {\n"}, ["s/x.rego:", "rego_parse_error"]),
    "broken package line": ({"x.rego": "pakcage x\n"}, ["x.rego:1", "rego_parse_error"]),
    "no module at all": ({"x.rego": ""}, ["x.rego:", "empty module"]),
    "Rego before v1": (rule("deny[x] { x := 1 }"), ["s/x.rego:4", "rego_parse_error"]),
    "not UTF-8": ({"s/x.rego": b"package x\n# \xff\n"}, ["s/x.rego: not UTF-8"]),
    "strict: an unused import": (
        {"x.rego": "package x\n\nimport data.foo\n"},
        ["x.rego:3: ", "import data.foo unused"],
    ),
    "strict: an unused variable": (rule("deny contains 1 if { y := 1 }"), ["s/x.rego:4: ", "y unused"]),
    "strict: a deprecated built-in": (rule("deny contains 1 if any([true])"), ["s/x.rego:4: ", "any"]),
    "a type error": (rule('deny contains 1 if count(1) == "x"'), ["s/x.rego:4: ", "rego_type_error"]),
    "recursion": (rule("deny contains 1 if deny[1]"), ["s/x.rego:4: ", "recursive"]),
    "a rule in two forms": (rule("allow contains 1"), ["s/x.rego:", "conflicting rules"]),
    "unsafe": (rule("deny contains x if not x"), ["s/x.rego:4: ", "unsafe"]),
    "annotations that are no YAML": (
        {"x.rego": "package x\n\n# METADATA\n# custom: [\nallow := true\n"},
        ["x.rego:", "yaml"],
    ),
    "data over a rule": (
        {"h.rego": "package helpers\n\nblocked := set()\n", "data.json": '{"helpers": {"blocked": []}}'},
        ["h.rego:3: ", "conflicting rule for data path helpers/blocked"],
    ),
    "data over a package": (
        {"h.rego": "package helpers.a\n\nb := 1\n", "helpers/data.json": '{"a": 1}'},
        ["h.rego:3: ", "conflicting"],
    ),
    "two data files with one key": (
        {"data.json": '{"a": {"b": 1}}', "a/data.json": '{"b": 2}'},
        ["data.json", "'b' is set by another data file already"],
    ),
    "the same value twice": ({"data.json": '{"a": 1}', "data.yaml": "a: 1\n"}, ["'a' is set by another data file"]),
    "data that is no object": ({"data.json": "[1]"}, ["data.json: must hold an object"]),
    "data that is no JSON": ({"a/data.json": '{"a": '}, ["a/data.json: "]),
    "data with NaN": ({"data.json": '{"a": NaN}'}, ["data.json: NaN is not JSON"]),
    "data with a lone surrogate": ({"data.json": '{"a": "\\ud800"}'}, ["data.json: ", "surrogates"]),
    "data that is nested without end": ({"data.json": '{"a": ' + "[" * 100_000}, ["data.json: ", "recursion"]),
    "data that is not UTF-8": ({"data.json": b'{"a": "\xff"}'}, ["data.json: "]),
    "JSON that says a name twice": ({"data.json": '{"a": {"b": [1], "b": []}}'}, ["data.json: a name stands twice"]),
    "two YAML documents": ({"data.yaml": "a: 1\n---\nb: 2\n"}, ["data.yaml: more than one YAML document"]),
    "two YAML documents, marked": ({"data.yaml": "# x\n--- {a: 1}\n...\n---\nb: 2\n"}, ["more than one YAML"]),
    "empty YAML": ({"data.yaml": ""}, ["data.yaml: must hold an object"]),
    "YAML that is none": ({"data.yaml": "a: [\n"}, ["data.yaml: "]),
    "a name twice in YAML": ({"data.yaml": "clients:\n  a: 1\n  a: 2\n"}, ['data.yaml: row 3: "a" stands twice']),
    "a module in the place of the kernel's": (
        {"issuance_kernel/lib.rego": "package helpers\n\nblocked := true\n"},
        ["issuance_kernel/lib.rego differs"],
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_refusals(opa: Path, tmp_path: Path, name: str) -> None:
    files, said = OTHERS[name]
    reason = refusal(opa, tmp_path, files)
    assert all(part in reason for part in said), reason


def test_every_reserved_package_is_told_at_once(opa: Path, tmp_path: Path) -> None:
    files: Files = {
        "a.rego": "package issuance\n",
        "b.rego": "package authzen.x\n",
        "c.rego": 'package issuance.scope_prefix[""]\n',
    }
    reason = refusal(opa, tmp_path, files)
    assert [line.split(":")[0] for line in reason.splitlines()] == ["a.rego", "b.rego", "c.rego"]


ACCEPTED: dict[str, Files] = {
    "scopes in both spellings": {"a.rego": "package issuance.scope.openid\n", "b.rego": SCOPE},
    "helpers in two files": {
        "a.rego": "package helpers\n\na := 1\n",
        "b.rego": "package helpers\n\nb := 2\n",
        "c.rego": "package helpers.deeper\n\nissuance := 3\n",
    },
    "a resource": {"a.rego": 'package authzen.resource["doc/x"]\n\nallow := true\n'},
    "data beside rules": {"h.rego": "package helpers\n\na := 1\n", "helpers/data.json": '{"b": 2}'},
    "data at its folder's path": {"registry/clients/data.json": '{"x": {}}', "registry/data.yaml": "owners: []\n"},
    "one YAML document with marks": {"data.yaml": "%YAML 1.1\n# x\n---\na: |\n  ---\n  b\n---c: 1\n...\n# end\n"},
    "a key that only looks reserved": {"data.json": '{"issuances": 1, "Issuance": 2, "x": {"issuance": 3}}'},
    "other files": {
        "schemas/input.json": "{",
        "README.md": "x",
        "capabilities.json": '{"builtins": []}',
        ".manifest": '{"roots": ["elsewhere"]}',
        "data.yml": "issuance: 1",
        "other.json": '{"issuance": 1}',
        ".hidden/x.rego": "package issuance.kernel\n",
        "x.rego.bak": "package issuance.kernel\n",
    },
    "tests": {
        "a_test.rego": "package issuance.kernel\n\ntest_x if false\n",
        "gate_test.rego": "package issuance.gate\n\nallow := false\n",
        "broken_test.rego": "this is no Rego",
    },
    "every deterministic built-in": rule('deny contains "x" if time.parse_rfc3339_ns(input.time) < 0'),
    "print": rule("deny contains 1 if { print(input); false }"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(opa: Path, tmp_path: Path, name: str) -> None:
    assert load(write(tmp_path, {**GATE, **ACCEPTED[name]}), opa).packages


def test_tests_have_no_part_in_what_decides(opa: Path, tmp_path: Path) -> None:
    """A second `_test.rego` that says yes must not: neither loaded, nor in the digest."""
    scope = {"x.rego": 'package issuance.scope.x\n\nallow if input.client.id == "me"\n'}
    without = load(write(tmp_path / "without", {**GATE, **scope}), opa)
    kernel = Kernel(opa, tmp_path, {**GATE, **scope, "x_test.rego": "package issuance.scope.x\n\nallow := true\n"})
    assert kernel.policies.digest == without.digest
    assert kernel.rules("x", client={"id": "other"}) == {"x": {}}


def test_link_to_a_folder_is_refused_since_its_rules_would_fall_silent(opa: Path, tmp_path: Path) -> None:
    policies = write(tmp_path / "set", GATE)
    write(tmp_path / "shared", {"helpers.rego": "package helpers\n\nblocked := true\n"})
    (policies / "shared").symlink_to(tmp_path / "shared")
    with pytest.raises(PolicyRefused, match="is a link to a folder"):
        load(policies, opa)


def test_links_to_files_are_followed(opa: Path, tmp_path: Path) -> None:
    """As a Kubernetes ConfigMap mounts them: `..data` is a hidden link, the files are links through it."""
    write(tmp_path / "set" / "..2026", {**GATE, "x.rego": "package issuance.scope.x\n"})
    (tmp_path / "set" / "..data").symlink_to("..2026")
    for name in ("gate.rego", "x.rego"):
        (tmp_path / "set" / name).symlink_to(f"..data/{name}")
    assert load(tmp_path / "set", opa).scopes == {"x": 'issuance.scope["x"]'}


@pytest.mark.timeout(20)
def test_named_pipe_is_refused_since_reading_it_would_never_end(opa: Path, tmp_path: Path) -> None:
    folder = write(tmp_path, GATE)
    os.mkfifo(folder / "x.rego")
    with pytest.raises(PolicyRefused, match=r"x\.rego is no file"):
        load(folder, opa)


@pytest.mark.parametrize("closed", ["helpers", "helpers/deeper", "helpers/h.rego", "helpers/data.json", "."])
def test_what_cannot_be_read_is_never_taken_for_absent(closed: str) -> None:
    """Without its helpers a `deny` would fall silent."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        files: Files = {
            "helpers/h.rego": "package helpers\n",
            "helpers/data.json": "{}",
            "helpers/deeper/x.rego": "package x\n",
        }
        policies = write(Path(place) / "set", {**GATE, **files})
        with unprivileged():
            assert len(source.read(policies).modules) == 3
        (policies / closed).chmod(0)
        try:
            with unprivileged(), pytest.raises(PolicyRefused, match="cannot be read"):
                source.read(policies)
        finally:
            (policies / closed).chmod(0o700)


@pytest.mark.parametrize("name", [b"\xff.rego", b"d\xff/x.rego", b"d\xff/data.json"])
def test_file_name_that_is_not_utf_8_is_refused(opa: Path, tmp_path: Path, name: bytes) -> None:
    policies = write(tmp_path / "set", {**GATE, os.fsdecode(name): "package x\n"})
    with pytest.raises(PolicyRefused):
        load(policies, opa)


def test_missing_and_empty_folders(opa: Path, tmp_path: Path) -> None:
    with pytest.raises(PolicyRefused, match="neither a folder nor a bundle"):
        load(tmp_path / "missing", opa)
    (tmp_path / "empty").mkdir()
    nothing: PolicySet = load(tmp_path / "empty", opa)
    assert (dict(nothing.scopes), dict(nothing.prefixes)) == ({}, {})


def test_a_set_without_gate_or_package_answers_nothing(opa: Path, tmp_path: Path) -> None:
    kernel = Kernel(opa, tmp_path, {})
    assert kernel.ask({"id": "i", "doc": {}, "gate": True, "scopes": ["x"]}).items == [
        {"id": "i", "gate": [{}], "scopes": {}}
    ]

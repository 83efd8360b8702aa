"""The index that is made at load: which package answers, whose it is, and on which row each finding is made."""

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.model.policy import PolicySet
from bridge.policy.index import package_name
from bridge.policy.load import load
from bridge.policy.syntax import parse
from tests.policy.sets import GATE, write

ABOUT = """# METADATA
# title: Payments
# description: |
#   What METADATA of a kind says
# authors:
#   - Payments Team <pay@example.com>
#   - name: Second
# custom:
#   risk: high
#   controls: [C1, 2]

# a comment of its own\u2028 that some would count as two rows
package issuance.scope["pay:write"] # METADATA
"""
# Shapes of annotated rules: row by row what OPA's own `inspect` says is asserted below.
RULES = """
import data.issuance.lib

# METADATA
# title: one
# custom:
#   code: right_below
allow contains lib.finding(rego.metadata.chain()) if input.a

# METADATA
# custom:
#   code: comments_between

# more about it

# and more
deny contains lib.finding(rego.metadata.chain()) if {
	# METADATA
	# custom:
	#   code: inside_a_body
	input.b == `
# METADATA
# custom:
#   code: inside_a_string
`
}

# METADATA
# scope: document
# custom:
#   code: whole_document

# METADATA
# scope: rule
# custom:
#   code: scoped
deny contains lib.finding(rego.metadata.chain()) if input.c

# METADATA
# scope: rule
# custom:
#   code: first_of_two
# METADATA
# scope: document
# custom:
#   code: second_of_two
claims["n"] := 1

#METADATA
#custom:
#  code: without_spaces
deny contains lib.finding(rego.metadata.chain()) if input.d
# METADATA with words behind
# custom: {code: right_behind_a_rule}
# title: "# METADATA"
deny contains
	lib.finding(rego.metadata.chain()) if {
	input.e
}

# METADATA
# description: none of these has a code
deny contains lib.finding(rego.metadata.chain()) if input.f # METADATA

# METADATA
# custom:
#   code: indented_block
	# more: indented
deny contains lib.finding(rego.metadata.chain()) if input.g

separator := "\u2028\u0085\\u000b"

# METADATA
# custom:
#   code: after_odd_ends_of_lines
limit := {}
"""


def index(opa: Path, folder: Path, text: str) -> PolicySet:
    return load(write(folder, {**GATE, "pay.rego": text}), opa)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("about", [ABOUT, 'package issuance.scope["pay:write"]\n'], ids=["annotated", "bare"])
def test_row_of_a_finding_is_that_of_its_annotated_rule(opa: Path, tmp_path: Path, ends: str, about: str) -> None:
    text = (about + RULES).replace("\n", ends)
    package = index(opa, tmp_path / "set", text).packages['issuance.scope["pay:write"]']
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "pay.rego").write_text(text, encoding="utf-8", newline="")
    inspected = subprocess.run(
        [str(opa), "inspect", "--annotations", "--format", "json", str(tmp_path / "one")],
        capture_output=True,
        check=True,
    )
    by_opa: dict[str, int] = {}
    for found in json.loads(inspected.stdout)["annotations"]:
        code = found["annotations"].get("custom", {}).get("code")
        if code is not None:
            by_opa.setdefault(code, found["location"]["row"])
        if found["annotations"]["scope"] == "package":
            assert package.row == found["location"]["row"]
    assert dict(package.rows) == by_opa
    assert len(by_opa) == 10
    lines = text.split("\n")
    assert lines[package.row - 1].startswith("package ")
    assert lines[package.rows["comments_between"] - 1].startswith("deny contains")
    assert lines[package.rows["right_behind_a_rule"] - 1].startswith("deny contains")
    assert lines[package.rows["after_odd_ends_of_lines"] - 1].startswith("limit :=")


def test_package_annotations_tell_owner_risk_and_controls(opa: Path, tmp_path: Path) -> None:
    package = index(opa, tmp_path, ABOUT).packages['issuance.scope["pay:write"]']
    assert (package.title, package.risk, package.controls) == ("Payments", "high", ("C1", "2"))
    assert package.owner == "Payments Team <pay@example.com>, Second"
    assert package.file == "pay.rego"


@pytest.mark.parametrize(
    "about",
    [
        "# METADATA\n# title: 7\n# custom:\n#   risk: [x]\n#   controls: none\n",
        "# METADATA\n# custom: {}\n",
        "# METADATA\n# authors: []\n",
        "# title: no block\n",
    ],
)
def test_odd_annotations_tell_nothing_and_break_nothing(opa: Path, tmp_path: Path, about: str) -> None:
    package = index(opa, tmp_path, about + "package issuance.scope.x\n").packages['issuance.scope["x"]']
    assert (package.owner, package.risk, package.controls) == (None, None, ())


def test_long_annotations_are_cut(opa: Path, tmp_path: Path) -> None:
    about = f"# METADATA\n# title: {'t' * 999}\n# authors: [{', '.join('a' * 99 for _ in range(9))}]\n"
    controls = f"# custom:\n#   controls: [{', '.join('c' * 999 for _ in range(99))}]\n"
    package = index(opa, tmp_path, about + controls + "package issuance.scope.x\n").packages['issuance.scope["x"]']
    assert len(package.title or "") == len(package.owner or "") == 256
    assert [len(control) for control in package.controls] == [128] * 16


def test_package_line_is_found_below_comments_that_speak_of_packages(opa: Path, tmp_path: Path) -> None:
    text = "# package issuance.kernel\n\n#package x\n   package\tissuance.scope.x\n"
    assert index(opa, tmp_path, text).packages['issuance.scope["x"]'].row == 4


def test_scopes_and_prefixes_are_named_verbatim(opa: Path, tmp_path: Path) -> None:
    names = [
        "openid",
        "pay:write",
        "a/b",
        "../x",
        "__proto__",
        "%2F",
        'q"]',
        "back\\slash",
        "ünï",
        "\U0001f600",
        "a b",
        "",
    ]
    files = {
        f"{kind}{n}.rego": f"package issuance.{kind}[{json.dumps(name)}]\n"
        for n, name in enumerate(names)
        for kind in ("scope", "scope_prefix")
        if name or kind == "scope"
    }
    policies = load(write(tmp_path, {**GATE, **files}), opa)
    assert set(policies.scopes) == set(names)
    assert set(policies.prefixes) == set(names) - {""}
    assert all(name in policies.packages for name in (*policies.scopes.values(), *policies.prefixes.values()))
    assert policies.scopes['q"]'] == 'issuance.scope["q\\"]"]'
    assert len(set(policies.scopes.values()) | set(policies.prefixes.values())) == 2 * len(names) - 1


@given(st.text(), st.text())
def test_different_scopes_never_share_a_package_name(one: str, two: str) -> None:
    names = {package_name(("issuance", kind, scope)) for kind in ("scope", "scope_prefix") for scope in (one, two)}
    assert len(names) == 2 * len({one, two})


def _policies(prefixes: set[str], own: set[str]) -> PolicySet:
    lengths = tuple(sorted({len(p) for p in prefixes}, reverse=True))
    return PolicySet("d", "d", {}, {s: f"own {s}" for s in own}, {p: f"prefix {p}" for p in prefixes}, lengths, b"")


@given(st.sets(st.text("ab:", min_size=1, max_size=4)), st.sets(st.text("ab:", max_size=5)), st.text("ab:", max_size=6))
def test_own_package_first_then_the_longest_prefix(prefixes: set[str], own: set[str], scope: str) -> None:
    fitting = sorted((p for p in prefixes if scope.startswith(p)), key=len)
    expected = f"own {scope}" if scope in own else f"prefix {fitting[-1]}" if fitting else None
    assert _policies(prefixes, own).package_for(scope) == expected


def test_parsing_keeps_the_order_and_tells_the_file_that_does_not_parse(opa: Path) -> None:
    modules = {f"{n}.rego": f"package p{n}\n".encode() for n in range(1001)}
    trees = parse(opa, modules)
    assert [tree.file for tree in trees] == list(modules)
    assert [tree.package for tree in trees] == [(f"p{n}",) for n in range(1001)]

"""`policy init` and `policy new`: what they make passes lint and test as it stands, and grants nothing to anybody."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.policy.folder import read
from bridge.policy.lint import lint
from bridge.policy.load import load
from bridge.policy.scaffold import NewScope
from bridge.policy.schema import input_schema
from bridge.policy.testing import run_tests
from tests.policy.sets import write
from tests.policy_cli.commands import Ran

Policy = Callable[..., Ran]
OWNER = "--owner", "Payments API <payments@example.com>"


@pytest.fixture
def begun(tmp_path: Path, policy: Policy) -> Path:
    assert policy("init", tmp_path / "policies").code == 0
    return tmp_path / "policies"


def test_fresh_folder_is_clean_and_its_tests_pass(begun: Path, policy: Policy) -> None:
    assert policy("lint", "--strict", begun).code == 0
    ran = policy("test", begun)
    assert ran.code == 0 and "cases     pass  14 passed, 0 failed" in ran.out
    assert {str(file.relative_to(begun)) for file in begun.rglob("*") if file.is_file()} == {
        *("gate.rego", "gate_test.rego", "cases/gate.yaml", "data.json", "schemas/input.json", "schemas/cases.json"),
        *("README.md", ".github/workflows/policies.yml"),
    }
    assert json.loads((begun / "schemas" / "input.json").read_text()) == input_schema()
    workflow = (begun / ".github" / "workflows" / "policies.yml").read_text()
    assert "policy lint --strict ." in workflow and "policy test ." in workflow and "${{ vars." in workflow


def test_begun_scopes_are_clean_and_denied_whoever_asks(begun: Path, policy: Policy, opa: Path) -> None:
    for scope, risk, *more in (
        ("payments:write", "high"),
        ("tenant:*", "medium"),
        ("openid", "low"),
        ("https://host/auth/", "high", "--prefix"),
        ("2fa", "low"),
        ("import", "low"),
    ):
        ran = policy("new", scope, *OWNER, "--risk", risk, "--path", begun, *more)
        assert (ran.code, ran.err, len(ran.out.splitlines())) == (0, "", 3)
    policies = load(begun, opa)
    assert policies.scopes.keys() == {"payments:write", "openid", "2fa", "import"}
    assert policies.prefixes.keys() == {"tenant:", "https://host/auth/"}
    owned = policies.packages['issuance.scope["payments:write"]']
    assert (owned.owner, owned.risk) == ("Payments API <payments@example.com>", "high")
    # Even a client that is registered for all of it, and in every way.
    data = json.loads((begun / "data.json").read_text())
    client = data["registry"]["clients"]["local"]["example-client"]
    scopes = ["payments:write", "tenant:a", "openid", "https://host/auth/drive", "2fa", "import"]
    client.update(scopes=scopes, grant_types=["authorization_code", "client_credentials", "refresh_token"])
    (begun / "data.json").write_text(json.dumps(data))
    asked = {"client": "example-client", "scope": scopes, "grant_type": ["authorization_code", "client_credentials"]}
    case = {"name": "all", **asked, "expect": "deny", "codes": ["no_allow"]}
    (begun / "cases" / "all.yaml").write_text(json.dumps({"cases": [case]}))  # JSON is YAML
    gate = begun / "cases" / "gate.yaml"
    gate.write_text(
        gate.read_text().replace(
            "grant_type: client_credentials\n    expect: deny", "grant_type: ciba\n    expect: deny"
        )
    )
    ran = policy("test", begun)
    assert ran.code == 0, ran.out
    assert lint(begun, opa) == []


def test_condition_is_written_below(begun: Path, policy: Policy) -> None:
    assert policy("new", "reports:read", *OWNER, "--risk", "medium", "--path", begun).code == 0
    scope = begun / "scopes" / "reports_read.rego"
    scope.write_text(scope.read_text() + '\n_permitted if input.subject.type == "user"\n')
    data = begun / "data.json"
    data.write_text(data.read_text().replace('"scopes": []', '"scopes": ["reports:read"]'))
    ran = policy("test", begun, "--threshold", "0")
    assert ran.code == 1
    assert "nobody, as long as no condition is written (example-client, authorization_code, reports:read)" in ran.out


def test_nothing_is_overwritten(begun: Path, policy: Policy) -> None:
    assert policy("new", "a:b", *OWNER, "--risk", "low", "--path", begun).code == 0
    before = {file: file.read_bytes() for file in begun.rglob("*") if file.is_file()}
    again = policy("new", "a:b", *OWNER, "--risk", "low", "--path", begun)
    assert again.code == 1 and "scopes/a_b.rego answers for a:b already" in again.err
    (begun / "cases" / "a_c.yaml").write_text("mine")
    partly = policy("new", "a:c", *OWNER, "--risk", "low", "--path", begun)
    assert partly.code == 1 and not (begun / "scopes" / "a_c.rego").exists()
    assert policy("init", begun).code == 1
    (begun / "cases" / "a_c.yaml").unlink()
    assert {file: file.read_bytes() for file in begun.rglob("*") if file.is_file()} == before


def test_scopes_of_one_slug_have_files_of_their_own(begun: Path, policy: Policy, opa: Path) -> None:
    for scope, slug in (("a:b", "a_b"), ("a/b", "a_b_2"), ("A:B", "a_b_3"), ("*", "scope"), ("/", "scope_2")):
        ran = policy("new", scope, *OWNER, "--risk", "high", "--path", begun)
        assert (ran.code, ran.out.splitlines()[0]) == (0, str(begun / "scopes" / f"{slug}.rego"))
    assert lint(begun, opa) == []
    assert policy("test", begun).code == 0


def test_new_begins_a_folder_too_and_takes_a_client_that_is_there(tmp_path: Path, policy: Policy, opa: Path) -> None:
    assert policy("new", "a:b", *OWNER, "--risk", "high", "--path", tmp_path / "fresh").code == 0
    assert lint(tmp_path / "fresh", opa) == []
    assert run_tests(read(tmp_path / "fresh"), opa).coverage == 100.0
    data = '{"registry": {"clients": {"https://as.example": {"shop": {}}}}}'
    there = write(tmp_path / "there", {"data.json": data})
    assert policy("new", "a:b", *OWNER, "--risk", "high", "--path", there).code == 0
    assert 'issuer: "https://as.example"\n  client: "shop"' in (there / "cases" / "a_b.yaml").read_text()


def test_folder_that_does_not_load_is_mended_first(tmp_path: Path, policy: Policy) -> None:
    folder = write(tmp_path, {"a.rego": "package issuance.lib\n"})
    ran = policy("new", "a:b", *OWNER, "--risk", "low", "--path", folder)
    assert ran.code == 1 and "a.rego:1: package issuance.lib is reserved" in ran.err
    assert not (folder / "scopes").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("a b", *OWNER, "--risk", "low"),
        ('a"b', *OWNER, "--risk", "low"),
        ("", *OWNER, "--risk", "low"),
        ("a", "--owner", "nobody", "--risk", "low"),
        ("a", "--owner", "A\nB <a@example.com>", "--risk", "low"),
        ("a", *OWNER, "--risk", "extreme"),
        ("a", *OWNER),
        ("a", "--risk", "low"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], tmp_path: Path, policy: Policy) -> None:
    assert policy("new", *arguments, "--path", tmp_path / "fresh").code == 2
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        ("payments:write", "payments_write"),
        ("https://host/Auth/drive", "https_host_auth_drive"),
        ("payments:test", "payments_test_scope"),  # payments_test.rego would be a test, and never decide
        ("2fa", "scope_2fa"),
        ("***", "scope"),
        ("a" * 300, "a" * 100),
    ],
)
def test_files_are_named_by_a_slug(key: str, slug: str) -> None:
    assert NewScope(key, "A <a@example.com>", "low").slug == slug

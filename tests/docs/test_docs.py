"""What the documentation says must be so: links, names, requests with their answers, policies that load."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import BaseModel

from bridge.audit import reconcile
from bridge.cli.main import cli
from bridge.config.logout import LogoutSenderSection, RelyingPartySection
from bridge.config.servers import AuthorizationServerSection
from bridge.config.settings import CallerSection, Settings
from bridge.config.sources import SourceSection
from bridge.doors.issued import ReportedReply
from bridge.doors.native import DecisionReply
from bridge.kernel import CAPABILITIES
from bridge.model.decision import Code
from bridge.model.issuance import IssuanceRequest
from bridge.model.issued import IssuedReport, Violation
from bridge.ops.metrics import Metrics
from bridge.policy.folder import read
from bridge.policy.lint import lint
from bridge.policy.load import load
from bridge.policy.opa import find_opa
from bridge.policy.testing import run_tests
from tests.docs.pages import DOCS, PAGES, ROOT, Block, anchors, blocks, documented_request, links, section, table_names
from tests.support.bridge import RunningBridge, running_bridge
from tests.support.commands import commands_of

RUNNABLE = [block for page in PAGES for block in blocks(page) if "runnable" in block.marks]
AUDITORS, OPERATIONS, POLICY_ENGINEERS, TOKEN_SERVICES = (
    DOCS / f"{name}.md" for name in ("auditors", "operations", "policy-engineers", "token-services")
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBridge]:
    """What `make run` starts, on a free port."""
    with running_bridge(tmp_path_factory.mktemp("docs"), ROOT / "rego") as bridge:
        yield bridge


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"{target} is not there"
        if anchor:
            assert anchor in anchors(target), f"{target.name} has no heading #{anchor}"


def test_every_page_and_decision_is_in_the_index() -> None:
    indexed = {target for target, _ in links(DOCS / "README.md")}
    assert set(DOCS.rglob("*.md")) - indexed == {DOCS / "README.md"}


@pytest.mark.parametrize("block", RUNNABLE, ids=lambda block: f"{block.page.stem}-{block.row}")
def test_documented_request_has_the_documented_answer(block: Block, samples: RunningBridge) -> None:
    path, headers, body = documented_request(block)
    response = samples.client.post(path, headers=headers, json=body)
    assert response.status_code == 200, response.text
    if block.answer is not None:
        assert _stable(response.json()) == _stable(json.loads(block.answer))


def _stable(reply: dict[str, Any]) -> dict[str, Any]:
    """Without the values that differ each time; their names must be the same."""
    return {**reply, "decision_id": "", "valid_until": "", "evidence": sorted(reply["evidence"])}


def test_the_four_outcomes_are_documented() -> None:
    answers = [json.loads(block.answer) for block in RUNNABLE if block.answer is not None]
    assert {answer["outcome"] for answer in answers} == {"allow", "conditional", "deny"}
    assert any(len(answer["granted_scopes"]) < len(answer["scopes"]) for answer in answers)


def test_the_policy_of_the_readme_passes_with_its_test(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "rego", policies := tmp_path / "rego")
    (policy,) = (block.text for block in blocks(ROOT / "README.md") if block.language == "rego")
    (test,) = (block.text for block in blocks(POLICY_ENGINEERS) if block.text.startswith("package issuance_test."))
    (policies / "scopes" / "reports_read.rego").write_text(policy)
    (policies / "scopes" / "reports_read_test.rego").write_text(test)
    opa = find_opa()
    assert lint(policies, opa) == []
    tested = run_tests(read(policies), opa)
    assert (tested.failures, tested.coverage) == ((), 100.0)
    assert load(policies, opa).package_for("reports:read") == 'issuance.scope["reports:read"]'


def test_every_code_of_the_bridge_is_documented() -> None:
    assert table_names(section(TOKEN_SERVICES, "## Codes of the bridge")) == {code.value for code in Code}


@pytest.mark.parametrize(("heading", "model"), [("## The request", IssuanceRequest), ("## The reply", DecisionReply)])
def test_every_member_of_the_native_door_is_documented(heading: str, model: type[BaseModel]) -> None:
    assert table_names(section(TOKEN_SERVICES, heading)) == model.model_fields.keys()


def test_every_member_and_violation_of_a_report_is_documented() -> None:
    members = IssuedReport.model_fields.keys() | ReportedReply.model_fields.keys()
    documented = table_names(section(TOKEN_SERVICES, "## Report what you mint"))
    assert documented == members | {violation.value for violation in Violation}


def test_everything_that_reconciling_finds_is_documented() -> None:
    documented = table_names(section(AUDITORS, "## Reconcile with the server's list"))
    assert documented == {code.value for code in reconcile.Code}


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_key_of_the_configuration_is_documented(name: str) -> None:
    lists: dict[str, tuple[str, type[BaseModel]]] = {
        "callers": ("## Callers", CallerSection),
        "sources": ("## Sources", SourceSection),
        "servers": ("## Authorization servers", AuthorizationServerSection),
        "relying_parties": ("## Relying parties", RelyingPartySection),
        "logout_senders": ("## Logout senders", LogoutSenderSection),
    }
    heading, model = lists.get(name) or (f"### `[{name}]`", type(getattr(Settings(), name)))
    nested = {key for key, value in model.model_fields.items() if isinstance(value.default, BaseModel)}
    assert table_names(section(OPERATIONS, heading)) == model.model_fields.keys() - nested


def test_every_metric_is_documented() -> None:
    assert table_names(section(OPERATIONS, "## Metrics")) == {metric.name for metric in Metrics().registry.collect()}


def test_every_event_of_the_process_log_is_documented() -> None:
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "bridge").rglob("*.py"))
    events = set(re.findall(r'\blog\.(?:info|warning|error|exception)\(\s*"(\w+)"', sources))
    assert len(events) > 20
    assert {event for event in events if f"`{event}`" not in section(OPERATIONS, "## The process log")} == set()


def test_every_command_and_option_is_documented() -> None:
    every = commands_of(cli)
    groups = {name: commands_of(group) for name, group in every.items() if isinstance(group, click.Group)}
    names = every.keys() - groups.keys()
    names |= {f"{name} {command}" for name, group in groups.items() for command in group}
    documented = table_names(section(OPERATIONS, "## Commands"))
    assert {name.removeprefix("issuance-bridge ") for name in documented} == names
    query = groups["log"]["query"]
    options = {name for parameter in query.params for name in parameter.opts}
    documented = {name.split()[0] for name in table_names(section(AUDITORS, "## Find entries"))}
    assert options - {"--config", "--json"} == documented  # these two stand in the text


def test_every_builtin_that_policies_may_not_use_is_documented() -> None:
    done = subprocess.run([find_opa(), "capabilities", "--current"], capture_output=True, check=True)
    names = [{builtin["name"] for builtin in json.loads(raw)["builtins"]} for raw in (done.stdout, CAPABILITIES)]
    missing = names[0] - names[1]
    assert "http.send" in missing
    assert {
        name for name in missing if f"`{name}`" not in section(POLICY_ENGINEERS, "## Loading and refusals")
    } == set()

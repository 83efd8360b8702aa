"""`policy exceptions`: the state of each is what a decision makes of it, and its uses are those on record."""

from pathlib import Path
from typing import Any

import pytest

from tests.audit.logs import command
from tests.reports.conftest import Asked
from tests.support.bridge import write_config
from tests.support.policies import write_policies


@pytest.fixture(scope="module")
def lines(asked: Asked) -> list[dict[str, Any]]:
    return asked.lines("exceptions")


def test_each_has_its_state_place_and_owner(lines: list[dict[str, Any]]) -> None:
    known = {line["id"]: line for line in lines if line["record"] == "exception"}
    states = {name: (line["state"], line["lacks"], line["in_data"]) for name, line in known.items()}
    assert states == {
        "EX-17": ("holds", [], False),
        "BG-4": ("holds", [], True),
        "EX-0": ("expired", [], False),
        "EX-1": ("incomplete", ["approved_by"], False),
        "EX-2": ("unknown", [], False),
        "EX-3": ("holds", [], False),
        "EX-9": ("holds", [], True),
    }
    assert known["BG-4"]["approved_by"] == ["head-of-operations", "ciso"]
    assert known["EX-0"]["owner"] == "Odd Jobs <odd@example.com>"
    assert (known["EX-9"]["package"], known["EX-9"]["file"]) == (None, "data.json")


def test_rows_lead_to_the_rule_or_the_record(asked: Asked, lines: list[dict[str, Any]]) -> None:
    for line in lines[1:]:
        rows = (asked.policies / line["file"]).read_text().splitlines()
        assert rows[line["row"] - 1].strip().startswith("allow contains" if line["code"] else '"EX-9"'), line


def test_uses_are_counted_by_client_and_drops_by_reason(lines: list[dict[str, Any]]) -> None:
    known = {line["id"]: line for line in lines if line["record"] == "exception"}
    assert (known["EX-17"]["used"], known["EX-17"]["recorded"], known["EX-17"]["clients_in_all"]) == (2, 2, 1)
    assert known["EX-17"]["clients"] == [{"issuer": "local", "client": "nightly-batch", "used": 2}]
    assert known["EX-17"]["last_used"] is not None
    assert (known["EX-3"]["used"], known["BG-4"]["used"], known["BG-4"]["last_used"]) == (1, 0, None)
    assert known["EX-0"]["dropped"] == {"the exception has expired": 1}
    assert known["EX-1"]["dropped"] == {"the exception has no approved_by": 1}
    assert lines[0]["covers_all"] is False  # the log is a minute old


@pytest.mark.parametrize(
    ("options", "code"),
    [([], 0), (["--strict"], 1), (["--within", "1d"], 1), (["--since", "tomorrow"], 2), (["--within", "soon"], 2)],
)
def test_exit_code_is_for_ci(asked: Asked, options: list[str], code: int) -> None:
    assert asked.report("exceptions", *options).returncode == code


def test_what_the_log_has_and_the_policies_no_longer(asked: Asked, tmp_path: Path) -> None:
    waived = '# METADATA\n# custom:\n#   code: batch_waiver\n#   exception: {id: EX-18}\nallow contains {"code": "x"}'
    data = {"exceptions": {"EX-18": {"kind": "waiver", "approved_by": ["ciso"], "expires": "2999-01-01T00:00:00Z"}}}
    policies = {"issuance.gate": "allow := true", 'issuance.scope["admin:users"]': waived}
    config = write_config(tmp_path, write_policies(tmp_path / "rego", policies, data))
    here, within, soon = (
        command("policy", "exceptions", "--config", config, *options)
        for options in (["--log", str(asked.bridge.evidence)], ["--within", "30d"], ["--within", "9999d", "--strict"])
    )
    assert "no longer in the policies  waiver       EX-17" in here.stdout
    assert "holds" in here.stdout
    # Without a log it is said, and no count is made up.
    assert "No log was read, so nothing is known of what was used." in within.stdout
    assert within.stdout.splitlines()[-1].split()[:6] == ["holds", "waiver", "EX-18", "2999-01-01T00:00:00Z", *POLICY]
    assert (within.returncode, soon.returncode) == (0, 0)


POLICY = ['issuance.scope["admin:users"]/batch_waiver', "p1.rego:7"]


def test_one_that_soon_expires_fails_within_only(tmp_path: Path) -> None:
    record = {"kind": "waiver", "approved_by": ["ciso"], "expires": "2029-01-01T00:00:00Z"}
    policies = write_policies(tmp_path / "rego", {"issuance.gate": "allow := true"}, {"exceptions": {"EX-5": record}})
    config = write_config(tmp_path, policies)
    found = [
        command("policy", "exceptions", "--config", config, *options).returncode
        for options in (["--strict"], ["--within", "9999d"], ["--within", "1d"])
    ]
    assert found == [0, 1, 0]


def test_markdown_is_one_table(asked: Asked) -> None:
    done = asked.report("exceptions", "--markdown")
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 7
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "nightly-batch (local) 2" in done.stdout

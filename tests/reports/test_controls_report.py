"""`policy controls`: what is named, what stands behind it, and what nobody names or knows."""

from typing import Any

import pytest

from bridge.policy.controls import catalogues, recognised
from tests.reports.conftest import Asked

OWASP, CSF, SP53, TENETS = (catalogue.name for catalogue in catalogues())


@pytest.mark.parametrize(
    ("text", "catalogue", "name"),
    [
        *((text, OWASP, "NHI5:2025") for text in ("OWASP NHI5:2025", "NHI5", "nhi5:2025", "OWASP NHI Top 10 NHI5")),
        *((text, CSF, "PR.AA-05") for text in ("NIST CSF PR.AA-05", "CSF 2.0: PR.AA-05", "pr.aa-05", "NIST PR.AA-05")),
        *((text, SP53, "AC-6") for text in ("NIST SP 800-53 AC-6", "NIST SP 800-53 Rev. 5 AC-06", "AC-6")),
        ("SP 800-53 AC-6(9)", SP53, "AC-6(9)"),
        *((text, TENETS, "SP 800-207 tenet 4") for text in ("SP 800-207 tenet 4", "NIST SP 800-207 tenet 4")),
        *((text, None, text) for text in ("NHI11", "AC-99", "GDPR Art. 6", "tenet 4", "", "NHI5:2024", "AC-6(999)")),
        ("NIST CSF PR.AC-4", None, "NIST CSF PR.AC-4"),
    ],
)
def test_a_control_is_recognised_by_its_id(text: str, catalogue: str | None, name: str) -> None:
    found = recognised(text)
    assert (found.catalogue, found.id) == (catalogue, name)


def test_the_numbers_that_are_often_wrong_are_right_here() -> None:
    owasp = catalogues()[0].controls
    assert (owasp["NHI3:2025"], owasp["NHI5:2025"]) == ("Vulnerable Third-Party NHI", "Overprivileged NHI")
    assert recognised("PR.AC-4").hint == "a number of CSF 1.1; in CSF 2.0 it is PR.AA-05"
    ids = [name for catalogue in catalogues() for name in catalogue.controls]
    assert len(ids) == len(set(ids))


@pytest.fixture(scope="module")
def lines(asked: Asked) -> list[dict[str, Any]]:
    return asked.lines("controls", "--days", "7")


def of(lines: list[dict[str, Any]], record: str) -> dict[str, dict[str, Any]]:
    return {line["id"]: line for line in lines if line["record"] == record}


def test_no_control_is_dropped(lines: list[dict[str, Any]]) -> None:
    assert of(lines, "control").keys() == {"NHI3:2025", "NHI5:2025", "NHI7:2025", "PR.AA-03", "PR.AA-05", "AC-6(9)"}
    unknown = of(lines, "unrecognised")
    assert unknown.keys() == {"NIST CSF PR.AC-4", "Our own 7", "PSD2 RTS Art. 4", "GDPR Art. 6(1)(a)"}
    assert unknown["NIST CSF PR.AC-4"]["hint"].endswith("PR.AA-05")
    unnamed = of(lines, "unnamed")
    assert "NHI1:2025" in unnamed
    assert "AC-6" not in unnamed  # its enhancement is named
    every = {name for catalogue in catalogues() for name in catalogue.controls}
    assert every == unnamed.keys() | {"AC-6"} | (of(lines, "control").keys() - {"AC-6(9)"})


def test_a_whole_package_or_one_rule_spoke(lines: list[dict[str, Any]]) -> None:
    control = of(lines, "control")
    # At one rule: it spoke once, on its exception path. At the package: that, and the two that were dropped.
    rule = control["NHI3:2025"]
    assert (rule["places"][0]["code"], rule["evidence"]["spoke"]) == ("holds", {"allow": 1})
    assert (rule["evidence"]["exceptions_taken"], rule["evidence"]["exceptions_dropped"]) == (1, 0)
    package = control["AC-6(9)"]["evidence"]
    assert (package["spoke"], package["exceptions_taken"], package["exceptions_dropped"]) == ({"allow": 1}, 1, 2)
    payments = control["NHI7:2025"]["evidence"]["spoke"]
    assert (payments["allow"], payments["limit"], payments["require"]) == (2, 2, 2)


def test_tests_and_cases_stand_behind_packages(lines: list[dict[str, Any]]) -> None:
    packages = {line["package"]: line for line in lines if line["record"] == "package"}
    payments = packages['issuance.scope["payments:write"]']
    assert payments["tests"]["files"] == ["scopes/payments_write_test.rego"]
    assert (payments["tests"]["failed"], payments["cases"]["otherwise"]) == (0, 0)
    assert payments["tests"]["passed"] > 10
    odd = packages['issuance.scope["odd:jobs"]']
    assert (odd["tests"]["files"], odd["cases"]) == ([], {"as_expected": 0, "otherwise": 0})
    assert packages["issuance.gate"]["cases"]["as_expected"] == 70


def test_a_test_and_a_case_that_fail_are_told(asked: Asked) -> None:
    policies = asked.policies
    test, case = policies / "odd_test.rego", policies / "cases" / "odd.yaml"
    test.write_text('package odd_test\n\nimport data.issuance.scope\n\ntest_odd if scope["odd:jobs"].deny\n')
    case.write_text(
        "cases:\n  - {name: odd, client: order-service, grant_type: jwt_bearer, scope: 'odd:jobs', expect: allow}\n"
    )
    try:
        (odd,) = (one for one in asked.lines("controls") if one.get("package") == 'issuance.scope["odd:jobs"]')
        text = asked.report("controls").stdout
    finally:
        test.unlink()
        case.unlink()
    assert odd["cases"] == {"as_expected": 0, "otherwise": 1}
    assert "0 of 1 as expected" in text
    assert "not a statement of conformity" in text
    assert "## What was not checked" in text

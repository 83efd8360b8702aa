"""`policy usage`: what stands in the report is what the bridge answered, and the narrowest registration serves it."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bridge.audit.window import Coverage, Window
from bridge.cli.policy.evidence import DAY_MS, covered_ms, covers_all
from tests.reports.conftest import LOUD, Asked
from tests.support.bridge import local_bridge


@pytest.fixture(scope="module")
def lines(asked: Asked) -> list[dict[str, Any]]:
    return asked.lines("usage", "--since", "90d")


@pytest.fixture(scope="module")
def clients(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {line["client"]: line for line in lines[1:] if line["issuer"] == "local"}


def counts(client: dict[str, Any], what: str = "scopes") -> dict[str, tuple[int, int, int, int]]:
    return {
        one["name"]: (one["asked"], one["granted"], one["waiting"], one["issued"])
        for one in client[what]
        if one["asked"] or one["issued"]
    }


def test_scopes_asked_granted_waiting_issued(clients: dict[str, dict[str, Any]]) -> None:
    assert counts(clients["nightly-batch"]) == {
        "accounts:read": (1, 1, 0, 0),
        "admin:users": (2, 2, 0, 1),
        "odd:jobs": (1, 1, 0, 0),
        "tenant:acme:read": (1, 1, 0, 0),
        "tenant:other:read": (1, 0, 0, 0),
    }
    # The batch has two documents about accounts:read, and is one request.
    assert counts(clients["web-shop"]) == {
        "openid": (2, 2, 0, 0),
        "accounts:read": (2, 2, 0, 0),
        "payments:write": (2, 1, 1, 0),
    }
    assert (clients["web-shop"]["requests"], clients["nightly-batch"]["reports"]) == (5, 1)
    assert counts(clients["web-shop"], "grant_types") == {
        "authorization_code": (4, 3, 1, 0),
        "refresh_token": (1, 1, 0, 0),
    }


def test_never_asked_for_and_never_registered(clients: dict[str, dict[str, Any]]) -> None:
    assert clients["web-shop"]["never_asked"]["scopes"] == ["profile", "tenant:*"]
    assert clients["web-shop"]["never_asked"]["grant_types"] == ["device_code"]
    assert clients["legacy-admin"]["requests"] == 0
    assert clients["legacy-admin"]["never_asked"]["scopes"] == ["openid", "admin:users"]
    unknown = clients["unknown-batch"]
    assert (unknown["registered"], unknown["granted"], "narrowest" in unknown) == (False, 0, False)
    assert [one["registered"] for one in unknown["scopes"]] == [False, False]


async def test_the_narrowest_registration_serves_what_was_served(
    asked: Asked, clients: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    policies = tmp_path / "rego"
    shutil.copytree(asked.policies, policies)
    data = json.loads((policies / "data.json").read_text())
    for line in clients.values():
        if line["registered"]:
            of = line["narrowest"]["registry"]["clients"]["local"]
            assert of.keys() == {line["client"]}
            data["registry"]["clients"]["local"].update(of)
    local = data["registry"]["clients"]["local"]
    assert local["nightly-batch"]["scopes"] == ["accounts:read", "admin:users", "tenant:acme:read", "odd:jobs"]
    assert local["nightly-batch"]["properties"] == {"tenants": ["acme"]}
    assert local["web-shop"]["grant_types"] == ["authorization_code", "refresh_token"]
    assert local["order-service"]["scopes"] == []
    (policies / "data.json").write_text(json.dumps(data))
    async with local_bridge(tmp_path, policies) as bridge:
        for body, before in zip(asked.requests, asked.replies, strict=True):
            after = await bridge.ask(body)
            assert after["granted_scopes"] == before["granted_scopes"], body
            assert (after["outcome"], after["limit"]) == (before["outcome"], before["limit"]), body


def test_a_short_log_does_not_speak_for_ninety_days(asked: Asked, lines: list[dict[str, Any]]) -> None:
    assert (lines[0]["covers_all"], len(lines[0]["logs"])) == (False, 1)
    text = asked.report("usage").stdout
    assert re.search(r"That is [\d.]+ minutes of the 90 days asked for: of the rest, nothing is known\.", text)
    assert re.search(r"never asked for in [\d.]+ minutes, scopes: profile, tenant:\*", text)
    assert re.search(r"legacy-admin \(local\): no request in [\d.]+ minutes; registered for 2 scopes", text)


@pytest.mark.parametrize(
    ("logs", "days", "whole"),
    [
        ([], 0.0, False),
        ([(-5, 10)], 10.0, True),
        ([(-5, 4)], 4.0, False),
        ([(6, 12), (-5, 4)], 8.0, False),
        ([(2, 8), (3, 5), (7, 10)], 8.0, False),
        ([(0, 5), (5, 10)], 10.0, True),
        ([(11, 12)], 0.0, False),
    ],
)
def test_what_logs_cover_together(logs: list[tuple[int, int]], days: float, whole: bool) -> None:
    """Of ten days; each log from a day to another."""
    window = Window(0, 10 * DAY_MS)
    covered = [Coverage(Path("log"), 0, first * DAY_MS, last * DAY_MS) for first, last in logs]
    assert (covered_ms(window, covered) / DAY_MS, covers_all(window, covered)) == (days, whole)


def test_a_hostile_client_stays_on_its_line(asked: Asked) -> None:
    done = asked.report("usage", "--client", LOUD)
    assert "\x9b" not in done.stdout
    assert r"evil\x9b2J|client (local), not registered: 1 requests, 0 granted" in done.stdout


def test_without_a_log_there_is_no_report(asked: Asked, tmp_path: Path) -> None:
    done = asked.report("usage", "--log", str(tmp_path))
    assert done.returncode == 1
    assert "there is no log" in done.stderr

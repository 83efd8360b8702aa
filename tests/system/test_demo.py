"""`make demo` tells its story to the end, and leaves nothing running."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_story() -> None:
    command = [sys.executable, "-m", "examples.token_service.demo"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    chapters = dict(
        zip(("start", "granted", "narrowed", "step-up", "denied", "log"), _chapters(told.stdout), strict=True)
    )
    assert "scope='openid accounts:read'" in chapters["granted"]
    assert "<- 200" in chapters["granted"]
    assert "scope='openid accounts:read'" in chapters["narrowed"]
    refused, granted = chapters["step-up"].split("signs in again")
    assert "invalid_grant" in refused
    assert "urn:bank:acr:bankid" in refused
    assert "scope='payments:write', life 300 s" in granted
    assert "invalid_scope" in chapters["denied"]
    assert "unbound" in chapters["denied"]
    assert chapters["log"].count("decision of") == 5
    reported = chapters["log"].split("narrowed:")[0]
    assert "issued at" in reported
    assert "nothing that the decision does not allow" in reported
    assert '"scopes": ["openid", "accounts:read"], "audience": ["https://accounts.example"]' in reported
    denial = chapters["log"].split("denied:")[1]
    assert "payments:write" in denial
    assert "unbound" in denial
    assert "owner Payments API" in denial


def _chapters(text: str) -> list[str]:
    parts = [text]
    for number in range(1, 6):
        head, mark, tail = parts.pop().partition(f"\n{number}. ")
        assert mark, f"no chapter {number} in:\n{text}"
        parts += [head, tail]
    return parts

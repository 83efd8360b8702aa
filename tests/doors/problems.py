"""What every error looks like (RFC 9457)."""

from http import HTTPStatus
from typing import Any

import httpx


def problem_in(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document in `response`, which must be a whole one with `status`, and must not be cached."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Cache-Control"] == "no-store"
    body: dict[str, Any] = response.json()
    assert body.keys() <= {"type", "title", "status", "detail", "errors"}
    assert (body["type"], body["title"], body["status"]) == ("about:blank", HTTPStatus(status).phrase, status)
    assert body["detail"]
    return body


def pointers_in(response: httpx.Response) -> list[str]:
    """The JSON pointers that a 400 names."""
    return [error["pointer"] for error in problem_in(response, 400).get("errors", [])]

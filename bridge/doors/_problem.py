"""Errors on the wire: problem details (RFC 9457), with the field and what is allowed; never a value, never a trace."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from aiohttp import web
from pydantic import ValidationError

MAX_SHOWN = 16


def problem(
    status: int,
    detail: str,
    *,
    errors: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A problem document; `errors` pairs JSON pointers with what is allowed there."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if shown := [{"pointer": pointer, "detail": text} for pointer, text in errors][:MAX_SHOWN]:
        body["errors"] = shown
    return web.Response(
        body=orjson.dumps(body), status=status, content_type="application/problem+json", headers=headers
    )


def authzen_error(
    status: int, detail: str, *, errors: Iterable[tuple[str, str]] = (), headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error of the Authorization API 1.0 (section 10.1.3): a message, and no problem document."""
    texts = [f"{pointer.removeprefix('/').replace('/', '.')} {text}" for pointer, text in errors][:MAX_SHOWN]
    body = {"error": "; ".join(texts) or detail}
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


_OPA_CODES = {400: "invalid_parameter", 401: "unauthorized", 403: "unauthorized", 500: "internal_error"}


def opa_error(
    status: int, detail: str, *, errors: Iterable[tuple[str, str]] = (), headers: Mapping[str, str] | None = None
) -> web.Response:
    """An error as OPA's REST API says it: `code` and `message`."""
    texts = [f"{pointer.removeprefix('/').replace('/', '.')} {text}" for pointer, text in errors][:MAX_SHOWN]
    body = {"code": _OPA_CODES.get(status, "invalid_parameter"), "message": "; ".join(texts) or detail}
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)


def problems_of(error: ValidationError, unknown: str) -> list[tuple[str, str]]:
    """Pydantic's findings as (JSON pointer, text), without the values that were sent; `unknown`: of unknown members."""
    found = []
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_SHOWN]:
        pointer = "".join(f"/{str(part)[:64].replace('~', '~0').replace('/', '~1')}" for part in one["loc"])
        text = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            text = unknown
        found.append((pointer, text))
    return found

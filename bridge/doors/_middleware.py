"""What every reply shares: the echoed X-Request-ID, and errors as problem documents."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from bridge.doors._callers import CallerRefused
from bridge.doors._problem import authzen_error, opa_error, problem
from bridge.errors import MalformedRequest
from bridge.ops.metrics import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
REQUEST_ID = "X-Request-ID"
REQUEST_ID_KEY = web.RequestKey("request_id", str)
_REQUEST_ID = re.compile(r"[\x20-\x7e]{1,256}")
AUTHZEN_PATHS = ("/access/v1/", "/curity/v1/")
OPA_PATHS = ("/v1/data/",)
HOOK_PATHS = ("/hooks/",)
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "issuance-bridge"}
log = structlog.get_logger(__name__)


def errors_and_request_id(metrics: Metrics) -> Middleware:
    """The one middleware: no stack trace and no value of the request leaves through an error."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request_id = request.headers.get(REQUEST_ID)
        if request.path.startswith(HOOK_PATHS) and not _REQUEST_ID.fullmatch(request_id or ""):
            request_id = None  # passed over: to a product that fails open, a 400 would be a yes
        kept = request_id
        if request_id is not None and not _REQUEST_ID.fullmatch(request_id):
            # AuthZEN allows any text and wants it back; what is kept of it is bounded.
            kept = ascii(request_id)[1:-1][:256] if _speaks_authzen(request) and _is_text(request_id) else None
        if request_id is not None and kept is None:
            metrics.refused("malformed")
            allowed = "UTF-8" if _speaks_authzen(request) else "1 to 256 printable ASCII characters"
            response: web.StreamResponse = _error(request, 400, f"{REQUEST_ID} must be {allowed}")
        else:
            if kept is not None:
                request[REQUEST_ID_KEY] = kept
            response = await _answer(request, handler, metrics)
            if request_id is not None:
                response.headers[REQUEST_ID] = request_id
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return middleware


async def _answer(request: web.Request, handler: Handler, metrics: Metrics) -> web.StreamResponse:
    try:
        return await handler(request)
    except CallerRefused as refused:
        metrics.refused(refused.reason, refused.caller)
        log.warning("call_refused", reason=refused.reason, path=request.path[:128])
        headers = {"WWW-Authenticate": 'Bearer realm="issuance-bridge"'} if refused.status == 401 else None
        text = {401: "unknown caller", 403: "not allowed", 421: "Host must be localhost or a loopback address"}
        return _error(request, refused.status, text[refused.status], headers=headers)
    except MalformedRequest as malformed:
        metrics.refused("malformed")
        errors = [(p, t) for p, t in malformed.problems if p]
        detail = "the request does not fit: see errors" if errors else malformed.problems[0][1]
        response = _error(request, malformed.status, detail, errors=errors)
        if malformed.status in (408, 413):
            response.force_close()
        return response
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return _error(request, error.status, error.reason, headers=allow)
    except Exception:  # no stack trace leaves: a defect is a 500
        log.exception("door_defect", path=request.path[:128])
        return _error(request, 500, "the bridge has a defect; its log says more")


def _error(request: web.Request, status: int, detail: str, **members: Any) -> web.Response:
    """In the form of the API that was called."""
    if request.path.startswith(OPA_PATHS):
        return opa_error(status, detail, **members)
    return (authzen_error if _speaks_authzen(request) else problem)(status, detail, **members)


def _is_text(header: str) -> bool:
    """Bytes that are no UTF-8 stand as lone surrogates, and could not go out again."""
    return not any("\ud800" <= character <= "\udfff" for character in header)


def _speaks_authzen(request: web.Request) -> bool:
    return request.path.startswith(AUTHZEN_PATHS)

"""A JSON body: read within bounds of size and time, strict, and checked against a model."""

import asyncio
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.doors._problem import problems_of
from bridge.errors import MalformedRequest
from bridge.model import strict_json
from bridge.pdp.gather import encode

MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_LIST_BYTES = 8 * 1024
BODY_TIMEOUT_S = 10.0
Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: web.Request, *, wrong_type: int = 415, within_s: float | None = None) -> bytes:
    """The JSON body's bytes, bounded in size and time. MalformedRequest (400, 408, 413, or `wrong_type`)."""
    if request.content_type != "application/json":
        raise MalformedRequest([("", "Content-Type must be application/json")], status=wrong_type)
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    within_s = within_s or BODY_TIMEOUT_S
    try:
        # Most bodies came with the head, and need no timer.
        async with asyncio.timeout(None if request.content.is_eof() else within_s):
            return await request.read()
    except TimeoutError:
        raise MalformedRequest([("", f"the body did not arrive within {within_s:g} s")], status=408) from None
    except web.HTTPRequestEntityTooLarge:
        raise _too_large() from None
    except (web.RequestPayloadError, ConnectionError):  # the latter: the client left, and nobody reads the answer
        raise MalformedRequest([("", "the body is broken off, or not what its Content-Encoding says")]) from None


def parse_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. MalformedRequest when it is none."""
    value = strict_json.loads(body)
    if not isinstance(value, dict):
        raise MalformedRequest([("", "the body must be a JSON object")])
    return value


def bound_list(value: dict[str, Any], name: str, what: str, most: int, setting: str = "") -> None:
    """MalformedRequest when the list `name` in `value` has more than `most` members, or more than 8 KiB of them.

    So an entry can hold them. `what` names the members; `setting` is the one that bounds their number, if any.
    """
    items = value.get(name)
    if not isinstance(items, list):
        return
    if len(items) > most:
        why = f" ({setting})" if setting else ""
        raise MalformedRequest([(f"/{name}", f"at most {most} {what}{why}, {len(items)} sent")])
    if len(encode(items)) > MAX_LIST_BYTES + 3 * len(items) + 1:  # the quotes, commas and brackets
        raise MalformedRequest([(f"/{name}", f"at most {MAX_LIST_BYTES} bytes for all {what} together")])


def checked(value: dict[str, Any], model: type[Model], unknown: str = "unknown member") -> Model:
    """`value` as `model`. MalformedRequest names each field and what is allowed; `unknown`: what to say of others."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise MalformedRequest(problems_of(error, unknown)) from None


def _too_large() -> MalformedRequest:
    return MalformedRequest([("", f"the body may have at most {MAX_BODY_BYTES} bytes")], status=413)

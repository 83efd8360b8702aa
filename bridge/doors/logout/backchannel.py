"""`POST /v1/logout/backchannel`: an OpenID provider tells that a session has ended (Back-Channel Logout 1.0).

The token is the credential: whoever holds a good one may bring it, and it does no more than end what it names.
"""

import asyncio
from urllib.parse import parse_qsl

import orjson
import structlog
from aiohttp import web

from bridge.doors._body import BODY_TIMEOUT_S
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors.logout.keys import AGAIN_S, KeysUnavailable
from bridge.doors.logout.token import Tokens
from bridge.errors import EvidenceUnavailable, LogoutRefused
from bridge.ops.metrics import Metrics
from bridge.pdp.logout import Logouts

PATH = "/v1/logout/backchannel"
FORM = "application/x-www-form-urlencoded"
MAX_BODY_BYTES, MAX_FIELDS = 64 * 1024, 32
log = structlog.get_logger(__name__)


class BackchannelDoor:
    """Form to token, durable endings to 200."""

    def __init__(self, tokens: Tokens, logouts: Logouts, metrics: Metrics) -> None:
        self._tokens, self._logouts, self._metrics = tokens, logouts, metrics

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.post)]

    async def post(self, request: web.Request) -> web.Response:
        """200 once it is durable, also when the token came before; 400; 503: it must come again."""
        try:
            logout = await self._tokens(await _token_in(request))
            repeated = await self._logouts(logout, request.get(REQUEST_ID_KEY))
        except LogoutRefused as refused:
            self._metrics.logout_token("refused")
            log.warning("logout_token_refused", what=refused.what)
            response = _error(400, "invalid_request", str(refused))
            if refused.what == "body":
                response.force_close()
            return response
        except (EvidenceUnavailable, KeysUnavailable) as error:
            self._metrics.logout_token("failed")
            log.error("logout_failed", reason=type(error).__name__)
            after_s = AGAIN_S if isinstance(error, KeysUnavailable) else 1
            return _error(503, "temporarily_unavailable", "nothing is known to have ended: send it again", after_s)
        self._metrics.logout_token("repeated" if repeated else "accepted")
        return web.Response()


async def _token_in(request: web.Request) -> str:
    """The one `logout_token` of the form; other fields are passed over (section 2.5). LogoutRefused."""
    if request.content_type != FORM:
        raise LogoutRefused("Content-Type", f"must be {FORM}")
    raw = await _body(request)
    try:
        fields = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise LogoutRefused("body", f"must be a form of at most {MAX_FIELDS} fields, in ASCII") from None
    found = [value for name, value in fields if name == "logout_token"]
    if len(found) != 1:
        raise LogoutRefused("logout_token", "must stand in the form once")
    return found[0]


async def _body(request: web.Request) -> bytes:
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                raw += part
                if len(raw) > MAX_BODY_BYTES:
                    raise LogoutRefused("body", f"may have at most {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise LogoutRefused("body", f"did not arrive within {BODY_TIMEOUT_S:g} s") from None
    except (web.RequestPayloadError, ConnectionError):
        raise LogoutRefused("body", "is broken off, or not what its Content-Encoding says") from None
    return bytes(raw)


def _error(status: int, code: str, text: str, after_s: float | None = None) -> web.Response:
    """As section 2.8 and RFC 6749, section 5.2, say it; `after_s`: when it is worth while to send it again."""
    headers = None if after_s is None else {"Retry-After": f"{after_s:.0f}"}
    body = orjson.dumps({"error": code, "error_description": text})
    return web.Response(body=body, status=status, content_type="application/json", headers=headers)

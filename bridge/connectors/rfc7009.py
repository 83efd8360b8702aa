"""Token revocation (RFC 7009) at any server: takes back tokens that somebody brings, since the bridge has none.

There is nothing to look at afterwards: a server says 200 to tokens that it does not know, too.
"""

import asyncio
import base64
import ssl
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlsplit

import aiohttp

from bridge import __version__
from bridge.config.secret import read_secret
from bridge.config.servers import AuthorizationServerSection
from bridge.errors import MalformedRequest
from bridge.model import strict_json
from bridge.model.ended import Name
from bridge.model.step import Observed, Standing, Step, Token

KIND = "rfc7009"
PAUSE_S, LONGEST_S = 0.5, 5.0
"""Between attempts, where the server does not say when it can be asked again, and at most."""
MAX_ERROR_BYTES = 8 * 1024
ERRORS = ("invalid_request", "invalid_client", "unauthorized_client", "unsupported_token_type", "invalid_grant")
"""Error codes (RFC 6749, section 5.2; RFC 7009, section 2.2.1) that may stand in the log."""


class TokenRevocation:
    """ports.Connector, which has no steps of its own, and ports.Revoker. ConfigFault when its secret is not there."""

    kind = KIND

    def __init__(self, section: AuthorizationServerSection) -> None:
        self.issuer: str | None = section.issuer
        self._url, self._timeout_s = section.revocation_url, section.timeout_ms / 1000
        self._asked = f"POST {urlsplit(self._url).path or '/'}"
        self._form: dict[str, str] = {}
        self._headers = {"Accept": "application/json", "User-Agent": f"issuance-bridge/{__version__}"}
        if section.client_secret_file:
            secret = read_secret(section.client_secret_file, "servers: client_secret_file")
            login = f"{quote_plus(section.client_id)}:{quote_plus(secret)}"  # RFC 6749, section 2.3.1
            self._headers["Authorization"] = f"Basic {base64.b64encode(login.encode()).decode()}"
        else:
            self._form["client_id"] = section.client_id
        self._tls: ssl.SSLContext | bool = ssl.create_default_context() if self._url.startswith("https") else True

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        return []

    async def do(self, step: Step) -> Observed:
        """Never asked for: without a token there is nothing to send."""
        return Observed(Standing.ACCEPTED, "nothing", {})

    async def clients(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        """There is nothing to close."""

    async def revoke(self, token: Token, until: float) -> Observed:
        """Asks again after a 503 and when the connection fails, as long as there is time."""
        seen: Mapping[str, Any] = {"fault": "timeout"}
        while (left := until - time.monotonic()) > 0:
            wait_s = PAUSE_S
            try:
                async with asyncio.timeout(min(self._timeout_s, left)):
                    status, after_s, seen = await self._post(token)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                seen = {"fault": "timeout" if isinstance(error, TimeoutError) else "connection"}
            else:
                if status == 200:
                    return Observed(Standing.ACCEPTED, self._asked, seen)
                if status != 503:
                    break
                wait_s = after_s
            if time.monotonic() + wait_s >= until:
                break
            await asyncio.sleep(wait_s)
        return Observed(Standing.FAILED, self._asked, seen)

    async def _post(self, token: Token) -> tuple[int, float, dict[str, Any]]:
        """The status, after how many seconds to come again, and what may be told of the answer."""
        hint = {"token_type_hint": token.hint} if token.hint else {}
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.post(
                self._url,
                data={"token": token.value, **hint, **self._form},
                headers=self._headers,
                allow_redirects=False,
            ) as response,
        ):
            seen: dict[str, Any] = {"status": response.status}
            if 400 <= response.status < 500 and (code := _error(await response.content.read(MAX_ERROR_BYTES))):
                seen["error"] = code
            return response.status, _after(response.headers.get("Retry-After", "")), seen


def _error(body: bytes) -> str | None:
    """The error code, where it is a known one."""
    try:
        told = strict_json.loads(body)
    except MalformedRequest:
        return None
    code = told.get("error") if isinstance(told, dict) else None
    return code if code in ERRORS else None


def _after(header: str) -> float:
    """Retry-After in seconds (RFC 9110, section 10.2.3); a date is not worth a clock."""
    return min(LONGEST_S, float(header)) if header.isdecimal() and len(header) < 8 else PAUSE_S

"""Looks up what was granted at the consent: at the exchange of a code, Hydra's hook shows only what was requested.

The admin API lists a subject's consents, the newest first; one that was remembered is not listed. A consent does not
change once it is given, so what was found is kept: each refresh asks for it again.
"""

import asyncio
import ssl
from collections import OrderedDict
from typing import Any

import aiohttp
import structlog

from bridge import __version__
from bridge.config.hooks import HydraSection
from bridge.config.secret import read_secret
from bridge.doors.hooks.hydra_body import Consent
from bridge.errors import MalformedRequest
from bridge.model import strict_json

PATH = "/admin/oauth2/auth/sessions/consent"
MAX_KEPT = 10_000
MAX_ANSWER_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 32
PAGE = 50
AT_A_TIME = 64
log = structlog.get_logger(__name__)


class Consents:
    """By subject, client and challenge. Never raises for a fault of Hydra: then the consent is not found."""

    def __init__(self, section: HydraSection) -> None:
        self._url, self._timeout_s = section.admin_url, section.admin_timeout_ms / 1000
        self._headers = {"Accept": "application/json", "User-Agent": f"issuance-bridge/{__version__}"}
        if section.admin_token_file:
            token = read_secret(section.admin_token_file, "hooks.hydra.admin_token_file")
            shown = {section.admin_header: token} if section.admin_header else {"Authorization": f"Bearer {token}"}
            self._headers.update(shown)
        self._tls: ssl.SSLContext | bool = ssl.create_default_context() if self._url.startswith("https") else True
        self._kept: OrderedDict[tuple[str, str, str], Consent] = OrderedDict()
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._failing = False

    async def find(self, subject: str, client: str, challenge: str, login_session: str | None) -> Consent | None:
        """What was granted; `login_session`: the `sid` of the login, where it is known."""
        key = (subject, client, challenge)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if not (self._url and subject and challenge):
            return None
        try:
            async with asyncio.timeout(self._timeout_s), self._places:
                listed = await self._list(subject, login_session)
        except (TimeoutError, aiohttp.ClientError, OSError, MalformedRequest, _NoAnswerError) as error:
            self._note(type(error).__name__ if not isinstance(error, _NoAnswerError) else str(error))
            return None
        self._note(None)
        found = [one for item in listed if (one := _consent(item, key)) is not None]
        if len(found) != 1:
            return None
        self._kept[key] = found[0]
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found[0]

    async def _list(self, subject: str, login_session: str | None) -> list[Any]:
        query = {"subject": subject, "page_size": str(PAGE)}
        if login_session:
            query["login_session_id"] = login_session
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.get(self._url + PATH, params=query, headers=self._headers, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise _NoAnswerError(f"it answers with status {response.status}")
            raw = bytearray()
            async for part in response.content.iter_any():
                raw += part
                if len(raw) > MAX_ANSWER_BYTES:
                    raise _NoAnswerError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
        listed = strict_json.loads(bytes(raw), max_depth=MAX_DEPTH)
        if not isinstance(listed, list):
            raise _NoAnswerError("its answer is no list")
        return listed

    def _note(self, failure: str | None) -> None:
        """Tells the operator once, until it changes."""
        if failure is not None and not self._failing:
            log.warning("hydra_admin_failed", reason=failure)
        elif failure is None and self._failing:
            log.info("hydra_admin_recovered")
        self._failing = failure is not None


class _NoAnswerError(Exception):
    """The admin API gave no list; the text holds nothing of it."""


def _consent(item: Any, key: tuple[str, str, str]) -> Consent | None:
    """The consent in an item of the list, when it is the one that is looked for."""
    if not isinstance(item, dict):
        return None
    request = item.get("consent_request")
    client = request.get("client") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(client, dict):
        return None
    if (request.get("subject"), client.get("client_id"), request.get("challenge")) != key:
        return None
    if not {"grant_scope", "grant_access_token_audience"} <= item.keys():
        return None  # what was granted is not said; "nothing" is said as an empty list, or null
    scopes, audience = (
        [] if item[name] is None else item[name] for name in ("grant_scope", "grant_access_token_audience")
    )
    try:
        # A client that is configured to skip the consent was granted scopes by nobody's consent.
        consented: list[str] | None = [] if client.get("skip_consent") is True else None
        return Consent(scopes=scopes, audience=audience, consented_scopes=consented)
    except ValueError:
        return None

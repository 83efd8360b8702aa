"""Looks up what was granted at the consent: at the exchange of a code, Hydra's hook shows only what was requested.

The admin API lists a subject's consents, the newest first; one that was remembered is not listed. A consent does not
change once it is given, so what was found is kept: each refresh asks for it again.
"""

import asyncio
from collections import OrderedDict
from typing import Any

import structlog

from bridge.config.hooks import HydraSection
from bridge.doors.hooks.hydra_body import Consent
from bridge.hydra.admin import CONSENTS, HydraAdmin, NoAnswer

MAX_KEPT = 10_000
PAGE = 50
AT_A_TIME = 64
log = structlog.get_logger(__name__)


class Consents:
    """By subject, client and challenge. Never raises for a fault of Hydra: then the consent is not found."""

    def __init__(self, section: HydraSection) -> None:
        timeout_s = section.admin_timeout_ms / 1000
        self._timeout_s = timeout_s
        self._admin: HydraAdmin | None = None
        if section.admin_url:
            self._admin = HydraAdmin(
                section.admin_url, section.admin_token_file, section.admin_header, timeout_s, "hooks.hydra"
            )
        self._kept: OrderedDict[tuple[str, str, str], Consent] = OrderedDict()
        self._places = asyncio.Semaphore(AT_A_TIME)
        self._failing = False

    async def find(self, subject: str, client: str, challenge: str, login_session: str | None) -> Consent | None:
        """What was granted; `login_session`: the `sid` of the login, where it is known."""
        key = (subject, client, challenge)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if not (self._admin and subject and challenge):
            return None
        query = {"subject": subject, **({"login_session_id": login_session} if login_session else {})}
        try:
            async with asyncio.timeout(self._timeout_s), self._places:
                listed = (await self._admin.page(CONSENTS, query, PAGE)).value
        except (TimeoutError, NoAnswer) as error:
            self._note(str(error) or "it does not answer in time")
            return None
        self._note(None)
        found = [one for item in listed if (one := _consent(item, key)) is not None]
        if len(found) != 1:
            return None
        self._kept[key] = found[0]
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return found[0]

    def _note(self, failure: str | None) -> None:
        """Tells the operator once, until it changes."""
        if failure is not None and not self._failing:
            log.warning("hydra_admin_failed", reason=failure)
        elif failure is None and self._failing:
            log.info("hydra_admin_recovered")
        self._failing = failure is not None


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

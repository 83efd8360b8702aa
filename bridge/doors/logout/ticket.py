"""Tickets for the front-channel page: whose they are is told by nobody but this log's bridges, and for ten minutes.

Sealed and not only signed: they stand in the address line and in the logs of every proxy, and name a session.
"""

import base64
import binascii
import hmac
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.config.logout import LogoutSection, RelyingPartySection
from bridge.model.ended import Effect, Name, What
from bridge.ports import Receipt

PATH = "/v1/logout/frontchannel/{ticket}"
LIFETIME_S = 600
MAX_TICKET = 4096
_PURPOSE = b"logout front-channel ticket"
_NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which session, and the entry of its ending."""

    issuer: str
    session: str
    ending_id: str
    ending: int


class Tickets:
    """Makes addresses of the page and reads them; `secret` is the log's own, so that all workers share it."""

    def __init__(self, section: LogoutSection, parties: Sequence[RelyingPartySection], secret: bytes) -> None:
        self._url = section.public_url
        self._issuers = frozenset(party.issuer for party in parties if party.frontchannel_logout_uri)
        self._cipher = AESGCM(hmac.digest(secret, _PURPOSE, "sha256"))

    def url(self, name: Name, receipt: Receipt) -> str | None:
        """The page for what ended by this entry; None: there is none for it."""
        entry = receipt.entry
        ours = name.what is What.SESSION and entry["effect"] == Effect.ENDED and name.issuer in self._issuers
        if not self._url or not ours:
            return None
        told = [name.issuer, name.ids[0], entry["id"], receipt.index, int(time.time()) + LIFETIME_S]
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, json.dumps(told).encode(), None)
        return self._url + PATH.replace("{ticket}", _written(sealed))

    def read(self, text: str) -> Ticket | None:
        """None: it is none of ours, or has run out."""
        try:
            if len(text) > MAX_TICKET:
                return None
            sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if _written(sealed) != text:  # base64 has several spellings of one value
                return None
            told = json.loads(self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], None))
        except (InvalidTag, binascii.Error, ValueError):
            return None
        issuer, session, ending_id, ending, until = told
        return Ticket(issuer, session, ending_id, ending) if time.time() < until else None


def _written(sealed: bytes) -> str:
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

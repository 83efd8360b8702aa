"""Asks a relying party whether it still accepts a session: `sid` and `iss` in a form, answered as RFC 7662 answers."""

import asyncio
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import aiohttp

from bridge import __version__
from bridge.config.logout import RelyingPartySection
from bridge.errors import MalformedRequest
from bridge.model import strict_json

MAX_ANSWER_BYTES, MAX_DEPTH, AT_A_TIME = 64 * 1024, 16, 100
HEADERS = {"Accept": "application/json", "User-Agent": f"issuance-bridge/{__version__}"}


class State(StrEnum):
    """What a relying party says of a session."""

    ENDED = "ended"
    ACTIVE = "active"
    UNANSWERED = "unanswered"
    NOT_ASKED = "not_asked"
    """It has no `session_check_url`."""


@dataclass(frozen=True, slots=True)
class Checked:
    """`status`: of its HTTP answer, where there was one. `fault`: why it counts for none, in a word of ours."""

    party: RelyingPartySection
    state: State
    status: int | None = None
    fault: str | None = None


def outgoing() -> aiohttp.ClientSession:
    """A client that keeps no cookies and takes no proxy of the environment.

    Its users bound their own requests: one that waited here for those that hang would be taken for one of them.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
    )


def fault_of(error: Exception) -> str:
    """A fault of the other side in a word, without its own words."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return "tls"
    return "unreachable" if isinstance(error, (aiohttp.ClientConnectorError, OSError)) else "no_answer"


async def ask(client: aiohttp.ClientSession, party: RelyingPartySection, session: str) -> Checked:
    """Never raises for a fault of the other side, nor for a token file that is gone."""
    if not party.session_check_url:
        return Checked(party, State.NOT_ASKED)
    try:
        token = await asyncio.to_thread(_token, party.session_check_token_file)
    except (OSError, ValueError):
        return Checked(party, State.UNANSWERED, fault="token_file")
    try:
        async with asyncio.timeout(party.timeout_ms / 1000):
            status, raw = await _exchange(client, party, session, token)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        return Checked(party, State.UNANSWERED, fault=fault_of(error))
    active = _active(raw) if status == 200 else None
    if active is None:
        return Checked(party, State.UNANSWERED, status, "no_answer")
    return Checked(party, State.ACTIVE if active else State.ENDED, status)


async def _exchange(
    client: aiohttp.ClientSession, party: RelyingPartySection, session: str, token: str
) -> tuple[int, bytes]:
    headers = {**HEADERS, "Authorization": f"Bearer {token}"} if token else HEADERS
    form = {"sid": session, "iss": party.issuer}
    async with client.post(party.session_check_url, data=form, headers=headers, allow_redirects=False) as response:
        raw = bytearray()
        async for part in response.content.iter_any():
            raw += part
            if len(raw) > MAX_ANSWER_BYTES:
                return response.status, b""
        return response.status, bytes(raw)


def _active(raw: bytes) -> bool | None:
    try:
        value = strict_json.loads(raw, max_depth=MAX_DEPTH)
    except MalformedRequest:
        return None
    active = value.get("active") if isinstance(value, dict) else None
    return active if isinstance(active, bool) else None


def _token(file: str) -> str:
    """ValueError when the file does not hold one token; "" without a file."""
    token = Path(file).read_text(encoding="ascii").strip() if file else ""
    if file and (not token or not token.isprintable() or " " in token):
        raise ValueError("not one token")
    return token


async def check_all(parties: list[RelyingPartySection], session: str) -> list[Checked]:
    """Of all of them, in their order."""
    places = asyncio.Semaphore(AT_A_TIME)

    async def at_a_place(party: RelyingPartySection) -> Checked:
        async with places:
            return await ask(client, party, session)

    async with outgoing() as client:
        return list(await asyncio.gather(*map(at_a_place, parties)))

"""Hydra's admin API, bounded: no answer is longer, deeper or slower than is set, and none leads anywhere else."""

import asyncio
import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from bridge import __version__
from bridge.config.secret import read_secret
from bridge.errors import BridgeError, MalformedRequest
from bridge.model import strict_json

CONSENTS = "/admin/oauth2/auth/sessions/consent"
LOGINS = "/admin/oauth2/auth/sessions/login"
CLIENTS = "/admin/clients"
MAX_ANSWER_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 32
PAGE, LONGEST_PAGE, MAX_ITEMS = 250, 1000, 100_000
"""Items of a page, of the longest that Hydra gives, and of a whole list."""


class NoAnswer(BridgeError):
    """The admin API gave nothing that could be used. The text, and `fault`, one word, hold nothing of what it said."""

    def __init__(self, text: str, fault: str) -> None:
        super().__init__(text)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Answer:
    """`value`: the JSON of it; None where it is none. `total`: how many items the whole list has, if that is told."""

    status: int
    value: Any = None
    total: int | None = None


class HydraAdmin:
    """One of them. ConfigFault, which names `setting`, when `token_file` cannot be used."""

    def __init__(self, url: str, token_file: str, header: str, timeout_s: float, setting: str) -> None:
        self._url, self._timeout_s = url, timeout_s
        self._headers = {"Accept": "application/json", "User-Agent": f"issuance-bridge/{__version__}"}
        if token_file:
            token = read_secret(token_file, f"{setting}.admin_token_file")
            self._headers |= {header: token} if header else {"Authorization": f"Bearer {token}"}
        self._tls: ssl.SSLContext | bool = ssl.create_default_context() if url.startswith("https") else True

    async def ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> Answer:
        """The answer, whatever its status is. `path`: percent-encoded. NoAnswer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(method, path, query or {})
        except TimeoutError:
            raise NoAnswer("it does not answer in time", "timeout") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(type(error).__name__, "unreachable") from error

    async def page(self, path: str, query: Mapping[str, str], size: int, offset: int = 0) -> Answer:
        """A part of a list; its `value` is one."""
        # What the links of a list of consents lead to is not its next page: 2.3.0 takes size and number for each other.
        token = base64.urlsafe_b64encode(b'{"offset":"%d","v":2}' % offset).rstrip(b"=").decode()
        paging = {"page_size": str(size), **({"page_token": token} if offset else {})}
        answer = await self.ask("GET", path, {**query, **paging})
        if answer.status != 200:
            raise NoAnswer(f"it answers with status {answer.status}", f"status {answer.status}")
        if not isinstance(answer.value, list):
            raise NoAnswer("its answer is no list of strict JSON, or nested too deep", "no list")
        return answer

    async def whole(self, path: str, query: Mapping[str, str], *, counted: bool = False) -> list[Any]:
        """Every item of a list, of all its pages; `counted`: as many as it says there are. NoAnswer."""
        found: list[Any] = []
        size, offset, total = PAGE, 0, 0
        while True:
            answer = await self.page(path, query, size, offset)
            # A page whose consents have all expired is empty, and tells no number, as a list without any does: if that
            # is the first, a longer one shows whether there are others after them.
            if not (offset or answer.value or counted) and size < LONGEST_PAGE:
                size = LONGEST_PAGE
                continue
            found += answer.value
            offset += size
            total = total if answer.total is None else answer.total
            if answer.total is None and (answer.value or counted):
                raise NoAnswer("it does not tell how long its list is", "no total")
            if total > MAX_ITEMS or len(answer.value) > size:
                raise NoAnswer(f"its list is longer than {MAX_ITEMS} items", "too long")
            if offset >= total:
                break
        if counted and len(found) != total:
            raise NoAnswer("its list has another length than it says", "cut off")
        return found

    async def _exchange(self, method: str, path: str, query: Mapping[str, str]) -> Answer:
        url = URL(self._url + path + (f"?{urlencode(query)}" if query else ""), encoded=True)
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=1, force_close=True)
        async with (
            aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.request(method, url, headers=self._headers, allow_redirects=False) as response,
        ):
            raw = bytearray()
            async for part in response.content.iter_any():
                raw += part
                if len(raw) > MAX_ANSWER_BYTES:
                    raise NoAnswer(f"its answer is longer than {MAX_ANSWER_BYTES} bytes", "too long")
            return Answer(response.status, _value(bytes(raw)), _number(response.headers.get("X-Total-Count")))


def _value(raw: bytes) -> Any:
    try:
        return strict_json.loads(raw, max_depth=MAX_DEPTH)
    except MalformedRequest:
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None

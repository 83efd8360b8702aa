"""Asks a source over HTTP: one POST with the key values, to the one address that the configuration names.

A POST, since the values are often personal and URLs stand in the logs of every proxy on the way. Nothing in a request
or an answer leads anywhere else: no redirects, no proxies of the environment, no cookies.
"""

import asyncio
import ssl
import time
from pathlib import Path

import aiohttp
import orjson

from bridge import __version__
from bridge.config.sources import SourceSection
from bridge.errors import ConfigFault, MalformedRequest, SourceFailed
from bridge.model import strict_json
from bridge.model.source import Held, Key

MAX_VALUE_BYTES = 64 * 1024
MAX_DEPTH = 32
_HEADERS = {
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": f"issuance-bridge/{__version__}",
}


class _Question(aiohttp.ClientRequest):
    """Does not go out where something was said unasked: it would be taken for the answer, and be another one's."""

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        if conn.protocol is None or conn.protocol.should_close:
            conn.close()
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


class HttpFetcher:
    """One address; credentials come from files: a bearer token, or a client certificate."""

    def __init__(self, section: SourceSection) -> None:
        self._section = section
        self._token: str | None = None
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """ConfigFault when a file of its credentials cannot be used."""
        section = self._section
        tls = await asyncio.to_thread(_tls, section) if section.scheme == "https" else True
        if section.token_file:
            self._token = await asyncio.to_thread(_read_token, section)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=0),
            request_class=_Question,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trust_env=False,
            auto_decompress=False,
            raise_for_status=False,
        )

    async def fetch(self, key: Key) -> Held:
        """The value for `key`. SourceFailed."""
        body = orjson.dumps(dict(zip(self._section.key, key, strict=True)))
        at = time.monotonic()
        try:
            raw = await self._post(body)
        except aiohttp.ClientError as error:
            raise SourceFailed(_told(error)) from error
        try:
            value = strict_json.loads(raw, max_depth=MAX_DEPTH)
        except MalformedRequest:  # its text may quote a name
            raise SourceFailed("its answer is not one value of strict JSON, or nested too deep", alive=True) from None
        return Held(value, at, len(raw))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, body: bytes) -> bytes:
        shown = self._token
        try:
            status, raw = await self._exchange(body)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            # Most likely a kept connection that was closed or spoilt meanwhile; asking twice does no harm.
            status, raw = await self._exchange(body)
        if status == 401 and shown is not None and await self._token_other_than(shown):
            status, raw = await self._exchange(body)
        if status != 200:
            raise SourceFailed(f"it answers with status {status}", alive=status < 500 and status != 429)
        return raw

    async def _exchange(self, body: bytes) -> tuple[int, bytes]:
        """Status and body; the body of a 200 only."""
        if self._session is None:
            raise SourceFailed("it was not started")
        headers = _HEADERS if self._token is None else {**_HEADERS, "Authorization": f"Bearer {self._token}"}
        posting = self._session.post(self._section.url, data=body, headers=headers, allow_redirects=False)
        async with posting as response:
            if response.status != 200:
                return response.status, b""
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise SourceFailed("its answer has an encoding that was not asked for", alive=True)
            data = bytearray()
            async for part in response.content.iter_any():
                data += part
                if len(data) > MAX_VALUE_BYTES:
                    response.close()
                    raise SourceFailed(f"its answer is longer than {MAX_VALUE_BYTES} bytes", alive=True)
            return 200, bytes(data)

    async def _token_other_than(self, shown: str) -> bool:
        """Whether the file has another token now, which is then used; another question may have read it already."""
        try:
            self._token = await asyncio.to_thread(_read_token, self._section)
        except ConfigFault:
            return False
        return self._token != shown


def _read_token(section: SourceSection) -> str:
    try:
        token = Path(section.token_file).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not ASCII"
        raise ConfigFault(
            f"sources: {section.name}: token_file {section.token_file} cannot be read: {reason}"
        ) from None
    if not token or not token.isprintable() or " " in token:
        raise ConfigFault(f"sources: {section.name}: token_file {section.token_file} does not hold one token")
    return token


def _tls(section: SourceSection) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=section.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if section.tls_cert:
            context.load_cert_chain(section.tls_cert, section.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigFault(f"sources: {section.name}: tls_cert, tls_key or ca cannot be used: {error}") from error
    return context


def _told(error: aiohttp.ClientError) -> str:
    """Without the words of whoever answered, which other errors quote."""
    return str(error) if isinstance(error, aiohttp.ClientConnectorError) else type(error).__name__

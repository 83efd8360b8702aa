"""One query to OPA's Data API: `POST /v1/data/issuance/kernel/answer`, with strict built-in errors."""

import asyncio
import base64
import ssl
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from bridge.engines._connection import Connection
from bridge.engines._http1 import Response
from bridge.errors import EngineTimeout, EngineUnavailable, EvaluationFailed
from bridge.kernel import ENTRYPOINT

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_CONNECTIONS = 256
IDLE_S = 30.0
"""Shorter than servers and proxies wait before they hang up: a question that they drop is not asked again."""
_QUERY = f"/v1/data/{ENTRYPOINT}?strict-builtin-errors=true"
_FAILURES = ("internal_error", "invalid_parameter")


class DataApi:
    """A pool of connections to one OPA server; `socket` is a unix socket path, and wins over the host in `url`."""

    def __init__(self, url: str, socket: str | None = None) -> None:
        parts = urlsplit(url.rstrip("/"))
        login, _, authority = parts.netloc.rpartition("@")
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._address = (parts.hostname or "", parts.port or (443 if self._tls else 80))
        self._socket = socket
        headers = f"Host: {authority}\r\nContent-Type: application/json\r\n"
        if login:
            headers += f"Authorization: Basic {base64.b64encode(unquote(login).encode()).decode()}\r\n"
        self._base, self._headers = parts.path, headers.encode()
        self._idle: list[Connection] = []
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._closed = False

    async def query(self, items: bytes, timeout_s: float) -> Any:
        """The kernel's answer to `items` (a JSON array). Raises EvaluationFailed, EngineUnavailable, EngineTimeout."""
        return _read(await self._exchange("POST", _QUERY, b'{"input":{"items":%b}}' % items, timeout_s))

    async def get(self, path: str, timeout_s: float) -> bytes:
        """The body of a GET that answered 200. Raises EngineUnavailable, EngineTimeout."""
        response = await self._exchange("GET", path, b"", timeout_s)
        if response.status != 200:
            raise EngineUnavailable(f"GET {path} answered {response.status}")
        return bytes(response.body)

    async def close(self) -> None:
        """Ends what is idle; a query under way ends as it would have."""
        self._closed = True
        while self._idle:
            self._idle.pop().end()

    async def _exchange(self, method: str, path: str, body: bytes, timeout_s: float) -> Response:
        start = f"{method} {self._base}{path} HTTP/1.1\r\n".encode()
        request = b"%b%bContent-Length: %d\r\n\r\n%b" % (start, self._headers, len(body), body)
        try:
            async with asyncio.timeout(timeout_s), self._places:
                connection = self._idle_one() or await self._connect()
                try:
                    return await connection.ask(request)
                finally:
                    self._keep(connection)
        except TimeoutError:
            raise EngineTimeout(f"no answer within {timeout_s * 1000:.0f} ms") from None

    def _idle_one(self) -> Connection | None:
        """The one used last: its server has the least reason to have hung up."""
        oldest = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and connection.used > oldest:
                return connection
            connection.end()
        return None

    def _keep(self, connection: Connection) -> None:
        now = asyncio.get_running_loop().time()
        if connection.reusable and not self._closed:
            connection.used = now
            self._idle.append(connection)
        else:
            connection.end()
        if self._idle and self._idle[0].used < now - IDLE_S:  # the one unused for longest: what a burst left behind
            self._idle.pop(0).end()

    async def _connect(self) -> Connection:
        """One more try after a connect that failed: nothing was asked then."""
        try:
            return await self._connect_once()
        except OSError:
            pass
        try:
            return await self._connect_once()
        except OSError as error:
            raise EngineUnavailable(f"cannot connect: {error}") from error

    async def _connect_once(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            _, connection = await loop.create_unix_connection(_connection, self._socket)
        else:
            _, connection = await loop.create_connection(_connection, *self._address, ssl=self._tls)
        return connection


def _connection() -> Connection:
    return Connection(MAX_ANSWER_BYTES)


def _read(response: Response) -> Any:
    status = response.status
    try:
        answer = orjson.loads(response.body)
    except orjson.JSONDecodeError:
        raise EngineUnavailable(f"answered {status} with something that is not JSON") from None
    if not isinstance(answer, dict):
        raise EngineUnavailable(f"answered {status} with something that is not an object")
    if status == 500 and answer.get("code") in _FAILURES:
        raise EvaluationFailed(_messages(answer))
    if status != 200:
        raise EngineUnavailable(f"answered {status}: {str(answer.get('code'))[:64]}")
    if "result" not in answer:
        raise EngineUnavailable("the kernel's entrypoint is undefined: the server does not have this policy set")
    return answer["result"]


def _messages(answer: dict[str, Any]) -> str:
    """OPA's own words, for the evidence: the first errors with their place in the policy."""
    texts = []
    for error in (answer.get("errors") or [answer])[:4]:
        if isinstance(error, dict):
            at = error.get("location") or {}
            place = f"{at.get('file')}:{at.get('row')}: " if at.get("file") else ""
            texts.append(f"{place}{error.get('message', '')}"[:400])
    return "; ".join(texts) or "evaluation failed"

"""One query to OPA's Data API: `POST /v1/data/issuance/kernel/answer`, with strict built-in errors."""

import asyncio
from typing import Any

import aiohttp
import orjson

from bridge.errors import EngineTimeout, EngineUnavailable, EvaluationFailed
from bridge.kernel import ENTRYPOINT

MAX_ANSWER_BYTES = 16 * 1024 * 1024
_PATH = f"/v1/data/{ENTRYPOINT}?strict-builtin-errors=true"
# OPA would compress a longer answer for a client that takes it, at a cost for both sides.
_HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
_FAILURES = ("internal_error", "invalid_parameter")


class DataApi:
    """A pool of connections to one OPA server; `socket` is a unix socket path, and wins over the host in `url`."""

    def __init__(self, url: str, socket: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def query(self, items: bytes, timeout_s: float) -> Any:
        """The kernel's answer to `items` (a JSON array). Raises EvaluationFailed, EngineUnavailable, EngineTimeout."""
        body = b'{"input":{"items":' + items + b"}}"
        try:
            async with asyncio.timeout(timeout_s):
                status, raw = await self._post(body)
        except TimeoutError:
            raise EngineTimeout(f"no answer within {timeout_s * 1000:.0f} ms") from None
        return _read(status, raw)

    async def get(self, path: str, timeout_s: float) -> bytes:
        """The body of a GET that answered 200; EngineUnavailable otherwise."""
        try:
            async with asyncio.timeout(timeout_s), self._open().get(self._url + path) as response:
                raw = await response.content.read(MAX_ANSWER_BYTES)
                if response.status != 200:
                    raise EngineUnavailable(f"GET {path} answered {response.status}")
                return raw
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EngineUnavailable(f"GET {path}: {type(error).__name__}") from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(self._socket, limit=256, keepalive_timeout=60)
                if self._socket
                else aiohttp.TCPConnector(limit=256, keepalive_timeout=60)
            )
            self._session = aiohttp.ClientSession(
                connector=connector, headers=_HEADERS, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    async def _post(self, body: bytes) -> tuple[int, bytes]:
        """One exchange; one more try, and only after a connect that failed: nothing was asked then."""
        for last in (False, True):
            try:
                async with self._open().post(self._url + _PATH, data=body, allow_redirects=False) as response:
                    raw = await response.content.read(MAX_ANSWER_BYTES + 1)
                    while len(raw) <= MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
                        raw += more
                    return response.status, raw
            except aiohttp.ClientConnectorError as error:
                if last:
                    raise EngineUnavailable(f"cannot connect: {error.os_error}") from error
            except (aiohttp.ClientError, OSError) as error:
                raise EngineUnavailable(f"broken exchange: {type(error).__name__}") from error
        raise AssertionError("unreachable")


def _read(status: int, raw: bytes) -> Any:
    if len(raw) > MAX_ANSWER_BYTES:
        raise EngineUnavailable(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
    try:
        answer = orjson.loads(raw)
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

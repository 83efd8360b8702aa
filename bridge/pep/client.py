"""HTTP to the PDP (Authorization API 1.0). Whatever is not a whole 200 with JSON, in time, is no decision."""

import asyncio
import contextlib
import ipaddress
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from bridge.pep.fault import BadReply, Misuse, NoDecision

_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that may pass by themselves."""


@dataclass(frozen=True, slots=True)
class Pdp:
    """Where the PDP is, and how long it is waited for. Plain http is for loopback alone: the API requires TLS.

    `deadline_s` is for the whole exchange. `tls` holds other authorities or a client certificate of the server's own.
    """

    evaluation_url: str
    evaluations_url: str
    token: str | None = field(default=None, repr=False)
    deadline_s: float = 2.0
    max_reply_bytes: int = 1024 * 1024
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for url in (self.evaluation_url, self.evaluations_url):
            if not _is_safe(url):
                raise Misuse("the PDP's endpoints are https URLs, or http on loopback")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise Misuse("the token is printable ASCII")

    @classmethod
    def at(
        cls, url: str, token: str | None = None, *, deadline_s: float = 2.0, tls: ssl.SSLContext | None = None
    ) -> "Pdp":
        """The PDP at `url` with the API's default paths."""
        base = f"{url.rstrip('/')}/access/v1"
        return cls(f"{base}/evaluation", f"{base}/evaluations", token, deadline_s, tls=tls)


class Client:
    """Asks the PDP. Belongs to the event loop that first uses it."""

    def __init__(self, pdp: Pdp) -> None:
        self._pdp = pdp
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
        if pdp.token is not None:
            headers["Authorization"] = f"Bearer {pdp.token}"
        # No environment variable may send decisions through a proxy, and a redirect is not an answer.
        self._http = httpx.AsyncClient(
            headers=headers,
            timeout=pdp.deadline_s,
            verify=True if pdp.tls is None else pdp.tls,
            trust_env=False,
            follow_redirects=False,
        )

    async def ask(self, body: bytes, *, single: bool, request_id: str) -> bytes:
        """The body of the reply. Raises NoDecision."""
        url = self._pdp.evaluation_url if single else self._pdp.evaluations_url
        try:
            async with asyncio.timeout(self._pdp.deadline_s):
                return await self._exchange(url, body, request_id)
        except (TimeoutError, httpx.TimeoutException):
            raise NoDecision(f"the PDP did not answer within {self._pdp.deadline_s} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            raise NoDecision(f"the PDP did not answer: {type(error).__name__}") from error

    async def close(self) -> None:
        """Ends the connections."""
        with contextlib.suppress(httpx.HTTPError, OSError):
            await self._http.aclose()

    async def _exchange(self, url: str, body: bytes, request_id: str) -> bytes:
        async with self._http.stream("POST", url, content=body, headers={"X-Request-ID": request_id}) as reply:
            if reply.status_code in _AGAIN:
                raise NoDecision(f"the PDP answered {reply.status_code}")
            if reply.status_code != 200:
                raise BadReply(f"the PDP answered {reply.status_code}")
            if reply.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
                raise BadReply("the reply is not application/json")
            if reply.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise BadReply("the reply is compressed, which was not asked for")
            if reply.headers.get("X-Request-ID", request_id) != request_id:
                raise BadReply("the reply is to another request")
            return await self._body(reply)

    async def _body(self, reply: httpx.Response) -> bytes:
        content = bytearray()
        async for part in reply.aiter_raw():
            content += part
            if len(content) > self._pdp.max_reply_bytes:
                raise BadReply(f"the reply is larger than {self._pdp.max_reply_bytes} bytes")
        return bytes(content)


def _is_safe(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and (host == "localhost" or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

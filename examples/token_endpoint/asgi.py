"""A token endpoint as an ASGI 3 application: for Starlette, FastAPI, Quart, or a server such as uvicorn.

application = TokenEndpoint(Pdp.at("https://pdp.example", token="..."), clients, key)
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from joserfc.jwk import ECKey

from bridge.pep import AsyncEnforcer, EnforcerFault, Pdp
from examples.token_endpoint.endpoint import MAX_BODY, UNDERSTOOD, Answer, Client, answer_to, fault_to, wish_of

Message = MutableMapping[str, Any]
log = logging.getLogger(__name__)


class TokenEndpoint:
    """One for the event loop: its enforcer keeps the connections to the PDP. `close` it in the end."""

    def __init__(self, pdp: Pdp, clients: Mapping[str, Client], key: ECKey) -> None:
        self._clients, self._key = clients, key
        self._enforcer = AsyncEnforcer(pdp, UNDERSTOOD)
        self.close = self._enforcer.close

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"a token endpoint speaks HTTP, not {scope['type']}")
        answer = await self._answer(scope, await _body(receive))
        headers, body = answer.encoded()
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, body: bytes) -> Answer:
        shown = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        wish = wish_of(scope["method"], shown, body, self._clients)
        if isinstance(wish, Answer):
            return wish
        try:
            return answer_to(wish, await self._enforcer.ask(wish), self._key)
        except EnforcerFault as fault:
            log.warning("no token for %s: %s", wish.client_id, fault)
            return fault_to(fault)


async def _body(receive: Callable[[], Awaitable[Message]]) -> bytes:
    """The body, read no further than what shows that it is too large."""
    body, more = b"", True
    while more and len(body) <= MAX_BODY:
        message = await receive()
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)
    return body

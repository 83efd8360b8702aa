"""Curity's door: `POST /curity/v1/evaluations`, what its AuthZEN token issuance authorizer sends."""

from aiohttp import web

from bridge.doors._body import parse_object, read_body
from bridge.doors._callers import Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors.authzen.evaluate import Evaluate
from bridge.doors.curity.read import read_scopes
from bridge.doors.hooks.door import Abilities
from bridge.model.dialect import Dialect
from bridge.pdp.gather import Call

NAME = "curity"
PATH = "/curity/v1/evaluations"
ABILITIES = Abilities(
    product="Curity, AuthZEN authorizer",
    dialect=Dialect(scopes=True),
    grants=("any",),
    fails_open=False,
    when_down="not documented; try it",
    authenticates_by="bearer token, or client certificate",
)


class CurityDoor:
    """Bytes to tuples, decisions to bytes. A denial is a 200, and so is what stands for a fault."""

    def __init__(self, evaluate: Evaluate, callers: Callers, max_items: int) -> None:
        self._evaluate, self._callers, self._max_items = evaluate, callers, max_items

    def routes(self) -> list[web.RouteDef]:
        return [web.post(PATH, self.evaluations)]

    async def evaluations(self, request: web.Request) -> web.Response:
        """A batch of scopes. CallerRefused and MalformedRequest are for the server's error table."""
        caller = self._callers.authenticate(request)
        caller.require("token_service", NAME)
        asked = read_scopes(parse_object(await read_body(request, wrong_type=400)), self._max_items)
        call = Call(NAME, caller.name, caller.issuer, request.get(REQUEST_ID_KEY))
        return web.Response(body=await self._evaluate(asked, call, caller), content_type="application/json")

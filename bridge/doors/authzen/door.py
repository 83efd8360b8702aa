"""The AuthZEN door: `POST /access/v1/evaluation` and `/access/v1/evaluations` (Authorization API 1.0)."""

from aiohttp import web

from bridge.doors._body import parse_object, read_body
from bridge.doors._callers import AuthenticatedCaller, Callers
from bridge.doors._middleware import REQUEST_ID_KEY
from bridge.doors.authzen.evaluate import Evaluate
from bridge.doors.hooks.door import Abilities
from bridge.model.authzen import Evaluations, read_evaluation, read_evaluations
from bridge.model.dialect import Dialect
from bridge.pdp.gather import Call

NAME = "authzen"
EVALUATION_PATH = "/access/v1/evaluation"
EVALUATIONS_PATH = "/access/v1/evaluations"
ABILITIES = Abilities(
    product="AuthZEN",
    dialect=Dialect.whole(),
    grants=("any",),
    fails_open=False,
    when_down="as your server is written; `bridge.pep` issues nothing",
    authenticates_by="bearer token, or client certificate",
)


class AuthzenDoor:
    """Bytes to tuples, items to bytes. A denial is a 200, and so is what stands for a fault."""

    def __init__(self, evaluate: Evaluate, callers: Callers, max_items: int) -> None:
        self._evaluate, self._callers, self._max_items = evaluate, callers, max_items

    def routes(self) -> list[web.RouteDef]:
        return [web.post(EVALUATION_PATH, self.evaluation), web.post(EVALUATIONS_PATH, self.evaluations)]

    async def evaluation(self, request: web.Request) -> web.Response:
        """One tuple. CallerRefused and MalformedRequest are for the server's error table."""
        caller = self._caller(request)
        return await self._answer(
            request, caller, read_evaluation(parse_object(await read_body(request, wrong_type=400)))
        )

    async def evaluations(self, request: web.Request) -> web.Response:
        """A batch; without items it is the single form."""
        caller = self._caller(request)
        asked = read_evaluations(parse_object(await read_body(request, wrong_type=400)), self._max_items)
        return await self._answer(request, caller, asked)

    def _caller(self, request: web.Request) -> AuthenticatedCaller:
        caller = self._callers.authenticate(request)
        caller.require("token_service", NAME)
        return caller

    async def _answer(self, request: web.Request, caller: AuthenticatedCaller, asked: Evaluations) -> web.Response:
        call = Call(NAME, caller.name, caller.issuer, request.get(REQUEST_ID_KEY))
        return web.Response(body=await self._evaluate(asked, call, caller), content_type="application/json")

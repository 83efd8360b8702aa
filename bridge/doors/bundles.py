"""`GET /bundles/issuance.tar.gz`: the policy set that decides, for OPA servers that fetch it from here."""

from collections.abc import Callable

from aiohttp import web

from bridge.doors._callers import Callers
from bridge.model.policy import ServedBundle

NAME = "bundles"
PATH = "/bundles/issuance.tar.gz"


class BundlesDoor:
    """Serves what `newest` gives. For operators: policy data may hold the register of clients."""

    def __init__(self, callers: Callers, newest: Callable[[], ServedBundle | None]) -> None:
        self._callers, self._newest = callers, newest

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.get)]

    async def get(self, request: web.Request) -> web.Response:
        """The bundle, or 304 to who has it; CallerRefused for who is no operator."""
        self._callers.authenticate(request).require("operator", NAME)
        served = self._newest()
        if served is None:
            raise web.HTTPNotFound
        headers = {"ETag": f'"{served.tag}"', "Cache-Control": "private, no-cache"}
        known = request.if_none_match or ()
        if any(tag.value in (served.tag, "*") for tag in known):
            return web.Response(status=304, headers=headers)
        return web.Response(body=served.body, headers={**headers, "Content-Type": "application/gzip"})

"""`GET /v1/logout/jwks.json`: the public half of what signs logout tokens, for the provider's JWK Set (RFC 7517)."""

from aiohttp import web

from bridge.config.logout_key import LogoutKey
from bridge.pdp.gather import encode

PATH = "/v1/logout/jwks.json"


class JwksDoor:
    """For everybody; 404 where nothing is signed."""

    def __init__(self, key: LogoutKey | None) -> None:
        self._body = None if key is None else encode(key.keys)

    def routes(self) -> list[web.RouteDef]:
        return [web.get(PATH, self.get, allow_head=False)]

    async def get(self, _: web.Request) -> web.Response:
        if self._body is None:
            raise web.HTTPNotFound
        headers = {"Cache-Control": "public, max-age=300"}
        return web.Response(body=self._body, content_type="application/jwk-set+json", headers=headers)

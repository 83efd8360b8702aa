"""A connector of the tests' own, for the authorization server of `tests.saga.server`."""

from collections.abc import Mapping
from typing import Any

import aiohttp

from bridge.config.servers import AuthorizationServerSection
from bridge.model.ended import Name, What
from bridge.model.step import Observed, Standing, Step


class Admin:
    """ports.Connector: a notice, the consents of every delegation, the client; each is looked at afterwards."""

    kind = "admin"

    def __init__(self, section: AuthorizationServerSection) -> None:
        self.issuer: str | None = section.issuer
        self._url = section.admin_url

    def steps(self, name: Name, tree: Mapping[str, Any]) -> list[Step]:
        client = name.what is What.CLIENT
        named = [Name(What.DELEGATION, name.issuer, (d["client"], d["subject"]["id"])) for d in tree["delegations"]]
        # Not in the order in which they must be done.
        last = [Step("client", name)] if client else []
        return [*last, *(Step("consent", one) for one in named), *([Step("notice", name)] if client else [])]

    async def do(self, step: Step) -> Observed:
        path = f"/{step.kind}"
        query = {"ids": "/".join(step.name.ids)}
        try:
            async with aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(30)) as session:
                async with session.delete(path, params=query) as reply:
                    asked = reply.status
                async with session.get(path, params=query) as reply:
                    left = reply.status
        except aiohttp.ClientError:
            return Observed(Standing.FAILED, f"DELETE {path}", {"fault": "connection"})
        standing = Standing.CONFIRMED if asked < 300 and left == 404 else Standing.FAILED
        return Observed(standing, f"DELETE {path}", {"status": asked, "then": left})

    async def clients(self) -> list[str] | None:
        return None

    async def close(self) -> None:
        pass

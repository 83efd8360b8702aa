"""Asks searches of a bridge in this event loop."""

from typing import Any

from tests.support.bridge import LocalBridge, bearer


async def searched(bridge: LocalBridge, kind: str, body: Any, *, caller: str | None = None, status: int = 200) -> Any:
    """The decoded reply to a search, which must have this status."""
    headers = {} if caller is None else bearer(caller)
    async with bridge.session.post(f"/access/v1/search/{kind}", json=body, headers=headers) as response:
        text = await response.text()
        assert response.status == status, text
        return await response.json()


async def results(bridge: LocalBridge, kind: str, body: Any, **options: Any) -> list[Any]:
    """All results, which must fit one page."""
    reply = await searched(bridge, kind, body, **options)
    assert reply.keys() == {"results"}
    found: list[Any] = reply["results"]
    return found


def searches(bridge: LocalBridge) -> list[dict[str, Any]]:
    """The entries of kind `search`, oldest first."""
    return [entry for entry in bridge.entries() if entry["kind"] == "search"]

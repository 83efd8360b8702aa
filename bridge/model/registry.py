"""The registered clients, as policy data has them: `data.registry.clients[ISSUER][CLIENT_ID]`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class RegisteredClient:
    """What is registered for one client. `grant_types`: None when nothing readable is said about them."""

    grant_types: tuple[str, ...] | None = None
    scopes: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()


Clients = Mapping[str, Mapping[str, RegisteredClient]]
"""Issuer -> client id -> client."""


def registered_clients(data: Mapping[str, Any]) -> Clients:
    """The clients in a policy set's data. Whatever stands there is a client, since policies may take it for one."""
    clients = _object(_object(data.get("registry")).get("clients"))
    return {issuer: {name: _client(of[name]) for name in of} for issuer, of in clients.items() if isinstance(of, dict)}


def _client(value: Any) -> RegisteredClient:
    client = _object(value)
    return RegisteredClient(
        grant_types=_texts(client["grant_types"]) if isinstance(client.get("grant_types"), list) else None,
        scopes=_texts(client.get("scopes")),
        audience=_texts(client.get("audience")),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(v for v in value if isinstance(v, str))) if isinstance(value, list) else ()

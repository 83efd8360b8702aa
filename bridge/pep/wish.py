"""What an authorization server wants to mint: one token, after it has authenticated and validated all that it can."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from bridge.pep.fault import Misuse

PartyType = Literal["user", "client", "workload"]
Endpoint = Literal["token", "authorization"]

_SHORT_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5B\x5D-\x7E]+")
_HEADER = re.compile(r"[\x21-\x7E]{1,256}")
_MAX_GATE = 50
_ASSERTIONS = ("jwt_bearer", "saml2_bearer")


def is_scope(value: str) -> bool:
    """Whether `value` may be a scope tuple: a `scope-token` (RFC 6749, section 3.3), and not reserved for gates."""
    return _SCOPE_TOKEN.fullmatch(value) is not None and not value.startswith("issue:")


def _is_list(value: object) -> bool:
    return isinstance(value, (tuple, list))


def scope_set(value: str) -> tuple[str, ...] | None:
    """The tokens of a space-delimited scope string, or None when it is ill-formed. The empty string is no scope."""
    tokens = tuple(value.split(" ")) if value else ()
    return tokens if all(_SCOPE_TOKEN.fullmatch(token) for token in tokens) else None


@dataclass(frozen=True, slots=True)
class Party:
    """A subject of AuthZEN. `id` is exactly the `sub` that the token will carry; `properties` are advisory."""

    type: PartyType
    id: str
    properties: Mapping[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.type not in get_args(PartyType) or not self.id:
            raise Misuse("a party has a type (user, client or workload) and an id")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a token exchange (RFC 8693) or an assertion adds to a wish.

    `requesting_party`: whose actor token was shown; None: the authenticated client, and with an assertion nobody.
    `resources`: the second level, the resources behind the target that will consume what is minted. `subject_token`,
    `act` and `may_act` are validated claims, never tokens; they are advisory.
    """

    requesting_party: Party | None = None
    resources: tuple[str, ...] = ()
    subject_token_type: str | None = None
    actor_token_type: str | None = None
    subject_token: Mapping[str, Any] | None = None
    act: Mapping[str, Any] | None = None
    may_act: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """One token that the server would mint. Raises Misuse where the server's own part cannot be asked.

    `grant_type` and `token_type` are the profile's short names (`client_credentials`, `access_token`). `audience`: the
    issuance targets, the server's default where the client named none. `scopes`: what the client asked for.
    `default_scopes`: what the server would grant where the client named none. `grantable_scopes`: where there are
    neither, which scopes a PDP may name. `lifetime`: the server's own, in seconds. `auth_time`: seconds since
    the epoch. `endpoint`: where the client waits for the answer.
    """

    subject: Party
    client_id: str
    grant_type: str
    audience: tuple[str, ...]
    scopes: tuple[str, ...] = ()
    default_scopes: tuple[str, ...] = ()
    grantable_scopes: tuple[str, ...] = ()
    token_type: str = "access_token"  # noqa: S105 - a kind of token
    lifetime: int | None = None
    authorization_details: tuple[Mapping[str, Any], ...] = ()
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    auth_time: int | None = None
    cnf: Mapping[str, Any] | None = None
    exchange: Exchange | None = None
    endpoint: Endpoint = "token"
    request_id: str | None = None

    def __post_init__(self) -> None:
        names = (self.token_type, self.grant_type)
        if not all(_SHORT_NAME.fullmatch(name) for name in names) or len(self.gate) > _MAX_GATE:
            raise Misuse("grant_type and token_type are short names of the profile, their gate at most 50 characters")
        if (self.grant_type == "token_exchange") != (self.exchange is not None) and self.grant_type not in _ASSERTIONS:
            raise Misuse("a token_exchange needs an exchange, and only it and assertions may have one")
        if not self.audience:
            raise Misuse("audience is a tuple with at least one target: the server's default where none was named")
        if not all(
            map(_is_list, (self.audience, self.scopes, self.default_scopes, self.grantable_scopes, self.amr or ()))
        ):
            raise Misuse("audience, scopes and amr are tuples of strings, not one string")
        if not all(is_scope(scope) for scope in (*self.default_scopes, *self.grantable_scopes)):
            raise Misuse("a scope of the server's own is not a scope-token, or begins with issue:")
        if self.lifetime is not None and (type(self.lifetime) is not int or self.lifetime <= 0):
            raise Misuse("lifetime is a positive number of whole seconds")
        if self.request_id is not None and not _HEADER.fullmatch(self.request_id):
            raise Misuse("request_id is 1 to 256 printable ASCII characters without spaces")
        if self.endpoint not in get_args(Endpoint):
            raise Misuse("endpoint is token or authorization")

    @property
    def gate(self) -> str:
        """The action of the gate."""
        return f"issue:{self.token_type}:{self.grant_type}"

    @property
    def targets(self) -> tuple[str, ...]:
        """The first level, each once."""
        return tuple(dict.fromkeys(self.audience))

    @property
    def asked_scopes(self) -> tuple[str, ...]:
        """What is asked of the PDP scope by scope: what the client named, else the server's default; each once."""
        return tuple(dict.fromkeys(self.scopes or self.default_scopes))

    @property
    def resources(self) -> tuple[str, ...]:
        """The second level, each once; what is of the first level already is not asked for again."""
        named = self.exchange.resources if self.exchange else ()
        return tuple(resource for resource in dict.fromkeys(named) if resource not in self.targets)

    @property
    def needs_both(self) -> bool:
        """What a transaction token may do, both its parties must be allowed to do."""
        return self.token_type == "txn_token" and self.requesting_party is not None  # noqa: S105 - a kind of token

    @property
    def requesting_party(self) -> Party | None:
        """The second party whose gate must be open; None where there is none, or where it is the subject itself."""
        if self.exchange is None:
            return None
        party = self.exchange.requesting_party
        if party is None and self.grant_type == "token_exchange":
            party = Party("client", self.client_id)
        return None if party == self.subject else party

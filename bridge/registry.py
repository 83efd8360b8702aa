"""The tables that name concrete engines and doors: to add one, write its file and one line here."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from bridge.audit.delegations import clients_of, tree_of
from bridge.audit.sessions import meant_by
from bridge.audit.standing import standing_of
from bridge.config.logout_key import logout_key
from bridge.config.servers import AuthorizationServerSection
from bridge.config.settings import EngineSection, Settings
from bridge.config.sources import SourceSection
from bridge.connectors import hydra as hydra_connector
from bridge.connectors import rfc7009
from bridge.connectors.relying_parties import RelyingParties
from bridge.connectors.session_check import check_all
from bridge.doors import bundles, data_api, lifecycle, log_files, native
from bridge.doors._callers import Callers
from bridge.doors._openapi import document
from bridge.doors.authzen import door as authzen
from bridge.doors.authzen.door import AuthzenDoor
from bridge.doors.authzen.evaluate import Evaluate
from bridge.doors.authzen.metadata import MetadataDoor
from bridge.doors.authzen.pages import Pages
from bridge.doors.authzen.search import SearchDoor
from bridge.doors.authzen.sort import Sort
from bridge.doors.bundles import BundlesDoor
from bridge.doors.curity import door as curity
from bridge.doors.curity.door import CurityDoor
from bridge.doors.curity.plan import CurityPlanner
from bridge.doors.data_api import DataApiDoor
from bridge.doors.hooks import hydra, indigo_iam, okta, wso2
from bridge.doors.hooks.door import Abilities, Hook, HookDoor
from bridge.doors.hooks.hydra import HydraHook
from bridge.doors.hooks.indigo_iam import IndigoIam
from bridge.doors.hooks.okta import Okta
from bridge.doors.hooks.wso2 import Wso2
from bridge.doors.issued import IssuedDoor
from bridge.doors.lifecycle import AskTree, AskUnconfirmed, LifecycleDoor
from bridge.doors.log_files import LogFilesDoor, NoteAccess
from bridge.doors.logout.backchannel import BackchannelDoor
from bridge.doors.logout.frontchannel import FrontchannelDoor
from bridge.doors.logout.jwks import JwksDoor
from bridge.doors.logout.ticket import Tickets
from bridge.doors.logout.token import Tokens as LogoutTokens
from bridge.doors.native import NativeDoor
from bridge.doors.operations import OperationsDoor, Readiness
from bridge.engines.managed import ManagedOpa
from bridge.engines.opa import OpaServer
from bridge.errors import ConfigFault
from bridge.evidence.files import LOG
from bridge.evidence.keys import token_digest
from bridge.model.authzen import with_copies
from bridge.model.ended import Name
from bridge.model.issued import TokenDigest
from bridge.model.logout import LEEWAY_S, Logout
from bridge.model.mask import covers, parse_pointer
from bridge.model.policy import ServedBundle
from bridge.ops.metrics import Metrics
from bridge.pdp.decide import Decide
from bridge.pdp.issued import Issued
from bridge.pdp.lifecycle import Lifecycle
from bridge.pdp.logout import AskMeant, Logouts
from bridge.pdp.logout import Pages as LogoutPages
from bridge.pdp.search import SearchRoad
from bridge.pdp.tokens import Tokens
from bridge.pdp.tuples import Tuples
from bridge.ports import Connector, Engine, Journal, Revoker, Source
from bridge.saga.clients import Clients, Lister
from bridge.saga.status import unconfirmed
from bridge.sources.endings import EndingsSource
from bridge.sources.fetch import FetchedSource
from bridge.sources.file import FileSource
from bridge.sources.http import HttpFetcher

ENGINES: dict[str, Callable[[EngineSection, Path], Engine]] = {
    "managed": lambda _, opa: ManagedOpa(opa),
    "opa": lambda engine, _: OpaServer(engine.url),
}
"""`engine.kind` -> how it is made, from its section and the `opa` binary."""


def _over_http(section: SourceSection, _: Settings) -> Source:
    return FetchedSource(section.declared(), HttpFetcher(section), section.timeout_ms / 1000)


def _of_the_log(section: SourceSection, settings: Settings) -> Source:
    folder = Path(settings.evidence.path)
    key = cache(partial(token_digest, folder))  # there is none before the log's first start
    standing = partial(standing_of, folder, lambda name: name.digest(key()))
    return EndingsSource(section.declared(), standing, section.timeout_ms / 1000)


SOURCES: dict[str, Callable[[SourceSection, Settings], Source]] = {
    "http": _over_http,
    "https": _over_http,
    "file": lambda section, _: FileSource(section.declared(), Path(section.file)),
    "lifecycle": _of_the_log,
}
"""Scheme of `sources.url` -> how it is made, from its section."""


CONNECTORS: dict[str, Callable[[AuthorizationServerSection], Connector]] = {
    hydra_connector.KIND: hydra_connector.HydraConnector,
    rfc7009.KIND: rfc7009.TokenRevocation,
}
"""`servers.kind` -> how it is made, from its section."""


def connectors_of(settings: Settings) -> list[Connector]:
    """Where something is done about endings. ConfigFault when a file that one needs cannot be used."""
    for server in settings.servers:
        if server.kind not in CONNECTORS:
            raise ConfigFault(f"servers: kind {server.kind!r} is not there; there are {', '.join(CONNECTORS)}")
    found = [CONNECTORS[server.kind](server) for server in settings.servers]
    if settings.relying_parties:
        found.append(RelyingParties(settings.relying_parties, logout_key(settings.logout)))
    return found


def revokers_of(connectors: Sequence[Connector]) -> dict[str, Revoker]:
    """Those of them that take back single tokens, by their issuer."""
    return {one.issuer: one for one in connectors if isinstance(one, Revoker) and one.issuer is not None}


def listings_of(
    settings: Settings, connectors: Sequence[Connector], digest: TokenDigest, journal: Journal, lifecycle: Lifecycle
) -> list[Clients]:
    """The servers whose lists of clients are compared with the log; none where entries hide the ids of clients."""
    evidence = settings.evidence
    hidden = with_copies(map(parse_pointer, (*evidence.mask, *evidence.personal)))
    if any(covers(pointer, ("client", "id")) for pointer in hidden):
        return []

    def known(issuer: str) -> dict[str, bool]:
        return clients_of(Path(evidence.path), issuer, lambda one: one.digest(digest))

    return [
        Clients(one, server.list_clients_s, known, journal, lifecycle)
        for server, one in zip(settings.servers, connectors, strict=False)  # those of the servers come first
        if server.list_clients_s and isinstance(one, Lister)
    ]


SESSION_CHECK = check_all
"""Asks relying parties whether they still accept a session."""


class Door(Protocol):
    """An HTTP API."""

    def routes(self) -> list[web.RouteDef]:
        """What it serves."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What doors are made of. `secret`: the log's own, for digests and page tokens."""

    settings: Settings
    callers: Callers
    decide: Decide
    tuples: Tuples
    search: SearchRoad
    issued: Issued
    lifecycle: Lifecycle
    tokens: Tokens
    tree: AskTree
    logout_pages: LogoutPages
    origin: str
    secret: bytes
    note_access: NoteAccess
    bundle: Callable[[], ServedBundle | None]
    readiness: Readiness
    metrics: Metrics

    @property
    def ceiling_s(self) -> int | None:
        return self.settings.policy.max_token_lifetime_s


def _hook(parts: Parts, hook: Hook) -> Door:
    return HookDoor(hook, parts.decide, parts.callers, parts.metrics, parts.settings.server.max_scopes)


def asks_tree(folder: Path, digest: TokenDigest) -> AskTree:
    """One at a time, in a thread: the first one in a long log takes a while."""
    turn = asyncio.Lock()

    async def tree(name: Name) -> dict[str, Any]:
        async with turn:
            return await asyncio.to_thread(tree_of, folder, name, lambda one: one.digest(digest))

    return tree


def _asks_unconfirmed(p: Parts) -> AskUnconfirmed:
    folder, digest = Path(p.settings.evidence.path), TokenDigest(p.secret)
    return lambda: asyncio.to_thread(unconfirmed, folder, digest)


def _asks_meant(p: Parts) -> AskMeant:
    """One at a time, as for the trees."""
    turn, digest, folder = asyncio.Lock(), TokenDigest(p.secret), Path(p.settings.evidence.path)

    async def meant(logout: Logout) -> tuple[list[str], bool]:
        async with turn:
            found = await asyncio.to_thread(meant_by, folder, logout, LEEWAY_S * 1000, digest)
        return found.sessions, found.repeated

    return meant


def tickets(settings: Settings, secret: bytes) -> Tickets:
    """What makes addresses of the front-channel page; `secret`: the log's own."""
    return Tickets(settings.logout, settings.relying_parties, secret)


DOORS: tuple[Callable[[Parts], Door], ...] = (
    lambda p: NativeDoor(p.decide, p.callers, p.origin, p.settings.server.max_scopes),
    lambda p: AuthzenDoor(
        Evaluate(p.decide, p.tuples, Sort(p.settings.authzen), p.ceiling_s), p.callers, p.settings.authzen.max_items
    ),
    lambda p: SearchDoor(p.search, p.callers, p.settings.authzen, Pages(p.secret, p.settings.authzen.max_results)),
    lambda p: MetadataDoor(p.settings.authzen),
    lambda p: CurityDoor(
        Evaluate(p.decide, p.tuples, CurityPlanner(p.settings.authzen.curity), p.ceiling_s),
        p.callers,
        p.settings.authzen.max_items,
    ),
    lambda p: _hook(p, HydraHook(p.settings.hooks.hydra)),
    lambda p: DataApiDoor(p.decide, p.callers, p.origin, p.settings.server.max_scopes, p.settings.hooks.opa),
    lambda p: _hook(p, IndigoIam(p.settings.hooks.indigo_iam)),
    lambda p: _hook(p, Okta(p.settings.hooks.okta)),
    lambda p: _hook(p, Wso2()),
    lambda p: IssuedDoor(p.issued, p.callers, p.origin),
    lambda p: LifecycleDoor(
        p.lifecycle,
        p.tokens,
        p.callers,
        p.origin,
        p.tree,
        _asks_unconfirmed(p),
        p.note_access,
        tickets(p.settings, p.secret).url,
    ),
    lambda p: BackchannelDoor(
        LogoutTokens(p.settings.logout_senders), Logouts(p.lifecycle, TokenDigest(p.secret), _asks_meant(p)), p.metrics
    ),
    lambda p: FrontchannelDoor(
        tickets(p.settings, p.secret),
        p.settings.relying_parties,
        p.tree,
        p.logout_pages,
        p.settings.logout.post_logout_redirect_uri,
    ),
    lambda p: JwksDoor(logout_key(p.settings.logout)),
    lambda p: LogFilesDoor(p.callers, Path(p.settings.evidence.path) / LOG, p.note_access),
    lambda p: BundlesDoor(p.callers, p.bundle),
    lambda p: OperationsDoor(p.callers, p.readiness, p.metrics, document),
)
ABILITIES: dict[str, Abilities] = {
    native.PATH: native.ABILITIES,
    data_api.PATH: data_api.ABILITIES,
    authzen.EVALUATIONS_PATH: authzen.ABILITIES,
    authzen.EVALUATION_PATH: authzen.ABILITIES,
    curity.PATH: curity.ABILITIES,
    **{path: hook.abilities for hook in (HydraHook, IndigoIam, Okta, Wso2) for path in hook.paths},
}
"""Where decisions are asked for -> what can be said there."""
DOOR_NAMES = (
    *(native.NAME, authzen.NAME, curity.NAME, data_api.NAME),
    *(hydra.NAME, indigo_iam.NAME, okta.NAME, wso2.NAME),
    *(log_files.NAME, bundles.NAME, lifecycle.NAME),
)
"""What `doors` of a caller may name."""

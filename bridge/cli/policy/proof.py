"""The proof that nothing is granted past the gate: every door is driven, for every grant type and kind of token.

Three policy sets are made of the user's: one that grants everything, to show that the drivers see a grant; one whose
gate denies everything; and one whose gate allows and whose other packages all deny. The last two must grant nothing.
"""

import asyncio
import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import aiohttp

from bridge.audit.reader import LogReader
from bridge.cli.policy.asking import CLIENT, Ask, Driver, Shown, World, together
from bridge.cli.policy.drivers import AUDIENCE, DRIVERS, PLAIN_ACTION, SILENT, curity_place, plain_type
from bridge.cli.policy.hook_drivers import INDIGO
from bridge.config.authzen import CurityScope, PlainScopes
from bridge.config.hooks import HooksSection
from bridge.config.settings import EngineSection, EvidenceSection, PolicySection, ServerSection, Settings
from bridge.errors import BridgeError
from bridge.model.policy import PolicySet
from bridge.model.scope import is_scope_token
from bridge.policy.answer import LOCAL
from bridge.policy.matrix.model import Kind
from bridge.server import Bridge

MAX_SCOPES = 64
AT_A_TIME = 24
"""Requests to all bridges: enough to wait for none of their disks, and few enough that each keeps up with its work."""
MADE_UP = Kind("matrix_grant", "matrix_token")
PATIENCE_MS = 60_000
_World = Literal["granting", "gate_denies", "scopes_deny"]


class DriverFault(BridgeError):
    """A door did not answer its driver as it should."""


@dataclass(slots=True)
class Driven:
    """One route. `leaks`: what was granted where nothing may be. `blind`: kinds for which no grant was seen at all."""

    route: str
    kinds: int = 0
    leaks: list[str] = field(default_factory=list)
    blind: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Proof:
    """`unknown`: routes that nobody knows how to drive. `faults`: denials that came of a fault, so prove nothing."""

    driven: list[Driven] = field(default_factory=list)
    silent: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    scopes: int = 0
    decisions: int = 0
    faults: int = 0

    @property
    def holds(self) -> bool:
        """Whether all that may grant was driven, seen to grant, and granted nothing."""
        return not self.unknown and not self.faults and not any(one.leaks or one.blind for one in self.driven)


async def prove(settings: Settings, policy_set: PolicySet, kinds: tuple[Kind, ...]) -> Proof:
    """Runs a bridge in this process for each set. A BridgeError when one does not start, or a door does not answer."""
    scopes = (*policy_set.scopes, *(f"{prefix}matrix" for prefix in policy_set.prefixes))
    asked = tuple(sorted(filter(is_scope_token, scopes))[:MAX_SCOPES]) or ("matrix",)
    world = World(asked, (*kinds, MADE_UP), settings.authzen.curity.token_type)
    proof = Proof(scopes=len(asked))
    worlds: tuple[_World, ...] = ("granting", "gate_denies", "scopes_deny")
    slots = asyncio.Semaphore(AT_A_TIME)
    granting, *denying = await together(_drive(settings, policy_set, world, name, proof, slots) for name in worlds)
    for route in granting:
        driven = Driven(" ".join(route), len(granting[route]))
        driven.blind = [_text(kind) for kind, shown in granting[route].items() if not _seen(DRIVERS[route], shown)]
        for kind, shown in denying[0].get(route, {}).items():
            what = [*sorted(shown.scopes), *(["a token"] if shown.token else [])]
            driven.leaks += [f"{_text(kind)}: {one}, though the gate denies" for one in what]
        for kind, shown in denying[1].get(route, {}).items():
            driven.leaks += [f"{_text(kind)}: {one}, though its package denies" for one in sorted(shown.scopes)]
        proof.driven.append(driven)
    return proof


def _seen(driver: Driver, shown: Shown) -> bool:
    return bool(shown.scopes) and (shown.token or not driver.tokens)


_Route = tuple[str, str]


async def _drive(
    settings: Settings, policy_set: PolicySet, world: World, name: _World, proof: Proof, slots: asyncio.Semaphore
) -> dict[_Route, dict[Kind, Shown]]:
    world = replace(world, tokens=name != "scopes_deny")
    with tempfile.TemporaryDirectory(prefix="issuance-matrix-") as scratch:
        folder = Path(scratch)
        _write(folder / "policies", policy_set, world, name)
        async with _running(_settings(settings, folder, world), slots) as (bridge, ask):
            routes = {(r.method, r.resource.canonical) for r in bridge.application().router.routes() if r.resource}
            known = {route for route in routes if route[0] != "HEAD" or ("GET", route[1]) not in routes}
            proof.unknown = [" ".join(route) for route in sorted(known - DRIVERS.keys() - SILENT.keys())]
            proof.silent = {" ".join(route): SILENT[route] for route in sorted(known & SILENT.keys())}
            driven = sorted(known & DRIVERS.keys())
            patient = [route for route in driven if DRIVERS[route].patient]
            all_of = await together(_ask_all(DRIVERS[route], ask, world) for route in patient)
            shown = dict(zip(patient, all_of, strict=True))
            for route in driven:
                if not DRIVERS[route].patient:
                    shown[route] = await _ask_in_turn(DRIVERS[route], ask, world)
        if name != "granting":
            _read_log(folder / "evidence", proof)
    return shown


async def _ask_all(driver: Driver, ask: Ask, world: World) -> dict[Kind, Shown]:
    kinds = list(driver.kinds(world))
    return dict(zip(kinds, await together(driver.ask(ask, world, kind) for kind in kinds), strict=True))


async def _ask_in_turn(driver: Driver, ask: Ask, world: World) -> dict[Kind, Shown]:
    """One after the other: a crowd would keep a product waiting longer than it waits."""
    return {kind: await driver.ask(ask, world, kind) for kind in driver.kinds(world)}


def _read_log(folder: Path, proof: Proof) -> None:
    """Every denial must be one of the policies: one that came of a fault would hide a grant."""
    with contextlib.closing(LogReader(folder)) as reader:
        for found in reader.walk():
            entry = found.entry
            if entry["kind"] in ("decision", "search"):
                proof.decisions += 1
                proof.faults += bool(entry.get("exceptions"))


@dataclass(frozen=True, slots=True)
class _Asking:
    session: aiohttp.ClientSession
    slots: asyncio.Semaphore

    async def __call__(self, path: str, body: Mapping[str, Any]) -> Any:
        status, reply = await self.answer(path, body)
        if status != 200:
            raise DriverFault(f"POST {path} answered its driver with {status}")
        return reply

    async def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        async with self.slots, self.session.post(path, json=body) as response:
            if response.status >= 500 or response.status == 400:
                raise DriverFault(f"POST {path} answered its driver with {response.status}")
            raw = await response.read()
            return response.status, json.loads(raw) if raw else None


@contextlib.asynccontextmanager
async def _running(settings: Settings, slots: asyncio.Semaphore) -> AsyncIterator[tuple[Bridge, Ask]]:
    bridge = Bridge(settings)
    await bridge.start()
    try:
        port = await bridge.listen()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            yield bridge, _Asking(session, slots)
    finally:
        await bridge.stop()


def _settings(settings: Settings, folder: Path, world: World) -> Settings:
    """The user's settings, on loopback, without callers and sources, and with time enough for every answer."""
    plain = [
        PlainScopes(resource_type=plain_type(k), action=PLAIN_ACTION, grant_type=k.grant_type, token_type=k.token_type)
        for k in world.kinds
        if len(plain_type(k)) <= 128 and max(len(k.grant_type), len(k.token_type)) <= 64
    ]
    table = [
        CurityScope(resource_type=kind, path=path, action=action, scope=scope)
        for scope, (kind, path, action) in zip(world.scopes, map(curity_place, range(len(world.scopes))), strict=True)
    ]
    curity = settings.authzen.curity.model_copy(
        update={"scopes": tuple(table), "audience": (), "token_lifetime": None, "grant_type": None}
    )
    authzen = settings.authzen.model_copy(
        update={
            "pdp": "",
            "metadata_key": "",
            "max_items": 256,
            "max_results": 10_000,
            "search_deadline_ms": PATIENCE_MS,
            "plain_scopes": tuple(plain),
            "curity": curity,
        }
    )
    server = ServerSection(
        port=0,
        deadline_ms=PATIENCE_MS,
        secret_names=settings.server.secret_names,
        secret_suffixes=settings.server.secret_suffixes,
    )
    return settings.model_copy(
        update={
            "server": server,
            "policy": PolicySection(path=str(folder / "policies")),
            "engine": EngineSection(opa=settings.engine.opa, deadline_ms=PATIENCE_MS),
            "evidence": EvidenceSection(path=str(folder / "evidence")),
            "authzen": authzen,
            "hooks": HooksSection(indigo_iam=INDIGO),
            "callers": (),
            "sources": (),
        }
    )


def _write(folder: Path, policy_set: PolicySet, world: World, name: _World) -> None:
    """The user's packages, each allowing; where it denies, it does both."""
    folder.mkdir()
    packages = [*policy_set.scopes.values(), *policy_set.prefixes.values()]
    if not packages:
        packages = [f"issuance.scope[{json.dumps(scope)}]" for scope in world.scopes]
    _write_package(folder / "gate.rego", "issuance.gate", denies=name == "gate_denies")
    for number, package in enumerate(packages):
        _write_package(folder / f"p{number}.rego", package, denies=name == "scopes_deny")
    clients = {CLIENT: {"scopes": list(world.scopes), "audience": [AUDIENCE]}}
    (folder / "data.json").write_text(json.dumps({"registry": {"clients": {LOCAL: clients}}}))


def _write_package(file: Path, package: str, *, denies: bool) -> None:
    deny = '\ndeny contains {"code": "matrix_denies"}\n' if denies else ""
    file.write_text(f'package {package}\n\nallow contains {{"code": "matrix_allows"}}\n{deny}', encoding="utf-8")


def _text(kind: Kind) -> str:
    return f"{kind.grant_type} {kind.token_type}"

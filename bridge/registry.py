"""The tables that name concrete engines and doors: to add one, write its file and one line here."""

from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from bridge.config.settings import EngineSection
from bridge.doors import issued, log_files, native
from bridge.doors.authzen import door as authzen
from bridge.doors.authzen import metadata, search
from bridge.doors.authzen.door import AuthzenDoor
from bridge.doors.authzen.metadata import MetadataDoor
from bridge.doors.authzen.search import SearchDoor
from bridge.doors.curity import door as curity
from bridge.doors.curity.door import CurityDoor
from bridge.doors.issued import IssuedDoor
from bridge.doors.log_files import LogFilesDoor
from bridge.doors.native import NativeDoor
from bridge.doors.operations import OperationsDoor
from bridge.engines.managed import ManagedOpa
from bridge.engines.opa import OpaServer
from bridge.ports import Engine

ENGINES: dict[str, Callable[[EngineSection, Path], Engine]] = {
    "managed": lambda _, opa: ManagedOpa(opa),
    "opa": lambda engine, _: OpaServer(engine.url),
}
"""`engine.kind` -> how it is made, from its section and the `opa` binary."""


DOORS = (native.NAME, authzen.NAME, curity.NAME, log_files.NAME)
"""What `doors` of a caller may name."""


def routes(
    issuance: NativeDoor,
    tuples: AuthzenDoor,
    scopes: CurityDoor,
    searches: SearchDoor,
    about: MetadataDoor,
    reports: IssuedDoor,
    files: LogFilesDoor,
    operations: OperationsDoor,
) -> list[web.RouteDef]:
    """Everything that is served."""
    return [
        web.post(native.PATH, issuance.post),
        web.post(authzen.EVALUATION_PATH, tuples.evaluation),
        web.post(authzen.EVALUATIONS_PATH, tuples.evaluations),
        web.post(curity.PATH, scopes.evaluations),
        web.post(search.PATHS["subject"], searches.subject),
        web.post(search.PATHS["resource"], searches.resource),
        web.post(search.PATHS["action"], searches.action),
        web.get(metadata.PATH, about.get),
        web.get(metadata.PATH + "/{path:.*}", about.get),
        web.post(issued.PATH, reports.post),
        web.get(log_files.PATH, files.get),
        web.get("/health/live", operations.live),
        web.get("/health/ready", operations.ready),
        web.get("/metrics", operations.metrics),
        web.get("/openapi.json", operations.openapi),
    ]

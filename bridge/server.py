"""The composition root: settings in, a running bridge out. Owns every lifetime, and reads in the order of the road."""

import asyncio
import gc
import socket
import ssl
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from bridge import __version__
from bridge.config.settings import Settings
from bridge.config.trust import load_trust
from bridge.doors._body import MAX_BODY_BYTES
from bridge.doors._callers import Callers
from bridge.doors._http import DoorRunner
from bridge.errors import ConfigFault
from bridge.evidence import keys
from bridge.evidence.access import Accesses
from bridge.evidence.archive import PolicyArchive
from bridge.evidence.changes import config_state, policy_state, without_login
from bridge.evidence.chronicle import Chronicle
from bridge.evidence.cosign import Witnesses
from bridge.evidence.journal import GroupCommitJournal
from bridge.evidence.publication import Publication
from bridge.evidence.publish import Publisher, last_checkpoint
from bridge.evidence.store import SqliteStore
from bridge.model.authzen import with_copies
from bridge.model.mask import SecretMask, parse_pointer
from bridge.model.times import now_ms
from bridge.ops.metrics import Metrics
from bridge.pdp.admit import Admission
from bridge.pdp.ask import Limits
from bridge.pdp.decide import Decide
from bridge.pdp.ended import Endings
from bridge.pdp.enrich import Enrich
from bridge.pdp.issued import Issued
from bridge.pdp.lifecycle import Lifecycle, Orders
from bridge.pdp.prove import Prover
from bridge.pdp.record import Recorder
from bridge.pdp.record_search import SearchRecorder
from bridge.pdp.record_tuples import TupleRecorder
from bridge.pdp.search import SearchRoad
from bridge.pdp.tuples import Tuples
from bridge.policy.opa import find_opa, in_thread, require_version
from bridge.policy.served import Shelf, signer_of, verifier_of
from bridge.policy.watch import PolicyWatch
from bridge.registry import DOORS, ENGINES, SOURCES, Parts
from bridge.settling import Settling
from bridge.tlog.note import VerifierKey

GRACE_S = 5.0
OBSERVE_S = 1.0
GC_THRESHOLD = (20_000, 20, 50)
"""Requests leave next to no cycles behind; Python's own 700 looks for them several times a request."""
IDLE_S = 75.0
"""After this a connection is closed that is idle, or has not sent all headers of a request."""
log = structlog.get_logger(__name__)


class Bridge:
    """One worker: an engine, a log, the doors. `start` either succeeds whole or raises a BridgeError."""

    def __init__(self, settings: Settings, *, worker: int = 0) -> None:
        self._settings, self._worker = settings, worker
        self._opa = find_opa(settings.engine.opa)
        self.metrics = Metrics()
        server, evidence = settings.server, settings.evidence
        self.engine = ENGINES[settings.engine.kind](settings.engine, self._opa)
        publisher = publisher_of(settings)
        store = SqliteStore(Path(evidence.path), f"{evidence.instance}/{worker}")
        self.journal = GroupCommitJournal(store, publisher.key.name, self.metrics)
        # One of the workers publishes for all of them.
        self.publication = _publication_of(settings, publisher, self.metrics) if worker == 0 else None
        self.admission = Admission(server.max_in_flight, self.journal)
        self.chronicle = Chronicle(
            self.journal,
            self.metrics.tally,
            self._state,
            lambda: last_checkpoint(Path(evidence.path)),
            primary=worker == 0,
        )
        self.accesses = Accesses(self.journal)
        self._vkey = str(publisher.key)
        shelf = Shelf(signer_of(settings.policy), alone=server.workers == 1)
        self._archive = PolicyArchive(Path(evidence.path))
        self.policies = PolicyWatch(
            Path(settings.policy.path),
            self._opa,
            self.engine,
            self.metrics,
            self._archive.keep,
            self.chronicle.changed,
            shelf,
            verifier_of(settings.policy),
        )
        hidden = with_copies(map(parse_pointer, evidence.mask)), with_copies(map(parse_pointer, evidence.personal))
        prover = Prover(self.journal, self.metrics)
        mask = SecretMask(server.secret_names, server.secret_suffixes)
        ceiling_s = settings.policy.max_token_lifetime_s
        limits = Limits(server.deadline_ms / 1000, settings.engine.deadline_ms / 1000, ceiling_s)
        self.sources = [SOURCES[section.scheme](section, settings) for section in settings.sources]
        enrich = Enrich(self.sources, mask, self.metrics)
        digest = keys.token_digest(Path(evidence.path))
        recorder = Recorder(*hidden, Endings(digest))
        self.decide = Decide(self.engine, self.admission, recorder, prover, mask, limits, self.metrics, enrich)
        self.tuples = Tuples(
            self.engine, self.admission, TupleRecorder(*hidden), prover, mask, limits, self.metrics, enrich
        )
        search_s = settings.authzen.search_deadline_ms / 1000
        self.search = SearchRoad(
            self.engine,
            self.admission,
            SearchRecorder(*hidden),
            prover,
            mask,
            Limits(search_s, search_s, ceiling_s),
            self.metrics,
            enrich,
        )
        deadline_s = server.deadline_ms / 1000
        self.issued = Issued(self.journal, digest, deadline_s, self.metrics)
        orders = Orders(digest, *hidden)
        self.lifecycle = Lifecycle(self.journal, orders, deadline_s, self.metrics)
        self.settling = Settling(
            settings, self.journal, orders, self.lifecycle, digest, self.metrics, primary=worker == 0
        )
        parts = Parts(
            settings=settings,
            callers=Callers(settings.callers),
            decide=self.decide,
            tuples=self.tuples,
            search=self.search,
            issued=self.issued,
            lifecycle=self.lifecycle,
            tokens=self.settling.tokens,
            tree=self.settling.tree,
            logout_pages=self.settling.pages,
            origin=self.journal.origin,
            secret=digest.key,
            note_access=self.accesses.note,
            bundle=shelf.newest,
            readiness=self,
            metrics=self.metrics,
        )
        self._doors = [make(parts) for make in DOORS]
        self._background: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Opens the log, loads the policies, starts the engine and the sources."""
        await in_thread(require_version, self._opa)
        await self.journal.start()
        try:
            for source in self.sources:
                await source.start()
            if self.publication is not None:
                await self.publication.start()
            await self.chronicle.start({"version": __version__, "worker": self._worker})
            await self.policies.start()
            await self.chronicle.changed()
        except BaseException:
            await self._close_sources()
            await self.engine.close()
            await self.journal.close()
            if self.publication is not None:
                await self.publication.abandon()
            raise
        self._background = [
            asyncio.create_task(self.policies.run(), name="policy-watch"),
            asyncio.create_task(self.admission.summarize_forever(), name="overload-summary"),
            asyncio.create_task(self._observe_forever(), name="gauges"),
            asyncio.create_task(self.chronicle.run(), name="heartbeat"),
            asyncio.create_task(self.accesses.tell_forever(), name="accesses"),
        ]
        if self.publication is not None:
            self._background.append(asyncio.create_task(self.publication.run(), name="publication"))
        self._background += self.settling.begin()

    async def listen(self, *, reuse_port: bool = False) -> int:
        """Opens the doors; the port, which the system chose where it was configured as 0."""
        server = self._settings.server
        self._runner = DoorRunner(
            self.application(),
            self.metrics,
            access_log=None,
            keepalive_timeout=IDLE_S,
            shutdown_timeout=GRACE_S,
            handle_signals=False,
        )
        await self._runner.setup()
        tls = tls_context(self._settings)
        site = web.TCPSite(
            self._runner, server.host, server.port, ssl_context=tls, reuse_port=reuse_port or None, backlog=1024
        )
        try:
            await site.start()
        except OSError as error:
            raise ConfigFault(f"cannot listen on {server.host} port {server.port}: {error.strerror}") from error
        # What lives now lives as long as we do: collections need not look at it again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        bound: socket.socket = site._server.sockets[0]  # type: ignore[union-attr]  # noqa: SLF001 - aiohttp has no public way
        return int(bound.getsockname()[1])

    def application(self) -> web.Application:
        """The aiohttp application over this worker."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.add_routes([route for door in self._doors for route in door.routes()])
        return app

    def reasons(self) -> list[str]:
        """Why no decision could be made now; empty: ready."""
        status = self.engine.status()
        found = [] if status.ready else [f"engine: {status.detail}"]
        if self.journal.fault is not None:
            found.append(f"log: {self.journal.fault}")
        return found

    def warnings(self) -> list[str]:
        """Decisions are made, but not by what lies on disk, or without what a source would say."""
        found = [f"policy set on disk refused: {reason}" for reason in self.policies.refused[:20]]
        found += [f"source {s.declared.name}: {text}" for s in self.sources if (text := s.trouble()) is not None]
        found += self.settling.warnings()
        return found + (self.publication.warnings() if self.publication is not None else [])

    def _state(self) -> dict[str, dict[str, Any]]:
        """What the log tells the changes of."""
        state = {"config": config_state(self._settings.model_dump(mode="json")), "key": {"vkey": self._vkey}}
        if self.policies.current is not None:
            settings = self._settings
            where = (
                {"url": without_login(settings.engine.url)}
                if settings.engine.kind == "opa"
                else {"path": settings.policy.path}
            )
            kept = self._archive.told(self.policies.current.digest)
            state["policy"] = {**policy_state(self.policies.current), "brought_by": where, "archive": kept}
        return state

    def observe(self) -> None:
        self.metrics.state(
            engine_ready=self.engine.status().ready,
            log_ready=self.journal.fault is None,
            in_flight=self.admission.in_flight,
        )
        if self.publication is not None:
            self.publication.observe()
        self.settling.observe()

    async def _observe_forever(self) -> None:
        """A scrape may reach another worker, so the gauges must be right without one."""
        while True:
            self.observe()
            await asyncio.sleep(OBSERVE_S)

    async def stop(self) -> None:
        """Closes the doors, answers what is in flight, writes the log to its end, ends the engine."""
        if self._runner is not None:
            await self._runner.cleanup()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self.admission.summarize()
        await self.accesses.tell()
        await self.chronicle.stop()
        await self.journal.close()
        if self.publication is not None:
            await self.publication.close()
        await self._close_sources()
        await self.engine.close()

    async def _close_sources(self) -> None:
        for source in self.sources:
            await source.close()
        await self.settling.close()


async def refuse_foreign_log(settings: Settings) -> None:
    """Before anything is written to a log, by any worker: LogForked when it is not what was signed, or witnessed."""
    publication = _publication_of(settings, publisher_of(settings), Metrics())
    try:
        await publication.start()
        await publication.greet()
    finally:
        await publication.abandon()


def publisher_of(settings: Settings) -> Publisher:
    """What signs the configured log; its key is made where there is none yet. ConfigFault when it cannot be used."""
    folder, evidence = Path(settings.evidence.path), settings.evidence
    signer = keys.load_or_make(folder, evidence.key, evidence.origin, now_ms(), high_water=evidence.high_water)
    return Publisher(folder, signer, evidence.high_water, [VerifierKey.parse(vkey) for vkey in evidence.retired_keys])


def _publication_of(settings: Settings, publisher: Publisher, metrics: Metrics) -> Publication:
    evidence = settings.evidence
    witnesses = Witnesses(load_trust(Path(evidence.trust)), metrics) if evidence.trust else None
    return Publication(publisher, metrics, witnesses)


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """TLS 1.2 or later; client certificates are checked where a CA for them is configured. ConfigFault says why not."""
    server = settings.server
    if not server.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(server.tls_cert, server.tls_key)
        if server.client_ca:
            context.load_verify_locations(server.client_ca)
            # Optional, since other callers may show a bearer token; a certificate that is shown must verify.
            context.verify_mode = ssl.CERT_OPTIONAL
    except (OSError, ssl.SSLError) as error:
        raise ConfigFault(f"server.tls_cert, tls_key or client_ca cannot be used: {error}") from error
    return context

"""`check`: configuration, policies, engine, log: what is wrong, and how to mend it."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import orjson

from bridge.cli.lifecycle.place import issuers
from bridge.cli.options import config_option, json_option
from bridge.cli.sources import uses_of
from bridge.config.logout_key import logout_key
from bridge.config.section import is_loopback
from bridge.config.settings import Settings, load_settings
from bridge.config.sources import SourceSection
from bridge.config.trust import load_trust
from bridge.doors.authzen.metadata import MetadataDoor
from bridge.errors import BridgeError, EvidenceLocked
from bridge.evidence.changes import without_login
from bridge.evidence.cosign import Witnesses
from bridge.evidence.files import SIGNING_KEY
from bridge.evidence.keys import half_year
from bridge.evidence.store import SqliteStore, owned
from bridge.model.mask import SecretMask, covers, parse_pointer
from bridge.model.policy import GATE, PolicySet
from bridge.model.times import now_ms
from bridge.ops.logging import configure_logging
from bridge.ops.metrics import Metrics
from bridge.policy.load import load
from bridge.policy.opa import find_opa, require_version
from bridge.policy.served import signer_of, verifier_of
from bridge.registry import DOOR_NAMES, ENGINES, SOURCES, connectors_of
from bridge.server import publisher_of, tls_context

PROBE = "issuance-bridge-check"
T = TypeVar("T")


@dataclass(slots=True)
class Report:
    """One line for each thing that was looked at."""

    lines: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, state: str, text: str) -> None:
        self.lines.append({"check": what, "state": state, "text": text})

    @property
    def bad(self) -> bool:
        return any(line["state"] == "bad" for line in self.lines)


@click.command()
@config_option
@json_option
def check(config: Path | None, *, as_json: bool) -> None:
    """Look at configuration, policies, engine and log without serving. Exit code 1 when something is bad."""
    configure_logging("console", "error")  # on standard error: what is printed here may be read by a program
    report = Report()
    settings = _try(report, "configuration", lambda: load_settings(config))
    if settings is not None:
        _check_all(settings, report)
    for line in report.lines:
        click.echo(orjson.dumps(line).decode() if as_json else f"{line['state']:<4} {line['check']}: {line['text']}")
    if report.bad:
        raise click.exceptions.Exit(1)


def _check_all(settings: Settings, report: Report) -> None:
    report.add("configuration", "good", f"listens on {settings.server.host}:{settings.server.port}")
    if settings.policy.max_token_lifetime_s is None:
        report.add(
            "configuration", "warn", "policy.max_token_lifetime_s is not set: only policies limit a token's life"
        )
    for caller in settings.callers:
        for door in sorted(set(caller.doors or ()) - set(DOOR_NAMES)):
            there_are = ", ".join(DOOR_NAMES)
            text = f"caller {caller.name!r} may use the door {door!r}, which there is not; there are {there_are}"
            report.add("callers", "warn", text)
    _check_personal(settings, report)
    _check_servers(settings, report)
    if _try(report, "tls", lambda: tls_context(settings)) is not None:
        report.add("tls", "good", "certificate and key fit")
    opa = _try(report, "opa", lambda: find_opa(settings.engine.opa))
    version = _try(report, "opa", lambda: require_version(opa)) if opa else None
    if opa is not None and version is not None:
        report.add("opa", "good", f"{opa} is OPA {version}")
        _try(report, "policies", lambda: signer_of(settings.policy))
        policy_set = _try(
            report, "policies", lambda: load(Path(settings.policy.path), opa, verifier_of(settings.policy))
        )
        if policy_set is not None:
            _describe(policy_set, report)
            _check_uses(settings, policy_set, report)
            _try(report, "engine", lambda: asyncio.run(_ask_engine(settings, opa, policy_set, report)))
    _check_sources(settings, report)
    _check_log(settings, report)
    _check_metadata(settings, report)
    _check_logout(settings, report)
    if settings.evidence.trust:
        trust = _try(report, "witnesses", lambda: load_trust(Path(settings.evidence.trust)))
        if trust is not None and _try(report, "witnesses", lambda: Witnesses(trust, Metrics())) is not None:
            report.add("witnesses", "good", f"{len(trust.witnesses)} are known, the quorum is {trust.quorum}")


def _check_metadata(settings: Settings, report: Report) -> None:
    if settings.authzen.metadata_key and not settings.authzen.pdp:
        report.add(
            "metadata", "warn", "authzen.metadata_key is set, but without authzen.pdp there is no metadata to sign"
        )
    elif settings.authzen.metadata_key and _try(report, "metadata", lambda: MetadataDoor(settings.authzen)) is not None:
        report.add("metadata", "good", "its key can sign")


def _check_logout(settings: Settings, report: Report) -> None:
    if settings.logout.signing_key and _try(report, "logout", lambda: logout_key(settings.logout)) is not None:
        report.add("logout", "good", "its key can sign")
    callers = set(issuers(settings))
    for issuer in sorted({party.issuer for party in settings.relying_parties} - callers):
        report.add("logout", "warn", f"relying_parties: {issuer!r} is no caller's issuer, so that nobody is told of it")
    for issuer in sorted({sender.issuer for sender in settings.logout_senders} - callers):
        told = (
            f"logout_senders: {issuer!r} is no caller's issuer: it ends nothing but what hangs on its exchanged tokens"
        )
        report.add("logout", "warn", told)


def _check_servers(settings: Settings, report: Report) -> None:
    """Where something is done about endings: its secrets are there, and somebody asks for it."""
    if not settings.servers or _try(report, "servers", lambda: connectors_of(settings)) is None:
        return
    report.add("servers", "good", f"{len(settings.servers)} configured; they are not asked here")
    callers = {caller.issuer or caller.name for caller in settings.callers}
    for issuer in sorted({server.issuer for server in settings.servers} - callers if settings.callers else ()):
        report.add("servers", "warn", f"{issuer!r} is no caller's issuer, so that nothing is granted or ends there")


def _check_personal(settings: Settings, report: Report) -> None:
    for personal in settings.evidence.personal:
        if any(covers(parse_pointer(mask), parse_pointer(personal)) for mask in settings.evidence.mask):
            text = f"{personal} is in evidence.mask too, which hides it from `log erase` as well"
            report.add("configuration", "warn", text)


def _check_uses(settings: Settings, policy_set: PolicySet, report: Report) -> None:
    """Whether there is anybody who uses the sources, and whether they can be asked at all."""
    mask = SecretMask(settings.server.secret_names, settings.server.secret_suffixes)
    for section in settings.sources:
        for use, package in uses_of(section, policy_set):
            if package is None:
                report.add("sources", "warn", f"{section.name}: no package answers for {use}")
        if section.scheme == "http" and not is_loopback(urlsplit(section.url).hostname or ""):
            report.add(
                "sources", "warn", f"{section.name}: what it says comes in clear, from whoever answers: use https"
            )
        for pointer in section.key:
            if mask({parse_pointer(pointer)[-1]: ""}) != {parse_pointer(pointer)[-1]: ""}:
                report.add(
                    "sources", "warn", f"{section.name}: {pointer} leads to a secret, which is masked: it will fail"
                )


def _check_sources(settings: Settings, report: Report) -> None:
    for section in settings.sources:
        _try(report, "sources", partial(asyncio.run, _ask_source(section, settings, report)))


async def _ask_source(section: SourceSection, settings: Settings, report: Report) -> None:
    """Asks for a key that nobody has: whether there is an answer at all."""
    source = SOURCES[section.scheme](section, settings)
    try:
        await source.start()
        until = time.monotonic() + section.timeout_ms / 1000 + 1
        answer = await source.ask(tuple(PROBE for _ in section.key), until)
        if (trouble := source.trouble()) is not None:
            report.add("sources", "bad", f"{section.name}: {section.url}: {trouble}; ask its owner, {section.owner}")
        elif answer.error is not None:
            report.add(
                "sources", "warn", f"{section.name}: {section.url}, asked for a key that nobody has: {answer.error}"
            )
        else:
            report.add("sources", "good", f"{section.name}: {section.url} answers")
    finally:
        await source.close()


def _describe(policy_set: PolicySet, report: Report) -> None:
    text = f"{len(policy_set.scopes)} scopes, {len(policy_set.prefixes)} prefixes, revision {policy_set.revision}"
    report.add("policies", "good", text)
    if GATE not in policy_set.packages:
        report.add("policies", "warn", f"package {GATE} is missing: every request will be denied")
    for package in policy_set.packages.values():
        if package.owner is None:
            report.add("policies", "warn", f"{package.file}:{package.row}: {package.name} has no owner (authors)")


async def _ask_engine(settings: Settings, opa: Path, policy_set: PolicySet, report: Report) -> None:
    engine = ENGINES[settings.engine.kind](settings.engine, opa)
    try:
        await engine.start(policy_set)
        status = engine.status()
        where = without_login(settings.engine.url) if settings.engine.kind == "opa" else "an OPA child"
        text = f"{where} answers with this policy set" if status.ready else f"{where}: {status.detail}"
        if settings.engine.kind == "opa" and not status.ready:
            text += " (it must have the bundle of `issuance-bridge policy build`, or fetch it from the running bridge)"
        report.add("engine", "good" if status.ready else "bad", text)
    finally:
        await engine.close()


def _check_log(settings: Settings, report: Report) -> None:
    folder = Path(settings.evidence.path)
    if not os.path.lexists(folder):  # nor where we may not look: the nearest parent is then the one that is closed
        parent = next(p for p in folder.absolute().parents if os.path.lexists(p))
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            report.add("log", "good", f"{folder} does not exist yet and will be made")
        else:
            report.add("log", "bad", f"{folder} cannot be made, since {parent} is not writable: set evidence.path")
        return

    def try_to_write() -> bool:
        try:
            with owned(folder):
                store = SqliteStore(folder, "check")
                store.open()
                store.close()
                _check_tree(settings, report)
        except EvidenceLocked:
            report.add("log", "good", f"a running bridge writes to {folder}")
            return True
        report.add("log", "good", f"{folder} can be written")
        return True

    _try(report, "log", try_to_write)


def _check_tree(settings: Settings, report: Report) -> None:
    """What is on disk is what was signed; LogForked when not."""
    evidence, now = settings.evidence, now_ms()
    folder = Path(evidence.path)
    if not (evidence.key or (folder / SIGNING_KEY).exists()):
        return
    publisher = publisher_of(settings)
    try:
        publisher.open()
    finally:
        publisher.close()
    report.add("log", "good", f"{publisher.key.name} is what was signed, {publisher.signed.size} entries")
    if publisher.key.name.removeprefix(f"{evidence.origin}/") not in (half_year(now), publisher.key.name):
        text = f"{publisher.key.name} is of a half-year that is over: close it and begin the next (docs/decisions/0020)"
        report.add("log", "warn", text)


def _try(report: Report, what: str, action: Callable[[], T]) -> T | None:
    try:
        return action()
    except BridgeError as error:
        for reason in getattr(error, "reasons", None) or (str(error),):
            report.add(what, "bad", reason)
        return None

"""Prometheus metrics: every name and its help text stand here, and in docs/operations.md."""

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from bridge.model.decision import Decision
from bridge.model.issued import Violation
from bridge.ops.tally import Tally

_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)


class Metrics:
    """One set for each process; with several workers a scrape of any of them adds all of them up."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tally = Tally()
        registry = self.registry
        self._decisions = Counter(
            "issuance_decisions", "Decisions by door and outcome.", ["door", "outcome"], registry=registry
        )
        self._tuples = Counter(
            "issuance_tuples",
            "AuthZEN tuples about other things than issuance.",
            ["door", "outcome"],
            registry=registry,
        )
        self._searches = Counter(
            "issuance_searches",
            "Searches, by what was searched for and what came of it: answered, or the code of the fault.",
            ["search", "result"],
            registry=registry,
        )
        self._duration = Histogram(
            "issuance_decision_seconds", "From request to answer.", ["door"], registry=registry, buckets=_BUCKETS
        )
        self._steps = Histogram(
            "issuance_step_seconds",
            "Time by step: sources, engine, record, sync.",
            ["step"],
            registry=registry,
            buckets=_BUCKETS,
        )
        self._sources = Counter(
            "issuance_source_answers",
            "What external sources came to, by source and status: fresh, stale, failed, absent.",
            ["source", "status"],
            registry=registry,
        )
        self._refused = Counter(
            "issuance_refused_calls", "Calls refused at the door, by reason.", ["reason"], registry=registry
        )
        self._unrecorded = Counter(
            "issuance_denied_unrecorded", "Denials without an entry: the log was the fault.", registry=registry
        )
        self._batch = Histogram(
            "issuance_log_batch_entries",
            "Entries that shared one sync.",
            registry=registry,
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self._engine_ready = Gauge(
            "issuance_engine_ready", "1 while the engine answers.", registry=registry, multiprocess_mode="livemin"
        )
        self._log_ready = Gauge(
            "issuance_log_ready", "1 while the log is written.", registry=registry, multiprocess_mode="livemin"
        )
        self._in_flight = Gauge(
            "issuance_in_flight", "Requests being decided.", registry=registry, multiprocess_mode="livesum"
        )
        self._policy_loads = Counter(
            "issuance_policy_loads", "Policy sets found on disk, by result.", ["result"], registry=registry
        )
        self._policy = Gauge(
            "issuance_policy_info",
            "1 for the policy revision in force.",
            ["revision"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._published = Gauge(
            "issuance_log_published_entries",
            "Entries that the published checkpoint covers.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._publish_faults = Counter(
            "issuance_log_publish_faults", "Attempts to publish the log that failed.", registry=registry
        )
        self._checkpoint_age = Gauge(
            "issuance_log_checkpoint_age_seconds",
            "For how long the published checkpoint may not have covered the whole log.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._witnesses = Counter(
            "issuance_log_witness_answers",
            "Checkpoints that a witness was asked to cosign, by what came of it.",
            ["witness", "result"],
            registry=registry,
        )
        self._violations = Counter(
            "issuance_violations",
            "Reports of minted tokens that break a decision, by how.",
            ["violation"],
            registry=registry,
        )
        for violation in Violation:  # an alarm on growth must have seen the zero
            self._violations.labels(violation.value)
        self._revocations = Counter(
            "issuance_revocations", "Endings and new beginnings, by what.", ["what", "effect"], registry=registry
        )
        self._unconfirmed = Gauge(
            "issuance_lifecycle_unconfirmed",
            "Endings about which not all is done yet.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._logout_tokens = Counter(
            "issuance_logout_tokens",
            "Logout tokens that came, by what came of them: accepted, repeated, refused, failed.",
            ["result"],
            registry=registry,
        )
        self._revision: str | None = None
        # Looked up once each: `labels` takes longer than counting does.
        self._step = cache(self._steps.labels)
        self._decision = cache(self._decisions.labels)
        self._decision_time = cache(self._duration.labels)

    def decided(self, door: str, decision: Decision, seconds: float) -> None:
        self._decision(door, decision.outcome.value).inc()
        self.tally.decided(decision.outcome.value)
        self._decision_time(door).observe(seconds)

    def tuples(self, door: str, permits: Iterable[bool]) -> None:
        for permit in permits:
            self._tuples.labels(door, "allow" if permit else "deny").inc()

    def searched(self, search: str, result: str) -> None:
        self._searches.labels(search, result).inc()

    def source(self, name: str, status: str) -> None:
        self._sources.labels(name, status).inc()

    def step(self, name: str, seconds: float) -> None:
        self._step(name).observe(seconds)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        before = time.monotonic()
        try:
            yield
        finally:
            self.step(name, time.monotonic() - before)

    def refused(self, reason: str, caller: str | None = None) -> None:
        self._refused.labels(reason).inc()
        self.tally.refused(caller)

    def denied_unrecorded(self, count: int) -> None:
        self._unrecorded.inc(count)

    def batch(self, entries: int) -> None:
        self._batch.observe(entries)

    def violated(self, violations: Iterable[str]) -> None:
        for violation in violations:
            self._violations.labels(violation).inc()

    def revoked(self, what: str, effect: str) -> None:
        self._revocations.labels(what, effect).inc()

    def unconfirmed(self, endings: int) -> None:
        self._unconfirmed.set(endings)

    def logout_token(self, result: str) -> None:
        self._logout_tokens.labels(result).inc()

    def published(self, entries: int) -> None:
        self._published.set(entries)

    def publish_fault(self) -> None:
        self._publish_faults.inc()

    def checkpoint_age(self, seconds: float) -> None:
        self._checkpoint_age.set(seconds)

    def witness(self, name: str, result: str) -> None:
        self._witnesses.labels(name, result).inc()

    def policy_loaded(self, revision: str) -> None:
        self._policy_loads.labels("accepted").inc()
        if self._revision is not None:
            self._policy.labels(self._revision).set(0)
        self._revision = revision
        self._policy.labels(revision).set(1)

    def policy_refused(self) -> None:
        self._policy_loads.labels("refused").inc()

    def state(self, *, engine_ready: bool, log_ready: bool, in_flight: int) -> None:
        self._engine_ready.set(engine_ready)
        self._log_ready.set(log_ready)
        self._in_flight.set(in_flight)

    def render(self) -> bytes:
        """The text exposition, of all workers where there are several (PROMETHEUS_MULTIPROC_DIR)."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has no types there
        return generate_latest(together)

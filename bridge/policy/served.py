"""A policy set as OPA servers elsewhere fetch it: sealed once, and shown when all workers know it."""

import hashlib
import time
from pathlib import Path

from bridge.config.settings import PolicySection
from bridge.model.policy import PolicySet, ServedBundle
from bridge.policy import bundle
from bridge.policy.listing import SIGNATURES
from bridge.policy.signing import Signer, Verifier

SETTLE_S = 5.0
"""The workers take up a changed set within this time of each other."""


def signer_of(section: PolicySection) -> Signer | None:
    """What signs, where a key is configured. ConfigFault when it cannot be used."""
    return Signer(Path(section.signing_key), section.signing_key_id) if section.signing_key else None


def verifier_of(section: PolicySection) -> Verifier | None:
    """What checks signatures, where a key is configured. ConfigFault when it cannot be used."""
    return Verifier(Path(section.verification_key)) if section.verification_key else None


def sealed(policy_set: PolicySet, signer: Signer | None) -> bytes:
    """The set's bundle, signed: by `signer`, else with the signature that it came with, if it has one."""
    if signer is None and not policy_set.signatures:
        return policy_set.bundle
    files = bundle.unpack(policy_set.bundle)
    return bundle.pack({**files, SIGNATURES: signer.sign(files) if signer is not None else policy_set.signatures})


class Shelf:
    """What is served now. With several workers a new set waits until the others accept its answers, too."""

    def __init__(self, signer: Signer | None, *, alone: bool) -> None:
        self._signer, self._settle_s = signer, 0.0 if alone else SETTLE_S
        self._shown: ServedBundle | None = None
        self._next: ServedBundle | None = None
        self._since = 0.0

    def seal(self, policy_set: PolicySet) -> ServedBundle:
        """`policy_set` as it would be served. Takes its time for a large one."""
        body = sealed(policy_set, self._signer)
        return ServedBundle(body, f"{policy_set.digest}.{hashlib.sha256(body).hexdigest()[:16]}")

    def put(self, served: ServedBundle) -> None:
        """Serves this one from now on."""
        self._shown = self.newest() or served
        self._next, self._since = served, time.monotonic()

    def newest(self) -> ServedBundle | None:
        """What is to be fetched now; None before the first set."""
        if time.monotonic() >= self._since + self._settle_s:
            self._shown = self._next
        return self._shown

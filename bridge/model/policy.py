"""A policy set that passed every check: which package answers for which scope, who owns it, and the bundle to run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.model.registry import Clients

GATE = "issuance.gate"


def resource_package(resource_type: str) -> str:
    """The name of the package that answers AuthZEN tuples about resources of this type."""
    return f"authzen.resource[{json.dumps(resource_type, ensure_ascii=False)}]"


@dataclass(frozen=True, slots=True)
class Package:
    """One issuance package. `rows`: finding code -> row of the rule annotated with it; `row`: of the package line."""

    name: str
    file: str
    row: int
    title: str | None = None
    owner: str | None = None
    risk: str | None = None
    controls: tuple[str, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PolicySet:
    """What decides, as one value. `digest` covers modules, data and kernel; `bundle` is an OPA bundle (tar.gz).

    `files`: module, or `data` for all data together -> SHA-256 (hex) of its content. `clients`: the registered ones.
    `signatures`: the `.signatures.json` that came with it and names exactly the files of `bundle`; empty: none did.
    `prefix_lengths` has each length once, longest first: a scope costs one look-up for each, however many prefixes.
    """

    digest: str
    revision: str
    packages: Mapping[str, Package]
    scopes: Mapping[str, str]
    prefixes: Mapping[str, str]
    prefix_lengths: tuple[int, ...]
    bundle: bytes
    files: Mapping[str, str] = field(default_factory=dict)
    clients: Clients = field(default_factory=dict)
    signatures: bytes = b""

    def package_for(self, scope: str) -> str | None:
        """The name of the package that answers for `scope`: its own, else the longest prefix's, else None."""
        own = self.scopes.get(scope)
        if own is not None:
            return own
        for length in self.prefix_lengths:
            package = self.prefixes.get(scope[:length]) if length <= len(scope) else None
            if package is not None:
                return package
        return None


@dataclass(frozen=True, slots=True)
class ServedBundle:
    """A policy set as other OPA servers fetch it: the bundle (tar.gz), and its entity tag without quotes."""

    body: bytes
    tag: str

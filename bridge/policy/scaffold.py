"""`policy init` and `policy new`: files to begin with, that pass lint and test and grant nothing to anybody."""

import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Literal

from bridge.errors import ConfigFault
from bridge.kernel import OPA_VERSION
from bridge.model.policy import PolicySet
from bridge.model.times import now_ms, rfc3339
from bridge.policy import cases
from bridge.policy import opa as opa_cli
from bridge.policy.cases import GRANT_TYPES
from bridge.policy.folder import CASES
from bridge.policy.load import load
from bridge.policy.schema import input_schema

Risk = Literal["low", "medium", "high"]

LIFETIMES_S: dict[Risk, int] = {"medium": 900, "high": 300}
_TEMPLATES = files("bridge.policy") / "scaffold"
_SUPPORTED = ("authorization_code", "client_credentials", "refresh_token")
_EXAMPLE = ("local", "example-client")
_MAX_SLUG = 100


@dataclass(frozen=True, slots=True)
class NewScope:
    """What a package is begun for. `key`: the scope, or with `prefix` how the scopes begin."""

    key: str
    owner: str
    risk: Risk
    prefix: bool = False

    @property
    def kind(self) -> str:
        return "scope_prefix" if self.prefix else "scope"

    @property
    def slug(self) -> str:
        """Names the files: a colon in a path is a mount to OPA, and `*_test.rego` would never be loaded."""
        slug = re.sub(r"[^a-z0-9]+", "_", self.key.lower()).strip("_")[:_MAX_SLUG].rstrip("_")
        if not slug or slug[0].isdigit():
            slug = f"scope_{slug}".rstrip("_")
        return f"{slug}_scope" if slug.endswith("_test") else slug


def init(folder: Path, owner: str, opa: Path) -> list[Path]:
    """A folder with a gate, one client, schemas, and a check for every change. ConfigFault when it is not empty."""
    if folder.exists() and (not folder.is_dir() or any(entry.name != ".git" for entry in folder.iterdir())):
        raise ConfigFault(f"{folder} is not an empty folder; `policy new` adds to one that there is")
    values = {
        "owner": _quoted(owner),
        "now": rfc3339(now_ms()),
        "unsupported": ", ".join(name for name in GRANT_TYPES if name not in _SUPPORTED),
        "opa_version": OPA_VERSION,
    }
    issuer, client = _EXAMPLE
    registered = {"owner": owner, "grant_types": ["authorization_code", "refresh_token"], "scopes": [], "audience": []}
    data = {"registry": {"clients": {issuer: {client: {**registered, "properties": {}}}}}, "exceptions": {}}
    return _write(
        folder,
        {
            "gate.rego": _rego(opa, "gate.rego", values=values),
            "gate_test.rego": _rego(opa, "gate_test.rego", values=values),
            f"{CASES}/gate.yaml": _filled("gate.yaml", values),
            "data.json": _json(data),
            "schemas/input.json": _json(input_schema()),
            "schemas/cases.json": _json(cases.schema()),
            "README.md": _filled("README.md", values),
            ".github/workflows/policies.yml": _filled("policies.yml", values),
        },
    )


def new(folder: Path, scope: NewScope, opa: Path) -> list[Path]:
    """Package, test and cases for one scope. ConfigFault when a file or a package for it is there already.

    PolicyRefused when the folder's policies do not load.
    """
    folder.mkdir(parents=True, exist_ok=True)
    there = load(folder, opa)
    package = (there.prefixes if scope.prefix else there.scopes).get(scope.key)
    if package is not None:
        raise ConfigFault(f"{there.packages[package].file} answers for {scope.key} already")
    slug = _free(scope.slug, {package.file for package in there.packages.values()})
    issuer, client = _a_client(there)
    lifetime = LIFETIMES_S.get(scope.risk)
    values = {
        "title": _quoted(f"Scopes that begin with {scope.key}" if scope.prefix else f"Scope {scope.key}"),
        "owner": _quoted(scope.owner),
        "risk": scope.risk,
        "kind": scope.kind,
        "key": _quoted(scope.key),
        "slug": _quoted(slug),
        "lifetime": str(lifetime),
        "issuer": _quoted(issuer),
        "client": _quoted(client),
        "now": rfc3339(now_ms()),
        "scope": _quoted(f"{scope.key}example" if scope.prefix else scope.key),
        "grant_types": ", ".join(GRANT_TYPES),
    }
    limited = lifetime is not None
    policy, test = (["scope.rego", "limit.rego"][: 1 + limited], ["scope_test.rego", "limit_test.rego"][: 1 + limited])
    return _write(
        folder,
        {
            f"scopes/{slug}.rego": _rego(opa, *policy, values=values),
            f"scopes/{slug}_test.rego": _rego(opa, *test, values=values),
            f"{CASES}/{slug}.yaml": _filled("scope.yaml", values),
        },
    )


def _free(slug: str, taken: set[str]) -> str:
    """`a:b`, `a/b` and `A:B` are three scopes of one slug: each that comes later has a number."""
    slugs = (slug if number == 1 else f"{slug}_{number}" for number in range(1, len(taken) + 2))
    return next(one for one in slugs if f"scopes/{one}.rego" not in taken)


def _a_client(there: PolicySet) -> tuple[str, str]:
    """Any registered client, so that the cases ask for one that the gate may know."""
    registered = ((issuer, client) for issuer, clients in there.clients.items() for client in clients)
    return next(registered, _EXAMPLE)


def _write(folder: Path, contents: dict[str, str]) -> list[Path]:
    """All of them, or none where one is there already."""
    targets = {folder / name: content for name, content in contents.items()}
    if there := [str(file) for file in targets if file.exists()]:
        raise ConfigFault(f"{', '.join(there)} is there already: nothing was written")
    for file, content in targets.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("x", encoding="utf-8") as out:
            out.write(content)
    return list(targets)


def _rego(opa: Path, *names: str, values: dict[str, str]) -> str:
    """Formatted by OPA, which writes `.openid` for `["openid"]`."""
    text = "".join(_filled(name, values) for name in names)
    done = opa_cli.run(opa, "fmt", stdin=text.encode())
    if done.returncode != 0:
        raise ConfigFault(f"{names[0]} was not formatted: {done.stderr.decode(errors='replace')[:500]}")
    return done.stdout.decode()


def _filled(name: str, values: dict[str, str]) -> str:
    return Template((_TEMPLATES / f"{name}.tmpl").read_text(encoding="utf-8")).substitute(values)


def _quoted(text: str) -> str:
    """One string for JSON, YAML and Rego alike."""
    return json.dumps(text, ensure_ascii=False)


def _json(value: object) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

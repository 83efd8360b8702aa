"""The load-time index: scope or prefix -> package, owner, file, rows; and the refusals that need syntax trees."""

import json
from collections.abc import Iterable
from typing import Any

from bridge.errors import PolicyRefused
from bridge.model.policy import GATE, Package
from bridge.model.verdict import FIELDS
from bridge.policy.syntax import Module

RESERVED = ("issuance", "authzen")
_SHAPES = ("issuance.gate", "issuance.scope[S]", "issuance.scope_prefix[P]", "authzen.resource[T]")


class Index:
    """Which package answers for what. `data()` is the part that the kernel reads."""

    def __init__(self, modules: Iterable[Module]) -> None:
        """Raises PolicyRefused when a module declares a reserved package in another form, or one twice."""
        self.packages: dict[str, Package] = {}
        self.scopes: dict[str, str] = {}
        self.prefixes: dict[str, str] = {}
        reasons: list[str] = []
        for module in modules:
            if module.package[:1] and module.package[0] in RESERVED:
                try:
                    self._add(module)
                except PolicyRefused as refused:
                    reasons.extend(refused.reasons)
        if reasons:
            raise PolicyRefused(reasons)

    def data(self, digest: str) -> dict[str, Any]:
        """The value of `data.issuance.index`."""
        return {
            "digest": digest,
            "scopes": self.scopes,
            "prefixes": self.prefixes,
            "prefix_lengths": list(self.prefix_lengths),
        }

    @property
    def prefix_lengths(self) -> tuple[int, ...]:
        """Each length once, longest first."""
        return tuple(sorted({len(prefix) for prefix in self.prefixes}, reverse=True))

    def _add(self, module: Module) -> None:
        name = package_name(module.package)
        where = f"{module.file}:{module.row}: "
        match module.package:
            case ("issuance", "gate"):
                pass
            case ("issuance", "scope", scope):
                self.scopes[scope] = name
            case ("issuance", "scope_prefix", ""):
                raise PolicyRefused([f"{where}the prefix is empty: it would answer for every scope"])
            case ("issuance", "scope_prefix", prefix):
                self.prefixes[prefix] = name
            case ("authzen", "resource", _):
                pass
            case _:
                raise PolicyRefused([f"{where}package {name} is reserved; allowed here: {', '.join(_SHAPES)}"])
        if name in self.packages:
            other = self.packages[name].file
            raise PolicyRefused([f"{where}package {name} is declared in {other} already; one file for each package"])
        if silent := sorted(module.functions.intersection(FIELDS)):
            raise PolicyRefused([f"{where}{silent[0]} is a function in {name}: it would never speak"])
        for annotation in module.rules:
            if unread := _unread(annotation.content):
                raise PolicyRefused([f"{module.file}:{annotation.row}: {unread}"])
        self.packages[name] = _describe(name, module)


def package_name(path: tuple[str, ...]) -> str:
    """The package as Rego spells it: `issuance.scope["payments:write"]`; only our own four forms are looked at."""
    if path == ("issuance", "gate"):
        return GATE
    head, rest = path[:2], path[2:]
    return ".".join(head) + "".join(f"[{json.dumps(part, ensure_ascii=False)}]" for part in rest)


def _unread(about: dict[str, Any]) -> str | None:
    """What a finding would not get: it is made of the annotations of its own rule alone."""
    scope = about.get("scope", "rule")
    lost = sorted({"exception", "effective_on"}.intersection(_object(about.get("custom"))))
    return (
        f"custom.{lost[0]} in annotations of scope {scope}: it is read at a rule only"
        if scope != "rule" and lost
        else None
    )


def _describe(name: str, module: Module) -> Package:
    custom = _object(module.about.get("custom"))
    rows: dict[str, int] = {}
    for annotation in module.rules:
        code = _object(annotation.content.get("custom")).get("code")
        if isinstance(code, str):
            rows.setdefault(code, annotation.row)
    return Package(
        name=name,
        file=module.file,
        row=module.row,
        title=_text(module.about.get("title")),
        owner=owner_of(module.about),
        risk=_text(custom.get("risk")),
        controls=tuple(str(c)[:128] for c in _array(custom.get("controls")))[:16],
        rows=rows,
    )


def owner_of(about: dict[str, Any]) -> str | None:
    """Who owns a package, from its annotations; None: nobody is named."""
    names: list[str] = []
    for author in _array(about.get("authors"))[:4]:
        if isinstance(author, dict):
            mail = f" <{author['email']}>" if author.get("email") else ""
            names.append(f"{author.get('name', '')}{mail}".strip())
        else:
            names.append(str(author))
    return _text(", ".join(n for n in names if n))


def _text(value: object) -> str | None:
    return value[:256] if isinstance(value, str) and value else None


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _array(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

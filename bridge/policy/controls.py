"""The controls that annotations name, and the catalogues (controls.toml) by which their names are recognised."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from bridge.policy.folder import Folder
from bridge.policy.index import package_name
from bridge.policy.syntax import Module, trees

MAX_NAMED = 64
MAX_TEXT = 128
_ENHANCEMENT = re.compile(r"\(\d{1,2}\)$")
_PADDED = re.compile(r"(?<=^[a-z]{2}-)0(?=\d)")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """One publisher's list. `holds`: what of the list is here; `controls`: id -> title."""

    name: str
    source: str
    holds: str
    labels: tuple[str, ...]
    controls: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Control:
    """What a text in an annotation means; `listed`: under which id its catalogue has it.

    `catalogue`: None where it is not recognised; then `hint` may help.
    """

    id: str
    listed: str | None = None
    catalogue: str | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """A place that names a control: a whole package (`code` None), or the rule with this code."""

    text: str
    package: str
    file: str
    row: int
    code: str | None = None


@cache
def catalogues() -> tuple[Catalogue, ...]:
    """All that are known, in the order of the file."""
    return tuple(
        Catalogue(one["name"], one["source"], one["holds"], tuple(one["labels"]), one["controls"])
        for one in _read()["catalogue"]
    )


def recognised(text: str) -> Control:
    """The control that `text` names: an id, or the catalogue's label and an id, in any case; else its own words."""
    words = " ".join(text.split())
    for catalogue in catalogues():
        known = _ids(catalogue)
        for label in ("", *catalogue.labels):
            rest = words.casefold().removeprefix(label.casefold()).strip(" :")
            enhancement = _ENHANCEMENT.search(rest)
            base = _PADDED.sub("", rest[: enhancement.start()] if enhancement else rest)
            if (found := known.get(rest) or known.get(base)) is not None:
                name = found if found.casefold() == rest or not enhancement else f"{found}{enhancement.group()}"
                return Control(name, found, catalogue.name)
    hints = (hint for name, hint in _read()["mistakes"].items() if words.casefold().endswith(name.casefold()))
    return Control(words, hint=next(hints, None))


def named_in(modules: Iterable[Module]) -> list[Named]:
    """Every naming of a control in the annotations of packages and rules."""
    found: list[Named] = []
    for module in modules:
        package = package_name(module.package)
        found.extend(Named(text, package, module.file, module.row) for text in _texts(module.about))
        for annotation in module.rules:
            code = _object(annotation.content.get("custom")).get("code")
            code = code if isinstance(code, str) else ""
            found.extend(Named(text, package, module.file, annotation.row, code) for text in _texts(annotation.content))
    return found


def tests_of(folder: Folder, packages: Iterable[tuple[str, ...]], opa: Path) -> dict[str, list[str]]:
    """Package -> the files of tests that mention it."""
    known = {path: package_name(path) for path in packages}
    found: dict[str, list[str]] = {name: [] for name in known.values()}
    texts = {name: content.decode("utf-8", "replace") for name, content in folder.tests.items()}
    for file, tree in zip(texts, trees(opa, texts), strict=True):
        mentioned = {path[:length] for path in _paths(tree) for length in range(1, len(path) + 1)}
        for path in mentioned & known.keys():
            found[known[path]].append(file)
    return found


def _paths(node: Any) -> Iterator[tuple[str, ...]]:
    """What a module names below `data`, as far as it is spelled out."""
    if isinstance(node, list):
        if node and isinstance(node[0], dict) and (node[0].get("type"), node[0].get("value")) == ("var", "data"):
            path = []
            for term in node[1:]:
                if not isinstance(term, dict) or term.get("type") != "string":
                    break
                path.append(str(term["value"]))
            yield tuple(path)
        for item in node:
            yield from _paths(item)
    elif isinstance(node, dict):
        for item in node.values():
            yield from _paths(item)


def _ids(catalogue: Catalogue) -> dict[str, str]:
    """Ids without case; the year of an edition may be left out."""
    ids = {name.casefold(): name for name in catalogue.controls}
    return {**{name.casefold().partition(":")[0]: name for name in catalogue.controls}, **ids}


def _texts(about: dict[str, Any]) -> list[str]:
    controls = _object(about.get("custom")).get("controls")
    return [str(text)[:MAX_TEXT] for text in controls[:MAX_NAMED]] if isinstance(controls, list) else []


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(files("bridge.policy").joinpath("controls.toml").read_text(encoding="utf-8"))

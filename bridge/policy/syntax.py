"""Syntax trees of Rego modules, by OPA's own parser: package, row of the package line, annotations."""

import base64
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.errors import PolicyRefused
from bridge.policy import opa as opa_cli

_PARSE = "x := [m | some f in input; m := rego.parse_module(f[0], f[1])]"
_YAML = "x := [{y | y := yaml.unmarshal(t)} | some t in input]"
_REPEATED = re.compile(r'line (\d+): mapping key ("[^\n]*") already defined')
_PARSE_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Annotation:
    """One `# METADATA` block; `row` is that of the statement below it."""

    row: int
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Module:
    """`package` is the path below `data`, verbatim; its annotation is separate from those of the rules."""

    file: str
    package: tuple[str, ...]
    row: int
    about: dict[str, Any] = field(default_factory=dict)
    rules: tuple[Annotation, ...] = ()
    functions: frozenset[str] = frozenset()


def parse(opa: Path, modules: dict[str, bytes]) -> list[Module]:
    """The modules, in the order given. PolicyRefused with OPA's message where one does not parse."""
    sources: dict[str, str] = {}
    for name, content in modules.items():
        try:
            sources[name] = content.decode("utf-8")
        except UnicodeDecodeError:
            raise PolicyRefused([f"{name}: not UTF-8"]) from None
    read = trees(opa, sources)
    blocks = [_blocks(tree.get("comments") or []) for tree in read]
    texts = [text for found in blocks for _, text in found]
    contents = iter(load_yamls(opa, texts))
    return [
        _module(name, sources[name], tree, [(row, next(contents)) for row, _ in found])
        for name, tree, found in zip(sources, read, blocks, strict=True)
    ]


def load_yaml(opa: Path, text: str) -> Any:
    """`text` as OPA itself reads YAML, null when it does not."""
    (value,) = load_yamls(opa, [text])
    return value


def trees(opa: Path, modules: dict[str, str]) -> list[dict[str, Any]]:
    """Syntax trees as OPA prints them, without rows; PolicyRefused with its message where one does not parse."""
    names = list(modules)
    found: list[dict[str, Any]] = []
    for start in range(0, len(names), _PARSE_CHUNK):
        chunk = names[start : start + _PARSE_CHUNK]
        found.extend(opa_cli.evaluate(opa, _PARSE, [[name, modules[name]] for name in chunk], strict=True))
    return found


def load_yamls(opa: Path, texts: list[str]) -> list[Any]:
    """Each text as `load_yaml` reads it, at once."""
    values = opa_cli.evaluate(opa, _YAML, texts) if texts else []
    return [value[0] if value else None for value in values]


def repeated(opa: Path, text: str) -> list[tuple[int, str]]:
    """Row and name of each member that stands twice in a mapping of a YAML text: `load_yaml` keeps the last.

    OPA's reader of annotations is another one, which says so; what else it has against the text is not told here.
    """
    rows = ("" if row.startswith(("---", "...", "%")) else row for row in text.removeprefix("\ufeff").split("\n"))
    module = "\n".join(["# METADATA", "# custom:", *(f"#   {row.rstrip()}" for row in rows), "package x"])
    done = opa_cli.run(opa, "parse", "--format", "json", "/dev/stdin", stdin=module.encode())
    said = [] if done.returncode == 0 else json.loads(done.stderr or b"{}").get("errors", [])
    found = [_REPEATED.findall(str(error.get("message"))) for error in said]
    return [(int(row) - 1, name) for one in found for row, name in one]


def _blocks(comments: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """(last row, YAML text) of each METADATA block: a comment `METADATA` and the comment lines right below it."""
    found: list[tuple[int, str]] = []
    lines: list[str] | None = None
    last = -1
    for comment in comments:
        row = int(comment["Location"]["row"])
        column = int(comment["Location"]["col"])
        text = base64.b64decode(comment["Text"]).decode("utf-8", "replace")
        begins = text.strip().startswith("METADATA") and column == 1
        if lines is not None and (begins or row != last + 1 or column != 1):
            found.append((last, "\n".join(lines)))
            lines = None
        if begins:
            lines = []
        elif lines is not None:
            lines.append(text)
        last = row
    if lines is not None:
        found.append((last, "\n".join(lines)))
    return found


def _module(name: str, text: str, tree: dict[str, Any], blocks: list[tuple[int, Any]]) -> Module:
    lines = text.split("\n")  # as OPA counts rows: splitlines knows more ends of lines
    terms = tree["package"]["path"][1:]
    package = tuple(str(term["value"]) for term in terms)
    row = next((i for i, line in enumerate(lines, 1) if line.split(maxsplit=1)[:1] == ["package"]), 1)
    about: dict[str, Any] = {}
    rules: list[Annotation] = []
    for last, content in blocks:
        statement = _next_statement(lines, last)
        if not isinstance(content, dict):
            continue
        if statement == row:
            about = content
        else:
            rules.append(Annotation(statement, content))
    heads = [rule["head"] for rule in tree.get("rules") or ()]
    functions = frozenset(str(head["ref"][0]["value"]) for head in heads if "args" in head)
    return Module(name, package, row, about, tuple(rules), functions)


def _next_statement(lines: list[str], after: int) -> int:
    for row in range(after + 1, len(lines) + 1):
        stripped = lines[row - 1].strip()
        if stripped and not stripped.startswith("#"):
            return row
    return after

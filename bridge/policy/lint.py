"""`policy lint`: formatting, `opa check` as at load, and our own conventions, which are written in Rego (lint/)."""

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal

from bridge.errors import PolicyRefused
from bridge.model.mask import SECRET_NAMES, SECRET_SUFFIXES
from bridge.model.times import now_ms, rfc3339
from bridge.policy import folder as policy_folder
from bridge.policy import opa as opa_cli
from bridge.policy import syntax
from bridge.policy.cases import GRANT_TYPES, Question, read_cases
from bridge.policy.exceptions import place_of
from bridge.policy.folder import Folder, laid_out
from bridge.policy.load import merge_data, verify
from bridge.policy.schema import input_schema

_RULES = files("bridge.policy") / "lint"
_AT_ONCE = 4
_UNLOADED = "mend this first: as it is, the bridge does not load the set"
_PLACE = re.compile(r"(?P<file>[^:\s][^:]*(?::(?=\d)|\.(?:json|yaml):))(?:(?P<row>\d+):)? (?P<text>.*)", re.DOTALL)
_CODE = re.compile(r"(?P<code>rego_\w+_error): (?P<text>.*)", re.DOTALL)
_TUPLE_FIELDS = (
    "action",
    "caller",
    "context",
    "door",
    "id",
    "issuer",
    "resource",
    "salt",
    "sources",
    "subject",
    "time",
)


@dataclass(frozen=True, slots=True, order=True)
class Complaint:
    """One thing that is wrong. `file` is relative to the policy folder, `.` where it is about the set as a whole."""

    file: str
    row: int
    code: str
    severity: Literal["error", "warning"]
    message: str
    remedy: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


Secrets = tuple[tuple[str, ...], tuple[str, ...]]
"""Names, and endings of names, whose values the bridge masks."""


def lint(path: Path, opa: Path, secrets: Secrets = (SECRET_NAMES, SECRET_SUFFIXES)) -> list[Complaint]:
    """What is wrong with the policy folder at `path`, by file and row. ConfigFault when it is no folder."""
    folder = policy_folder.read(path)
    with laid_out(folder) as root:
        checked = {*_refusals(folder, opa), *_checked(root, opa)}
        trees = {**_parse(root / "set", folder.decides.modules, opa), **_parse_tests(root / "set", folder.tests, opa)}
        own = _conventions(folder, trees, opa, secrets)
        found = {c for c in checked if not _told_better(c, own)} | {*own, *_unformatted(root, folder, opa)}
    return sorted(found)


def _refusals(folder: Folder, opa: Path) -> Iterable[Complaint]:
    """Why the bridge would not load the set."""
    try:
        verify(folder.decides, opa)
    except PolicyRefused as refused:
        found = [_complaint(reason, "refused", _UNLOADED) for reason in refused.reasons]
        unread = any(c.code == "rego_parse_error" for c in found)  # with it come lines that only draw where it is
        return [c for c in found if not unread or c.code != "refused"]
    return []


def _checked(root: Path, opa: Path) -> list[Complaint]:
    """`opa check --strict` with tests, and with the schema where a file's annotations ask for it."""
    schemas = root / "schemas"
    schemas.mkdir()
    (schemas / "input.json").write_text(json.dumps(input_schema()), encoding="utf-8")
    arguments = ("--schema", str(schemas), str(root / "lib.rego"))
    reasons = opa_cli.check(opa, root / "set", root / "capabilities.json", *arguments)
    return [
        _complaint(reason, "refused", "mend this first: it may be the reason for what else is told")
        for reason in reasons
    ]


def _complaint(reason: str, code: str, remedy: str) -> Complaint:
    place = _PLACE.fullmatch(reason)
    file, row, text = (place["file"][:-1], place["row"] or 1, place["text"]) if place else (".", 1, reason)
    if named := _CODE.fullmatch(text):
        code, text = named["code"], named["text"]
    return Complaint(file, int(row), code, "error", text, remedy)


def _unformatted(root: Path, folder: Folder, opa: Path) -> list[Complaint]:
    if not folder.modules:
        return []
    done = opa_cli.run(opa, "fmt", "--list", str(root / "set"))
    names = [line.removeprefix(f"{root / 'set'}/") for line in done.stdout.decode().splitlines()]
    message, remedy = "not formatted as `opa fmt` would", "opa fmt --write FILE"
    return [
        Complaint(name, 1, "unformatted", "error", message, remedy.replace("FILE", name))
        for name in names
        if name in folder.modules
    ]


def _parse(where: Path, names: Iterable[str], opa: Path) -> dict[str, Any]:
    """Syntax trees with rows and annotations; a file that does not parse is told by the check."""

    def tree(name: str) -> Any:
        done = opa_cli.run(opa, "parse", "--format", "json", "--json-include", "locations,-comments", str(where / name))
        return json.loads(done.stdout, object_hook=_without_text) if done.returncode == 0 else None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names = list(names)
        return {name: found for name, found in zip(names, pool.map(tree, names), strict=True) if found is not None}


def _parse_tests(where: Path, tests: dict[str, bytes], opa: Path) -> dict[str, Any]:
    """Without rows, which nobody asks of a test, and so all at once."""
    texts = {name: content.decode("utf-8", "replace") for name, content in tests.items()}
    try:
        return dict(zip(texts, syntax.trees(opa, texts), strict=True))
    except PolicyRefused:
        return _parse(where, tests, opa)


def _without_text(node: dict[str, Any]) -> dict[str, Any]:
    """Locations without the source text, which is most of a tree."""
    if "row" in node and "col" in node:
        return {"row": node["row"]}
    return node


def _conventions(folder: Folder, trees: dict[str, Any], opa: Path, secrets: Secrets) -> list[Complaint]:
    found: list[Complaint] = []
    questions: list[Question] = []
    exceptions: list[dict[str, Any]] = []
    try:
        questions = read_cases(folder.cases, opa)
    except PolicyRefused as refused:
        remedy = "see `issuance-bridge policy schema --cases`"
        found.extend(_complaint(reason, "case_malformed", remedy) for reason in refused.reasons)
    with suppress(PolicyRefused):  # told among the refusals
        exceptions = _exceptions(folder, opa)
    document = {
        "now": rfc3339(now_ms()),
        "modules": [{"file": name, "tree": trees[name]} for name in folder.decides.modules if name in trees],
        "tests": [{"file": name, "tree": trees[name]} for name in folder.tests if name in trees],
        "exceptions": exceptions,
        "cases": [_shown(question) for question in questions],
        "fields": closed_objects(input_schema()),
        "tuple_fields": [{"path": [], "members": list(_TUPLE_FIELDS)}],
        "secrets": dict(zip(("names", "suffixes"), ([n.lower() for n in names] for names in secrets), strict=True)),
        "grant_types": list(GRANT_TYPES),
    }
    with as_file(_RULES) as rules:
        modules = [file for file in sorted(rules.rglob("*.rego")) if not file.name.endswith("_test.rego")]
        said = opa_cli.evaluate(opa, "x := data.lint.finding", document, data=modules)
    return [*found, *(Complaint(**complaint) for complaint in said)]


def _shown(question: Question) -> dict[str, Any]:
    sources = {name: source.status for name, source in (question.case.sources or {}).items()}
    return {"scope": question.scope, "grant_type": question.grant_type, "sources": sources}


def _exceptions(folder: Folder, opa: Path) -> list[dict[str, Any]]:
    """The records in data.exceptions, each with the first place that names it."""
    register = merge_data(folder.decides, opa).get("exceptions")
    if not isinstance(register, dict):
        return []
    return [
        {"file": file, "row": row, "id": name, "record": {"id": name, **record} if isinstance(record, dict) else {}}
        for name, record in register.items()
        for file, row in [place_of(name, folder.decides.data)]
    ]


def closed_objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects of a JSON Schema that take no other members: their path (`*`: any element) and members."""
    found: list[dict[str, Any]] = []

    def walk(node: dict[str, Any], path: list[str]) -> None:
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        members = node.get("properties", {})
        if node.get("additionalProperties") is False:
            found.append({"path": path, "members": sorted(members)})
        for name, member in members.items():
            walk(member, [*path, name])
        for key in ("items", "additionalProperties"):
            if isinstance(node.get(key), dict):
                walk(node[key], [*path, "*"])

    walk(schema, [])
    return found


def _told_better(complaint: Complaint, own: list[Complaint]) -> bool:
    """A misspelt member of `input`, of which ours says what there is instead."""
    return complaint.message.startswith("undefined ref: input.") and any(
        (c.file, c.row, c.code) == (complaint.file, complaint.row, "input_unknown") for c in own
    )

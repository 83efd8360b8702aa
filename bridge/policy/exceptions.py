"""The exceptions of a policy set, as annotations and `data.exceptions` have them: would the bridge let them count?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from bridge.model.times import parse_rfc3339
from bridge.model.verdict import EXCEPTION_KINDS, read_exception
from bridge.policy.index import owner_of, package_name
from bridge.policy.syntax import Module

_WHOLE = {"kind": EXCEPTION_KINDS[0], "id": "x", "approved_by": ["x"], "expires": "9999-01-01T00:00:00Z"}
_EVER = -(10**18)


class State(StrEnum):
    """What the bridge makes of an exception now; `EXPIRES`: it holds, and not for long."""

    HOLDS = "holds"
    EXPIRES = "expires"
    EXPIRED = "expired"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Declared:
    """One exception. `lacks`: members that are missing or are not what they must be.

    `package`, `code`: of its rule; None: a record in `data.exceptions` that no rule names. `file`, `row`: of the rule,
    else of the record.
    """

    state: State
    kind: str | None
    id: str | None
    approved_by: tuple[str, ...]
    expires: str | None
    lacks: tuple[str, ...]
    file: str = ""
    row: int = 1
    package: str | None = None
    code: str | None = None
    owner: str | None = None
    in_data: bool = False


def declared(
    modules: Sequence[Module], register: Any, data: Mapping[str, bytes], now_ms: int, soon_ms: int
) -> list[Declared]:
    """Every exception, by file and row. `register`: `data.exceptions`; `data`: the files it was read from.

    `soon_ms`: one that ends before this instant is told as `State.EXPIRES`.
    """
    records = register if isinstance(register, dict) else {}
    found, named = list[Declared](), set[str]()
    for module in modules:
        for row, code, exception in _annotated(module):
            name, record = _record(exception, records)
            if name is not None and record is not None:
                named.add(name)
            whole = exception if record is None else {**record, "id": name}
            one = _read(whole, now_ms, soon_ms)
            if one.state is State.INCOMPLETE and name is not None and name not in records:
                one = replace(one, state=State.UNKNOWN, lacks=())
            found.append(
                replace(
                    one,
                    file=module.file,
                    row=row,
                    package=package_name(module.package),
                    code=code,
                    owner=owner_of(module.about),
                    in_data=record is not None,
                )
            )
    for name in sorted(records.keys() - named):
        record = records[name]
        file, row = place_of(name, data)
        one = _read({**record, "id": name} if isinstance(record, dict) else {"id": name}, now_ms, soon_ms)
        found.append(replace(one, file=file, row=row, in_data=True))
    return sorted(found, key=lambda one: (one.file, one.row))


def place_of(name: str, data: Mapping[str, bytes]) -> tuple[str, int]:
    """File and row of the first line of data that begins with a name; the first file where none does."""
    for file, content in sorted(data.items()):
        for row, line in enumerate(content.decode("utf-8", "replace").split("\n"), 1):
            if line.strip().lstrip("{").strip().strip("\"'").startswith(name):
                return file, row
    return min(data, default="data.json"), 1


def _annotated(module: Module) -> Iterator[tuple[int, str | None, Any]]:
    for annotation in module.rules:
        custom = annotation.content.get("custom")
        if isinstance(custom, dict) and "exception" in custom:
            code = custom.get("code")
            yield annotation.row, code if isinstance(code, str) else None, custom["exception"]


def _record(exception: Any, records: Mapping[str, Any]) -> tuple[str | None, dict[str, Any] | None]:
    """The id of an annotation that says only that, and the record that completes it (as the kernel's library does)."""
    if not isinstance(exception, dict) or exception.keys() != {"id"} or not isinstance(exception["id"], str):
        return None, None
    record = records.get(exception["id"])
    return exception["id"], record if isinstance(record, dict) else None


def _read(exception: Any, now_ms: int, soon_ms: int) -> Declared:
    """By the reading that counts in a decision; where it stands is to be added."""
    told = exception if isinstance(exception, dict) else {}
    lacks = tuple(m for m in _WHOLE if read_exception({**_WHOLE, m: told.get(m)}, _EVER)[0] is None)
    expires, approvers = told.get("expires"), told.get("approved_by")
    if lacks:
        state = State.INCOMPLETE
    elif read_exception(told, now_ms)[0] is None:
        state = State.EXPIRED
    else:
        state = State.EXPIRES if (parse_rfc3339(expires) or 0) < soon_ms else State.HOLDS
    return Declared(
        state=state,
        kind=_text(told.get("kind")),
        id=_text(told.get("id")),
        approved_by=tuple(map(str, approvers)) if isinstance(approvers, list) else (),
        expires=_text(expires),
        lacks=lacks,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None

"""The operators' page names everything that there is, as it is."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from bridge.config.logout import LogoutSenderSection, RelyingPartySection
from bridge.config.servers import AuthorizationServerSection
from bridge.config.settings import CallerSection, Settings
from bridge.config.sources import SourceSection
from bridge.ops.metrics import Metrics

PAGE = Path("docs/operations.md").read_text(encoding="utf-8")


def table_after(heading: str) -> dict[str, list[str]]:
    """The first table after `heading`: each name in backticks in its first cell -> the other cells."""
    at = PAGE.index(f"\n{heading}\n")
    table = re.search(r"(?:^\|.*\n)+", PAGE[at:], re.MULTILINE)
    assert table is not None, heading
    rows: dict[str, list[str]] = {}
    for line in table.group().splitlines()[2:]:
        first, *rest = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        rows.update((name, rest) for name in re.findall(r"`([^`]+)`", first) if name != "_total")
    return rows


def sections(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """The members that are tables of the file, and theirs in turn."""
    found: dict[str, type[BaseModel]] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= {f"{prefix}{name}": field.annotation, **sections(field.annotation, f"{prefix}{name}.")}
    return found


SECTIONS = sections(Settings)


@pytest.mark.parametrize("section", SECTIONS)
def test_every_setting_is_described_with_its_default(section: str) -> None:
    fields = {n: f for n, f in SECTIONS[section].model_fields.items() if f"{section}.{n}" not in SECTIONS}
    described = table_after(f"### `[{section}]`") if fields else {}
    assert described.keys() == fields.keys()
    for name, field in fields.items():
        shown = described[name][0]
        assert shown == "unset" if field.default is None else _shows(shown, field.default), (section, name)


def _shows(cell: str, default: Any) -> bool:
    if isinstance(default, tuple) and default:
        return re.findall(r"`([^`]+)`", cell) == list(default)
    return cell == f"`{json.dumps(default)}`"


def test_every_member_of_a_caller_is_described() -> None:
    described = table_after("## Callers")
    assert described.keys() == CallerSection.model_fields.keys()
    needed = {name for name, field in CallerSection.model_fields.items() if field.default is PydanticUndefined}
    assert {name for name, cells in described.items() if cells[0] == "needed"} == needed
    (roles,) = get_args(CallerSection.model_fields["roles"].annotation)[:1]
    assert all(f"`{role}`" in described["roles"][1] for role in get_args(roles))


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("## Sources", SourceSection),
        ("## Authorization servers", AuthorizationServerSection),
        ("## Relying parties", RelyingPartySection),
        ("## Logout senders", LogoutSenderSection),
    ],
)
def test_every_member_of_a_table_is_described_with_its_default(heading: str, section: type[BaseModel]) -> None:
    described = table_after(heading)
    assert described.keys() == section.model_fields.keys()
    for name, field in section.model_fields.items():
        shown = described[name][0]
        if field.is_required():
            assert shown == "needed", name
        else:
            assert shown == "unset" if field.default is None else shown == f"`{json.dumps(field.default)}`", name


def test_no_section_is_forgotten() -> None:
    lists = {"callers", "sources", "servers", "relying_parties", "logout_senders"}
    assert {name for name in SECTIONS if "." not in name} | lists == Settings.model_fields.keys()
    assert set(re.findall(r"^### `\[([\w.]+)\]`$", PAGE, re.MULTILINE)) == SECTIONS.keys()


def metrics() -> Iterator[tuple[str, str, set[str]]]:
    for collector in Metrics().registry._collector_to_names:
        family = next(iter(collector.collect()))
        labels: tuple[str, ...] = collector._labelnames  # type: ignore[attr-defined]  # no public way
        yield family.name, family.type, set(labels)


def test_every_metric_is_described_with_its_kind_and_labels() -> None:
    described = table_after("## Metrics")
    found = {name: (kind, labels) for name, kind, labels in metrics()}
    assert described.keys() == found.keys()
    for name, (kind, labels) in found.items():
        assert described[name][0] == kind, name
        assert set(re.findall(r"`(\w+)`", described[name][1])) == labels, name


def test_every_event_of_the_process_log_is_described() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in Path("bridge").rglob("*.py"))
    events = set(re.findall(r"\blog\.(?:debug|info|warning|error|exception)\(\s*\"(\w+)\"", code))
    assert len(events) > 15
    at = PAGE.index("\n## The process log\n")
    described = set(re.findall(r"`(\w+)`", PAGE[at : PAGE.index("\n## ", at + 5)]))
    assert events - described == set()


def test_every_reason_of_a_refusal_is_described() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in Path("bridge/doors").glob("*.py"))
    reasons = set(re.findall(r"CallerRefused\(\d+, \"(\w+)\"[,)]", code)) | set(
        re.findall(r"\.refused\(\"(\w+)\"\)", code)
    )
    assert {"malformed", "unauthenticated", "misdirected"} <= reasons
    assert set(re.findall(r"`(\w+)`", table_after("## Metrics")["issuance_refused_calls"][2])) == reasons

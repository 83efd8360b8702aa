"""What has changed between two states of policies, configuration or signing key, as entries say it. Pure."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from bridge.model.entry import MAX_ENTRY_BYTES, canonical, chunks, exact
from bridge.model.policy import PolicySet

RISKS = ("low", "medium", "high")
_ROOM = MAX_ENTRY_BYTES - 2048
_HIDDEN = ("token_sha256",)
"""Told as changed, never shown."""
_LOGIN = re.compile("^([A-Za-z][A-Za-z0-9+.-]*://)[^/]*@")
_LONG = 2048
"""A value of an item that has no room in an entry is told by its digest when it is longer than so many bytes."""


def policy_state(policy_set: PolicySet) -> dict[str, Any]:
    """What a `policy` entry compares: packages with owner and risk, and the digest of every file."""
    packages = {
        name: {"file": package.file, "owner": package.owner, "risk": package.risk}
        for name, package in policy_set.packages.items()
    }
    return {
        "policy": {"revision": policy_set.revision, "digest": policy_set.digest},
        "packages": packages,
        "files": dict(policy_set.files),
    }


def policy_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One item for each package or other file that was added, changed or removed.

    `marks` names what an auditor should look at: `owner_changed`, `risk_lowered`, `file_changed` (the package moved).
    """
    old, new = before.get("packages", {}), after["packages"]
    old_files, new_files = before.get("files", {}), after["files"]
    items: list[dict[str, Any]] = []
    for name in sorted(old.keys() | new.keys()):
        was, now = old.get(name), new.get(name)
        told = _present({"package": name, **(now or was)})
        if was is None or now is None:
            items.append({"change": "added" if was is None else "removed", **told})
        elif was != now or old_files.get(was["file"]) != new_files.get(now["file"]):
            items.append({"change": "changed", **told, **_marks(was, now)})
    own = {package["file"] for package in (*old.values(), *new.values())}
    for file in sorted((old_files.keys() | new_files.keys()) - own):
        if old_files.get(file) != new_files.get(file):
            change = "added" if file not in old_files else "changed" if file in new_files else "removed"
            items.append({"change": change, "file": file})
    return items


def config_state(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The effective configuration, flat: `server.port` -> 8380, `callers.as.roles` -> [...]; URLs without logins."""
    flat: dict[str, Any] = {}
    for section, values in settings.items():
        several = isinstance(values, (list, tuple))
        named = {_named(v, number): v for number, v in enumerate(values)} if several else {"": values}
        for name, keys in named.items():
            for key, value in keys.items():
                flat[".".join(part for part in (section, name, key) if part)] = value
    return {key: without_login(value) if isinstance(value, str) else value for key, value in flat.items()}


def _named(table: Mapping[str, Any], number: int) -> str:
    """What tells one of several tables of a section from the others."""
    told = [str(table[member]) for member in ("issuer", "kind", "client_id") if member in table]
    return str(table.get("name", ".".join(told) or number))


def without_login(url: str) -> str:
    """A URL with `***` for user and password, which must not stand in the log for ever; other texts as they are."""
    return _LOGIN.sub(r"\1***@", url)


def config_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One item for each key that differs, with both values where they may be shown."""
    items: list[dict[str, Any]] = []
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) == after.get(key) and (key in before) == (key in after):
            continue
        shown = {} if key.endswith(_HIDDEN) else {"from": before.get(key), "to": after.get(key)}
        items.append({"key": key, **exact(_present(shown))})
    return items


def parted(entry: dict[str, Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entry with `changes`; several with `part` and `parts` where one cannot hold them all.

    A value that is too long for any entry stands as `{"sha256": <hex, of its canonical JSON>}`.
    """
    parts = chunks([_bounded(item) for item in items], _ROOM)
    if len(parts) == 1:
        return [{**entry, "changes": parts[0]}]
    return [{**entry, "changes": part, "part": n, "parts": len(parts)} for n, part in enumerate(parts, 1)]


def _bounded(item: dict[str, Any]) -> dict[str, Any]:
    if len(canonical(item)) <= _ROOM:
        return item
    texts = {name: canonical(value) for name, value in item.items()}
    return {
        name: item[name] if len(text) <= _LONG else {"sha256": hashlib.sha256(text).hexdigest()}
        for name, text in texts.items()
    }


def _marks(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    marks = []
    if was["owner"] != now["owner"]:
        marks.append("owner_changed")
    if was["risk"] in RISKS and (now["risk"] not in RISKS or RISKS.index(now["risk"]) < RISKS.index(was["risk"])):
        marks.append("risk_lowered")
    if was["file"] != now["file"]:
        marks.append("file_changed")
    differs = {name: value for name, value in was.items() if value is not None and value != now[name]}
    return {**({"marks": marks} if marks else {}), **({"was": differs} if differs else {})}


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
